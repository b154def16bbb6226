//! What part of all requests each group of endpoints gets: a few words that picks read, and flips write.
//!
//! A *rung* is a tier, or the part of one inside or outside the subset; a *group* is a zone of a rung, with a policy of its own. For
//! every group there are two cells, one for its usable endpoints and one for its degraded ones: a cell is the sum of all shares
//! up to its own, in parts of 2^32, and marks for the way. All usable cells come before all degraded ones, as in Envoy.
//!
//! A pick draws one number and takes the first cell above it. Cells are written one by one, so a pick meanwhile may see some of
//! the old and some of the new shares: each cell names a group by itself, so the worst is one request by shares that never
//! stood together, as if it had come a moment earlier.

use std::ops::Range;
use std::sync::Arc;

use bitflags::bitflags;
use evenkeel_route::locality::ZoneShares;
use evenkeel_types::{Priority, SplitMix64};
use smallvec::SmallVec;

use crate::roster::Masks;
use crate::snapshot::Part;
use crate::sync::{AtomicU64, Ordering};
use crate::tally::{Sums, Tally};
use crate::zones::Zone;

bitflags! {
    /// What holds about the requests of a cell.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Mark: u8 {
        /// The rung is in panic.
        const PANIC = 1;
        /// Any endpoint will do that was not withdrawn.
        const OPEN = 1 << 1;
        /// The request is not served by an endpoint.
        const REFUSE = 1 << 2;
        /// A stale answer is better.
        const STALE = 1 << 3;
        /// The first usable endpoint takes all.
        const FIRST = 1 << 4;
        /// It is not the first tier.
        const SPILLED = 1 << 5;
    }
}

/// The groups of one snapshot and their shares; as long as places do not change, the same over snapshots.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Later ones are larger.
    pub(crate) id: u64,
    pub(crate) rungs: Box<[Rung]>,
    pub(crate) groups: Box<[Group]>,
    cells: Box<[AtomicU64]>,
    /// What part of the requests of its tier each group could bear, by itself: in the order of the cells. Zero where nobody asks.
    bears: Box<[AtomicU64]>,
    /// Whether keys fall on whole percents, as in Envoy.
    by_percent: bool,
}

#[derive(Debug)]
pub(crate) struct Rung {
    pub(crate) priority: Priority,
    pub(crate) part: Part,
    pub(crate) groups: Range<usize>,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) rung: usize,
    pub(crate) masks: Arc<Masks>,
    pub(crate) zone: Option<Arc<Zone>>,
}

impl Group {
    pub(crate) fn sums(&self) -> Sums {
        self.masks.tally.as_ref().map_or_else(Sums::default, Tally::sums)
    }

    fn name(&self) -> u64 {
        self.zone.as_ref().map_or(0, |zone| zone.name)
    }
}

/// Where a request shall go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// In 32 bits, as a place: a pick that goes by no shares writes one word for all of this.
    pub(crate) group: u32,
    pub(crate) degraded: bool,
    pub(crate) mark: Mark,
}

impl Drawn {
    pub(crate) const fn group(&self) -> usize {
        self.group as usize
    }
}

/// The shares of a rung, in parts of [`ONE`], and of its zones.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RungShares {
    pub(crate) usable: u64,
    pub(crate) degraded: u64,
    pub(crate) mark: Mark,
    /// Of the usable part and of the degraded one: each adds up to [`ONE`].
    pub(crate) zones: [Vec<u64>; 2],
}

/// All requests.
pub(crate) const ONE: u64 = ZoneShares::ONE;

impl Shares {
    /// The groups in the order of the snapshot.
    pub(crate) fn new(
        id: u64,
        by_percent: bool,
        groups: impl IntoIterator<Item = (Priority, Part, Arc<Masks>, Option<Arc<Zone>>)>,
    ) -> Self {
        let (mut rungs, mut all): (Vec<Rung>, Vec<Group>) = (Vec::new(), Vec::new());
        for (priority, part, masks, zone) in groups {
            let at = all.len();
            match rungs.last_mut().filter(|rung| (rung.priority, rung.part) == (priority, part)) {
                Some(rung) => rung.groups.end = at + 1,
                None => rungs.push(Rung { priority, part, groups: at..at + 1 }),
            }
            all.push(Group { rung: rungs.len() - 1, masks, zone });
        }
        let zeroes = || (0..2 * all.len()).map(|_| AtomicU64::new(0)).collect();
        Self { id, rungs: rungs.into(), cells: zeroes(), bears: zeroes(), groups: all.into(), by_percent }
    }

    /// Writes the shares, as many as there are rungs.
    pub(crate) fn set(&self, shares: &[RungShares]) {
        let mut start = 0;
        let mut cells = self.cells.iter();
        for degraded in [false, true] {
            for rung in shares {
                let part = if degraded { rung.degraded } else { rung.usable };
                let mut zones = 0;
                for &zone in &rung.zones[usize::from(degraded)] {
                    zones += zone;
                    let threshold = start + (u128::from(part) * u128::from(zones) / u128::from(ONE)) as u64;
                    if let Some(cell) = cells.next() {
                        cell.store(threshold | u64::from(rung.mark.bits()) << MARK, Ordering::Relaxed);
                    }
                }
                start += part;
            }
        }
    }

    /// By 64 random bits. None if nobody has a share.
    #[inline]
    pub(crate) fn drawn(&self, draw: u64) -> Option<Drawn> {
        self.at(draw >> 32)
    }

    #[inline]
    fn at(&self, place: u64) -> Option<Drawn> {
        let is_below = |cell: &AtomicU64| place < cell.load(Ordering::Relaxed) & THRESHOLD;
        let (near, far) = self.cells.split_at(self.cells.len().min(SCANNED));
        let index = match near.iter().position(is_below) {
            Some(index) => index,
            None => SCANNED + Some(far.partition_point(|cell| !is_below(cell))).filter(|&i| i < far.len())?,
        };
        Some(self.cell(index))
    }

    #[inline]
    fn cell(&self, index: usize) -> Drawn {
        let degraded = index >= self.groups.len();
        let group = if degraded { index - self.groups.len() } else { index };
        let mark = Mark::from_bits_truncate((self.cells[index].load(Ordering::Relaxed) >> MARK) as u8);
        Drawn { group: group as u32, degraded, mark }
    }

    /// By a key: the same key goes to the same rung while that is at all possible, and to the same zone of it while its share
    /// does not fall.
    ///
    /// Rungs take intervals of a hash of the key that is none of those that policies use; zones are chosen by weighted
    /// rendezvous over their names, so that a share that moves moves no other keys.
    pub(crate) fn keyed(&self, key: u64) -> Option<Drawn> {
        let place =
            if self.by_percent { ((key % 100) << 32) / 100 } else { SplitMix64::mix(key ^ TIERS) >> 32 };
        let drawn = self.at(place)?;
        let groups = self.rungs[self.groups[drawn.group()].rung].groups.clone();
        if groups.len() == 1 {
            return Some(drawn);
        }
        let named =
            groups.clone().map(|group| (self.share(group, drawn.degraded), self.groups[group].name()));
        let zone = ZoneShares::rendezvous(key, named)?;
        Some(Drawn { group: (groups.start + zone) as u32, ..drawn })
    }

    /// What a group gets for its usable or its degraded endpoints.
    pub(crate) fn share(&self, group: usize, degraded: bool) -> u64 {
        let index = if degraded { self.groups.len() + group } else { group };
        let threshold = |index: usize| self.cells[index].load(Ordering::Relaxed) & THRESHOLD;
        let before = index.checked_sub(1).map_or(0, threshold);
        threshold(index).saturating_sub(before)
    }

    /// What part of the requests of its tier a group could bear, in parts of [`ONE`].
    #[inline]
    pub(crate) fn bears(&self, group: usize, degraded: bool) -> u64 {
        self.bears[if degraded { self.groups.len() + group } else { group }].load(Ordering::Relaxed)
    }

    pub(crate) fn set_bears(&self, group: usize, degraded: bool, part: u64) {
        self.bears[if degraded { self.groups.len() + group } else { group }].store(part, Ordering::Relaxed);
    }

    pub(crate) fn mark(&self, group: usize) -> Mark {
        self.cell(group).mark
    }

    /// The sums of the groups of a rung. Whoever is on the way for the first time is no loss, so that endpoints which are added do not
    /// make a tier look ill: they count only if nobody else is there.
    pub(crate) fn sums(&self, rung: &Rung) -> SmallVec<[Sums; 4]> {
        let mut sums: SmallVec<[Sums; 4]> =
            self.groups[rung.groups.clone()].iter().map(Group::sums).collect();
        if sums.iter().any(|sums| sums.settled().endpoints > 0) {
            sums.iter_mut().for_each(|sums| *sums = sums.without_new());
        }
        sums
    }

    /// Whether anybody of a rung is on the way.
    pub(crate) fn is_anybody_starting(&self, rung: usize) -> bool {
        let groups = self.rungs[rung].groups.clone();
        self.groups[groups].iter().any(|group| group.sums().is_anybody_starting())
    }

    /// The rung of a group, as the numbers in errors tell it: usable endpoints and all.
    pub(crate) fn counts(&self, rung: usize) -> (u32, u32) {
        let sums = self.sums(&self.rungs[rung]).iter().fold((0, 0), |(usable, total), sums| {
            (usable + sums.preferred.endpoints + sums.degraded.endpoints, total + sums.total().endpoints)
        });
        (sums.0 as u32, sums.1 as u32)
    }
}

/// As many cells are looked at one by one: nearly always the first one is it.
const SCANNED: usize = 16;
const MARK: u32 = 40;
const THRESHOLD: u64 = (1 << MARK) - 1;
/// Keys of tiers have nothing to do with keys of endpoints.
const TIERS: u64 = 0x7469_6572_7320_6b65;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn shares(rungs: &[(u64, u64, &[u64], &[u64])]) -> Shares {
        let groups = rungs.iter().enumerate().flat_map(|(level, (_, _, zones, _))| {
            zones.iter().map(move |_| {
                let masks = Arc::new(Masks::new(&[], None));
                (Priority::new(level as u8).expect("a low one"), Part::Inside, masks, None)
            })
        });
        let shares = Shares::new(1, false, groups);
        let of = |&(usable, degraded, first, second): &(u64, u64, &[u64], &[u64])| RungShares {
            usable,
            degraded,
            mark: Mark::PANIC,
            zones: [first.to_vec(), second.to_vec()],
        };
        shares.set(&rungs.iter().map(of).collect::<Vec<_>>());
        shares
    }

    #[test]
    fn every_place_has_one_cell() {
        let (half, quarter) = (ONE / 2, ONE / 4);
        let shares = shares(&[
            (half, quarter, &[quarter, 3 * quarter], &[ONE, 0]),
            (quarter, 0, &[0, ONE], &[half, half]),
        ]);
        let at = |place: u64| {
            let drawn = shares.drawn(place << 32).expect("shares add up to one");
            assert_eq!(drawn.mark, Mark::PANIC);
            (drawn.group, drawn.degraded)
        };
        assert_eq!([0, ONE / 8 - 1].map(at), [(0, false); 2]);
        assert_eq!([ONE / 8, half - 1].map(at), [(1, false); 2]);
        assert_eq!([half, half + quarter - 1].map(at), [(3, false); 2], "nothing for a zone without a share");
        assert_eq!([half + quarter, ONE - 1].map(at), [(0, true); 2]);
        assert_eq!((shares.share(1, false), shares.share(2, false)), (3 * ONE / 8, 0));
    }

    #[test]
    fn more_cells_than_are_scanned() {
        let zones = [ONE / 64; 64];
        let shares = shares(&[(ONE, 0, &zones, &zones)]);
        for zone in 0..64 {
            let place = (ONE / 64) * zone;
            for place in [place, place + ONE / 64 - 1] {
                assert_eq!(shares.drawn(place << 32).map(|drawn| u64::from(drawn.group)), Some(zone));
            }
        }
        let nobody = Shares::new(1, false, []);
        assert_eq!((nobody.drawn(7), nobody.keyed(7)), (None, None));
    }
}
