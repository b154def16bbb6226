//! What happens to whom, when.

use std::fmt;
use std::time::Duration;

use evenkeel::EndpointId;
use evenkeel_types::{RandomSource, SplitMix64, below};

/// The roles of a story: who meets what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cast {
    pub(crate) slow: EndpointId,
    pub(crate) failing: EndpointId,
    pub(crate) killed: EndpointId,
    pub(crate) drained: EndpointId,
    pub(crate) added: EndpointId,
    pub(crate) heavier: EndpointId,
    pub(crate) lighter: EndpointId,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Slow,
    Recover,
    Fail,
    Mend,
    Kill,
    Return,
    Drain,
    Add,
    Weigh,
}

/// An act and its time since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cue {
    pub(crate) at: Duration,
    pub(crate) act: Act,
}

impl Cast {
    /// Deals the roles among backends `b1` to `b6`; `b7` is added later.
    pub(crate) fn drawn(draws: &mut SplitMix64) -> Self {
        let mut names: Vec<EndpointId> = (1..=STARTING).map(name).collect();
        for left in (1..names.len()).rev() {
            names.swap(left, below((draws.next_u64() >> 32) as u32, left as u32 + 1) as usize);
        }
        let mut dealt = names.into_iter();
        let mut deal = || dealt.next().expect("there are as many backends as roles");
        Self {
            slow: deal(),
            failing: deal(),
            killed: deal(),
            drained: deal(),
            heavier: deal(),
            lighter: deal(),
            added: name(STARTING + 1),
        }
    }

    /// Whom an act is about.
    pub(crate) const fn subject(&self, act: Act) -> &EndpointId {
        match act {
            Act::Slow | Act::Recover => &self.slow,
            Act::Fail | Act::Mend => &self.failing,
            Act::Kill | Act::Return => &self.killed,
            Act::Drain => &self.drained,
            Act::Add => &self.added,
            Act::Weigh => &self.heavier,
        }
    }

    /// An act in words.
    pub(crate) fn tell(&self, act: Act) -> impl fmt::Display {
        let who = self.subject(act);
        match act {
            Act::Slow => format!("{who} turns slow: its answers take {SLOWDOWN} times as long"),
            Act::Recover => format!("{who} is as fast as before"),
            Act::Fail => format!("{who} starts failing: status 500, though its checks pass"),
            Act::Mend => format!("{who} works again"),
            Act::Kill => format!("{who} crashes without a goodbye"),
            Act::Return => format!("{who} comes back, as a new process on another port"),
            Act::Drain => format!("{who} is drained: nothing new, what is in flight may end"),
            Act::Add => format!("{who} is added"),
            Act::Weigh => {
                format!("weights change: {who} {WEIGHT} -> {HEAVIER}, {} {WEIGHT} -> {LIGHTER}", self.lighter)
            }
        }
    }
}

/// The acts in order, spread over `length`; each is moved by up to a hundredth of it, as the draws say.
pub(crate) fn script(length: Duration, draws: &mut SplitMix64) -> Vec<Cue> {
    ACTS.iter()
        .map(|&(percent, act)| {
            let moved = below((draws.next_u64() >> 32) as u32, 100);
            Cue { at: length * (percent * 100 + moved) / 10_000, act }
        })
        .collect()
}

pub(crate) fn name(number: u32) -> EndpointId {
    format!("b{number}").parse().expect("a letter and a number are an id")
}

/// When what happens, in percent of the story. Trouble does not overlap, so that each act shows its own effect.
const ACTS: [(u32, Act); 9] = [
    (15, Act::Slow),
    (28, Act::Recover),
    (32, Act::Fail),
    (45, Act::Mend),
    (50, Act::Kill),
    (62, Act::Return),
    (68, Act::Drain),
    (76, Act::Add),
    (85, Act::Weigh),
];

/// How many backends there are at the start.
pub(crate) const STARTING: u32 = 6;

/// Mean time for an answer of each backend, the added one last: from fast to six times as slow.
pub(crate) const PACES: [Duration; STARTING as usize + 1] = [
    Duration::from_millis(2),
    Duration::from_millis(3),
    Duration::from_millis(4),
    Duration::from_millis(6),
    Duration::from_millis(8),
    Duration::from_millis(12),
    Duration::from_millis(3),
];

pub(crate) const SLOWDOWN: u32 = 20;
pub(crate) const WEIGHT: u32 = 10;
pub(crate) const HEAVIER: u32 = 30;
pub(crate) const LIGHTER: u32 = 5;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn equal_seeds_tell_equal_stories() {
        let story = |seed| {
            let mut draws = SplitMix64::new(seed);
            (Cast::drawn(&mut draws), script(Duration::from_secs(20), &mut draws))
        };
        assert_eq!(story(7), story(7));
        assert_ne!(story(7), story(8));
    }

    #[test]
    fn nobody_has_two_roles_and_acts_come_in_order() {
        for seed in 0..100 {
            let mut draws = SplitMix64::new(seed);
            let cast = Cast::drawn(&mut draws);
            let Cast { slow, failing, killed, drained, added, heavier, lighter } = &cast;
            let roles = BTreeSet::from([slow, failing, killed, drained, added, heavier, lighter]);
            assert_eq!(roles.len(), 7, "{cast:?}");
            let cues = script(Duration::from_secs(4), &mut draws);
            assert!(cues.is_sorted_by(|a, b| a.at < b.at), "{cues:?}");
            assert!(cues.iter().all(|cue| cue.at < Duration::from_millis(3_500)), "{cues:?}");
        }
    }
}
