//! Bounded loads: no endpoint has more than a factor times its fair share in flight.

use std::hash::BuildHasherDefault;
use std::sync::Arc;

use fnv::FnvHasher;
use hashbrown::HashMap;

use crate::sync::{AtomicU64, Ordering};
use crate::{Event, Members, View};

/// Counts of what is in flight, and the rule.
///
/// **Idea.** With m requests in flight and a factor c, an endpoint of weight w of a total W takes another one while it
/// has fewer than ⌈c (m + 1) w / W⌉. As c is at least 1 somebody always does. **Source.** Mirrokni, Thorup and
/// Zadimoghaddam, "Consistent hashing with bounded loads", arXiv 1608.01350.
///
/// Only those that are usable count, in m and in W. What is in flight is counted by events, so that m is one load.
/// Callers that pick at the same moment do not see each other's request: each may exceed the bound by one.
#[derive(Debug)]
pub(crate) struct Bound {
    percent: u32,
    totals: Arc<Totals>,
    /// By position.
    counts: Box<[Arc<Count>]>,
    positions: HashMap<u64, u32, BuildHasherDefault<FnvHasher>>,
}

/// Sums over the endpoints that are usable.
#[derive(Debug, Default)]
struct Totals {
    load: AtomicU64,
    weight: AtomicU64,
}

/// One endpoint's count, shared by a policy and its successors. When none of them has it any more it leaves the totals.
#[derive(Debug)]
struct Count {
    totals: Arc<Totals>,
    /// Usable, weight and requests in flight in one word, so that each change moves the totals by what it changed.
    word: AtomicU64,
}

/// What the word of a [`Count`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    usable: bool,
    weight: u32,
    load: u32,
}

impl Bound {
    pub(crate) fn new(percent: u32, members: &dyn Members) -> Self {
        Self::with(percent, Arc::default(), members, |_| None)
    }

    /// The same for other members. Counts of those that stay are shared; those of the others leave the totals.
    pub(crate) fn rebuild(&self, members: &dyn Members) -> Self {
        let next = Self::with(self.percent, Arc::clone(&self.totals), members, |token| {
            self.counts.get(*self.positions.get(&token)? as usize).map(Arc::clone)
        });
        for (token, &position) in &self.positions {
            if !next.positions.contains_key(token) {
                self.counts[position as usize].change(|share| share.usable = false);
            }
        }
        next
    }

    fn with(
        percent: u32,
        totals: Arc<Totals>,
        members: &dyn Members,
        known: impl Fn(u64) -> Option<Arc<Count>>,
    ) -> Self {
        let fresh = || Arc::new(Count { totals: Arc::clone(&totals), word: AtomicU64::new(0) });
        let weights = members.weights();
        let counts = weights.iter().enumerate().map(|(position, &weight)| {
            let count = known(members.token(position)).unwrap_or_else(fresh);
            count.reweigh(weight);
            count
        });
        let counts: Box<[_]> = counts.collect();
        let positions =
            (0..counts.len()).map(|position| (members.token(position), position as u32)).collect();
        Self { percent, totals, counts, positions }
    }

    pub(crate) fn on_event(&self, event: Event) {
        let (token, change): (u64, fn(&mut Share)) = match event {
            Event::Picked(token) => (token, |share| share.load = share.load.saturating_add(1).min(MOST_LOAD)),
            Event::Released(token) => (token, |share| share.load = share.load.saturating_sub(1)),
            Event::Up(token) => (token, |share| share.usable = share.weight > 0),
            Event::Down(token) => (token, |share| share.usable = false),
            _ => return,
        };
        if let Some(&position) = self.positions.get(&token) {
            self.counts[position as usize].change(change);
        }
    }

    /// Whether a position may take another request, as far as its load is concerned.
    ///
    /// The view has the last word about who is usable and of what weight: where the count does not know yet, as after an
    /// update, it learns it here.
    #[inline]
    pub(crate) fn takes<V: View + ?Sized>(&self, view: &V, position: usize) -> bool {
        let Some(count) = self.counts.get(position) else { return true };
        let share = count.settle(view.mask().contains(position), view.weight(position));
        let (load, weight) =
            (self.totals.load.load(Ordering::Relaxed), self.totals.weight.load(Ordering::Relaxed));
        // load < ⌈factor (total + 1) weight / total weight⌉, in whole numbers that fit 128 bits.
        u128::from(share.load) * 100 * u128::from(weight)
            < u128::from(self.percent) * u128::from(load.saturating_add(1)) * u128::from(share.weight)
    }

    /// The one with the least load for its weight, ties to the first.
    pub(crate) fn least_loaded(&self, open: impl Iterator<Item = usize>) -> Option<usize> {
        let share = |position: usize| self.counts.get(position).map_or(NOBODY, |count| count.share());
        open.map(|position| (share(position), position))
            .reduce(|least, other| {
                let heavier = u64::from(least.0.load) * u64::from(other.0.weight);
                let lighter = u64::from(other.0.load) * u64::from(least.0.weight);
                if lighter < heavier { other } else { least }
            })
            .map(|(_, position)| position)
    }
}

impl Count {
    #[inline]
    fn share(&self) -> Share {
        Share::unpacked(self.word.load(Ordering::Relaxed))
    }

    /// Makes the word say what a view says.
    #[inline]
    fn settle(&self, usable: bool, weight: u32) -> Share {
        let (share, usable) = (self.share(), usable && weight > 0);
        if share.weight == weight && share.usable == usable {
            return share;
        }
        self.change(|share| (share.usable, share.weight) = (usable, weight))
    }

    /// Gives it another weight. One that had none is taken as usable until something else is heard.
    fn reweigh(&self, weight: u32) {
        self.change(|share| {
            share.usable = weight > 0 && (share.usable || share.weight == 0);
            share.weight = weight;
        });
    }

    /// Changes the word, and the totals by the difference.
    fn change(&self, change: impl Fn(&mut Share)) -> Share {
        let changed = |word| {
            let mut share = Share::unpacked(word);
            change(&mut share);
            share
        };
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let after = changed(word);
            match self.word.compare_exchange_weak(word, after.packed(), Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => {
                    self.totals.shift(Share::unpacked(word), after);
                    return after;
                }
                Err(now) => word = now,
            }
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.totals.shift(self.share(), NOBODY);
    }
}

impl Totals {
    /// Unsigned sums wrap, so each difference is added as it is.
    fn shift(&self, before: Share, after: Share) {
        let (from, to) = (before.counted(), after.counted());
        for (total, from, to) in [(&self.load, from.0, to.0), (&self.weight, from.1, to.1)] {
            if from != to {
                total.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
            }
        }
    }
}

impl Share {
    /// What it adds to the totals: load and weight.
    fn counted(self) -> (u64, u64) {
        if self.usable { (self.load.into(), self.weight.into()) } else { (0, 0) }
    }

    const fn packed(self) -> u64 {
        (self.usable as u64) << 63 | (self.weight as u64) << 31 | self.load as u64
    }

    const fn unpacked(word: u64) -> Self {
        Self { usable: word >> 63 == 1, weight: (word >> 31) as u32, load: word as u32 & MOST_LOAD }
    }
}

const NOBODY: Share = Share { usable: false, weight: 0, load: 0 };

/// 31 bits.
const MOST_LOAD: u32 = u32::MAX >> 1;
