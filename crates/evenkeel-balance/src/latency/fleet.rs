use evenkeel_types::Timestamp;

use crate::sync::{AtomicU64, Ordering};

/// What answers take over all endpoints, and how much they differ: what a single endpoint is measured against.
///
/// The mean is that of the endpoints, each by the answers that it has given of late, and is set by whoever goes through
/// all of them. The deviation is that of single answers from this mean, as a share of it: at most one answer a
/// millisecond is taken in, so that all threads do not write one word at each request, and the last 32 or so count for
/// most.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// The bits of a number of nanoseconds; zero while nothing is known.
    mean: AtomicU64,
    /// The bits of a single-precision share, then the millisecond of the last answer that was taken in.
    deviation: AtomicU64,
}

/// What is typical at a moment, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Typical {
    pub(crate) mean: Option<f64>,
    /// What takes longer is out of the ordinary.
    pub(crate) bar: f64,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { mean: AtomicU64::new(0), deviation: AtomicU64::new(pack(FIRST_DEVIATION, 0)) }
    }
}

impl Fleet {
    /// In nanoseconds; `None` while nothing is known.
    #[inline]
    pub(crate) fn mean(&self) -> Option<f64> {
        let bits = self.mean.load(Ordering::Relaxed);
        (bits != 0).then(|| f64::from_bits(bits))
    }

    /// No single answer counts for more: sixteen times the mean.
    pub(crate) fn most(&self) -> f64 {
        self.mean().map_or(f64::INFINITY, |mean| mean * MOST_TIMES)
    }

    /// Both, read once.
    pub(crate) fn typical(&self) -> Typical {
        Typical { mean: self.mean(), bar: self.bar() }
    }

    pub(crate) fn set_mean(&self, nanos: f64) {
        self.mean.store(nanos.max(1.0).to_bits(), Ordering::Relaxed);
    }

    /// What takes longer is out of the ordinary: four deviations above the mean, as in TCP's timeout (RFC 6298), and at
    /// least a quarter of it. Nothing is while nothing is known.
    pub(crate) fn bar(&self) -> f64 {
        let deviation = share(self.deviation.load(Ordering::Relaxed));
        self.mean().map_or(f64::INFINITY, |mean| mean * (1.0 + (4.0 * deviation).max(LEAST_BAR)))
    }

    /// Takes in how long an answer took.
    pub(crate) fn absorb(&self, nanos: f64, now: Timestamp) {
        let Some(mean) = self.mean() else { return };
        let step = (now.as_nanos() >> STEP_SHIFT) as u32;
        let word = self.deviation.load(Ordering::Relaxed);
        if word as u32 == step {
            return;
        }
        let known = share(word);
        let sample = (nanos / mean - 1.0).abs().min(MOST_DEVIATION);
        let next = pack(known + (sample - known) / ANSWERS, step);
        // Whoever loses the race has lost one of many samples.
        let _ = self.deviation.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn share(word: u64) -> f64 {
    f64::from(f32::from_bits((word >> 32) as u32))
}

fn pack(share: f64, step: u32) -> u64 {
    u64::from((share as f32).to_bits()) << 32 | u64::from(step)
}

/// 2^20 ns, a millisecond.
const STEP_SHIFT: u32 = 20;
const ANSWERS: f64 = 32.0;
const FIRST_DEVIATION: f64 = 0.5;
/// One answer in a thousand that takes a thousand times as long must not make all else ordinary.
const MOST_DEVIATION: f64 = 4.0;
const MOST_TIMES: f64 = 16.0;
const LEAST_BAR: f64 = 0.25;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_bar_follows_the_answers() {
        let fleet = Fleet::default();
        assert_eq!((fleet.mean(), fleet.bar()), (None, f64::INFINITY));
        fleet.absorb(1e9, Timestamp::from_secs(1));
        fleet.set_mean(1e8);
        assert_eq!((fleet.mean(), fleet.bar()), (Some(1e8), 3e8), "what came before the mean is left out");
        for millis in 0..500 {
            fleet.absorb(1e8, Timestamp::from_millis(2000 + 2 * millis));
        }
        assert_eq!(fleet.bar(), 1.25e8, "answers that are all alike leave a quarter of the mean");
        for millis in 0..500 {
            fleet.absorb(1e12, Timestamp::from_millis(4000 + 2 * millis));
        }
        assert!((fleet.bar() / 17e8 - 1.0).abs() < 1e-3, "{fleet:?}");
    }

    #[test]
    fn one_answer_counts_in_a_millisecond() {
        let fleet = Fleet::default();
        fleet.set_mean(1e8);
        for _ in 0..1000 {
            fleet.absorb(1e8, Timestamp::from_secs(1));
        }
        assert!(fleet.bar() > 2.9e8);
    }
}
