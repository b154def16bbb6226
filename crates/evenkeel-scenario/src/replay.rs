//! The same again: nothing may differ.

use std::collections::BTreeSet;

use evenkeel_types::Timestamp;

use crate::expectation::Expectation;
use crate::scenario::{Body, Scenario};
use crate::suite::{Machine, Play, look};

/// The verb that every machine knows.
pub(crate) const REPLAY: &str = "replay";

/// Plays what has happened so far on two more machines, and compares all three: the two after every action, by their pictures
/// and by every fact that the scenario speaks of, and the last of that with the machine that is there.
///
/// # Errors
///
/// After so many actions they differ.
pub(crate) fn replay(
    play: &Play<'_>,
    (step, action): (usize, usize),
    machine: &mut dyn Machine,
    now: Timestamp,
) -> Result<(), String> {
    let names = names(play.scenario);
    let first = trace(play, (step, action), &names)?;
    let second = trace(play, (step, action), &names)?;
    if let Some(place) = first.iter().zip(&second).position(|(first, second)| first != second) {
        return Err(format!(
            "replay: after {place} actions it was {}, and is {}",
            first[place], second[place]
        ));
    }
    let here = picture(machine, now, &names);
    match first.last() {
        Some(last) if *last != here => Err(format!("replay: it is {here}, and was {last}")),
        _ => Ok(()),
    }
}

/// What is seen at the beginning and after every action before this one.
fn trace(play: &Play<'_>, until: (usize, usize), names: &BTreeSet<&str>) -> Result<Vec<String>, String> {
    let mut machine = play.fresh()?;
    let mut now = Timestamp::ORIGIN;
    let mut seen = vec![picture(machine.as_mut(), now, names)];
    for (index, step) in play.steps.iter().enumerate().take(until.0 + 1) {
        now = step.time.map_or(now, |time| time.from(now));
        let actions = if index == until.0 { &step.actions[..until.1] } else { &step.actions[..] };
        for action in actions.iter().filter(|action| action.verb() != REPLAY) {
            for _ in 0..action.count() {
                machine.act(now, action.anew())?;
                seen.push(picture(machine.as_mut(), now, names));
            }
        }
    }
    seen.push(picture(machine.as_mut(), now, names));
    Ok(seen)
}

fn picture(machine: &mut dyn Machine, now: Timestamp, names: &BTreeSet<&str>) -> String {
    let mut seen = machine.picture(now);
    for name in names {
        if let Some(fact) = look(machine, now, name) {
            seen.push_str(&format!(" {name}={fact:?}"));
        }
    }
    seen
}

fn names(scenario: &Scenario) -> BTreeSet<&str> {
    let Body::Steps(steps) = &scenario.body else { return BTreeSet::new() };
    steps.iter().flat_map(|step| &step.expectations).map(Expectation::name).collect()
}
