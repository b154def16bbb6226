//! What a file may say, and what it must not.

use evenkeel_scenario::{Action, Fact, Machine, Suite};
use evenkeel_types::Timestamp;

/// Adds up, and tells the time.
#[derive(Default)]
struct Sum(f64);

impl Machine for Sum {
    fn act(&mut self, _now: Timestamp, action: &Action) -> Result<(), String> {
        match action.verb() {
            "add" => self.0 += action.number("by")?.unwrap_or(1.0),
            "panic" => std::panic::resume_unwind(Box::new("as it was told")),
            // As machines do that know permits by name.
            "acquire" => self.0 += action.bare(0).map_or(1.0, |name| 10.0 * name.len() as f64),
            "ok" => self.0 -= action.bare(0).map_or(1.0, |name| 10.0 * name.len() as f64),
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, now: Timestamp, name: &str) -> Option<Fact> {
        match name {
            "sum" => Some(self.0.into()),
            "now" => Some(now.into()),
            "empty" => Some((self.0 == 0.0).into()),
            _ => None,
        }
    }
}

fn run(text: &str) -> Result<usize, String> {
    let mut suite = Suite::new();
    suite.machine("limit", |config, _| {
        if config.contains("wrong") { Err("limit.wrong: is wrong".into()) } else { Ok(Box::<Sum>::default()) }
    });
    suite.run_text("test", text)
}

fn steps(steps: &str) -> Result<usize, String> {
    run(&format!("scenario: one\nmachine: limit\nsteps:\n    {steps}\n"))
}

#[test]
fn steps_happen_in_order() {
    assert_eq!(
        steps(
            "add x3, add by=2 => sum=5, !empty\n    @5s => now=5s\n    +250ms => now=5.25s\n    @1s => now=1"
        ),
        Ok(1)
    );
}

#[test]
fn comments_end_lines_outside_quotes() {
    assert_eq!(
        run("# one\nscenario: a # b\nmachine: limit\nconfig:\n    x = \"a # b\"\nsteps:\n  => empty # yes\n"),
        Ok(1)
    );
}

#[test]
fn titles_may_name_issues() {
    let one = |number: u32| {
        format!(
            "scenario: Polly #{number} a # b\nfrom: #736\nmachine: limit # comment\nseed: 3 # comment\nsteps:\n  => empty\n"
        )
    };
    assert_eq!(
        run(&format!("{}{}scenario: #736\nmachine: limit\nsteps:\n  => empty\n", one(217), one(218))),
        Ok(3)
    );
}

#[test]
fn one_that_fails_keeps_no_other_from_running() {
    let one = |title: &str, steps: &str| format!("scenario: {title}\nmachine: limit\nsteps:\n    {steps}\n");
    let text = [
        one("first", "add => sum=1"),
        one("second", "add, panic => sum=1"),
        one("third", "add => sum=2"),
        one("fourth", "add =>"),
        one("first", "add => sum=1"),
        one("", "add => sum=1"),
        one("sixth", "add => sum=7"),
    ];
    let errors = run(&text.concat()).expect_err("five are wrong");
    let errors: Vec<&str> = errors.lines().collect();
    let wanted = [
        ("second", "line 8: it panicked: as it was told"),
        ("third", "line 12: expected sum=2"),
        ("fourth", "line 16: there is nothing after =>"),
        ("first", "line 17: another one has this title"),
        ("\"\"", "line 21: a scenario needs a title"),
        ("sixth", "line 28: expected sum=7"),
    ];
    assert_eq!(errors.len(), wanted.len(), "{errors:?}");
    for (error, (title, words)) in errors.iter().zip(wanted) {
        assert!(error.contains(title) && error.contains(words), "{error}");
    }
}

#[test]
fn a_mistake_in_another_crates_scenario_is_told_there() {
    assert_eq!(run("scenario: a\nmachine: breaker\nsteps:\n    fail =>\n"), Ok(0));
}

#[test]
fn what_is_taken_may_be_called_x1() {
    assert_eq!(
        steps(
            "acquire x1, acquire x12 => sum=50\n    ok x1 => sum=30\n    ok x12 => sum=0\n    ok x3 => sum=-3"
        ),
        Ok(1)
    );
    assert_eq!(steps("acquire x2, acquire x1 x3 => sum=80\n    ok x1 => sum=60\n    ok x2 => sum=40"), Ok(1));
    // Before it is taken, and after it has ended, it is a count.
    assert_eq!(
        steps(
            "ok x2 => sum=-2\n    acquire x1, acquire x2 => sum=38\n    ok x2, ok x1 => sum=-2\n    ok x2 => sum=-4"
        ),
        Ok(1)
    );
    // Nobody speaks of x1 afterwards; nor is it taken: these are counts.
    assert_eq!(steps("acquire x1, acquire x3 => sum=4\n    ok x2 => sum=2"), Ok(1));
    assert_eq!(steps("acquire x3, ok x1 => sum=2"), Ok(1));
}

#[test]
fn what_does_not_hold_fails_and_names_the_line() {
    let error = steps("add => sum=2").expect_err("1 is not 2");
    assert!(error.contains("line 4") && error.contains("expected sum=2, but it is 1"), "{error}");
}

#[test]
fn what_is_not_understood_fails() {
    for wrong in [
        "sub => sum=0",
        "add to=3 => sum=1",
        "add 3 => sum=1",
        "add => total=1",
        "add",
        "add =>",
        "@5 => sum=0",
        "add,, add => sum=2",
    ] {
        assert!(steps(wrong).is_err(), "{wrong}");
    }
    for wrong in [
        "machine: limit\n",
        "scenario: a\nmachine: nobody\nsteps:\n    => empty\n",
        "scenario: a\nsteps:\n    => empty\n",
        "scenario: a\nmachine: limit\n",
        "scenario: a\nmachine: limit\ncolour: red\nsteps:\n    => empty\n",
        "scenario: a\nmachine: limit\n    => empty\n",
        "scenario: a\nmachine: limit\nsteps:\n    => empty\nscenario: a\nmachine: limit\nsteps:\n    => empty\n",
        "scenario: a\nmachine: limit\nrefused: wrong\nsteps:\n    => empty\n",
    ] {
        assert!(run(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_refusal_is_expected_by_a_part_of_its_error() {
    let refused = |config: &str, part: &str| {
        run(&format!("scenario: a\nmachine: limit\nconfig:\n    {config}\nrefused: {part}\n"))
    };
    assert_eq!(refused("wrong = 1", "limit.wrong"), Ok(1));
    assert!(refused("wrong = 1", "limit.other").is_err());
    assert!(refused("right = 1", "limit.wrong").is_err());
}

#[test]
fn another_crates_machine_is_left_to_it() {
    assert_eq!(run("scenario: a\nmachine: breaker\nsteps:\n    => open\n"), Ok(0));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(scenario: a\n|machine: limit\n|steps:\n|config:\n|    add|=>| x9|sum=|~|[@+]5s|,|\n|#|\\PC){0,20}") {
        let _ = run(&text);
    }
}

/// Gives out as many as it has; the second one asked for under `greedy` is one too many.
#[derive(Default)]
struct Slots {
    held: u32,
    most: u32,
    refused: bool,
    greedy: bool,
}

impl Machine for Slots {
    fn act(&mut self, _now: Timestamp, action: &Action) -> Result<(), String> {
        let _name = action.bare(0);
        match action.verb() {
            "acquire" => {
                self.refused = self.held == 1 && !self.greedy;
                self.held += u32::from(!self.refused);
                self.most = self.most.max(self.held);
            }
            "ok" => self.held = self.held.checked_sub(1).ok_or("nothing is held")?,
            _ => return Err(action.unknown()),
        }
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        match name {
            "held" => Some(self.held.into()),
            "most" => Some(self.most.into()),
            "admitted" => Some((!self.refused).into()),
            "half_full" => Some((self.held == 1).into()),
            "state" => Some(if self.held == 1 { "half_full" } else { "other" }.into()),
            _ => None,
        }
    }
}

fn slots(text: &str) -> Result<usize, String> {
    let mut suite = Suite::new();
    suite.machine("limit", |config, _| {
        Ok(Box::new(Slots { greedy: config.contains("greedy"), ..Slots::default() }))
    });
    suite.run_text("test", text)
}

#[test]
fn callers_come_in_every_order() {
    let two = "interleave:\n    acquire a, ok a\n    acquire b, ok b\n";
    let case =
        |config: &str, rest: &str| slots(&format!("scenario: one\nmachine: limit\n{config}{two}{rest}"));
    assert_eq!(case("", "always:\n    held<=1\nfinally:\n    held=0\n"), Ok(1));
    let error = case("config:\n    greedy = true\n", "always:\n    held<=1\n")
        .expect_err("two are held in some order");
    assert!(error.contains("acquire a, acquire b: expected held<=1, but it is 2"), "{error}");
    // In one order both are held at once, in another they are not: neither holds for all.
    assert!(case("config:\n    greedy = true\n", "finally:\n    most=2\n").is_err());
    assert!(case("config:\n    greedy = true\n", "finally:\n    most=1\n").is_err());
    assert!(case("steps:\n    acquire\n", "finally:\n    held=1\n").is_ok(), "after the steps");
}

#[test]
fn interleaving_wants_callers_and_what_must_hold() {
    let case = |rest: &str| slots(&format!("scenario: one\nmachine: limit\n{rest}"));
    for (rest, part) in [
        ("interleave:\n    acquire\n", "belong together"),
        ("steps:\n    => held=0\nalways:\n    held=0\n", "belong together"),
        ("interleave:\n    @1s acquire\nalways:\n    held=0\n", "times belong to steps:"),
        ("interleave:\n    acquire => held=1\nalways:\n    held=0\n", "what must hold"),
        ("interleave:\n    acquire x20\n    acquire x20\nalways:\n    held<=1\n", "more than 10000 orders"),
    ] {
        let error = case(rest).expect_err(rest);
        assert!(error.contains(part), "{rest}: {error}");
    }
}

/// Counts what happened to all machines of its kind, which no seed can repeat.
struct Forgetful(f64);

impl Machine for Forgetful {
    fn act(&mut self, _now: Timestamp, _action: &Action) -> Result<(), String> {
        static EVER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        self.0 = EVER.fetch_add(1, std::sync::atomic::Ordering::Relaxed).into();
        Ok(())
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        (name == "sum").then(|| self.0.into())
    }
}

#[test]
fn what_is_replayed_must_be_the_same() {
    assert_eq!(
        slots("scenario: one\nmachine: limit\nsteps:\n    acquire x2, replay => held=1\n    replay\n"),
        Ok(1)
    );
    assert_eq!(
        slots("scenario: one\nmachine: limit\nsteps:\n    acquire, replay\n"),
        Ok(1),
        "that is an expectation"
    );
    let mut suite = Suite::new();
    suite.machine("limit", |_, _| Ok(Box::new(Forgetful(0.0))));
    let text = "scenario: one\nmachine: limit\nsteps:\n    add => sum>=0\n    replay\n";
    let error = suite.run_text("test", text).expect_err("differs");
    assert!(error.contains("replay: after 1 actions"), "{error}");
}

#[test]
fn words_may_be_spelt_as_elsewhere() {
    let text = "scenario: one\r\nMachine : limit\r\nSteps:\r\n\tAcquire => half-full, HalfFull, state=HALF_FULL, state!=half\r\n";
    assert_eq!(slots(&format!("\u{feff}{text}")), Ok(1));
    assert!(slots(&text.replace("HalfFull", "HalfEmpty")).is_err());
}

/// Takes what it is told as settings.
#[derive(Default)]
struct Told(Vec<String>);

impl Machine for Told {
    fn act(&mut self, _now: Timestamp, action: &Action) -> Result<(), String> {
        self.0.extend(action.settings().map(|(key, _)| key.to_owned()));
        action.no_more()
    }

    fn fact(&mut self, _now: Timestamp, name: &str) -> Option<Fact> {
        (name == "told").then(|| self.0.len().into())
    }
}

#[test]
fn an_action_says_the_same_each_time() {
    let mut suite = Suite::new();
    suite.machine("limit", |_, _| Ok(Box::<Told>::default()));
    let text = "scenario: one\nmachine: limit\nsteps:\n    set a=1 b=2 x3 => told=6\n    replay\n";
    assert_eq!(suite.run_text("test", text), Ok(1));
}
