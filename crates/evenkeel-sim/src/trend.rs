//! Whether what is under way grew until the end: then latencies are those of this duration, and a longer run has longer ones.
//!
//! **Idea.** Each arrival of the counted part looks how many requests are under way. In a fleet that keeps up the means of the four
//! quarters of that part stray around one number. Where more comes than is done they rise by what is left over, a set share of
//! the arrivals, for ever.

/// Requests under way, as arrivals find them, in quarters of the counted part of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trend {
    from: u64,
    quarter: u64,
    sums: [u64; 4],
    counts: [u64; 4],
}

impl Trend {
    pub(crate) fn new(from: u64, to: u64) -> Self {
        Self { from, quarter: (to.saturating_sub(from) / 4).max(1), sums: [0; 4], counts: [0; 4] }
    }

    /// A request arrives and finds so many under way.
    #[inline]
    pub(crate) fn arrived(&mut self, under_way: usize, now: u64) {
        if let Some(since) = now.checked_sub(self.from) {
            let quarter = (since / self.quarter).min(3) as usize;
            self.sums[quarter] += under_way as u64;
            self.counts[quarter] += 1;
        }
    }

    /// Requests that were left over, for each that arrived; `None` if they are few enough to be chance, or did not rise in every
    /// quarter.
    pub(crate) fn left_over(&self) -> Option<f64> {
        let mean = |quarter: usize| self.sums[quarter] as f64 / self.counts[quarter].max(1) as f64;
        let means = [mean(0), mean(1), mean(2), mean(3)];
        let risen = means[3] - means[0];
        // From the middle of the first quarter to the middle of the last.
        let arrived = self.counts[0] as f64 / 2.0
            + self.counts[1] as f64
            + self.counts[2] as f64
            + self.counts[3] as f64 / 2.0;
        let share = risen / arrived.max(1.0);
        let rises = means.windows(2).all(|pair| pair[1] > pair[0]);
        // By Little's law this goes with the time that requests stay: where only more arrive, it does not grow.
        let stay = |quarter: usize| means[quarter] / self.counts[quarter].max(1) as f64;
        let is_slower = means[3] >= 2.0 * means[0] && stay(3) >= 2.0 * stay(0);
        let grows = rises && is_slower && risen >= LEAST && share >= LEAST_SHARE;
        grows.then_some(share)
    }
}

/// Fewer requests than this may be chance.
const LEAST: f64 = 20.0;
/// And so may a smaller share of the arrivals: at 99 % of what it can do, a fleet has strayed that far in a short run.
const LEAST_SHARE: f64 = 0.005;

#[cfg(test)]
mod tests {
    use super::*;

    /// One arrival in each of 40 000 nanoseconds, the first 10 000 of which do not count.
    fn left_over(under_way: impl Fn(u64) -> u64) -> Option<f64> {
        let mut trend = Trend::new(10_000, 40_000);
        (0..40_000).for_each(|now| trend.arrived(under_way(now) as usize, now));
        trend.left_over()
    }

    #[test]
    fn what_grows_is_told_with_its_share() {
        let share = left_over(|now| now / 10).unwrap();
        assert!((share - 0.1).abs() < 0.001, "{share}");
    }

    #[test]
    fn what_strays_or_has_settled_does_not_grow() {
        assert_eq!(left_over(|_| 500), None);
        assert_eq!(left_over(|now| 500 + now % 7_000 / 10), None);
        assert_eq!(left_over(|now| now.min(12_000)), None, "it has settled");
        assert_eq!(left_over(|now| now / 3_000), None, "a few");
        assert_eq!(left_over(|now| 1_000 + now / 300), None, "two parts in a thousand");
        let mut ramp = Trend::new(0, 40_000);
        for now in 0..40_000 {
            (0..1 + now / 10_000).for_each(|_| ramp.arrived((now / 40) as usize, now));
        }
        assert!(ramp.left_over().is_none_or(|share| share < 0.02), "{ramp:?}");
        assert_eq!(Trend::new(0, 0).left_over(), None, "nobody came");
    }
}
