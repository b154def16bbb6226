//! From the text of a file to scenarios.

use std::collections::{BTreeMap, BTreeSet};

use crate::action::Action;
use crate::expectation::Expectation;
use crate::interleave::Interleave;
use crate::lines::{Line, lines};
use crate::replay::REPLAY;
use crate::time::Move;

/// One case of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it shows; unique in its file.
    pub title: String,
    /// Where the case was learnt.
    pub from: Option<String>,
    /// What is tested.
    pub machine: String,
    /// Of every draw.
    pub seed: u64,
    /// The settings, as TOML.
    pub config: String,
    /// What happens.
    pub body: Body,
    /// What happens then, in every order.
    pub interleave: Interleave,
    /// The line of its title, from 1.
    pub line: usize,
}

/// What a scenario does with its machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// The configuration must be refused with an error that contains this.
    Refused(String),
    /// These steps, one after the other.
    Steps(Vec<Step>),
}

/// One line of `steps:`.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub(crate) line: usize,
    pub(crate) time: Option<Move>,
    pub(crate) actions: Vec<Action>,
    pub(crate) expectations: Vec<Expectation>,
}

/// Reads a file.
///
/// # Errors
///
/// The first line that is not understood, with its number and what is expected there.
pub fn parse(text: &str) -> Result<Vec<Scenario>, String> {
    read(text)?.into_iter().map(|read| read.scenario).collect()
}

/// A scenario, or what is wrong with it, which is no reason to leave out the others of its file.
pub(crate) struct Read {
    pub(crate) title: String,
    pub(crate) machine: Option<String>,
    pub(crate) scenario: Result<Scenario, String>,
}

/// # Errors
///
/// What stands before the first scenario.
pub(crate) fn read(text: &str) -> Result<Vec<Read>, String> {
    let mut scenarios: Vec<Draft> = Vec::new();
    let mut field = Field::Nothing;
    for line in lines(text) {
        let result =
            if line.indented { indented(&mut scenarios, field, line) } else { header(&mut scenarios, line) };
        match (result, scenarios.last_mut()) {
            (Ok(next), _) => field = next.unwrap_or(field),
            (Err(error), None) => return Err(format!("line {}: {error}", line.number)),
            (Err(error), Some(draft)) => {
                draft.wrong.get_or_insert(format!("line {}: {error}", line.number));
            }
        }
    }
    let mut titles = BTreeSet::new();
    for draft in &mut scenarios {
        if !titles.insert(draft.title.clone()) {
            draft.wrong.get_or_insert(format!("line {}: another one has this title", draft.line));
        }
    }
    Ok(scenarios.into_iter().map(Draft::read).collect())
}

#[derive(Clone, Copy)]
enum Field {
    Nothing,
    Config,
    Steps,
    Interleave,
    Always,
    Finally,
}

#[derive(Default)]
struct Draft {
    line: usize,
    title: String,
    from: Option<String>,
    machine: Option<String>,
    seed: Option<u64>,
    config: String,
    refused: Option<String>,
    steps: Vec<Step>,
    /// Each line of `interleave:`.
    callers: Vec<Step>,
    always: Vec<Expectation>,
    finally: Vec<Expectation>,
    /// The first thing that is not understood.
    wrong: Option<String>,
}

fn header(scenarios: &mut Vec<Draft>, line: Line<'_>) -> Result<Option<Field>, String> {
    let (key, value) =
        line.text.split_once(':').ok_or_else(|| format!("{:?} is no field: write name: value", line.text))?;
    let (key, value) = (key.trim_end().to_ascii_lowercase(), value.trim());
    if key == "scenario" {
        scenarios.push(Draft { line: line.number, title: value.to_owned(), ..Draft::default() });
        if value.is_empty() {
            return Err("a scenario needs a title".into());
        }
        return Ok(Some(Field::Nothing));
    }
    let scenario = scenarios.last_mut().ok_or("a file begins with scenario: and a title")?;
    match key.as_str() {
        "from" => scenario.from = Some(value.to_owned()),
        "machine" => scenario.machine = Some(value.to_owned()),
        "seed" => {
            scenario.seed = Some(value.parse().map_err(|_| format!("seed: {value:?} is no whole number"))?);
        }
        "refused" if value.is_empty() => return Err("refused: write a part of the error".into()),
        "refused" => scenario.refused = Some(value.to_owned()),
        "config" | "steps" | "interleave" | "always" | "finally" if !value.is_empty() => {
            return Err(format!("{key}: goes on in indented lines"));
        }
        "config" => return Ok(Some(Field::Config)),
        "steps" => return Ok(Some(Field::Steps)),
        "interleave" => return Ok(Some(Field::Interleave)),
        "always" => return Ok(Some(Field::Always)),
        "finally" => return Ok(Some(Field::Finally)),
        _ => return Err(format!("there is no field {key:?}")),
    }
    Ok(Some(Field::Nothing))
}

fn indented(scenarios: &mut [Draft], field: Field, line: Line<'_>) -> Result<Option<Field>, String> {
    let scenario = scenarios.last_mut().ok_or("a file begins with scenario: and a title")?;
    match field {
        Field::Nothing => {
            return Err(
                "an indented line belongs to config:, steps:, interleave:, always: or finally:".into()
            );
        }
        Field::Config => {
            scenario.config.push_str(line.text);
            scenario.config.push('\n');
        }
        Field::Steps => scenario.steps.push(step(line)?),
        Field::Interleave => scenario.callers.push(caller(line)?),
        Field::Always => scenario.always.extend(expectations(line.text)?),
        Field::Finally => scenario.finally.extend(expectations(line.text)?),
    }
    Ok(None)
}

fn step(line: Line<'_>) -> Result<Step, String> {
    let (happens, holds) = line.text.split_once("=>").map_or((line.text, None), |(a, b)| (a, Some(b)));
    let happens = happens.trim();
    let (first, rest) = happens.split_once(char::is_whitespace).unwrap_or((happens, ""));
    let (time, happens) = match Move::parse(first) {
        Some(time) => (Some(time?), rest.trim()),
        None => (None, happens),
    };
    let actions = parts(happens).map(Action::parse).collect::<Result<_, _>>()?;
    let expectations = parts(holds.unwrap_or("")).map(Expectation::parse).collect::<Result<Vec<_>, _>>()?;
    if holds.is_some() && expectations.is_empty() {
        return Err("there is nothing after =>".into());
    }
    Ok(Step { line: line.number, time, actions, expectations })
}

/// What one of several callers does.
fn caller(line: Line<'_>) -> Result<Step, String> {
    let step = step(line)?;
    if step.time.is_some() || !step.expectations.is_empty() {
        return Err("interleave: a line is the actions of one caller; times belong to steps:, what must hold to always: and finally:".into());
    }
    Ok(step)
}

fn expectations(text: &str) -> Result<Vec<Expectation>, String> {
    let text = text.strip_prefix("=>").unwrap_or(text);
    parts(text).map(Expectation::parse).collect()
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    let nothing = text.trim().is_empty();
    text.split(',').filter(move |_| !nothing)
}

/// `x1` says nothing as a count. So where it is taken by that name and then spoken of, by another verb or in a fact, such
/// words are names of what has been taken, from there on and until it has ended.
fn name_what_is_taken(steps: &mut [Step]) {
    let speaks_of_first = |step: &Step| {
        let named = |action: &Action| !takes(action) && action.word_of_name() == Some(FIRST);
        step.actions.iter().any(named) || step.expectations.iter().any(|fact| fact.name().starts_with("x1."))
    };
    let takes_first =
        |step: &Step| step.actions.iter().any(|action| takes(action) && action.word_of_name() == Some(FIRST));
    if !steps.iter().any(takes_first) || !steps.iter().any(speaks_of_first) {
        return;
    }
    let mut held: BTreeMap<String, u32> = BTreeMap::new();
    for action in steps.iter_mut().flat_map(|step| &mut step.actions) {
        let Some(word) = action.word_of_name().map(str::to_owned) else { continue };
        if takes(action) {
            action.count_is_a_name();
            let often = if PERMITS.contains(&action.verb()) { action.count() } else { u32::MAX };
            let held = held.entry(word).or_default();
            *held = held.saturating_add(often);
        } else if let Some(held) = held.get_mut(&word).filter(|held| **held > 0) {
            action.count_is_a_name();
            *held -= u32::from(*held < u32::MAX);
        }
    }
}

pub(crate) fn takes(action: &Action) -> bool {
    PERMITS.contains(&action.verb()) || NAMING.contains(&action.verb())
}

const FIRST: &str = "x1";
/// The verbs that give a name to a permit, which ends with the next verb.
const PERMITS: [&str; 4] = ["acquire", "acq", "ask", "bypass"];
/// Those that give one to what stays.
const NAMING: [&str; 4] = ["begin", "start", "hold", "add"];

impl Draft {
    fn read(mut self) -> Read {
        let (title, machine) = (self.title.clone(), self.machine.clone());
        let scenario = match self.wrong.take() {
            Some(error) => Err(error),
            None => self.finish(),
        };
        Read { title, machine, scenario }
    }

    fn finish(mut self) -> Result<Scenario, String> {
        let callers_at = self.steps.len();
        self.steps.append(&mut self.callers);
        name_what_is_taken(&mut self.steps);
        let callers = self.steps.split_off(callers_at);
        let at = |error: &str| format!("line {}: {error}", self.line);
        let body = match (self.refused, self.steps) {
            (Some(error), steps)
                if steps.is_empty()
                    && callers.is_empty()
                    && self.always.is_empty()
                    && self.finally.is_empty() =>
            {
                Body::Refused(error)
            }
            (Some(_), _) => return Err(at("either refused: or steps:, not both")),
            (None, _) if callers.is_empty() != (self.always.is_empty() && self.finally.is_empty()) => {
                return Err(at("interleave: and always: or finally: belong together"));
            }
            (None, steps) if callers.is_empty() && steps.iter().all(expects_nothing) => {
                return Err(at("it expects nothing"));
            }
            (None, steps) => Body::Steps(steps),
        };
        Ok(Scenario {
            machine: self.machine.ok_or_else(|| format!("line {}: machine: is missing", self.line))?,
            title: self.title,
            from: self.from,
            seed: self.seed.unwrap_or(1),
            config: self.config,
            body,
            interleave: Interleave {
                callers: callers.into_iter().map(|caller| caller.actions).collect(),
                always: self.always,
                finally: self.finally,
            },
            line: self.line,
        })
    }
}

fn expects_nothing(step: &Step) -> bool {
    step.expectations.is_empty() && step.actions.iter().all(|action| action.verb() != REPLAY)
}
