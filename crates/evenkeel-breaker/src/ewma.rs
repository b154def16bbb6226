//! Averages in which what is old fades.

use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};

use crate::Fading;
use crate::sync::{AtomicU64, Ordering};
use crate::window::{TimeShape, TimeWindow};
use crate::word::{EPOCH_BITS, Term};

/// A share and the weight it stands on, in one word: `epoch 15 | share 24 | weight 25`.
///
/// Each request makes `weight = weight × fade + 1` and moves the share by `(x - share) / weight`. So the first ones count
/// equally, and later ones as the fading says: over requests the weight stops at `1 / (1 - e^(-1/N))`, over time it fades by
/// `e^(-dt/T)` between requests. The time that has passed is taken from a second word with one `fetch_max`, so that of
/// several threads each lets its own part of it fade, and all of it fades once.
///
/// The share has 24 bits and the weight 8 behind the point; it stops at 131,071, so that a share over time is one of the
/// last 131 thousand requests at most.
///
/// The weight is no number of requests where time makes it fade: five requests in as many seconds weigh less than five. So
/// there a ring counts those of the last time constant, in tenths of it and one more, for the minimum.
#[derive(Debug)]
pub(crate) struct Ewma {
    average: AtomicU64,
    newest: AtomicU64,
    recent: Option<TimeWindow<Box<[AtomicU64]>>>,
}

/// What makes it fade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fade {
    /// The largest weight.
    Requests(f64),
    /// The time constant in nanoseconds, and how the requests of so long are counted.
    Time(f64, TimeShape),
}

impl Fade {
    pub(crate) fn new(over: Fading) -> Self {
        match over {
            Fading::Requests { window } => Self::Requests(1.0 / -libm::expm1(-1.0 / f64::from(window))),
            Fading::Time { window } => Self::Time(window.as_nanos() as f64, recent(window)),
        }
    }
}

impl Ewma {
    pub(crate) fn new(fade: Fade) -> Self {
        let recent = match fade {
            Fade::Requests(_) => None,
            Fade::Time(_, shape) => Some(TimeWindow::new(shape)),
        };
        Self { average: AtomicU64::new(0), newest: AtomicU64::new(0), recent }
    }

    pub(crate) fn copy(&self) -> Self {
        Self {
            average: AtomicU64::new(self.average.load(Ordering::Acquire)),
            newest: AtomicU64::new(self.newest.load(Ordering::Acquire)),
            recent: self.recent.as_ref().map(TimeWindow::copy),
        }
    }

    /// Adds one request. Returns the share and on how many requests it stands; `None` if the term is over.
    pub(crate) fn add(
        &self,
        fade: Fade,
        bad: bool,
        term: Term<'_>,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<(Ratio, f64)> {
        let (Fade::Time(constant, shape), Some(recent)) = (fade, &self.recent) else {
            let Fade::Requests(largest) = fade else { return None };
            return self.move_on(1.0, largest, bad, term);
        };
        let now = now();
        // Counted first: of several threads the one that moves the average last knows of all of them.
        let _ = recent.add(shape, false, term, now);
        let faded = libm::exp(-(self.pass(now).as_nanos() as f64) / constant);
        let (share, _) = self.move_on(faded, MAX_WEIGHT, bad, term)?;
        Some((share, recent.counts(shape, term, now).requests as f64))
    }

    fn move_on(&self, faded: f64, largest: f64, bad: bool, term: Term<'_>) -> Option<(Ratio, f64)> {
        let mut seen = self.average.load(Ordering::Acquire);
        loop {
            let old = Average::of(seen, term);
            if old.is_none() && !term.holds() {
                return None;
            }
            let next = old.unwrap_or_default().with(bad, faded, largest);
            let packed = next.pack(term);
            if packed == seen {
                return Some(next.told());
            }
            match self.average.compare_exchange_weak(seen, packed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(next.told()),
                Err(present) => seen = present,
            }
        }
    }

    /// Share and weight, as they were after the last request.
    pub(crate) fn read(&self, term: Term<'_>) -> (Ratio, f64) {
        Average::of(self.average.load(Ordering::Relaxed), term).unwrap_or_default().told()
    }

    /// The time since the newest `now`, which nobody else gets.
    fn pass(&self, now: Timestamp) -> Duration {
        let before = self.newest.fetch_max(now.as_nanos(), Ordering::AcqRel);
        now.saturating_since(Timestamp::from_nanos(before))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Average {
    share: f64,
    weight: f64,
}

impl Average {
    fn of(word: u64, term: Term<'_>) -> Option<Self> {
        let is_of = word >> EPOCH_SHIFT == u64::from(term.epoch());
        is_of.then_some(Self {
            share: (word >> WEIGHT_BITS & SHARE_MASK) as f64 / SHARE_ONE,
            weight: (word & WEIGHT_MASK) as f64 / WEIGHT_ONE,
        })
    }

    fn with(self, bad: bool, faded: f64, largest: f64) -> Self {
        let weight = (self.weight * faded + 1.0).min(largest);
        let target = if bad { 1.0 } else { 0.0 };
        Self { share: self.share + (target - self.share) / weight, weight }
    }

    fn pack(self, term: Term<'_>) -> u64 {
        let share = (self.share * SHARE_ONE + 0.5) as u64;
        let weight = (self.weight * WEIGHT_ONE + 0.5) as u64;
        u64::from(term.epoch()) << EPOCH_SHIFT
            | share.min(SHARE_MASK) << WEIGHT_BITS
            | weight.min(WEIGHT_MASK)
    }

    fn told(self) -> (Ratio, f64) {
        (Ratio::new(self.share.clamp(0.0, 1.0)).unwrap_or(Ratio::ZERO), self.weight)
    }
}

/// A tenth more than the time constant, so that nothing younger than that is left out; no bucket shorter than a bucket of
/// a time window can be.
fn recent(window: Duration) -> TimeShape {
    let tenths = window.as_nanos() / SHORTEST.as_nanos();
    let parts = u32::try_from(tenths).unwrap_or(PARTS).clamp(1, PARTS);
    TimeShape::new((window / parts).saturating_mul(parts + 1), parts + 1, 1)
}

const PARTS: u32 = 10;
const SHORTEST: Duration = Duration::from_millis(10);
const WEIGHT_BITS: u32 = 25;
const WEIGHT_MASK: u64 = (1 << WEIGHT_BITS) - 1;
const WEIGHT_ONE: f64 = 256.0;
const MAX_WEIGHT: f64 = 131_071.0;
const SHARE_BITS: u32 = 24;
const SHARE_MASK: u64 = (1 << SHARE_BITS) - 1;
const SHARE_ONE: f64 = SHARE_MASK as f64;
const EPOCH_SHIFT: u32 = u64::BITS - EPOCH_BITS;
const _: () = assert!(EPOCH_BITS + SHARE_BITS + WEIGHT_BITS == u64::BITS);
