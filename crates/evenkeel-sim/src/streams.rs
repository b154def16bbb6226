//! Draws. Each source of chance has a stream of its own, so that a change in one leaves the others as they were.

use evenkeel_types::{RandomSource, SplitMix64};

/// A stream of draws.
#[derive(Clone, Debug)]
pub struct Stream(SplitMix64);

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// When requests arrive.
    Arrivals = 1,
    /// Which client, which key.
    Requests,
    /// What each attempt asks of the server.
    Work,
    /// What becomes of servers.
    Servers,
    /// Which requests fail by themselves.
    Faults,
    /// The seeds of clusters.
    Clusters,
    /// What clients draw beside their clusters: backoff, throttling, when they poll.
    Clients,
    /// When arrivals are on and off.
    Phases,
}

impl Stream {
    /// The stream of a source under a seed; `index` tells streams of one source apart.
    #[must_use]
    pub const fn new(seed: u64, source: Source, index: u64) -> Self {
        let own = SplitMix64::mix(seed ^ SplitMix64::mix((source as u64) << 56 ^ index));
        Self(SplitMix64::new(own))
    }

    /// 64 uniform bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in (0, 1].
    #[inline]
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in 0 to `n` - 1; 0 for `n` zero.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        evenkeel_types::below((self.bits() >> 32) as u32, n)
    }

    /// Exponentially distributed.
    #[inline]
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -libm::log(self.unit()) * mean
    }

    /// Uniform between two numbers.
    #[inline]
    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    /// Of mean 0 and deviation 1: Box and Muller, "A note on the generation of random normal deviates", 1958. Two draws a call.
    #[inline]
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.unit())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }
}

impl RandomSource for Stream {
    fn next_u64(&mut self) -> u64 {
        self.bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_seed_source_and_index_and_repeat() {
        let draw = |seed, source, index| Stream::new(seed, source, index).bits();
        let first = draw(1, Source::Work, 0);
        assert_eq!(first, draw(1, Source::Work, 0));
        for other in [draw(2, Source::Work, 0), draw(1, Source::Arrivals, 0), draw(1, Source::Work, 1)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn moments_are_right() {
        let mut stream = Stream::new(1, Source::Work, 0);
        let count = 200_000;
        let mean = |draw: &mut dyn FnMut() -> f64| (0..count).map(|_| draw()).sum::<f64>() / f64::from(count);
        assert!((mean(&mut || stream.exponential(3.0)) - 3.0).abs() < 0.03);
        assert!(mean(&mut || stream.normal()).abs() < 0.01);
        assert!((mean(&mut || stream.normal().powi(2)) - 1.0).abs() < 0.015);
        assert!((mean(&mut || stream.between(2.0, 4.0)) - 3.0).abs() < 0.01);
    }
}
