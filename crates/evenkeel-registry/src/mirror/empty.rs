use std::time::Duration;

use evenkeel_types::Timestamp;

use super::config::{EmptyGuard, Hold};
use crate::HoldReason;

/// The last set, held against answers that say there is nobody.
#[derive(Clone, Debug)]
pub(super) struct EmptyHold {
    until: Option<Timestamp>,
    /// When the first of the agreeing empty answers came, and how many there were.
    empty: Option<(Timestamp, u32)>,
    /// From when a further "absent" confirms the first.
    confirms_from: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Empty,
    Absent { wait: Duration },
}

impl EmptyHold {
    pub(super) fn new(now: Timestamp, hold: Hold) -> Self {
        let until = match hold {
            Hold::Never => Some(now),
            Hold::For(time) => Some(now.saturating_add(time)),
            Hold::Forever => None,
        };
        Self { until, empty: None, confirms_from: None }
    }

    /// Takes one more answer in; whether it is enough to believe.
    pub(super) fn hear(&mut self, now: Timestamp, answer: Answer, config: &EmptyGuard) -> bool {
        match answer {
            Answer::Empty => {
                let (first, count) = self.empty.get_or_insert((now, 0));
                *count = count.saturating_add(1);
                *count >= config.agreeing && now >= first.saturating_add(config.spread)
            }
            Answer::Absent { wait } => {
                let believed = self.confirms_from.is_some_and(|from| now >= from);
                self.confirms_from.get_or_insert(now.saturating_add(wait));
                believed
            }
        }
    }

    /// The source could not be asked for so long, which counts for nothing.
    pub(super) fn postpone(&mut self, time: Duration) {
        self.until = self.until.map(|until| until.saturating_add(time));
    }

    /// When the hold ends by itself; `None` if never.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    pub(super) fn reason(&self) -> HoldReason {
        if self.confirms_from.is_some() { HoldReason::Unconfirmed } else { HoldReason::EmptyAnswer }
    }
}
