use evenkeel_types::Timestamp;

use crate::sync::{AtomicU64, Ordering};

/// What requests take at present, over all endpoints: what one costs of which nothing is known.
///
/// The mean of the estimates of those endpoints that answer, each answer with the same say, the last eight or so of them
/// counting for most. So it is a mean over requests: an endpoint that is avoided hardly moves it. At most one answer in
/// 8.4 ms is taken in, so that all threads do not write one word at each request; within a fifth of a second whatever
/// came first is forgotten.
#[derive(Debug, Default)]
pub(crate) struct Typical {
    /// Bits of a single-precision number of nanoseconds, then the step of time of the last answer taken in. Zero while
    /// nothing is known.
    state: AtomicU64,
}

impl Typical {
    /// In nanoseconds; `None` while nothing is known.
    #[inline]
    pub(crate) fn nanos(&self) -> Option<f64> {
        let word = self.state.load(Ordering::Relaxed);
        (word != 0).then(|| f64::from(f32::from_bits((word >> 32) as u32)))
    }

    /// Takes in the estimate of an endpoint that has just answered: at least one nanosecond.
    pub(crate) fn absorb(&self, nanos: f64, now: Timestamp) {
        let step = (now.as_nanos() >> STEP_SHIFT) as u32;
        let word = self.state.load(Ordering::Relaxed);
        if word != 0 && word as u32 == step {
            return;
        }
        let mean = self.nanos().map_or(nanos, |mean| mean + (nanos - mean) / ANSWERS);
        let next = (u64::from((mean.max(1.0) as f32).to_bits()) << 32) | u64::from(step);
        // Whoever loses the race has lost one of many samples.
        let _ = self.state.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// 2^23 ns, 8.4 ms.
const STEP_SHIFT: u32 = 23;

const ANSWERS: f64 = 8.0;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn follows_the_answers_and_forgets_the_first() {
        let typical = Typical::default();
        assert_eq!(typical.nanos(), None);
        typical.absorb(8e8, Timestamp::ORIGIN);
        assert_eq!(typical.nanos(), Some(8e8));
        typical.absorb(1.0, Timestamp::from_millis(8));
        assert_eq!(typical.nanos(), Some(8e8), "one answer a step");
        for step in 1..=20 {
            typical.absorb(1e7, Timestamp::from_millis(10 * step));
        }
        assert!(typical.nanos().unwrap() < 7e7, "{typical:?}");
    }
}
