//! The share of its weight that an endpoint takes for the moment.
//!
//! What moves by itself (slow start, the gradual return of a breaker or of an ejected endpoint, a load that is reported) never
//! rebuilds a table and never changes the weights that policies see: a candidate is *taken* with the probability of its factor,
//! else the choice goes on. So every policy obeys factors, those with tables too. Factors count relative to the largest of
//! the tier: where everybody starts slowly, nobody does.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evenkeel_balance::Wants;
use evenkeel_types::{SplitMix64, Timestamp};

use crate::live::Live;
use crate::request::LaneCaller;
use crate::snapshot::Tier;

/// A factor in 65,536ths: one relaxed load beside the health word.
#[derive(Debug)]
pub(crate) struct Factor(AtomicU32);

impl Factor {
    pub(crate) fn full() -> Self {
        Self(AtomicU32::new(FULL))
    }

    pub(crate) fn none() -> Self {
        Self(AtomicU32::new(0))
    }

    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed) == FULL
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, parts: u32) {
        self.0.store(parts, Ordering::Relaxed);
    }

    /// Sets it and returns what it was. Who swaps later sees what was written before an earlier swap.
    pub(crate) fn swap(&self, parts: u32) -> u32 {
        self.0.swap(parts, Ordering::AcqRel)
    }

    pub(crate) fn share(&self) -> f64 {
        share(self.get())
    }
}

/// What so many 65,536ths are.
pub(crate) fn share(parts: u32) -> f64 {
    f64::from(parts) / f64::from(FULL)
}

/// A share in 65,536ths; what is above zero stays so, and what is no number is a whole.
pub(crate) fn parts(share: f64) -> u32 {
    if share.is_nan() || share >= 1.0 {
        return FULL;
    }
    let parts = (share.max(0.0) * f64::from(FULL)) as u32;
    if share > 0.0 { parts.max(1) } else { 0 }
}

/// Whether the choice stays with this endpoint, whose factor is below one.
///
/// With a key, key and endpoint decide, so that a key does not flap, and monotonously: who takes a key at a small factor takes
/// it at every larger one.
#[cold]
#[inline(never)]
pub(crate) fn takes<T>(tier: &Tier<T>, live: &Live<T>, caller: &mut LaneCaller<'_>) -> bool {
    let lift = tier.masks.lift.get();
    let (own, top) = (lifted(live.factor.get(), lift), lifted(tier.masks.top.get(), lift));
    if own >= top {
        return true;
    }
    let ticket = match caller.affinity(tier.wants) {
        Some(key) => SplitMix64::mix(key ^ live.id_hash) >> 48,
        None => caller.lane.draw() >> 48,
    };
    // `own` is below `top`, so `top` is not zero.
    ticket < (u64::from(own) << 16) / u64::from(top)
}

/// The factor, moved by this part of the way to one.
const fn lifted(parts: u32, lift: u32) -> u32 {
    parts + ((FULL.saturating_sub(parts) as u64 * lift as u64) >> 16) as u32
}

/// Whether the policy would name the same endpoint again: then the choice must go on without it. Policies that go by an order
/// or by chance alone are simply asked again, which makes shares exact.
pub(crate) const fn would_repeat(wants: Wants) -> bool {
    wants.intersects(
        Wants::LOADS.union(Wants::EVENTS).union(Wants::KEY).union(Wants::SOURCE).union(Wants::OBSERVED),
    )
}

/// When to look at a factor again that grows until `until`: twenty times on the way, not more often than every 20 ms.
pub(crate) fn next_look(now: Timestamp, until: Timestamp) -> Timestamp {
    let left = until.saturating_since(now);
    now.saturating_add((left / 20).max(SHORTEST_STEP)).min(until)
}

const SHORTEST_STEP: Duration = Duration::from_millis(20);
pub(crate) const FULL: u32 = 1 << 16;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn shares_become_parts() {
        for (share, expected) in
            [(0.0, 0), (-1.0, 0), (1e-9, 1), (0.5, FULL / 2), (1.0, FULL), (7.0, FULL), (f64::NAN, FULL)]
        {
            assert_eq!(parts(share), expected, "{share}");
        }
    }
}
