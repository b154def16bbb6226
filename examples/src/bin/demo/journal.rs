use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use evenkeel::{BreakerState, Clock, EndpointId, MonotonicClock, Notice, Timestamp};
use evenkeel_breaker::Reason;

/// What happened, in the order in which it happened, until the screen takes it.
#[derive(Debug)]
pub(crate) struct Journal {
    clock: MonotonicClock,
    entries: Mutex<VecDeque<Entry>>,
}

/// One line of the journal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) by: By,
    pub(crate) text: String,
}

/// Whose doing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The script makes trouble.
    Story,
    /// The cluster noticed something.
    Cluster,
}

impl Journal {
    pub(crate) const fn new(clock: MonotonicClock) -> Self {
        Self { clock, entries: Mutex::new(VecDeque::new()) }
    }

    pub(crate) fn tell(&self, by: By, text: impl Into<String>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == MOST_ENTRIES {
            entries.pop_front();
        }
        entries.push_back(Entry { at: self.clock.now(), by, text: text.into() });
    }

    /// What is worth a line of what the cluster noticed.
    pub(crate) fn notice(&self, notice: &Notice) {
        if let Some(text) = in_words(notice) {
            self.tell(By::Cluster, text);
        }
    }

    pub(crate) fn take(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

fn in_words(notice: &Notice) -> Option<String> {
    match notice {
        // A breaker has a notice of its own.
        Notice::Standing { before, after, .. } if before.breaker_open() != after.breaker_open() => None,
        // The first check that passes changes what is known, and nothing for requests.
        Notice::Standing { before, after, .. } if before.causes().eq(after.causes()) => None,
        Notice::Standing { id, after, .. } => Some(format!("{id} is {after}")),
        Notice::Breaker { id, transition } => {
            let (from, to) = (breaker_word(transition.from), breaker_word(transition.to));
            Some(format!("{id} breaker: {from} -> {to}, {}", reason_in_words(transition.reason)))
        }
        Notice::Applied(applied) => {
            let parts = [("joined", &applied.added), ("left", &applied.removed)]
                .into_iter()
                .filter(|(_, ids)| !ids.is_empty());
            let text: Vec<_> = parts.map(|(what, ids)| format!("{} {what}", names(ids))).collect();
            (!text.is_empty()).then(|| text.join(", "))
        }
        Notice::Rejected { reason } => Some(format!("an update was not taken: {reason}")),
        _ => None,
    }
}

fn reason_in_words(reason: Reason) -> String {
    match reason {
        Reason::Consecutive { failures } => format!("{failures} failures in a row"),
        Reason::Ratio { failures, requests } => format!("{failures} of {requests} requests failed"),
        Reason::WaitOver => "time for a probe".to_owned(),
        Reason::ProbeFailed => "the probe failed".to_owned(),
        Reason::ProbesPassed => "the probes passed".to_owned(),
        other => format!("{other:?}"),
    }
}

fn names(ids: &[EndpointId]) -> String {
    ids.iter().map(EndpointId::as_str).collect::<Vec<_>>().join(" ")
}

pub(crate) const fn breaker_word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Open { .. } => "open",
        BreakerState::HalfOpen => "half-open",
        BreakerState::ForcedOpen { .. } => "forced open",
        BreakerState::Disabled { .. } => "disabled",
        BreakerState::DryRun { .. } => "dry run",
    }
}

impl Entry {
    /// ` 7.2 s  story    b3 crashes`
    pub(crate) fn line(&self, start: Timestamp) -> String {
        let by = match self.by {
            By::Story => "story",
            By::Cluster => "cluster",
        };
        let at: Duration = self.at.saturating_since(start);
        format!("{:>6.1} s  {by:<8} {}", at.as_secs_f64(), self.text)
    }
}

/// A screen that is not read, as in a stopped job, must not cost memory without end.
const MOST_ENTRIES: usize = 1_000;
