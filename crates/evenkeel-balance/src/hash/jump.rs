use crate::hash::ledger::{Ledger, Numbers};
use crate::hash::mix::{again, scale};
use crate::hash::placed::placed_and_chosen;
use crate::hash::{Bits, Candidate, Chooser, KeySettings, Placement};
use crate::{BuiltIn, InvalidPolicy, Members, PolicySettings};

/// Settings of [`Jump`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct JumpConfig {
    /// What it shares with the other policies that hash a key.
    pub key: KeySettings,
}

impl PolicySettings for JumpConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Jump::new(self, members)?))
    }
}

/// Equal keys to one endpoint by jump hash, with buckets that keep their numbers.
///
/// **Idea.** Endpoints own numbered buckets in proportion to their weights; the number of a key is where a sequence of
/// jumps, drawn from the key, ends below the number of buckets. The paper's function cannot take a bucket out of the
/// middle, and programs that shift the list move half of all keys. Here an endpoint that leaves leaves empty buckets:
/// keys that fall into one draw again, and the next endpoint that comes gets them. So whatever is removed, added or
/// reweighed, keys move only from or to the endpoints that changed, with two exceptions. A weight that is no multiple of
/// the others' unit ends in a bucket taken in part, and a *new* such bucket moves the keys of its other part too. And
/// when more than three of four buckets are empty the table starts afresh, which moves most keys once.
/// **Weights** are exact: a bucket for each unit of weight, where the unit is their greatest common divisor, up to 64
/// buckets an endpoint (4 096 at least); beyond that the last bucket of each is taken in part.
/// **History.** Which endpoint owns which bucket depends on what came and went. Balancers that start with the same set
/// agree, in any order of members. After changes a balancer that has lived through them disagrees with one that has
/// started since. Where a fleet must agree take [`Rendezvous`](crate::Rendezvous), [`RingHash`](crate::RingHash) or
/// [`Maglev`](crate::Maglev), or see to it that all live through the same changes.
/// **Cost.** O(log n); 8 bytes a bucket. **When.** Even shares by weight from little memory, and few empty buckets.
/// **When not.** Several balancers must agree without a common history; speed matters most ([`Anchor`](crate::Anchor) is
/// as even and quicker). **Source.** Lamping and Veach, "A fast, minimal memory, consistent hash algorithm", arXiv
/// 1406.2294; the empty buckets are ours, in the place of the paper's advice to let replicas stand in.
#[derive(Debug)]
pub struct Jump {
    config: JumpConfig,
    table: JumpTable,
    chooser: Chooser,
}

impl Jump {
    /// The policy for these members, without a history. O(n log n + buckets).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range.
    pub fn new(config: &JumpConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let chooser = Chooser::new("jump", &config.key, Bits::Uniform, members)?;
        Ok(Self { config: *config, table: JumpTable::new(members, SEED), chooser })
    }

    /// The policy for other members, with this one's history.
    #[must_use]
    pub fn updated(&self, members: &dyn Members) -> Self {
        Self {
            config: self.config,
            table: self.table.moved_to(members),
            chooser: self.chooser.rebuild(&self.config.key, members),
        }
    }
}

placed_and_chosen!(Jump, table, always);

/// The bucket of a key among `buckets`, bit for bit as the paper's function gives it; 0 if there are none.
///
/// Lamping and Veach, "A fast, minimal memory, consistent hash algorithm", arXiv 1406.2294, figure 1. O(log buckets).
/// When the number of buckets grows from n to n + 1, one key in n + 1 moves, and only to the new bucket.
///
/// ```
/// use evenkeel_balance::hash::jump_bucket;
/// assert_eq!(jump_bucket(0xdead_10cc, 666), 361);
/// ```
#[inline]
#[must_use]
pub fn jump_bucket(key: u64, buckets: u32) -> u32 {
    let buckets = f64::from(buckets);
    // Where the paper has the bucket, this has one more: what a step multiplies, and what it can round to.
    let (mut key, mut above) = (key, 1.0);
    // All stays in floats, since turning one into an integer and back takes longer than the rest of a step.
    loop {
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let stretch = TWO_TO_31 / ((key >> 33) as i64 + 1) as f64;
        let next = above * stretch;
        if next >= buckets {
            return (above - 1.0) as u32;
        }
        above = whole_above(next);
    }
}

/// The least whole number above a number from 1 to 2^32.
#[inline(always)]
fn whole_above(number: f64) -> f64 {
    // At 2^52 floats are whole numbers, so the sum is rounded to one: upwards, since what is rounded lies less than a half below
    // that. Only of a whole number it lies just a half below, and may be rounded to the number itself.
    let rounded = (number + 0.5) + TWO_TO_52 - TWO_TO_52;
    if rounded > number { rounded } else { after(number) }
}

/// Out of line, so that who has a fraction does not wait for the comparison.
#[cold]
#[inline(never)]
fn after(number: f64) -> f64 {
    number + 1.0
}

const TWO_TO_52: f64 = (1_u64 << 52) as f64;

const TWO_TO_31: f64 = (1_u64 << 31) as f64;

/// Of the order in which a table without history gives out its buckets; apart from what other tables are made with.
const SEED: u64 = 0x6a75_6d70;

/// How often a key that fell into a bucket without an owner draws again. Compaction keeps a quarter of the buckets owned,
/// so one key in 10^8 is left after it, and goes to the next owned bucket.
const TRIES: u64 = 64;

/// The buckets of [`Jump`].
#[derive(Clone, Debug)]
struct JumpTable {
    ledger: Ledger,
    tombs: Tombs,
    seed: u64,
}

/// Numbers without an owner are given out again first, the last that was given back before the others; then new ones.
#[derive(Clone, Debug, Default)]
struct Tombs {
    free: Vec<u32>,
    next: u32,
}

impl Numbers for Tombs {
    fn take(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let number = self.next;
            self.next = number.checked_add(1)?;
            Some(number)
        })
    }

    fn give_back(&mut self, bucket: u32) {
        self.free.push(bucket);
    }
}

impl JumpTable {
    /// A table without history: endpoints get their buckets in the order of the hashes of their names.
    fn new(members: &dyn Members, seed: u64) -> Self {
        let mut tombs = Tombs::default();
        let ledger = Ledger::empty().moved_to(members, seed, &mut tombs);
        Self { ledger: ledger.expect("bounded by most_buckets, below 2^32"), tombs, seed }
    }

    /// The table for other members. What stays keeps its buckets; newcomers get those that were left.
    fn moved_to(&self, members: &dyn Members) -> Self {
        let mut tombs = self.tombs.clone();
        let Some(ledger) = self.ledger.moved_to(members, self.seed, &mut tombs) else {
            return Self::new(members, self.seed);
        };
        let all = ledger.buckets().len();
        // Below a quarter the fourth try is the usual one. Starting afresh moves keys once; then there is room again.
        if all > 4 * (all - tombs.free.len().min(all)) && all > LEAST_COMPACTED {
            return Self::new(members, self.seed);
        }
        Self { ledger, tombs, seed: self.seed }
    }

    /// The endpoint of a key; `None` if nobody owns a bucket.
    #[inline]
    fn position(&self, hash: u64) -> Option<usize> {
        let buckets = self.ledger.buckets();
        let bucket = *buckets.get(jump_bucket(hash, buckets.len() as u32) as usize)?;
        bucket.owner_of(hash).or_else(|| self.further(hash))
    }

    /// The way of a key whose bucket is not owned, or not by all keys.
    #[cold]
    fn further(&self, hash: u64) -> Option<usize> {
        let buckets = self.ledger.buckets();
        let count = buckets.len() as u32;
        for attempt in 0..TRIES {
            let hash = again(hash, attempt);
            let bucket = buckets[jump_bucket(hash, count) as usize];
            if let Some(owner) = bucket.owner_of(hash) {
                return Some(owner);
            }
        }
        let start = scale(again(hash, TRIES), count) as usize;
        let owned = buckets[start..].iter().chain(&buckets[..start]).find(|bucket| bucket.is_owned());
        owned.map(|bucket| bucket.owner())
    }
}

/// Few buckets are never worth a move.
const LEAST_COMPACTED: usize = 16;

impl Placement for JumpTable {
    fn len(&self) -> usize {
        self.ledger.len()
    }

    #[inline]
    fn home(&self, hash: u64) -> Option<Candidate> {
        self.position(hash).map(Candidate::at)
    }

    fn next(&self, hash: u64, step: u32, last: Candidate) -> Candidate {
        // Apart from the tries for this hash, which count from 0.
        self.position(again(!hash, step.into())).map_or(last, Candidate::at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::crowd::{Crowd, assert_shares_are_weights, changes, compare, hashes};

    fn table(crowd: &Crowd) -> JumpTable {
        JumpTable::new(crowd, SEED)
    }

    /// Printed by the paper's function, compiled as C by gcc.
    #[test]
    fn buckets_are_those_of_the_paper() {
        let lengths = [1, 2, 10, 57, 666, 1000, 1024, 65_537, 1_000_000, 2_147_483_647];
        for (key, buckets) in [
            (0x0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            (0x1, [0, 0, 6, 55, 549, 549, 549, 21_134, 985_611, 262_355_607]),
            (0x2a, [0, 1, 2, 43, 571, 571, 571, 5747, 153_897, 1_603_940_301]),
            (0x100, [0, 1, 3, 16, 520, 520, 520, 8799, 86_422, 74_751_002]),
            (0xdead_10cc, [0, 1, 5, 13, 361, 361, 361, 6591, 924_137, 1_321_988_195]),
            (u64::MAX, [0, 1, 9, 10, 313, 313, 313, 18_311, 589_430, 699_554_662]),
            (0x9e37_79b9_7f4a_7c15, [0, 1, 3, 3, 560, 838, 838, 56_183, 972_672, 1_680_513_372]),
            (0x1122_10f4_7de9_8115, [0, 1, 9, 48, 189, 888, 888, 5233, 104_880, 542_643_565]),
        ] {
            assert_eq!(lengths.map(|length| jump_bucket(key, length)), buckets, "{key:x}");
        }
    }

    /// A hundred thousand more answers of the same program, as one number.
    #[test]
    fn a_hundred_thousand_buckets_are_those_of_the_paper() {
        let (mut key, mut sum) = (0x9e37_79b9_7f4a_7c15_u64, 0xcbf2_9ce4_8422_2325_u64);
        for _ in 0..100_000 {
            key = key.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let length = 1 + (key >> 40) as u32 % 100_000;
            sum = (sum ^ u64::from(jump_bucket(key, length))).wrapping_mul(0x100_0000_01b3);
        }
        assert_eq!(sum, 0x4891_8094_9978_dfa6);
    }

    #[test]
    fn nobody_and_everybody() {
        assert_eq!(jump_bucket(7, 0), 0);
        assert!(hashes().all(|hash| jump_bucket(hash, u32::MAX) < u32::MAX));
        for nobody in [Crowd::of(&[]), Crowd::of(&[(1, 0), (2, 0)])] {
            assert_eq!(table(&nobody).home(5), None);
        }
        assert_eq!(table(&Crowd::of(&[(1, 0), (2, 7)])).home(5), Some(Candidate::at(1)));
    }

    #[test]
    fn shares_are_weights_however_odd() {
        for weights in
            [vec![1; 10], vec![3, 1, 0, 2], vec![u32::MAX, 1, 1, u32::MAX], vec![997, 1009, 65_537]]
        {
            let crowd = Crowd::of(&(0..).zip(weights.clone()).collect::<Vec<_>>());
            assert_shares_are_weights(&table(&crowd), &weights);
        }
    }

    #[test]
    fn one_taken_from_the_middle_moves_its_own_keys_and_leaves_a_place_for_the_next() {
        let ten = Crowd::equal(10);
        let nine = ten.without(4);
        let (before, after) = (table(&ten), table(&ten).moved_to(&nine));
        let churn = compare(&before, &ten, &after, &nine);
        assert!(churn.needless == 0.0 && (0.08..0.12).contains(&churn.moved), "{churn:?}");
        assert_shares_are_weights(&after, &[1; 9]);
        let again = nine.with(77, 1);
        let churn = compare(&after, &nine, &after.moved_to(&again), &again);
        assert!(churn.needless == 0.0 && (0.08..0.12).contains(&churn.moved), "{churn:?}");
        assert_eq!(after.moved_to(&again).ledger.buckets().len(), 10, "the empty bucket was taken");
    }

    #[test]
    fn a_table_of_empty_buckets_starts_afresh() {
        let crowd = Crowd::equal(100);
        let few = (0..90).fold(crowd.clone(), |crowd, number| crowd.without(number));
        let after = table(&crowd).moved_to(&few);
        assert_eq!(after.ledger.buckets().len(), 10);
        assert_shares_are_weights(&after, &[1; 10]);
    }

    #[test]
    fn the_order_of_members_does_not_matter_without_a_history() {
        let crowd = Crowd::of(&[(5, 1), (1, 3), (9, 2), (4, 2)]);
        let reversed = crowd.reversed();
        assert_eq!(compare(&table(&crowd), &crowd, &table(&reversed), &reversed).moved, 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whole buckets, and few enough empty ones: no key moves between two endpoints that both stay as they are.
        #[test]
        fn nothing_moves_that_need_not(steps in changes()) {
            let mut crowd = Crowd::equal(12);
            let mut now = table(&crowd);
            for step in steps {
                let next = step.of(&crowd);
                let after = now.moved_to(&next);
                prop_assert_eq!(compare(&now, &crowd, &after, &next).needless, 0.0);
                (crowd, now) = (next, after);
            }
        }
    }
}
