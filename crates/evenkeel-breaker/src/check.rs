//! Which settings make sense.

use std::time::Duration;

use evenkeel_types::Ratio;

use crate::window::{MAX_BUCKETS, MAX_COUNT_SIZE};
use crate::{BreakerConfig, ConfigError, Decision, Fading, Forget, Growth, HalfOpen, Overload, Rule, Window};

pub(crate) fn rules(config: &BreakerConfig) -> Result<(), ConfigError> {
    match config.rules.len() {
        0 => return Err(ConfigError::NoRules),
        1..=MAX_RULES => {}
        more => return Err(ConfigError::TooManyRules(more)),
    }
    config.rules.iter().try_for_each(rule)?;
    match config.slow_call_duration {
        None if looks_at_slow(config) => Err(ConfigError::NoSlowCallDuration),
        Some(Duration::ZERO) => Err(ConfigError::ZeroSlowCallDuration),
        Some(duration) if !looks_at_slow(config) => Err(ConfigError::UnusedSlowCallDuration(duration)),
        _ => stripes(config),
    }
}

pub(crate) fn looks_at_slow(config: &BreakerConfig) -> bool {
    config.rules.iter().any(|rule| matches!(rule, Rule::SlowRatio { .. }))
}

fn rule(rule: &Rule) -> Result<(), ConfigError> {
    match *rule {
        Rule::Consecutive { failures } if !(1..=MAX_IN_ROW).contains(&failures) => {
            Err(ConfigError::ConsecutiveFailures(failures))
        }
        Rule::Ratio { failures, min_requests, window } => {
            share(failures, "ratio.failures")?;
            window_of("ratio", window, min_requests)
        }
        Rule::SlowRatio { slow, min_requests, window } => {
            share(slow, "slow_ratio.slow")?;
            window_of("slow_ratio", window, min_requests)
        }
        Rule::Ewma { failures, min_requests, over } => {
            share(failures, "ewma.failures")?;
            fading(over, min_requests)
        }
        Rule::Statistical { tolerated, .. }
            if !(LEAST_TOLERATED..=Ratio::HALF.parts_per_million())
                .contains(&tolerated.parts_per_million()) =>
        {
            Err(ConfigError::Tolerated(tolerated))
        }
        Rule::Statistical { requests_per_false_trip: requests, .. } if !FALSE_TRIPS.contains(&requests) => {
            Err(ConfigError::RequestsPerFalseTrip(requests))
        }
        Rule::Overdue { requests, .. } if !(1..=MAX_OVERDUE).contains(&requests) => {
            Err(ConfigError::OverdueRequests(requests))
        }
        Rule::Overdue { after, .. } if !(MIN_BUCKET..=HOUR).contains(&after) => {
            Err(ConfigError::OverdueAfter(after))
        }
        Rule::Consecutive { .. } | Rule::Statistical { .. } | Rule::Overdue { .. } => Ok(()),
    }
}

fn share(share: Ratio, field: &'static str) -> Result<(), ConfigError> {
    if share == Ratio::ZERO { Err(ConfigError::ZeroRatio(field)) } else { Ok(()) }
}

fn window_of(rule: &'static str, window: Window, min_requests: u32) -> Result<(), ConfigError> {
    if min_requests == 0 {
        return Err(ConfigError::ZeroMinRequests(rule));
    }
    match window {
        Window::Count { size } if !(1..=MAX_COUNT_SIZE).contains(&size) => {
            Err(ConfigError::WindowSize { rule, size })
        }
        Window::Count { size } if min_requests > size => {
            Err(ConfigError::MinRequestsBeyondWindow { rule, min_requests, size })
        }
        Window::Time { buckets, .. } if !(1..=MAX_BUCKETS).contains(&buckets) => {
            Err(ConfigError::WindowBuckets { rule, buckets })
        }
        Window::Time { span, buckets } if span > DAY || span < MIN_BUCKET * buckets => {
            Err(ConfigError::WindowSpan { rule, span, buckets })
        }
        Window::Count { .. } | Window::Time { .. } => Ok(()),
    }
}

fn fading(over: Fading, min_requests: u32) -> Result<(), ConfigError> {
    let max = match over {
        Fading::Requests { window } if !(1..=MAX_COUNT_SIZE).contains(&window) => {
            return Err(ConfigError::EwmaRequests(window));
        }
        Fading::Time { window } if !(MIN_BUCKET..=DAY).contains(&window) => {
            return Err(ConfigError::EwmaTime(window));
        }
        Fading::Requests { window } => window,
        Fading::Time { .. } => MAX_COUNT_SIZE,
    };
    if (1..=max).contains(&min_requests) {
        Ok(())
    } else {
        Err(ConfigError::EwmaMinRequests { min_requests, max })
    }
}

fn stripes(config: &BreakerConfig) -> Result<(), ConfigError> {
    let in_time = |rule: &Rule| {
        matches!(
            rule,
            Rule::Ratio { window: Window::Time { .. }, .. }
                | Rule::SlowRatio { window: Window::Time { .. }, .. }
        )
    };
    match config.stripes {
        1 => Ok(()),
        2..=64 if config.rules.iter().any(in_time) => Ok(()),
        stripes @ 2..=64 => Err(ConfigError::StripesWithoutTimeWindow(stripes)),
        stripes => Err(ConfigError::Stripes(stripes)),
    }
}

pub(crate) fn waits(config: &BreakerConfig) -> Result<(), ConfigError> {
    if config.open_for < RESOLUTION {
        return Err(ConfigError::OpenFor(config.open_for));
    }
    if config.overload.max_retry_after < RESOLUTION {
        return Err(ConfigError::MaxRetryAfter(config.overload.max_retry_after));
    }
    let Overload { open_for_retry_after, max_retry_after, .. } = config.overload;
    if !open_for_retry_after && max_retry_after != Overload::default().max_retry_after {
        return Err(ConfigError::MaxRetryAfterWithoutHints(max_retry_after));
    }
    backoff(config)?;
    half_open(&config.half_open)?;
    match config.ramp {
        Some(ramp) if !(RESOLUTION..=DAY).contains(&ramp.over) => Err(ConfigError::RampOver(ramp.over)),
        Some(ramp) if ramp.from == Ratio::ZERO => Err(ConfigError::RampFrom),
        _ => Ok(()),
    }
}

fn backoff(config: &BreakerConfig) -> Result<(), ConfigError> {
    let Some(backoff) = config.backoff else { return Ok(()) };
    if backoff.max < config.open_for {
        return Err(ConfigError::BackoffMax { max: backoff.max, open_for: config.open_for });
    }
    match backoff.growth {
        Growth::Exponential { factor } if !(2..=100).contains(&factor) => {
            return Err(ConfigError::BackoffFactor(factor));
        }
        _ => {}
    }
    match backoff.forget {
        Forget::Clean { period, .. } if period < RESOLUTION => Err(ConfigError::CleanPeriod(period)),
        Forget::Clean { reset_after: Some(0), .. } => Err(ConfigError::ResetAfter),
        _ => Ok(()),
    }
}

fn half_open(config: &HalfOpen) -> Result<(), ConfigError> {
    let HalfOpen { max_concurrent, successes_needed, lease, ratio, decide_after, decide } = *config;
    if !(1..=MAX_PROBES).contains(&max_concurrent) {
        return Err(ConfigError::MaxConcurrent(max_concurrent));
    }
    if !(1..=MAX_IN_ROW).contains(&successes_needed) {
        return Err(ConfigError::SuccessesNeeded(successes_needed));
    }
    if lease < RESOLUTION {
        return Err(ConfigError::Lease(lease));
    }
    match decide_after {
        Some(after) if after < RESOLUTION => return Err(ConfigError::DecideAfter(after)),
        None if decide == Decision::Closed => return Err(ConfigError::DecideWithoutAfter),
        _ => {}
    }
    match ratio {
        Some(ratio) if !(1..=MAX_VERDICTS).contains(&ratio.verdicts) => {
            Err(ConfigError::ProbeVerdicts(ratio.verdicts))
        }
        Some(ratio) if ratio.failures == Ratio::ZERO => Err(ConfigError::ZeroProbeRatio("failures")),
        Some(ratio) if ratio.slow == Ratio::ZERO => Err(ConfigError::ZeroProbeRatio("slow")),
        _ => Ok(()),
    }
}

/// Each outcome is judged by every rule.
const MAX_RULES: usize = 8;
/// Who waits for more in a row wants a ratio.
const MAX_IN_ROW: u32 = 65_535;
/// A look for a free slot reads them all.
const MAX_PROBES: u32 = 1024;
/// Fits the 16 bits of each count, with room for those that come too late.
const MAX_VERDICTS: u32 = 32_767;
const MAX_OVERDUE: u32 = 1_000_000;
/// In parts per million. Below, the steps of the test could not be told from nothing.
const LEAST_TOLERATED: u32 = 1_000;
/// Below, it would trip all day; above, nobody would live to see it.
const FALSE_TRIPS: std::ops::RangeInclusive<u64> = 100..=1_000_000_000_000;
const HOUR: Duration = Duration::from_secs(60 * 60);
/// What looks further back than a day is a report.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Steps of 10 ms need 41 bits for all of time.
const MIN_BUCKET: Duration = Duration::from_millis(10);
/// Of deadlines in the state word.
pub(crate) const RESOLUTION: Duration = Duration::from_millis(1);
