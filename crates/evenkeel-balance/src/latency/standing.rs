use evenkeel_stats::TimeConstant;
use evenkeel_types::Timestamp;

use super::fleet::{Fleet, Typical};
use super::settings::nanos_of;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::{Observation, Observed};

/// How an endpoint stands: what its answers took of late, how many of them there were, what part failed, and whether it
/// owes one.
///
/// ```text
/// answer x of weight v:  w = w k + v,   m = m + (x - m) v / w,    k = exp(-dt / (tau 2^backoff))
/// failed or not, t:      e = e √k,      e = e + (t - e) / 8
/// ```
///
/// What is out of the ordinary is forgotten the more slowly the more often it was found again: each request that was sent
/// after the last finding, and ends as badly, doubles the time, and one that ends well takes all of that back. So a
/// server that stays slow is tried ever more seldom, and one that is slow for a moment is not left for long.
///
/// The words are written one by one: who reads meanwhile may see the latency of one answer with the time of another, which
/// is off by one answer.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Bits of two single-precision numbers: the mean in nanoseconds, and the weight of what is in it.
    latency: AtomicU64,
    /// The bits of the share that failed, as double precision.
    failed: AtomicU64,
    /// When the last answer came. In nanoseconds, as all times here.
    last: AtomicU64,
    /// How often in a row it was found out of the ordinary, and when it was found so last.
    findings: AtomicU32,
    found: AtomicU64,
    /// Requests whose verdict is open, and since when none came while there were some.
    open: AtomicU32,
    since: AtomicU64,
}

/// The settings that the arithmetic needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) decay: TimeConstant,
    /// How many answers of the fleet's mean an endpoint has before its own.
    pub(crate) prior: f64,
    /// Up to which power of two the decay may be stretched.
    pub(crate) backoff: u32,
    pub(crate) failure_power: u32,
    /// Whether a verdict that does not come is evidence.
    pub(crate) overdue: bool,
    /// Whether whoever is out of the ordinary gets one request at a time.
    pub(crate) trials: bool,
}

/// What a request costs: `next` by itself, and `each` that lies before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) next: f64,
    pub(crate) each: f64,
}

/// What an endpoint adds to the mean of the fleet: its own mean, and the weight of that at present.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) mean: f64,
    pub(crate) weight: f64,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            latency: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            last: AtomicU64::new(0),
            findings: AtomicU32::new(0),
            found: AtomicU64::new(0),
            open: AtomicU32::new(0),
            since: AtomicU64::new(0),
        }
    }
}

impl Standing {
    /// A request is about to be sent to an endpoint that has `load` in flight.
    #[inline]
    pub(crate) fn choose(&self, load: u32, now: Timestamp) {
        // Where nothing is in flight no verdict can be open: a count that went wrong is right again.
        if load == 0 {
            self.open.store(0, Ordering::Relaxed);
            self.since.store(now.as_nanos(), Ordering::Relaxed);
        } else if self.open.load(Ordering::Relaxed) == 0 {
            self.since.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// It was sent.
    pub(crate) fn sent(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// A verdict has come.
    pub(crate) fn learn(&self, observation: &Observation, fleet: &Fleet, rules: &Rules) {
        let now = observation.at.as_nanos();
        self.close(now);
        let nanos = nanos_of(observation.latency).max(1.0);
        let bar = fleet.bar();
        let (weight, failed) = match observation.kind {
            Observed::Success => (1.0, Some(0.0)),
            // A failure says how long an answer takes only if it took longer than is usual.
            Observed::Failure | Observed::Overload => (if nanos > bar { 1.0 } else { 0.0 }, Some(1.0)),
            Observed::Censored => (if nanos > bar { ABANDONED } else { 0.0 }, None),
            Observed::Neutral => return,
        };
        if weight == 0.0 && failed.is_none() {
            return;
        }
        let kept = self.kept(now, rules);
        if weight > 0.0 {
            self.absorb(nanos, weight, kept);
        }
        if let Some(target) = failed {
            let before = f64::from_bits(self.failed.load(Ordering::Relaxed)) * kept.sqrt();
            let share = before + (target - before) / ANSWERS;
            // Two verdicts at once count for one: seldom, and of no account.
            self.failed.store(share.to_bits(), Ordering::Relaxed);
        }
        self.last.fetch_max(now, Ordering::Relaxed);
        if nanos > bar || failed == Some(1.0) {
            let sent = now.saturating_sub(nanos as u64);
            if sent >= self.found.load(Ordering::Relaxed) {
                self.found.store(now, Ordering::Relaxed);
                let findings = self.findings.load(Ordering::Relaxed);
                self.findings.store(findings.saturating_add(1).min(rules.backoff + 1), Ordering::Relaxed);
            }
        } else {
            self.findings.store(0, Ordering::Relaxed);
        }
        if observation.kind == Observed::Success {
            fleet.absorb(nanos, observation.at);
        }
    }

    fn close(&self, now: u64) {
        let open = self.open.load(Ordering::Relaxed);
        if open > 0 {
            // Lost races are made good once nothing is in flight.
            let _ = self.open.compare_exchange(open, open - 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.since.fetch_max(now, Ordering::Relaxed);
    }

    fn absorb(&self, nanos: f64, weight: f64, kept: f64) {
        let mut word = self.latency.load(Ordering::Relaxed);
        loop {
            let (mean, before) = unpack(word);
            let after = before * kept + weight;
            let next = pack(mean + (nanos - mean) * weight / after, after);
            match self.latency.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(present) => word = present,
            }
        }
    }

    /// What is left at a time of what was known at the last answer.
    #[inline]
    fn kept(&self, now: u64, rules: &Rules) -> f64 {
        let age = now.saturating_sub(self.last.load(Ordering::Relaxed)) as f64;
        let backoff = self.findings.load(Ordering::Relaxed).saturating_sub(1);
        rules.decay.keep_nanos(age / f64::from(1_u32 << backoff.min(MOST_BACKOFF)))
    }

    /// What a request costs here, where the mean of the fleet is `typical`; and what this endpoint adds to that.
    #[inline]
    pub(crate) fn cost(&self, fleet: &Typical, rules: &Rules, now: Timestamp) -> (Cost, Part) {
        let now = now.as_nanos();
        let (mean, before) = unpack(self.latency.load(Ordering::Relaxed));
        let failed = f64::from_bits(self.failed.load(Ordering::Relaxed));
        let kept = if before > 0.0 || failed > 0.0 { self.kept(now, rules) } else { 1.0 };
        let weight = before * kept;
        let typical = fleet.mean.unwrap_or(if before > 0.0 { mean } else { 1.0 });
        let regressed = |weight: f64| (rules.prior * typical + weight * mean) / (rules.prior + weight);
        let next = regressed(weight);
        let each = next.max(regressed(before));
        let owed = if rules.overdue { self.overdue(now, rules) } else { 0.0 };
        let penalty = penalty(failed * kept.sqrt(), rules.failure_power);
        // On trial: one request at a time, unless there is nobody else.
        let is_on_trial = owed > fleet.bar || self.findings.load(Ordering::Relaxed) > 0;
        let trial = if rules.trials && is_on_trial { ON_TRIAL } else { 1.0 };
        let cost = Cost { next: next.max(owed) * penalty, each: each.max(owed) * penalty * trial };
        (cost, Part { mean, weight })
    }

    /// For how long verdicts are open and none has come, in nanoseconds. Beyond some time constants it is no evidence any
    /// more: then the count is wrong, or requests here take that long.
    fn overdue(&self, now: u64, rules: &Rules) -> f64 {
        if self.open.load(Ordering::Relaxed) == 0 {
            return 0.0;
        }
        let age = now.saturating_sub(self.since.load(Ordering::Relaxed)) as f64;
        if age > OVERDUE_FOR * nanos_of(rules.decay.get()) { 0.0 } else { age }
    }
}

/// 1 ÷ (1 − e)^k.
#[inline]
fn penalty(share: f64, power: u32) -> f64 {
    if share == 0.0 {
        return 1.0;
    }
    let success = (1.0 - share).max(LEAST_SUCCESS);
    (0..power).fold(1.0, |penalty, _| penalty / success)
}

fn unpack(word: u64) -> (f64, f64) {
    (f64::from(f32::from_bits((word >> 32) as u32)), f64::from(f32::from_bits(word as u32)))
}

fn pack(mean: f64, weight: f64) -> u64 {
    u64::from((mean as f32).to_bits()) << 32 | u64::from((weight as f32).to_bits())
}

/// A verdict counts for one in eight.
const ANSWERS: f64 = 8.0;
/// What was given up took longer than it could be seen to take.
const ABANDONED: f64 = 3.0;
const OVERDUE_FOR: f64 = 4.0;
const LEAST_SUCCESS: f64 = 0.01;
/// How much more a request in flight counts at an endpoint that is on trial.
const ON_TRIAL: f64 = 1000.0;
pub(crate) const MOST_BACKOFF: u32 = 8;
