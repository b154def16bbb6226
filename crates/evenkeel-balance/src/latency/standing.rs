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
/// failed or not, t:      e = e k,      e = e + (t - e) / 8
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
            self.absorb(nanos.min(fleet.most()), weight, kept);
        }
        if let Some(target) = failed {
            let before = f64::from_bits(self.failed.load(Ordering::Relaxed)) * kept;
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
            let next = pack(mean + (nanos - mean) * weight / after, after.min(MOST_WEIGHT));
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
        let regressed = |weight: f64, to: f64| (rules.prior * to + weight * mean) / (rules.prior + weight);
        // A little below what is typical, so that nobody is forgotten: who was not asked for long is asked again.
        let next = regressed(weight, typical * HOPE);
        let each = next.max(regressed(before, typical));
        let owed = if rules.overdue { self.overdue(now, rules) } else { 0.0 };
        let penalty = penalty(failed * kept, rules.failure_power);
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

/// What is forgotten is expected to take this part of what is typical.
const HOPE: f64 = 0.75;
/// More answers than these say no more: what comes then counts for 3 %.
const MOST_WEIGHT: f64 = 32.0;
/// A verdict counts for one in eight.
const ANSWERS: f64 = 8.0;
/// What was given up took longer than it could be seen to take.
const ABANDONED: f64 = 3.0;
const OVERDUE_FOR: f64 = 4.0;
const LEAST_SUCCESS: f64 = 0.01;
/// How much more a request in flight counts at an endpoint that is on trial.
const ON_TRIAL: f64 = 1000.0;
pub(crate) const MOST_BACKOFF: u32 = 8;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rules() -> Rules {
        let decay = TimeConstant::new(Duration::from_secs(10)).expect("above zero");
        Rules { decay, prior: 2.0, backoff: 3, failure_power: 4, overdue: true, trials: true }
    }

    /// 20 ms on average, and out of the ordinary from 60 ms on.
    fn fleet() -> Fleet {
        let fleet = Fleet::default();
        fleet.set_mean(20e6);
        fleet
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    fn seen(kind: Observed, latency: u64, millis: u64) -> Observation {
        let latency = Duration::from_millis(latency);
        Observation { latency, kind, in_flight: 1, at: at(millis) }
    }

    fn cost(standing: &Standing, millis: u64) -> Cost {
        standing.cost(&fleet().typical(), &rules(), at(millis)).0
    }

    #[test]
    fn the_unknown_is_typical_and_what_is_old_becomes_so() {
        let standing = Standing::default();
        assert_eq!(cost(&standing, 0), Cost { next: 15e6, each: 20e6 }, "a little below");
        for _ in 0..8 {
            standing.learn(&seen(Observed::Success, 50, 0), &fleet(), &rules());
        }
        let expected = (2.0 * 15e6 + 8.0 * 50e6) / 10.0;
        assert!((cost(&standing, 0).next / expected - 1.0).abs() < 1e-6);
        let old = cost(&standing, 60_000);
        assert!(old.next < 15.5e6 && old.each > 43e6, "what is in flight counts as before: {old:?}");
    }

    /// Each kind of verdict, below and above the bar: does it say how long an answer takes, what part fails, and that the
    /// endpoint is out of the ordinary?
    #[test]
    fn what_each_verdict_says() {
        for (kind, latency, weight, failed, findings) in [
            (Observed::Success, 10, 1.0, 0.0, 0),
            (Observed::Success, 100, 1.0, 0.0, 1),
            (Observed::Failure, 1, 0.0, 0.125, 1),
            (Observed::Failure, 100, 1.0, 0.125, 1),
            (Observed::Overload, 1, 0.0, 0.125, 1),
            (Observed::Overload, 100, 1.0, 0.125, 1),
            (Observed::Censored, 10, 0.0, 0.0, 0),
            (Observed::Censored, 100, 3.0, 0.0, 1),
            (Observed::Neutral, 1, 0.0, 0.0, 0),
            (Observed::Neutral, 100, 0.0, 0.0, 0),
        ] {
            let standing = Standing::default();
            standing.learn(&seen(kind, latency, 0), &fleet(), &rules());
            let found = (
                unpack(standing.latency.load(Ordering::Relaxed)).1,
                f64::from_bits(standing.failed.load(Ordering::Relaxed)),
                standing.findings.load(Ordering::Relaxed),
            );
            assert_eq!(found, (weight, failed, findings), "{kind:?} {latency}");
        }
    }

    #[test]
    fn who_is_found_slow_again_is_believed_for_longer_until_it_answers_well() {
        let standing = Standing::default();
        let found = || standing.findings.load(Ordering::Relaxed);
        for (latency, millis, expected) in [
            (500, 1_000, 1),
            // Was sent before the first finding: says nothing new.
            (600, 1_010, 1),
            (500, 2_000, 2),
            (500, 3_000, 3),
            (500, 4_000, 4),
            (500, 5_000, 4),
            (20, 6_000, 0),
        ] {
            standing.learn(&seen(Observed::Success, latency, millis), &fleet(), &rules());
            assert_eq!(found(), expected, "{latency} at {millis}");
        }
        let slow = |findings: u64| {
            let standing = Standing::default();
            for round in 0..findings {
                standing.learn(&seen(Observed::Success, 500, 1_000 * round), &fleet(), &rules());
            }
            cost(&standing, 40_000).next
        };
        assert!(slow(4) > 2.0 * slow(1));
    }

    #[test]
    fn on_trial_one_request_in_flight_is_as_dear_as_a_thousand() {
        let standing = Standing::default();
        standing.learn(&seen(Observed::Success, 100, 0), &fleet(), &rules());
        let on_trial = cost(&standing, 0);
        assert!(on_trial.each > 900.0 * on_trial.next, "{on_trial:?}");
        standing.learn(&seen(Observed::Success, 20, 10), &fleet(), &rules());
        let free = cost(&standing, 10);
        assert!(free.each < 1.2 * free.next, "{free:?}");
    }

    #[test]
    fn a_verdict_that_does_not_come_counts_until_it_comes() {
        let standing = Standing::default();
        standing.choose(0, at(0));
        standing.sent();
        assert_eq!(cost(&standing, 10).next, 15e6, "less than usual");
        assert_eq!(cost(&standing, 50).next, 50e6);
        assert!(cost(&standing, 100).each > 1e10, "on trial before it has answered");
        assert_eq!(cost(&standing, 50_000).next, 15e6, "no evidence after four time constants");
        standing.learn(&seen(Observed::Neutral, 100, 100), &fleet(), &rules());
        assert_eq!(cost(&standing, 200).next, 15e6, "nothing is open, though a stream may go on");
        // A second one is sent while the stream goes on.
        standing.choose(1, at(300));
        standing.sent();
        assert_eq!(cost(&standing, 340).next, 40e6);
    }

    #[test]
    fn a_count_that_went_wrong_is_right_once_nothing_is_in_flight() {
        let standing = Standing::default();
        standing.learn(&seen(Observed::Success, 20, 0), &fleet(), &rules());
        assert_eq!(standing.open.load(Ordering::Relaxed), 0, "a verdict on what was sent before");
        standing.sent();
        standing.sent();
        standing.choose(0, at(10));
        assert_eq!(standing.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn failures_are_dear_and_forgiven() {
        let standing = Standing::default();
        for round in 0..8 {
            standing.learn(&seen(Observed::Failure, 1, round), &fleet(), &rules());
        }
        assert!(cost(&standing, 8).next > 50.0 * 15e6);
        assert!(cost(&standing, 600_000).next < 1.01 * 15e6);
    }

    #[test]
    fn times_that_go_back_count_as_the_latest() {
        let standing = Standing::default();
        standing.learn(&seen(Observed::Success, 40, 10_000), &fleet(), &rules());
        standing.learn(&seen(Observed::Success, 40, 0), &fleet(), &rules());
        let expected = (2.0 * 15e6 + 2.0 * 40e6) / 4.0;
        assert!((cost(&standing, 0).next / expected - 1.0).abs() < 1e-6);
    }
}
