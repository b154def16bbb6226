//! A number of nanoseconds and the time it is of, in one word.

use std::time::Duration;

use evenkeel_types::Timestamp;

/// What an estimator was told last, and what of it counts now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The estimate right after its last sample, in nanoseconds.
    pub last: f64,
    /// The same at present, with what it has lost by age.
    pub present: f64,
}

/// The unpacked word: nanoseconds, at least one, and the time in ticks, modulo their range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamped {
    pub(crate) nanos: f32,
    pub(crate) tick: u64,
}

impl Stamped {
    pub(crate) fn new(duration: Duration, now: Timestamp) -> Self {
        Self { nanos: nanos_of(duration), tick: tick_of(now) }
    }

    /// What is below one, or no number, counts as one.
    pub(crate) fn of_number(number: f64, now: Timestamp) -> Self {
        Self { nanos: number.max(1.0).min(LARGEST) as f32, tick: tick_of(now) }
    }

    /// How many nanoseconds before `tick` this was; zero if it was after it.
    #[inline]
    pub(crate) fn until(self, tick: u64) -> f64 {
        nanos_between(self.tick, tick)
    }

    /// Values are at least one, so their bits minus those of 1.0 fit 29 bits, and the one that is added keeps the word
    /// apart from [`UNOBSERVED`].
    pub(crate) fn pack(self) -> u64 {
        let nanos = self.nanos.to_bits().saturating_sub(ONE_BITS) + 1;
        (u64::from(nanos) << TICK_BITS) | self.tick
    }

    #[inline]
    pub(crate) fn unpack(word: u64) -> Option<Self> {
        let nanos = (word >> TICK_BITS) as u32;
        let nanos = nanos.checked_sub(1)? + ONE_BITS;
        Some(Self { nanos: f32::from_bits(nanos), tick: word & TICK_MASK })
    }
}

/// From one nanosecond to 146 years.
pub(crate) fn nanos_of(duration: Duration) -> f32 {
    (duration.as_nanos() as f64).clamp(1.0, LARGEST) as f32
}

#[inline]
pub(crate) const fn tick_of(now: Timestamp) -> u64 {
    (now.as_nanos() >> TICK_SHIFT) & TICK_MASK
}

/// The nanoseconds from one tick to another; zero if the other is the earlier one.
#[inline]
pub(crate) fn nanos_between(tick: u64, later: u64) -> f64 {
    let ticks = later.wrapping_sub(tick) & TICK_MASK;
    if ticks > TICK_MASK - TICKS_BACK { 0.0 } else { (ticks << TICK_SHIFT) as f64 }
}

pub(crate) const UNOBSERVED: u64 = 0;

/// 35 of the 64 bits: what a full single-precision mantissa and a six-bit exponent leave.
pub(crate) const TICK_BITS: u32 = 35;
pub(crate) const TICK_MASK: u64 = (1 << TICK_BITS) - 1;

/// A tick is 2^18 ns: 0.003 % of the default time constant, and 104 days in 35 bits.
pub(crate) const TICK_SHIFT: u32 = 18;

/// 2^22 ticks, 18 min: how far behind the last sample a time is taken for out of order. Far above what threads do to
/// each other; small, because what a wrapped silence is mistaken for lasts as long.
const TICKS_BACK: u64 = 1 << 22;

const ONE_BITS: u32 = 1.0_f32.to_bits();

/// 2^62 ns, 146 years: the largest power of two whose code fits 29 bits with one to spare.
const LARGEST: f64 = (1_u64 << 62) as f64;
