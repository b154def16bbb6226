use std::fmt;

use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering};

/// Which of the positions `0..n` are usable: read on every pick, flipped when health changes, never rebuilt.
///
/// Two forms of the same set are kept. One *bit* a position answers [`contains`](Self::contains) with one load. An
/// *order* with the usable positions first gives the i-th usable one in one load too, however many are out
/// (a sparse set, Briggs and Torczon 1993); a flip moves at most two entries of it.
///
/// Readers take no lock. Flips, which are transitions of health and no part of a pick, take one short lock. A reader
/// that races with a flip may see the order before and the bit after it: whoever picks tests the bit of what it found,
/// and draws again. The memory is 8 bytes and one bit a position.
///
/// ```
/// use evenkeel_balance::Mask;
/// let mask = Mask::all_usable(4);
/// mask.set(2, false);
/// assert_eq!((mask.len(), mask.usable()), (4, 3));
/// assert!(!mask.contains(2));
/// ```
pub struct Mask {
    words: Box<[AtomicU64]>,
    order: Box<[AtomicU32]>,
    usable: AtomicU32,
    /// Where each position stands in `order`; the lock of all flips.
    places: Mutex<Box<[u32]>>,
}

impl Mask {
    /// The most positions: `u32::MAX`.
    pub const MAX_LEN: usize = u32::MAX as usize;

    /// A mask of `len` positions, all usable. O(n). Positions above [`MAX_LEN`](Self::MAX_LEN) are left out.
    #[must_use]
    pub fn all_usable(len: usize) -> Self {
        Self::new(len, |_| true)
    }

    /// A mask that leaves out the positions of weight zero, which asks for no traffic.
    #[must_use]
    pub fn for_weights(weights: &[u32]) -> Self {
        Self::new(weights.len(), |position| weights[position] > 0)
    }

    /// A mask of `len` positions, usable where `usable` says so. O(n).
    #[must_use]
    pub fn new(len: usize, mut usable: impl FnMut(usize) -> bool) -> Self {
        let len = len.min(Self::MAX_LEN);
        let mut words = vec![0_u64; len.div_ceil(64)];
        let mut order = vec![0_u32; len];
        let mut places = vec![0_u32; len].into_boxed_slice();
        let (mut front, mut back) = (0, len);
        for position in 0..len {
            let place = if usable(position) {
                words[position / 64] |= 1 << (position % 64);
                front += 1;
                front - 1
            } else {
                back -= 1;
                back
            };
            order[place] = position as u32;
            places[position] = place as u32;
        }
        Self {
            words: words.into_iter().map(AtomicU64::new).collect(),
            order: order.into_iter().map(AtomicU32::new).collect(),
            usable: AtomicU32::new(front as u32),
            places: Mutex::new(places),
        }
    }

    /// The number of positions.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are no positions at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The number of usable positions.
    #[inline]
    #[must_use]
    pub fn usable(&self) -> usize {
        self.usable.load(Ordering::Relaxed) as usize
    }

    /// Whether `position` is usable; false beyond the end.
    #[inline]
    #[must_use]
    pub fn contains(&self, position: usize) -> bool {
        self.words
            .get(position / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) >> (position % 64) & 1 == 1)
    }

    /// The `index`-th of the usable positions, in an order that only flips change. Beyond [`usable`](Self::usable) the
    /// unusable ones follow; beyond the end it is zero.
    #[inline]
    #[must_use]
    pub fn at(&self, index: usize) -> usize {
        self.order.get(index).map_or(0, |position| position.load(Ordering::Relaxed) as usize)
    }

    /// All usable positions, ascending. O(n / 64) and one step for each.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        positions_in(self.words())
    }

    /// A bit a position, 64 to a word.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().map(|word| word.load(Ordering::Relaxed))
    }

    /// Flips one position; returns whether that changed anything. O(1). Nothing happens beyond the end.
    pub fn set(&self, position: usize, usable: bool) -> bool {
        self.refresh(position, || usable)
    }

    /// Sets one position to what `truth` says, asked under the lock, so that of two racing flips the later truth stays.
    ///
    /// `truth` must be a plain read. Returns whether anything changed.
    pub fn refresh(&self, position: usize, truth: impl FnOnce() -> bool) -> bool {
        if position >= self.len() {
            return false;
        }
        let mut places = self.places.lock();
        let usable = truth();
        if usable == self.contains(position) {
            return false;
        }
        self.flip(&mut places, position, usable);
        true
    }

    /// Moves `position` over the border between the usable and the others.
    fn flip(&self, places: &mut MutexGuard<'_, Box<[u32]>>, position: usize, usable: bool) {
        let bit = 1 << (position % 64);
        let word = &self.words[position / 64];
        let count = self.usable.load(Ordering::Relaxed);
        // The slot just outside the border when a position comes in, just inside it when one leaves.
        let border = if usable { count } else { count - 1 };
        let (place, neighbour) = (places[position], self.order[border as usize].load(Ordering::Relaxed));
        self.order[place as usize].store(neighbour, Ordering::Relaxed);
        self.order[border as usize].store(position as u32, Ordering::Relaxed);
        places[neighbour as usize] = place;
        places[position] = border;
        if usable {
            word.fetch_or(bit, Ordering::Relaxed);
            self.usable.store(count + 1, Ordering::Release);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
            self.usable.store(count - 1, Ordering::Release);
        }
    }
}

/// The positions of the bits that are set, ascending.
pub(crate) fn positions_in(words: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.enumerate().flat_map(|(index, mut bits)| {
        std::iter::from_fn(move || {
            let bit = bits.trailing_zeros() as usize;
            bits &= bits.checked_sub(1)?;
            Some(index * 64 + bit)
        })
    })
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask")
            .field("len", &self.len())
            .field("usable", &self.usable())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usable_by_order(mask: &Mask) -> Vec<usize> {
        let mut positions: Vec<_> = (0..mask.usable()).map(|index| mask.at(index)).collect();
        positions.sort_unstable();
        positions
    }

    #[test]
    fn edges() {
        let empty = Mask::all_usable(0);
        assert!(empty.is_empty());
        assert!(!empty.set(0, false));
        assert_eq!((empty.at(0), empty.contains(0), empty.iter().count()), (0, false, 0));
        let mask = Mask::for_weights(&[0, 3, 0]);
        assert_eq!(mask.iter().collect::<Vec<_>>(), [1]);
        assert!(!mask.set(1, true), "already so");
    }

    proptest! {
        /// Bits and order describe the same set after any sequence of flips.
        #[test]
        fn agrees_with_a_plain_set(len in 1_usize..200, flips in prop::collection::vec((0_usize..210, any::<bool>()), 0..400)) {
            let mask = Mask::new(len, |position| position % 3 == 0);
            let mut model: Vec<bool> = (0..len).map(|position| position % 3 == 0).collect();
            for (position, usable) in flips {
                let changed = mask.set(position, usable);
                prop_assert_eq!(changed, position < len && model[position] != usable);
                if position < len {
                    model[position] = usable;
                }
                let expected: Vec<usize> = (0..len).filter(|&p| model[p]).collect();
                prop_assert_eq!(mask.usable(), expected.len());
                prop_assert_eq!(&mask.iter().collect::<Vec<_>>(), &expected);
                prop_assert_eq!(&usable_by_order(&mask), &expected);
            }
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// Two flips and a reader: the reader finds positions that exist, and bits and order agree in the end.
    #[test]
    fn flips_and_a_reader_agree_in_the_end() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let mask = Arc::new(Mask::new(3, |position| position != 2));
            let flippers: Vec<_> = [(0, false), (2, true)]
                .into_iter()
                .map(|(position, usable)| {
                    let mask = Arc::clone(&mask);
                    thread::spawn(move || mask.set(position, usable))
                })
                .collect();
            let usable = mask.usable();
            assert!((1..=3).contains(&usable));
            assert!((0..usable).all(|index| mask.at(index) < 3));
            assert!(mask.contains(1), "nobody touched it");
            for flipper in flippers {
                assert!(flipper.join().expect("a flipper ends"));
            }
            let mut by_order: Vec<_> = (0..mask.usable()).map(|index| mask.at(index)).collect();
            by_order.sort_unstable();
            assert_eq!(by_order, [1, 2]);
            assert_eq!(mask.iter().collect::<Vec<_>>(), [1, 2]);
        });
    }
}
