//! Everybody in an order of keys; those who are out of the mask are put to sleep when they are met.

use crate::tournament::{Key, Tournament};
use crate::{Mask, View};

/// A [`Tournament`] that follows a mask without being told of flips.
///
/// Who is met first and found unusable is put to sleep, so that it is met once a sleep and not once a pick. Who became
/// usable is woken when the mask has more usable positions than are awake; one sleeper a pick is looked at besides, since
/// those numbers also agree while one sleeper is usable and one who is awake is not.
#[derive(Debug)]
pub(crate) struct Lineup<K> {
    tournament: Tournament<K>,
    len: usize,
    asleep: Vec<u32>,
    /// Where a position stands in `asleep`.
    beds: Box<[u32]>,
    /// Which sleeper is looked at next.
    round: usize,
}

impl<K: Key> Lineup<K> {
    /// A line-up of these keys, all awake.
    pub(crate) fn new(keys: impl IntoIterator<Item = K>) -> Self {
        let keys: Vec<K> = keys.into_iter().collect();
        let len = keys.len();
        Self {
            tournament: Tournament::new(keys),
            len,
            // Full size at once: a pick allocates nothing.
            asleep: Vec::with_capacity(len),
            beds: vec![AWAKE; len].into(),
            round: 0,
        }
    }

    /// The number of positions.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_asleep(&self, position: usize) -> bool {
        self.beds.get(position).is_some_and(|&bed| bed != AWAKE)
    }

    /// Gives somebody who is awake another key.
    #[inline]
    pub(crate) fn set(&mut self, position: usize, key: K) {
        if !self.is_asleep(position) {
            self.tournament.set(position, key);
        }
    }

    /// Gives everybody who is awake another key. O(n).
    pub(crate) fn set_all(&mut self, mut key: impl FnMut(usize) -> K) {
        let (beds, len) = (&self.beds, self.len);
        self.tournament.set_all(|position, old| match position < len && beds[position] == AWAKE {
            true => key(position),
            false => old,
        });
    }

    /// Wakes somebody.
    pub(crate) fn wake(&mut self, position: usize, key: K) {
        if !self.is_asleep(position) {
            return;
        }
        let bed = self.beds[position] as usize;
        self.asleep.swap_remove(bed);
        if let Some(&moved) = self.asleep.get(bed) {
            self.beds[moved as usize] = bed as u32;
        }
        self.beds[position] = AWAKE;
        self.tournament.set(position, key);
    }

    fn put_to_sleep(&mut self, position: usize) {
        self.tournament.set(position, K::LAST);
        self.beds[position] = self.asleep.len() as u32;
        self.asleep.push(position as u32);
    }

    /// Wakes who has become usable, with the key that `woken` gives.
    #[inline]
    pub(crate) fn wake_the_usable(&mut self, mask: &Mask, mut woken: impl FnMut(usize) -> K) {
        if self.asleep.is_empty() {
            return;
        }
        if mask.usable() + self.asleep.len() > self.len {
            let mut bed = 0;
            while let Some(&position) = self.asleep.get(bed) {
                if mask.contains(position as usize) {
                    self.wake(position as usize, woken(position as usize));
                } else {
                    bed += 1;
                }
            }
            return;
        }
        self.round = if self.round + 1 < self.asleep.len() { self.round + 1 } else { 0 };
        let position = self.asleep[self.round] as usize;
        if mask.contains(position) {
            self.wake(position, woken(position));
        }
    }

    /// The first open one for whom `check` finds the key right; whoever has another one gets that and is compared again.
    ///
    /// `None` if nobody is left, if the request excludes more of the first than can be kept aside, or after more
    /// corrections than `check` should ever need: then somebody has to look at all.
    #[inline]
    pub(crate) fn find<V: View + ?Sized>(
        &mut self,
        view: &V,
        mut check: impl FnMut(usize, K) -> K,
    ) -> Option<(usize, K)> {
        let mut aside = [(0_usize, K::LAST); ASIDE];
        let (mut excluded, mut corrected) = (0, 0);
        let found = loop {
            let Some((position, key)) = self.tournament.first() else { break None };
            if !view.mask().contains(position) {
                self.put_to_sleep(position);
                continue;
            }
            if !view.admits(position) {
                if excluded == ASIDE {
                    break None;
                }
                aside[excluded] = (position, key);
                excluded += 1;
                self.tournament.set(position, K::LAST);
                continue;
            }
            let right = check(position, key);
            if right == key {
                break Some((position, key));
            }
            self.tournament.set(position, right);
            corrected += 1;
            if corrected == CORRECTIONS {
                break None;
            }
        };
        for &(position, key) in &aside[..excluded] {
            self.tournament.set(position, key);
        }
        found
    }
}

const AWAKE: u32 = u32::MAX;
/// How many that the request excludes are kept aside. A request tries fewer.
const ASIDE: usize = 8;
/// How many keys may turn out wrong in one search.
const CORRECTIONS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;

    fn first(lineup: &mut Lineup<u128>, mask: &Mask, excluded: &[usize]) -> Option<usize> {
        lineup.wake_the_usable(mask, |position| position as u128);
        let view = Table::new(mask, &[], &[]).excluding(excluded);
        lineup.find(&view, |_, key| key).map(|(position, _)| position)
    }

    #[test]
    fn follows_a_mask_without_being_told() {
        let mask = Mask::all_usable(20);
        let mut lineup = Lineup::new(0..20);
        assert_eq!(first(&mut lineup, &mask, &[]), Some(0));
        (0..5).for_each(|position| assert!(mask.set(position, false)));
        assert_eq!(first(&mut lineup, &mask, &[5, 6]), Some(7));
        assert_eq!(first(&mut lineup, &mask, &[]), Some(5), "an exclusion holds for one request");
        assert!(mask.set(3, true));
        assert_eq!(first(&mut lineup, &mask, &[]), Some(3));
        (0..20).for_each(|position| _ = mask.set(position, false));
        assert_eq!(first(&mut lineup, &mask, &[]), None);
        assert!(mask.set(19, true));
        assert_eq!(first(&mut lineup, &mask, &[]), Some(19));
    }

    /// The numbers agree: one sleeper is usable, and one who is awake and has not been met is not.
    #[test]
    fn a_sleeper_is_found_though_the_numbers_agree() {
        let mask = Mask::all_usable(10);
        let mut lineup = Lineup::new(0..10);
        assert!(mask.set(0, false));
        assert_eq!(first(&mut lineup, &mask, &[]), Some(1));
        assert!(mask.set(0, true) && mask.set(9, false));
        assert_eq!(first(&mut lineup, &mask, &[]), Some(0));
    }

    #[test]
    fn more_exclusions_than_can_be_kept_aside_are_left_to_a_scan_and_harm_nobody() {
        let mask = Mask::all_usable(20);
        let mut lineup = Lineup::new(0..20);
        let excluded: Vec<usize> = (0..10).collect();
        assert_eq!(first(&mut lineup, &mask, &excluded), None);
        assert_eq!(first(&mut lineup, &mask, &excluded[..8]), Some(8));
        assert_eq!(first(&mut lineup, &mask, &[]), Some(0));
    }
}
