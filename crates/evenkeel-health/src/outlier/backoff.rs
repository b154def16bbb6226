//! How long an ejection lasts.

use std::time::Duration;

use evenkeel_types::{Ratio, SplitMix64};

use super::rules::{EjectionTime, Growth};

/// The time of an ejection after `level` others, and the level after it. A level that no longer makes it longer does not
/// grow, so that what was counted in a bad hour is paid back in the steps that it cost.
pub(super) fn time(rule: &EjectionTime, level: u32) -> (Duration, u32) {
    let grown = match rule.growth {
        Growth::Fixed => rule.base,
        Growth::Linear => rule.base.saturating_mul(level.saturating_add(1)),
        Growth::Exponential => rule.base.saturating_mul(1_u32.checked_shl(level).unwrap_or(u32::MAX)),
    };
    let grows = rule.growth != Growth::Fixed && grown < rule.max;
    let next = if grows { level.saturating_add(1) } else { level };
    (grown.min(rule.max), next)
}

/// What is added to a time: evenly drawn from zero to `share` of it, to the nanosecond, by the endpoint's own word and
/// the number of the ejection, so that no other endpoint's fate changes it.
pub(super) fn jitter(time: Duration, share: Ratio, salt: u64, count: u32) -> Duration {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let most = (u128::from(nanos) * u128::from(share.parts_per_million()) / 1_000_000) as u64;
    let draw = SplitMix64::mix(salt.wrapping_add(u64::from(count).wrapping_mul(SplitMix64::STEP)));
    let drawn = (u128::from(draw) * (u128::from(most) + 1)) >> 64;
    Duration::from_nanos(drawn as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine times, and the level after them.
    fn times(growth: Growth) -> (Vec<u64>, u32) {
        let rule = EjectionTime { growth, max: Duration::from_secs(70), ..EjectionTime::default() };
        let mut level = 0;
        let mut next = || {
            let (length, next) = time(&rule, level);
            level = next;
            length.as_secs()
        };
        let times = (0..9).map(|_| next()).collect();
        (times, level)
    }

    #[test]
    fn times_grow_to_the_longest() {
        assert_eq!(times(Growth::Exponential), ([10, 20, 40, 70, 70, 70, 70, 70, 70].to_vec(), 3));
        assert_eq!(times(Growth::Linear), ([10, 20, 30, 40, 50, 60, 70, 70, 70].to_vec(), 6));
        assert_eq!(times(Growth::Fixed), ([10; 9].to_vec(), 0), "what makes nothing longer is not counted");
        let rule = EjectionTime { max: Duration::from_secs(86_400), ..EjectionTime::default() };
        assert_eq!(time(&rule, u32::MAX).0, rule.max);
    }

    #[test]
    fn jitter_is_even_and_another_for_each_endpoint_and_each_time() {
        let second = Duration::from_secs(1);
        let drawn: Vec<u64> = (0..1000_u64)
            .flat_map(|endpoint| (1..11).map(move |count| (SplitMix64::mix(endpoint + 1), count)))
            .map(|(salt, count)| jitter(second, Ratio::HALF, salt, count).as_nanos() as u64)
            .collect();
        assert!(drawn.iter().all(|&nanos| nanos <= 500_000_000));
        for tenth in 0..10 {
            let of_it = drawn.iter().filter(|&&nanos| nanos / 50_000_001 == tenth).count();
            assert!((850..1150).contains(&of_it), "{tenth}: {of_it}");
        }
        // Not whole milliseconds, and hardly ever the same twice.
        let mut sorted = drawn;
        sorted.sort_unstable();
        sorted.dedup();
        assert!(sorted.len() > 9990, "{}", sorted.len());
        assert_eq!(jitter(second, Ratio::ZERO, 7, 1), Duration::ZERO);
    }
}
