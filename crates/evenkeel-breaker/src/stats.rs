use evenkeel_types::{Ratio, Timestamp};

use crate::rules::Bad;
use crate::sync::Ordering;
use crate::window::Counts;
use crate::word::Phase;
use crate::{Breaker, Owner, State};

/// What a breaker has counted, as a snapshot: each number is right, together they may be a moment apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Stats {
    /// The state.
    pub state: State,
    /// The present epoch, modulo 32,768 (2^15).
    pub epoch: u32,
    /// Failures in a row, while Closed; counted up to 131,071.
    pub failures_in_row: u32,
    /// Requests in the window of the first ratio rule, while Closed; 0 without such a rule.
    pub window_requests: u64,
    /// Failures and overloads in that window.
    pub window_failures: u64,
    /// Requests in the window of the first rule of slow requests, while Closed; 0 without such a rule.
    pub slow_window_requests: u64,
    /// Slow requests in that window.
    pub window_slow: u64,
    /// The failing share of the first fading average, while Closed; `None` without one.
    pub average: Option<Ratio>,
    /// How much of the evidence that trips the first statistical rule is there, while Closed; `None` without one.
    pub evidence: Option<Ratio>,
    /// Requests under way for too long, while Closed; 0 without an overdue rule.
    pub overdue: u64,
    /// Requests of this epoch under way, as an overdue rule counts them.
    pub under_way: u64,
    /// Probes under way, while half-open: those whose lease has not ended.
    pub probes_in_flight: u32,
    /// Successful probes so far, while half-open.
    pub probes_passed: u32,
    /// Probes with a verdict so far, while half-open and judged by a ratio.
    pub probe_verdicts: u32,
    /// Those of them that failed.
    pub probe_failures: u32,
    /// Those of them that were slow.
    pub probe_slow: u32,
    /// How often it opened, wrapping at 65,536.
    pub times_opened: u32,
    /// How often in a row it opened before the growth of its waits was last forgotten; 0 where they do not grow.
    pub attempt: u32,
    /// Who forced the state, if it is forced.
    pub owner: Option<Owner>,
    /// When what is forced ends.
    pub forced_until: Option<Timestamp>,
    /// Requests that the last dry run let through and that would have been refused.
    pub would_refuse: u64,
    /// Those of them that then succeeded: what the rules would have cost.
    pub would_refuse_ok: u64,
    /// How often a time before an earlier one was named, where `dry_run` is set; 0 elsewhere.
    pub regressions: u64,
}

impl Breaker {
    /// What it has counted, for a dashboard. O(buckets) for a time window. Changes nothing.
    #[must_use]
    pub fn stats(&self, now: Timestamp) -> Stats {
        let word = self.load(Ordering::Acquire);
        let term = self.term(word);
        let row = self.body.row().count(term);
        let closed = word.phase() == Phase::Closed;
        let half_open = matches!(word.phase(), Phase::HalfOpen | Phase::HalfOpenClaimed);
        let failed = self.counts(Bad::Failed, word, now);
        let slow = self.counts(Bad::Slow, word, now);
        let gauges = || self.body.gauges().filter(|_| closed);
        let (overdue, under_way) = gauges().find_map(|gauge| gauge.overdue(term, now)).unwrap_or_default();
        let extras = self.body.extras();
        let said = extras.filter(|_| half_open).map(|extras| extras.verdicts.read(term)).unwrap_or_default();
        let passed = if self.rules().half_open.ratio.is_some() { said.all - said.failed } else { row };
        let of_dry = |count: fn(&crate::body::Dry) -> &crate::sync::AtomicU64| {
            self.body.dry().map_or(0, |dry| count(dry).load(Ordering::Relaxed))
        };
        Stats {
            state: word.state(),
            epoch: word.epoch(),
            failures_in_row: if closed { row } else { 0 },
            window_requests: failed.requests,
            window_failures: failed.failures,
            slow_window_requests: slow.requests,
            window_slow: slow.failures,
            average: gauges().find_map(|gauge| gauge.average(term)),
            evidence: gauges().find_map(|gauge| gauge.evidence(term)),
            overdue,
            under_way,
            probes_in_flight: if half_open { self.probes().taken(word, now) } else { 0 },
            probes_passed: if half_open { passed } else { 0 },
            probe_verdicts: said.all,
            probe_failures: said.failed,
            probe_slow: said.slow,
            times_opened: u32::from(self.body.opened().load(Ordering::Relaxed)),
            attempt: extras.map_or(0, |extras| extras.attempt.load(Ordering::Acquire)),
            owner: self.owner(),
            forced_until: self.force_limit(word),
            would_refuse: of_dry(|dry| &dry.refused),
            would_refuse_ok: of_dry(|dry| &dry.refused_ok),
            regressions: of_dry(|dry| &dry.regressions),
        }
    }

    fn counts(&self, bad: Bad, word: crate::word::Word, now: Timestamp) -> Counts {
        if word.phase() != Phase::Closed {
            return Counts::default();
        }
        let term = self.term(word);
        match &self.body {
            crate::body::Body::Ten { ten, .. } if bad == Bad::Failed => {
                ten.rules.ten().map_or_else(Counts::default, |shape| ten.window.counts(shape, term, now))
            }
            crate::body::Body::Counted { counted, .. } if bad == Bad::Failed => counted.window.counts(term),
            _ => self.body.gauges().find_map(|gauge| gauge.counts(bad, term, now)).unwrap_or_default(),
        }
    }
}
