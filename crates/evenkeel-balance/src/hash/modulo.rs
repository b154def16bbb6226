use crate::hash::ledger::greatest_common_divisor;
use crate::hash::mix::again;
use crate::hash::placed::placed_and_chosen;
use crate::hash::{Bits, Candidate, Chooser, KeySettings, Placement};
use crate::{BuiltIn, InvalidPolicy, Members, PolicySettings};

/// Settings of [`Modulo`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ModuloConfig {
    /// What it shares with the other policies that hash a key.
    pub key: KeySettings,
}

impl PolicySettings for ModuloConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Modulo::new(self, members)?))
    }
}

/// Equal keys to one endpoint by the remainder of the hash.
///
/// **Idea.** Endpoints are sorted by name and each gets a run of as many slots as its weight says, in lowest terms; the
/// slot of a key is its hash modulo the number of slots. **Churn.** Whatever changes the number of slots moves almost
/// every key: from n to n + 1 equal endpoints n of n + 1 keys, nearly all of them between two endpoints that both stay. A
/// weight that changes lowest terms does the same. Health moves nothing: the keys of one that is out spread over the
/// others by weight. **Cost.** O(1) up to 65 536 slots, one division and one load; above that the slots are not written
/// out, and a search takes O(log n). 4 bytes a slot, or 12 an endpoint. **When.** The set never changes, or keys may move
/// with it: the quickest and the most even of all. **When not.** Anything is remembered by the endpoints:
/// [`Rendezvous`](crate::Rendezvous), [`Anchor`](crate::Anchor) and [`Maglev`](crate::Maglev) cost little more.
/// **Source.** Older than papers; nginx `hash` and HAProxy `hash-type map-based` are of this kind.
#[derive(Debug)]
pub struct Modulo {
    config: ModuloConfig,
    table: ModuloTable,
    chooser: Chooser,
}

impl Modulo {
    /// The policy for these members. O(n log n + slots).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range.
    pub fn new(config: &ModuloConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let chooser = Chooser::new("modulo", &config.key, Bits::Uniform, members)?;
        Ok(Self { config: *config, table: ModuloTable::new(members), chooser })
    }

    /// The policy for other members; counts of those that stay are shared with it.
    #[must_use]
    pub fn updated(&self, members: &dyn Members) -> Self {
        Self {
            config: self.config,
            table: ModuloTable::new(members),
            chooser: self.chooser.rebuild(&self.config.key, members),
        }
    }
}

placed_and_chosen!(Modulo, table, always);

/// Slots by number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ModuloTable {
    len: usize,
    slots: Slots,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Slots {
    /// The position of each.
    Written(Box<[u32]>),
    /// Where the run of each position ends, with the position.
    Runs(Box<[(u64, u32)]>),
}

/// The most slots that are written out: 256 KiB, a fair part of a second-level cache.
const MOST_WRITTEN: u64 = 1 << 16;

impl ModuloTable {
    fn new(members: &dyn Members) -> Self {
        let weights = members.weights();
        let unit = greatest_common_divisor(weights).max(1);
        let mut order: Vec<_> = (0..weights.len())
            .filter(|&position| weights[position] > 0)
            .map(|position| (members.endpoint(position), position))
            .collect();
        order.sort_unstable_by(|one, other| one.0.id().cmp(other.0.id()));
        let runs = order.iter().map(|&(_, position)| (u64::from(weights[position]) / unit, position as u32));
        let total: u64 = runs.clone().map(|(slots, _)| slots).sum();
        let slots = if total <= MOST_WRITTEN {
            Slots::Written(
                runs.flat_map(|(slots, position)| std::iter::repeat_n(position, slots as usize)).collect(),
            )
        } else {
            let ends = runs.scan(0, |end, (slots, position)| {
                *end += slots;
                Some((*end, position))
            });
            Slots::Runs(ends.collect())
        };
        Self { len: weights.len(), slots }
    }

    #[inline]
    fn position(&self, hash: u64) -> Option<usize> {
        match &self.slots {
            Slots::Written(slots) => {
                let slot = hash.checked_rem(slots.len() as u64)?;
                Some(slots[slot as usize] as usize)
            }
            Slots::Runs(runs) => {
                let slot = hash.checked_rem(runs.last()?.0)?;
                let run = runs.partition_point(|&(end, _)| end <= slot);
                Some(runs[run].1 as usize)
            }
        }
    }
}

impl Placement for ModuloTable {
    fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn home(&self, hash: u64) -> Option<Candidate> {
        self.position(hash).map(Candidate::at)
    }

    fn next(&self, hash: u64, step: u32, last: Candidate) -> Candidate {
        self.position(again(hash, step.into())).map_or(last, Candidate::at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::crowd::{Crowd, compare};

    #[test]
    fn slots_follow_names_and_weights_whatever_the_order_of_members() {
        let table = ModuloTable::new(&Crowd::of(&[(3, 20), (1, 40), (2, 0)]));
        assert_eq!(table.slots, Slots::Written([1, 1, 0].into()));
        assert_eq!(table.home(4).map(|candidate| candidate.position), Some(1));
        let other = ModuloTable::new(&Crowd::of(&[(1, 40), (2, 0), (3, 20)]));
        assert_eq!(other.slots, Slots::Written([0, 0, 2].into()));
        assert_eq!(ModuloTable::new(&Crowd::of(&[(1, 0)])).home(7), None);
        assert_eq!(ModuloTable::new(&Crowd::of(&[])).home(7), None);
    }

    #[test]
    fn many_slots_are_searched_and_mean_the_same() {
        let crowd = Crowd::of(&[(1, 65_000), (2, 1), (3, 65_001)]);
        let table = ModuloTable::new(&crowd);
        assert!(matches!(table.slots, Slots::Runs(_)), "{table:?}");
        for (slot, position) in [(0, 0), (64_999, 0), (65_000, 1), (65_001, 2), (130_001, 2), (130_002, 0)] {
            assert_eq!(table.position(slot), Some(position), "{slot}");
        }
    }

    /// The theory, so that nobody thinks better of it.
    #[test]
    fn one_more_endpoint_moves_almost_every_key() {
        let ten = Crowd::equal(10);
        let eleven = ten.with(99, 1);
        let churn = compare(&ModuloTable::new(&ten), &ten, &ModuloTable::new(&eleven), &eleven);
        assert!((0.88..0.94).contains(&churn.moved), "{churn:?}");
    }
}
