//! Judges the counts of an interval.

use super::change::{EjectionReason, Suspicion};
use super::counters::IntervalCounts;
use super::latency_test::{Timed, slow};
use super::rules::{OutlierConfig, SuccessRate};
use super::share_test::chance;

/// An endpoint that may be ejected, and its counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    /// Its place among all endpoints.
    pub(super) place: usize,
    pub(super) counts: IntervalCounts,
    /// A run of failures that has not ended.
    pub(super) run: Option<Suspicion>,
}

/// Who met a rule, worst first: places and rules. Each is there once, by the first rule that it met.
pub(super) fn judge(config: &OutlierConfig, all: &[Judged]) -> Vec<(usize, EjectionReason)> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    let mut out = vec![false; all.len()];
    for (index, judged) in all.iter().enumerate() {
        if let Some(reason) = judged.run.and_then(Suspicion::reason) {
            out[index] = true;
            verdicts.push(Verdict { index, reason, severity: 0.0 });
        }
    }
    if let Some(rule) = &config.success_rate {
        let external = |counts: &IntervalCounts| (counts.requests, counts.failures);
        by_share(config, rule, all, external, EjectionReason::SuccessRate, &mut out, &mut verdicts);
        if config.split_local_origin {
            let local = |counts: &IntervalCounts| {
                (counts.requests.saturating_add(counts.local_failures), counts.local_failures)
            };
            by_share(config, rule, all, local, EjectionReason::LocalSuccessRate, &mut out, &mut verdicts);
        }
    }
    if let Some(rule) = &config.failure_share {
        for (index, judged) in all.iter().enumerate() {
            let (requests, failures) = (judged.counts.requests, judged.counts.failures);
            let meets = requests >= rule.min_requests
                && rule.threshold.is_reached_by(u64::from(failures), u64::from(requests));
            if meets && !out[index] {
                out[index] = true;
                let severity = -f64::from(failures) / f64::from(requests);
                verdicts.push(Verdict { index, reason: EjectionReason::FailureShare, severity });
            }
        }
    }
    if let Some(rule) = &config.latency {
        let timed: Vec<Timed> = (0..all.len())
            .filter(|&index| !out[index])
            .filter_map(|index| {
                let (samples, mean, variance) = all[index].counts.latency()?;
                (samples >= rule.min_requests).then_some(Timed { place: index, samples, mean, variance })
            })
            .collect();
        let excess = rule.min_excess.as_nanos() as f64;
        for (index, times) in slow(&timed, rule.factor, excess, config.false_ejections) {
            verdicts.push(Verdict { index, reason: EjectionReason::Latency, severity: -times });
        }
    }
    verdicts.sort_by(|a, b| {
        let of = |verdict: &Verdict| (verdict.reason, verdict.severity, verdict.index);
        let (a, b) = (of(a), of(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
    });
    verdicts.into_iter().map(|verdict| (all[verdict.index].place, verdict.reason)).collect()
}

struct Verdict {
    index: usize,
    reason: EjectionReason,
    /// Smaller is worse; compared within a reason.
    severity: f64,
}

/// Each against all the others. Those that are found do not count as peers any more, and the rest are judged again: one bad
/// endpoint must not hide another.
fn by_share(
    config: &OutlierConfig,
    rule: &SuccessRate,
    all: &[Judged],
    count: impl Fn(&IntervalCounts) -> (u32, u32),
    reason: EjectionReason,
    out: &mut [bool],
    verdicts: &mut Vec<Verdict>,
) {
    let gap = rule.min_gap.as_f64();
    for _ in 0..ROUNDS {
        let mut peers = 0_u64;
        let (mut requests, mut failures) = (0_u64, 0_u64);
        for (judged, _) in all.iter().zip(&*out).filter(|(_, out)| !**out) {
            let (of_it, failed) = count(&judged.counts);
            if of_it >= rule.min_requests {
                peers += 1;
                requests += u64::from(of_it);
                failures += u64::from(failed);
            }
        }
        if peers < 2 || failures == 0 {
            return;
        }
        let limit = config.false_ejections / peers as f64;
        let first = verdicts.len();
        for (index, judged) in all.iter().enumerate().filter(|(index, _)| !out[*index]) {
            let (of_it, failed) = count(&judged.counts);
            if of_it < rule.min_requests || failed == 0 {
                continue;
            }
            let (of_it, failed) = (u64::from(of_it), u64::from(failed).min(u64::from(of_it)));
            let (others, others_failed) = (requests - of_it, failures.saturating_sub(failed));
            let difference = failed as f64 / of_it as f64 - others_failed as f64 / others as f64;
            if difference <= 0.0 || difference < gap {
                continue;
            }
            if let Some(severity) = chance(of_it, failed, others, others_failed, limit) {
                verdicts.push(Verdict { index, reason, severity });
            }
        }
        if verdicts.len() == first {
            return;
        }
        verdicts[first..].iter().for_each(|verdict| out[verdict.index] = true);
    }
}

/// More than it takes to find bad endpoints of three very different degrees.
const ROUNDS: usize = 4;
