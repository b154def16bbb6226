//! How many endpoints of a group are how, and their weights: what shares are computed from, without a look at each.

use evenkeel_balance::Mask;
use parking_lot::Mutex;

use crate::roster::Level;
use crate::sync::{AtomicU64, Ordering};

/// Kept beside the masks of a group where shares go by numbers.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Everybody who was not withdrawn and is not new: among these panic chooses.
    present: Mask,
    /// Whoever is on the way for the first time: as a rule nobody listens there yet.
    new: Mask,
    counts: Mutex<Counts>,
    /// The mean utilisation that its endpoints report, as the bits of a number; NaN if none does.
    utilisation: AtomicU64,
}

/// Endpoints of one level, and the sum of their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) endpoints: u64,
    pub(crate) weight: u64,
}

impl Sum {
    pub(crate) const fn by(self, weights: bool) -> u64 {
        if weights { self.weight } else { self.endpoints }
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self { endpoints: self.endpoints + other.endpoints, weight: self.weight.saturating_add(other.weight) }
    }
}

/// The sums of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) preferred: Sum,
    pub(crate) degraded: Sum,
    /// On their way for the first time.
    pub(crate) new: Sum,
    /// As new, and something else speaks against them.
    pub(crate) new_down: Sum,
    /// On their way again.
    pub(crate) starting: Sum,
    /// Unusable for what was concluded about them.
    pub(crate) out: Sum,
}

impl Sums {
    /// All that were not withdrawn.
    pub(crate) const fn total(&self) -> Sum {
        self.settled().plus(self.new).plus(self.new_down)
    }

    /// All that were not withdrawn and are not new: what a group can have lost.
    pub(crate) const fn settled(&self) -> Sum {
        self.preferred.plus(self.degraded).plus(self.starting).plus(self.out)
    }

    /// Whether anybody is on the way.
    pub(crate) const fn is_anybody_starting(&self) -> bool {
        self.new.endpoints + self.starting.endpoints > 0
    }

    /// As if whoever is new were not there.
    pub(crate) fn without_new(self) -> Self {
        Self { new: Sum::default(), new_down: Sum::default(), ..self }
    }

    fn of(&mut self, level: Level) -> Option<&mut Sum> {
        Some(match level {
            Level::Preferred => &mut self.preferred,
            Level::Degraded => &mut self.degraded,
            Level::New => &mut self.new,
            Level::NewDown => &mut self.new_down,
            Level::Starting => &mut self.starting,
            Level::Out => &mut self.out,
            Level::Withdrawn => return None,
        })
    }

    fn add(&mut self, level: Level, weight: u32) {
        if let Some(sum) = self.of(level) {
            sum.endpoints += 1;
            sum.weight += u64::from(weight);
        }
    }

    fn take(&mut self, level: Level, weight: u32) {
        if let Some(sum) = self.of(level) {
            sum.endpoints -= 1;
            sum.weight -= u64::from(weight);
        }
    }
}

#[derive(Debug)]
struct Counts {
    sums: Sums,
    /// As what each position was counted, and with which weight.
    of: Box<[(Level, u32)]>,
}

impl Counts {
    fn set(&mut self, position: usize, level: Level, weight: u32) {
        let Some(counted) = self.of.get_mut(position) else { return };
        let before = std::mem::replace(counted, (level, weight));
        self.sums.take(before.0, before.1);
        self.sums.add(level, weight);
    }
}

impl Tally {
    pub(crate) fn new(levels: &[Level], weights: &[u32]) -> Self {
        let of: Box<[_]> = levels.iter().copied().zip(weights.iter().copied()).collect();
        let mut sums = Sums::default();
        of.iter().for_each(|&(level, weight)| sums.add(level, weight));
        Self {
            present: Mask::new(levels.len(), |position| is_present(levels[position])),
            new: Mask::new(levels.len(), |position| levels[position].is_new()),
            counts: Mutex::new(Counts { sums, of }),
            utilisation: AtomicU64::new(f64::NAN.to_bits()),
        }
    }

    /// Counts a position as what it says: asked under the lock, so that of two who ask the later truth stays.
    pub(crate) fn refresh(&self, position: usize, level: impl Fn() -> Level) {
        // New is what an endpoint is first, so it comes into the other mask before it leaves this one.
        self.present.refresh(position, || is_present(level()));
        self.new.refresh(position, || level().is_new());
        let mut counts = self.counts.lock();
        if let Some(&(_, weight)) = counts.of.get(position) {
            counts.set(position, level(), weight);
        }
    }

    /// Among whom panic chooses: whoever is new only if nobody else is there.
    pub(crate) fn in_panic(&self) -> &Mask {
        if self.present.usable() > 0 { &self.present } else { &self.new }
    }

    /// Takes over new weights.
    pub(crate) fn reweigh(&self, weights: &[u32]) {
        let mut counts = self.counts.lock();
        for (position, &weight) in weights.iter().enumerate() {
            if let Some(&(level, _)) = counts.of.get(position) {
                counts.set(position, level, weight);
            }
        }
    }

    pub(crate) fn sums(&self) -> Sums {
        self.counts.lock().sums
    }

    pub(crate) fn set_utilisation(&self, mean: Option<f64>) {
        self.utilisation.store(mean.unwrap_or(f64::NAN).to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn utilisation(&self) -> Option<f64> {
        Some(f64::from_bits(self.utilisation.load(Ordering::Relaxed))).filter(|mean| !mean.is_nan())
    }
}

/// What panic chooses among.
const fn is_present(level: Level) -> bool {
    !matches!(level, Level::Withdrawn) && !level.is_new()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use Level::{Degraded, New, NewDown, Out, Preferred, Starting, Withdrawn};

    #[test]
    fn sums_follow_every_change() {
        let all = [Preferred, Degraded, Starting, Out, Withdrawn, New, NewDown];
        let tally = Tally::new(&all, &[1, 2, 3, 4, 0, 5, 6]);
        let sum = |endpoints, weight| Sum { endpoints, weight };
        assert_eq!(
            tally.sums(),
            Sums {
                preferred: sum(1, 1),
                degraded: sum(1, 2),
                new: sum(1, 5),
                new_down: sum(1, 6),
                starting: sum(1, 3),
                out: sum(1, 4)
            }
        );
        assert_eq!((tally.sums().total(), tally.sums().settled()), (sum(6, 21), sum(4, 10)));
        assert_eq!((tally.sums().without_new().total(), tally.in_panic().usable()), (sum(4, 10), 4));
        tally.refresh(5, || Withdrawn);
        tally.refresh(6, || Withdrawn);
        // Every level to every other, twice, and a position that is not there.
        for (from, to) in all.iter().flat_map(|from| all.map(|to| (*from, to))) {
            tally.refresh(0, || from);
            tally.refresh(0, || to);
            tally.refresh(0, || to);
            tally.refresh(9, || to);
            let present = 3 + u64::from(to != Withdrawn);
            let old = 3 + u64::from(!matches!(to, Withdrawn | New | NewDown));
            assert_eq!((tally.sums().total().endpoints, tally.in_panic().usable() as u64), (present, old));
        }
        let young = Tally::new(&[New, Withdrawn, NewDown], &[1; 3]);
        assert_eq!(young.in_panic().usable(), 2, "nobody else is there");
        young.refresh(1, || Out);
        assert_eq!((young.in_panic().usable(), young.in_panic().contains(1)), (1, true));
        tally.refresh(0, || Withdrawn);
        tally.reweigh(&[7, 0, 5, 4, 9, 9]);
        assert_eq!(tally.sums().total(), sum(3, 9), "a withdrawn one counts nothing, whatever its weight");
        tally.refresh(0, || Preferred);
        assert_eq!(tally.sums().preferred, sum(1, 7));
    }
}
