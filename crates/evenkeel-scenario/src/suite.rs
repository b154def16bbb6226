//! Runs scenarios.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{env, fs};

use evenkeel_types::Timestamp;

use crate::action::Action;
use crate::expectation::spelt;
use crate::fact::Fact;
use crate::replay::{REPLAY, replay};
use crate::scenario::{Body, Read, Scenario, Step, read};

/// Something that scenarios test.
pub trait Machine {
    /// Lets it happen, once; the suite repeats it. A machine gets `now` as it is, also where it goes backwards.
    ///
    /// # Errors
    ///
    /// The action is unknown or cannot be done: that fails the scenario.
    fn act(&mut self, now: Timestamp, action: &Action) -> Result<(), String>;

    /// A fact of this name; `None` if there is no such fact.
    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact>;

    /// All that can be told of its state, for `replay`; nothing, unless it says so. The facts of the scenario are compared
    /// beside it.
    fn picture(&mut self, _now: Timestamp) -> String {
        String::new()
    }
}

type Make = Box<dyn Fn(&str, u64) -> Result<Box<dyn Machine>, String>>;

/// The machines of a crate, by their names in scenarios.
#[derive(Default)]
pub struct Suite {
    machines: BTreeMap<&'static str, Make>,
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.machines.keys()).finish()
    }
}

impl Suite {
    /// No machines.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a machine: how it is made of its configuration (TOML, may be empty) and the seed of its draws.
    pub fn machine(
        &mut self,
        name: &'static str,
        make: impl Fn(&str, u64) -> Result<Box<dyn Machine>, String> + 'static,
    ) -> &mut Self {
        self.machines.insert(name, Box::new(make));
        self
    }

    /// Runs every `.txt` file below `own` and below the directory that `EVENKEEL_SCENARIOS` names, and prints a line for
    /// each. Returns how many scenarios ran. One that fails, panics or is not understood does not keep the others from running.
    ///
    /// # Errors
    ///
    /// All that failed, one a line; no file in `own`, or in the other; a directory that is not there.
    pub fn run(&self, own: &Path) -> Result<usize, String> {
        let mut files = files_below(own)?;
        if files.is_empty() {
            return Err(format!("{}: there are no scenarios", own.display()));
        }
        if let Some(more) = env::var_os("EVENKEEL_SCENARIOS") {
            let more = Path::new(&more);
            let found = files_below(more)?;
            if found.is_empty() {
                return Err(format!("EVENKEEL_SCENARIOS={}: there are no .txt files", more.display()));
            }
            files.extend(found);
        }
        let mut ran = 0;
        let mut failures = Vec::new();
        for file in files {
            let name = file.display().to_string();
            let text = fs::read_to_string(&file).map_err(|error| format!("{name}: {error}"))?;
            let (passed, failed) = self.run_all(&name, &text);
            let word = if failed.is_empty() { String::new() } else { format!(", {} failed", failed.len()) };
            println!("{name}: {passed} passed{word}");
            ran += passed;
            failures.extend(failed);
        }
        if failures.is_empty() { Ok(ran) } else { Err(failures.join("\n")) }
    }

    /// Runs the scenarios of one text. Returns how many of them were for machines of this suite.
    ///
    /// # Errors
    ///
    /// All that failed, one a line.
    pub fn run_text(&self, name: &str, text: &str) -> Result<usize, String> {
        let (passed, failed) = self.run_all(name, text);
        if failed.is_empty() { Ok(passed) } else { Err(failed.join("\n")) }
    }

    /// How many passed, and what is wrong with the others.
    fn run_all(&self, name: &str, text: &str) -> (usize, Vec<String>) {
        let scenarios = match read(text) {
            Ok(scenarios) => scenarios,
            Err(error) => return (0, vec![format!("{name}: {error}")]),
        };
        let mut passed = 0;
        let mut failed = Vec::new();
        for Read { title, machine, scenario } in scenarios {
            let make = machine.as_deref().and_then(|machine| self.machines.get(machine));
            let another_crates = machine.as_deref().is_some_and(|machine| MACHINES.contains(&machine));
            let result = match (scenario, make) {
                (_, None) if another_crates => continue,
                (Err(error), _) => Err(error),
                (Ok(scenario), Some(make)) => run(&scenario, make),
                (Ok(scenario), None) => {
                    Err(format!("line {}: there is no machine {:?}", scenario.line, scenario.machine))
                }
            };
            match result {
                Ok(()) => passed += 1,
                Err(error) => failed.push(format!("{name}: {title:?}: {error}")),
            }
        }
        (passed, failed)
    }

    /// The names that this suite has and the documentation does not, or the other way about is for the reader: those
    /// that [`Suite::run`] would not tell from a misspelling.
    #[must_use]
    pub fn unlisted(&self) -> Vec<&'static str> {
        self.machines.keys().copied().filter(|name| !MACHINES.contains(name)).collect()
    }
}

/// A panic is a failure of this scenario and of no other.
fn run(scenario: &Scenario, make: &Make) -> Result<(), String> {
    let line = Cell::new(scenario.line);
    catch_unwind(AssertUnwindSafe(|| run_caught(scenario, make, &line))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(format!("line {}: it panicked: {}", line.get(), text.unwrap_or("without a word")))
    })
}

fn run_caught(scenario: &Scenario, make: &Make, line: &Cell<usize>) -> Result<(), String> {
    let made = make(&scenario.config, scenario.seed);
    match (&scenario.body, made) {
        (Body::Refused(part), Ok(_)) => {
            Err(format!("expected to be refused with {part:?}, but it was accepted"))
        }
        (Body::Refused(part), Err(error)) if error.contains(part.as_str()) => Ok(()),
        (Body::Refused(part), Err(error)) => {
            Err(format!("expected to be refused with {part:?}, but: {error}"))
        }
        (Body::Steps(_), Err(error)) => Err(format!("line {}: config: {error}", scenario.line)),
        (Body::Steps(steps), Ok(mut machine)) => {
            let play = Play { scenario, steps, make, line };
            play.run(machine.as_mut())?;
            line.set(scenario.line);
            if scenario.interleave.is_empty() { Ok(()) } else { scenario.interleave.run(&play) }
        }
    }
}

/// A scenario with steps, as it is played.
pub(crate) struct Play<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) steps: &'a [Step],
    make: &'a Make,
    /// Where it is.
    line: &'a Cell<usize>,
}

impl Play<'_> {
    /// A machine that nothing has happened to.
    pub(crate) fn fresh(&self) -> Result<Box<dyn Machine>, String> {
        (self.make)(&self.scenario.config, self.scenario.seed)
    }

    /// A machine that has been through all steps, and the time then.
    pub(crate) fn again(&self) -> Result<(Box<dyn Machine>, Timestamp), String> {
        let mut machine = self.fresh()?;
        let now = self.run(machine.as_mut())?;
        Ok((machine, now))
    }

    fn run(&self, machine: &mut dyn Machine) -> Result<Timestamp, String> {
        let mut now = Timestamp::ORIGIN;
        for (index, step) in self.steps.iter().enumerate() {
            self.line.set(step.line);
            now = step.time.map_or(now, |time| time.from(now));
            self.take(index, step, machine, now).map_err(|error| format!("line {}: {error}", step.line))?;
        }
        Ok(now)
    }

    fn take(
        &self,
        index: usize,
        step: &Step,
        machine: &mut dyn Machine,
        now: Timestamp,
    ) -> Result<(), String> {
        for (place, action) in step.actions.iter().enumerate() {
            if action.verb() == REPLAY {
                action.no_more()?;
                replay(self, (index, place), machine, now)?;
                continue;
            }
            for _ in 0..action.count() {
                machine.act(now, action.anew())?;
            }
        }
        for expectation in &step.expectations {
            expectation.check(|name| look(machine, now, name))?;
        }
        Ok(())
    }
}

/// A fact, however its name is spelt. What is before its last dot is somebody's name and stays as it is.
pub(crate) fn look(machine: &mut dyn Machine, now: Timestamp, name: &str) -> Option<Fact> {
    machine.fact(now, name).or_else(|| {
        let spelt = match name.rsplit_once('.') {
            Some((whose, fact)) => format!("{whose}.{}", spelt(fact)),
            None => spelt(name),
        };
        (spelt != name).then(|| machine.fact(now, &spelt)).flatten()
    })
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("{}: {error}", directory.display()))?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Every machine of the three crates, so that a misspelt one is an error and another crate's is not.
const MACHINES: [&str; 27] = [
    // evenkeel-breaker
    "breaker",
    "breaker_set",
    // evenkeel-health
    "check",
    "drain",
    "envoy_outlier",
    "envoy_slow_start",
    "flap",
    "grpc_outlier",
    "nginx_fails",
    "outlier",
    "phi",
    "slow_start",
    "standing",
    // evenkeel-limit
    "admission",
    "aws_adaptive",
    "aws_standard",
    "budget",
    "envoy_retry_budget",
    "grpc_throttle",
    "hedge",
    "keyed_rate",
    "ledger",
    "limit",
    "partitions",
    "rate",
    "shed",
    "throttle",
];
