use std::sync::Arc;

use evenkeel_types::below;

use crate::draws::weighted_random;
use crate::{Caller, View, scan};

/// A schedule laid out beforehand: what every policy walks that repeats itself. The rules differ, the walk does not.
///
/// The entry of an endpoint that is out is replaced by a weighted draw, so that its share spreads over all by weight and
/// not onto whoever stands next in the schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cycle {
    entries: Arc<[u32]>,
    greatest: u32,
}

impl Cycle {
    /// The entries of a schedule, made for these weights.
    pub(super) fn new(entries: Vec<u32>, weights: &[u32]) -> Self {
        Self { entries: entries.into(), greatest: weights.iter().copied().max().unwrap_or(0) }
    }

    pub(super) fn entries(&self) -> &[u32] {
        &self.entries
    }

    /// The caller's next entry, or a weighted draw if that one is not open.
    #[inline(always)]
    pub(super) fn choose<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        self.first(view, caller).or_else(|| self.again(view, caller))
    }

    /// The caller's next entry, if it is open.
    #[inline(always)]
    pub(super) fn first<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        let place = caller.turn(self.entries.len() as u32);
        self.open_at(place as usize, view)
    }

    /// The entry at a place, or a weighted draw if that one is not open.
    #[inline(always)]
    pub(super) fn choose_at<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        place: usize,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        self.open_at(place, view).or_else(|| self.again(view, caller))
    }

    #[inline(always)]
    fn open_at<V: View + ?Sized>(&self, place: usize, view: &V) -> Option<usize> {
        let position = *self.entries.get(place)? as usize;
        view.is_open(position).then_some(position)
    }

    /// A weighted draw instead of an entry that is not open.
    #[inline(always)]
    pub(super) fn again<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        weighted_random::again(view, caller, self.greatest, |draw| self.at(draw))
    }

    /// An entry at random: a weighted draw.
    fn at(&self, draw: u64) -> usize {
        let place = below(scan::upper(draw), self.entries.len() as u32);
        self.entries.get(place as usize).map_or(0, |&position| position as usize)
    }
}

/// How often each position stands in a cycle: weights by their greatest common divisor, scaled down if that is too long.
pub(super) fn units(weights: &[u32]) -> Vec<u32> {
    let divisor = divisor(weights);
    let total: u64 = weights.iter().map(|&weight| u64::from(weight / divisor)).sum();
    let longest = (LONGEST_CYCLE).max(ENTRIES_EACH * weights.len() as u64);
    if total <= longest {
        return weights.iter().map(|weight| weight / divisor).collect();
    }
    let scaled = |weight: u32| {
        let exact = u128::from(weight / divisor) * u128::from(longest);
        ((exact + u128::from(total) / 2) / u128::from(total)).max(u128::from(weight > 0)) as u32
    };
    weights.iter().map(|&weight| scaled(weight)).collect()
}

/// What all weights have in common; at least one.
pub(super) fn divisor(weights: &[u32]) -> u32 {
    weights.iter().copied().fold(0, gcd).max(1)
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The longest cycle that is worth its memory: 256 KiB.
const LONGEST_CYCLE: u64 = 65_536;
/// With very many endpoints a cycle must still tell their weights apart.
const ENTRIES_EACH: u64 = 16;

/// A schedule as letters: what the tests of all rules compare.
#[cfg(test)]
pub(super) fn letters(positions: impl IntoIterator<Item = usize>) -> String {
    positions.into_iter().map(|position| char::from(b'a' + position as u8)).collect()
}
