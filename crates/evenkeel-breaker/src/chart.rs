//! Whether failures are more than chance explains.
//!
//! For a tolerated failure rate `p` and a worse one `q`, the likelihood ratio of an outcome is `q/p` for a failure and
//! `(1-q)/(1-p)` for a success. Page's cumulative sum adds up its logarithms and never goes below zero:
//!
//! ```text
//! S = max(0, S) + log(q/p)             after a failure
//! S = max(0, S + log((1-q)/(1-p)))     after a success
//! trip when S >= log(3 × A)
//! ```
//!
//! Three of them run at once, for a `q` of about twice `p`, of nearly one, and their geometric mean. If an endpoint fails
//! with a rate of `p` or less, `exp(S)` of each is below a Shiryaev-Roberts martingale, and so is their mean; stopped at A
//! it takes at least A requests on average (Lorden 1971; Shin, Ramdas, Rinaldo 2023, "E-detectors"). That holds at any
//! number of requests and needs neither a minimum nor a normal approximation.
//!
//! Sums are whole numbers in units of `log(3A) / 65,535`. Steps up are rounded down and steps down away from zero, which
//! makes false trips rarer and never more frequent.

use evenkeel_types::Ratio;

use crate::sync::{AtomicU64, Ordering};
use crate::word::{EPOCH_BITS, Term};

/// The steps of the three sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chart {
    up: [u16; 3],
    down: [u16; 3],
}

impl Chart {
    pub(crate) fn new(tolerated: Ratio, requests_per_false_trip: u64) -> Self {
        let tolerated = tolerated.as_f64();
        let slightly = (2.0 * tolerated).min(tolerated + (1.0 - tolerated) / 3.0);
        let wholly = 1.0 - (1.0 - tolerated) / 10.0;
        let between = libm::sqrt(slightly * wholly);
        let unit = libm::log(3.0 * requests_per_false_trip as f64) / f64::from(FULL);
        let worse = [slightly, between, wholly];
        let units = |log: f64| (log / unit).clamp(1.0, f64::from(FULL)) as u16;
        Self {
            up: worse.map(|worse| units(libm::floor(libm::log(worse / tolerated) / unit) * unit)),
            down: worse
                .map(|worse| units(libm::ceil(-libm::log((1.0 - worse) / (1.0 - tolerated)) / unit) * unit)),
        }
    }
}

/// The three sums, `epoch 15 | free 1 | sum 16 | sum 16 | sum 16`. A success of a healthy endpoint finds zeros and writes
/// nothing.
#[derive(Debug)]
pub(crate) struct Sums(AtomicU64);

impl Sums {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn copy(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Acquire)))
    }

    /// Adds one request. Whether it is too much now; `None` if the term is over.
    #[inline]
    pub(crate) fn add(&self, chart: &Chart, bad: bool, term: Term<'_>) -> Option<bool> {
        let seen = self.0.load(Ordering::Acquire);
        // Zeros of any epoch are zeros.
        if !bad && seen & SUMS == 0 {
            return Some(false);
        }
        self.step(chart, bad, term, seen)
    }

    #[cold]
    fn step(&self, chart: &Chart, bad: bool, term: Term<'_>, mut seen: u64) -> Option<bool> {
        loop {
            let of_this_term = is_of(seen, term);
            if !of_this_term && !term.holds() {
                return None;
            }
            let old = if of_this_term { seen } else { 0 };
            let sums = [0, 1, 2].map(|which| {
                let sum = (old >> (which * SUM_BITS)) as u16;
                let which = which as usize;
                if bad { sum.saturating_add(chart.up[which]) } else { sum.saturating_sub(chart.down[which]) }
            });
            let packed = sums.iter().rev().fold(0, |word, sum| word << SUM_BITS | u64::from(*sum));
            let new = u64::from(term.epoch()) << EPOCH_SHIFT | packed;
            match self.0.compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(sums.contains(&FULL)),
                Err(now) => seen = now,
            }
        }
    }

    /// The highest sum as a part of the one that trips.
    pub(crate) fn evidence(&self, term: Term<'_>) -> Ratio {
        let seen = self.0.load(Ordering::Relaxed);
        let sums = if is_of(seen, term) { seen } else { 0 };
        let highest =
            [0, 1, 2].map(|which| (sums >> (which * SUM_BITS)) as u16).into_iter().max().unwrap_or(0);
        Ratio::new(f64::from(highest) / f64::from(FULL)).unwrap_or(Ratio::ONE)
    }
}

fn is_of(word: u64, term: Term<'_>) -> bool {
    word >> EPOCH_SHIFT == u64::from(term.epoch())
}

const SUM_BITS: u32 = 16;
const SUMS: u64 = (1 << (3 * SUM_BITS)) - 1;
const FULL: u16 = u16::MAX;
const EPOCH_SHIFT: u32 = u64::BITS - EPOCH_BITS;
