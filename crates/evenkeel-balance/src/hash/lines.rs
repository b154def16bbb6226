//! What a ring's chunk is asked first: its points again, as short as will do, a cache line for each few of them.

use std::sync::Arc;

/// A stretch of the circle in equal parts, a line of 64 bytes for each.
///
/// A line holds a *half* of each point in its part, and behind them one of the first point after it. A half is how far into
/// the part its point lies, in as many bits as are left beside the slot of its owner: 23 bits together where slots are few,
/// so that 21 fit a line, or 31 and 16. Fewer lines are fewer misses of the caches, and those are what a look-up costs.
#[derive(Clone, Debug)]
pub(crate) enum Lines {
    Narrow(Arc<[Narrow]>),
    Wide(Arc<[Wide]>),
}

/// Where lines are made.
#[derive(Debug, Default)]
pub(crate) struct Room {
    narrow: Vec<Narrow>,
    wide: Vec<Wide>,
}

/// What of a half says the slot: a mask of its low bits, for so many slots.
pub(crate) fn slot_mask(slots: usize) -> u32 {
    slots.next_power_of_two().clamp(FEWEST_SLOTS, MOST_SLOTS) as u32 - 1
}

impl Lines {
    /// The lines of points in ascending order: where each is in the stretch, in 32 bits, and its owner's slot.
    pub(crate) fn new(
        points: impl ExactSizeIterator<Item = (u32, u32)>,
        slots: u32,
        room: &mut Room,
    ) -> Self {
        if slots < MOST_NARROW_SLOTS {
            fill(points, slots, &mut room.narrow);
            Self::Narrow(room.narrow.as_slice().into())
        } else {
            fill(points, slots, &mut room.wide);
            Self::Wide(room.wide.as_slice().into())
        }
    }

    /// The slot of the first point that is not before `place`. `None` if that cannot be told: two halves are equal, a part
    /// has more points than a line, or no point follows.
    #[inline]
    pub(crate) fn glance(&self, place: u32, slots: u32) -> Option<usize> {
        match self {
            Self::Narrow(lines) => glance(lines, place, slots),
            Self::Wide(lines) => glance(lines, place, slots),
        }
    }
}

#[inline]
fn glance<L: Line>(lines: &[L], place: u32, slots: u32) -> Option<usize> {
    let place = u64::from(place) * lines.len() as u64;
    let wanted = half::<L>(place, slots);
    let found = lines.get((place >> 32) as usize)?.first_from(wanted)?;
    // Another half is certain. An equal one is not, and nothing stands behind the last point.
    (found & !slots != wanted && found != L::LAST).then_some((found & slots) as usize)
}

fn fill<L: Line>(points: impl ExactSizeIterator<Item = (u32, u32)>, slots: u32, lines: &mut Vec<L>) {
    let parts = points.len().div_ceil(L::POINTS).max(1);
    lines.clear();
    lines.resize(parts, L::EMPTY);
    let (mut part, mut held) = (0, 0);
    for (place, slot) in points {
        let place = u64::from(place) * parts as u64;
        while part < (place >> 32) as usize {
            // The first behind this part, and behind the empty ones that follow it: the last place, whatever the slot.
            lines[part].put(held, L::LAST & !slots | slot);
            (part, held) = (part + 1, 0);
        }
        lines[part].put(held, half::<L>(place, slots) | slot);
        held += 1;
    }
}

/// How far into its part a place is, above the bits of the slot.
#[inline]
const fn half<L: Line>(place: u64, slots: u32) -> u32 {
    place as u32 >> L::LAST.leading_zeros() & !slots
}

/// Halves in ascending order, and [`LAST`](Self::LAST) behind them.
trait Line: Copy {
    /// The largest half: nobody's, or one whose words have to be asked since it looks like nobody's.
    const LAST: u32;
    const EMPTY: Self;
    /// Points for each line, of those that it has room for: so few that it seldom ends before the point that is looked for.
    const POINTS: usize;

    /// Writes a half, where there is room.
    fn put(&mut self, at: usize, half: u32);

    /// The first half that is not below this one, whose bits of the slot are zero.
    fn first_from(&self, wanted: u32) -> Option<u32>;
}

/// Sixteen halves.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Wide([u32; 16]);

impl Line for Wide {
    const LAST: u32 = u32::MAX >> 1;
    const EMPTY: Self = Self([Self::LAST; 16]);
    const POINTS: usize = 10;

    fn put(&mut self, at: usize, half: u32) {
        if let Some(place) = self.0.get_mut(at) {
            *place = half;
        }
    }

    #[inline]
    fn first_from(&self, wanted: u32) -> Option<u32> {
        // Counting without a branch: where a search ends is what no processor can foresee. The sign of a difference is a
        // subtraction and a shift of a vector; comparisons without sign take more, and so does counting what they say.
        let before: u32 = self.0.iter().map(|half| half.wrapping_sub(wanted) >> (u32::BITS - 1)).sum();
        self.0.get(before as usize).copied()
    }
}

/// Twenty-one halves: the upper fifteen bits of each, then the lower eight, two in a place.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Narrow([u16; 32]);

impl Line for Narrow {
    const LAST: u32 = u32::MAX >> 9;
    const EMPTY: Self = {
        let mut places = [u16::MAX; 32];
        let mut at = 0;
        while at < NARROW {
            places[at] = u16::MAX >> 1;
            at += 1;
        }
        Self(places)
    };
    const POINTS: usize = 14;

    fn put(&mut self, at: usize, half: u32) {
        if at < NARROW {
            self.0[at] = (half >> 8) as u16;
            let (pair, shift) = (&mut self.0[NARROW + at / 2], at % 2 * 8);
            *pair = *pair & !(0xff << shift) | (half as u16 & 0xff) << shift;
        }
    }

    #[inline]
    fn first_from(&self, wanted: u32) -> Option<u32> {
        let wanted = (wanted >> 8) as u16;
        // Three whole vectors; the last three of these places are no upper bits and do not count.
        let one_if_below = |(place, counts): (&u16, &u16)| place.wrapping_sub(wanted) >> 15 & counts;
        let before = usize::from(self.0[..24].iter().zip(&COUNTS).map(one_if_below).sum::<u16>());
        if before >= NARROW {
            return None;
        }
        let lower = self.0[NARROW + before / 2] >> (before % 2 * 8) & 0xff;
        Some(u32::from(self.0[before]) << 8 | u32::from(lower))
    }
}

/// Halves of a narrow line.
const NARROW: usize = 21;

/// Which of its places are upper bits.
const COUNTS: [u16; 24] = {
    let mut counts = [0; 24];
    let mut at = 0;
    while at < NARROW {
        counts[at] = 1;
        at += 1;
    }
    counts
};

/// The lower bits of a narrow half are all the slot's.
const FEWEST_SLOTS: usize = 1 << 8;

/// Ten bits are left for the place then, and one look-up in seventy has to ask the words.
const MOST_NARROW_SLOTS: u32 = 1 << 13;

/// Seven bits are left for the place in a wide half then.
const MOST_SLOTS: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use evenkeel_types::{RandomSource, SplitMix64};
    use proptest::prelude::*;

    use super::*;

    /// Whether nothing false is told, and how often nothing at all.
    fn untold(points: &[(u32, u32)], slots: u32, places: impl Iterator<Item = u32>) -> usize {
        let lines = Lines::new(points.iter().copied(), slots, &mut Room::default());
        let mut untold = 0;
        for place in places {
            let first = points.iter().find(|point| point.0 >= place).map(|point| point.1 as usize);
            match lines.glance(place, slots) {
                Some(slot) => assert_eq!(Some(slot), first, "at {place}"),
                None => untold += 1,
            }
        }
        untold
    }

    /// Uniform points, no two at one place, of so many owners.
    fn points(count: usize, owners: u32, source: &mut SplitMix64) -> Vec<(u32, u32)> {
        let mut places: Vec<u32> = (0..count).map(|_| source.next_u64() as u32).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| (place, source.next_u64() as u32 % owners)).collect()
    }

    #[test]
    fn lines_tell_nearly_always() {
        for (owners, bound) in [(3, 0.03), (1000, 0.03), (4096, 0.04), (4097, 0.03), (100_000, 0.03)] {
            let mut source = SplitMix64::new(u64::from(owners));
            let slots = slot_mask(2 * owners as usize);
            let (mut asked, mut missed) = (0, 0);
            for _ in 0..40 {
                let points = points(700, owners, &mut source);
                let places: Vec<u32> = (0..500).map(|_| source.next_u64() as u32).collect();
                asked += places.len();
                missed += untold(&points, slots, places.into_iter());
            }
            let share = missed as f64 / asked as f64;
            assert!(share < bound, "{share} of look-ups among {owners}");
        }
    }

    proptest! {
        #[test]
        fn what_lines_tell_is_true(
            mut places in prop::collection::vec(prop_oneof![any::<u32>(), 0_u32..40, (u32::MAX - 40)..=u32::MAX], 0..90),
            asked in prop::collection::vec(prop_oneof![any::<u32>(), 0_u32..40, (u32::MAX - 40)..=u32::MAX], 40),
            owners in prop_oneof![1_u32..5000, 1_u32..16_000_000],
            seed: u64,
        ) {
            places.sort_unstable();
            places.dedup();
            let (slots, mut source) = (slot_mask(owners as usize), SplitMix64::new(seed));
            let points: Vec<_> =
                places.iter().map(|&place| (place, source.next_u64() as u32 % owners)).collect();
            // Also where the points are, and beside them.
            let near = places.iter().flat_map(|place| [place.wrapping_sub(1), *place, place.wrapping_add(1)]);
            untold(&points, slots, asked.into_iter().chain(near).chain([0, u32::MAX]));
        }
    }
}
