//! Is an endpoint slower than its peers, or is that chance?
//!
//! All in logarithms, where "three times as slow" is a distance whatever the latencies are. Of the endpoints with enough
//! samples, the peers' middle is the median of their means, and their spread the median distance from it, times 1.4826,
//! which makes it the standard deviation of a normal distribution, and at least a floor: peers that agree to a percent by
//! luck must not make five percent a crime. A suspect is slower than the median, so leaving it out moves the median
//! of the rest to the same place whoever it is, and one selection serves all.
//!
//! ```text
//! distance ≥ factor,   distance / sqrt(spread² (1 + 1/peers) + variance/samples) rarer than the limit
//! ```

use super::log_latency::{STEPS, ratio};

/// An endpoint with enough samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) place: usize,
    pub(super) samples: u32,
    /// The mean logarithm, in steps.
    pub(super) mean: f64,
    /// The variance among its samples.
    pub(super) variance: f64,
}

/// Those that are too slow, with how many times the peers' median they take.
pub(super) fn slow(
    all: &[Timed],
    factor: f64,
    min_excess_nanos: f64,
    false_ejections: f64,
) -> Vec<(usize, f64)> {
    if all.len() < 3 {
        return Vec::new();
    }
    let mut means: Vec<f64> = all.iter().map(|timed| timed.mean).collect();
    let middle = median_without_one_above(&mut means);
    let at_least = STEPS * libm::log2(factor);
    if !all.iter().any(|timed| timed.mean - middle >= at_least) {
        return Vec::new();
    }
    let mut distances: Vec<f64> = all.iter().map(|timed| (timed.mean - middle).abs()).collect();
    let spread = (median_without_one_above(&mut distances) * TO_DEVIATION).max(LEAST_SPREAD);
    let peers = (all.len() - 1) as f64;
    let limit = false_ejections / all.len() as f64;
    let mut slow = Vec::new();
    for timed in all.iter().filter(|timed| timed.mean - middle >= at_least) {
        let distance = timed.mean - middle;
        let error = spread * spread * (1.0 + 1.0 / peers) + timed.variance / f64::from(timed.samples);
        let chance = 0.5 * libm::erfc(distance / (2.0 * error).sqrt());
        let excess = ratio(timed.mean) - ratio(middle);
        if chance <= limit && excess >= min_excess_nanos {
            slow.push((timed.place, ratio(distance)));
        }
    }
    slow
}

/// The median of all but one that is above it.
fn median_without_one_above(values: &mut [f64]) -> f64 {
    let left = values.len() - 1;
    let (below, &mut upper, _) = values.select_nth_unstable_by(left / 2, f64::total_cmp);
    if left % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().max_by(f64::total_cmp).unwrap_or(upper);
    (lower + upper) / 2.0
}

/// From a median absolute deviation to a standard deviation.
const TO_DEVIATION: f64 = 1.4826;
/// A sixth of a doubling, 12 %: replicas of the same build on the same machines differ so much.
const LEAST_SPREAD: f64 = STEPS / 6.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(millis: &[f64], expected: &[usize]) {
        let all: Vec<Timed> = millis
            .iter()
            .enumerate()
            .map(|(place, millis)| Timed {
                place,
                samples: 50,
                mean: STEPS * libm::log2(millis * 1e6),
                variance: STEPS * STEPS / 4.0,
            })
            .collect();
        let found: Vec<usize> = slow(&all, 3.0, 1e7, 1e-6).into_iter().map(|(place, _)| place).collect();
        assert_eq!(found, expected, "{millis:?}");
    }

    #[test]
    fn medians_leave_the_suspect_out() {
        assert_eq!(median_without_one_above(&mut [9.0, 1.0, 3.0]), 2.0);
        assert_eq!(median_without_one_above(&mut [9.0, 1.0, 3.0, 2.0]), 2.0);
        assert_eq!(median_without_one_above(&mut [9.0, 1.0, 3.0, 2.0, 7.0]), 2.5);
    }

    #[test]
    fn the_slow_one_among_three_and_more() {
        check(&[20.0, 80.0], &[]);
        check(&[20.0, 20.0, 80.0], &[2]);
        check(&[20.0, 20.0, 58.0], &[]);
        check(&[20.0, 24.0, 21.0, 90.0, 19.0], &[3]);
        check(&[20.0, 24.0, 100.0, 90.0, 19.0], &[2, 3]);
        // Peers that differ by four themselves: three and a half times the median is nothing among them.
        check(&[10.0, 40.0, 20.0, 70.0, 12.0], &[]);
        // All slow alike.
        check(&[500.0, 510.0, 490.0], &[]);
        // Three times nothing is nothing.
        check(&[0.1, 0.1, 0.5], &[]);
    }
}
