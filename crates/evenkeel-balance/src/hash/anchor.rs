use crate::hash::ledger::{Ledger, Numbers, buckets_for, unit_for};
use crate::hash::mix::{again, fold, scale};
use crate::hash::placed::placed_and_chosen;
use crate::hash::{Bits, Candidate, Chooser, KeySettings, Placement};
use crate::{BuiltIn, InvalidPolicy, Members, PolicySettings};

/// Settings of [`Anchor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct AnchorConfig {
    /// What it shares with the other policies that hash a key.
    pub key: KeySettings,
    /// How many times as many numbers there are as the first members need: 2 to 64. Default 2: a set may double before
    /// keys move, and a lookup costs a rehash more on average than without.
    pub headroom: u32,
}

impl Default for AnchorConfig {
    fn default() -> Self {
        Self { key: KeySettings::default(), headroom: 2 }
    }
}

impl PolicySettings for AnchorConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Anchor::new(self, members)?))
    }
}

/// Equal keys to one endpoint by AnchorHash: a lookup of a few loads, and no key moves that need not.
///
/// **Idea.** Numbers below a capacity, of which as many work as weights ask for. A key draws one of all numbers; if that
/// does not work it draws among those that worked just after it was taken out, and so on, until one works. To take a
/// number out, or to put the last one back, is O(1), and moves only the keys of that number.
/// **Weights** are exact: a number for each unit of weight, where the unit is their greatest common divisor, up to 64 an
/// endpoint (4 096 at least); beyond that the last number of each is taken in part. **Capacity** is `headroom` times what
/// the first members need, at least 16. When more numbers are asked for than it has, a table of `headroom` times the new
/// need is made from nothing, which moves almost every key once; so a set may grow `headroom` times before that happens.
/// It never shrinks. **History.** Numbers are put back in the reverse of the order in which they were taken out, so the
/// table depends on what came and went. Balancers that start with the same set agree, in any order of members. After
/// changes a balancer that has lived through them disagrees with one that has started since: a fleet that must agree
/// lives through the same changes, or takes [`Rendezvous`](crate::Rendezvous), [`RingHash`](crate::RingHash) or
/// [`Maglev`](crate::Maglev).
/// **Cost.** O(1 + log² (capacity ÷ working)), as a rule two or three dependent loads; 28 bytes a number. **When.** One
/// balancer, or several with the same history, and caches behind them: as even as chance allows, and quick.
/// **When not.** Balancers must agree without a common history. **Source.** Mendelson, Vargaftik, Barabash, Lorenz,
/// Keslassy and Orda, "AnchorHash: a scalable consistent hash", arXiv 1812.09674.
#[derive(Debug)]
pub struct Anchor {
    config: AnchorConfig,
    table: AnchorTable,
    chooser: Chooser,
}

impl Anchor {
    /// The policy for these members, without a history. O(n log n + buckets).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range.
    pub fn new(config: &AnchorConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        if !(2..=64).contains(&config.headroom) {
            let problem = format!("{} is out of range: allowed are 2 to 64", config.headroom);
            return Err(InvalidPolicy::setting("anchor", "headroom", problem));
        }
        let chooser = Chooser::new("anchor", &config.key, Bits::Uniform, members)?;
        Ok(Self { config: *config, table: AnchorTable::new(members, SEED, config.headroom), chooser })
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

placed_and_chosen!(Anchor, table, always);

/// AnchorHash itself: numbers below a capacity, of which some work.
///
/// ```text
/// bucket(key):                             remove(b):                      add():
///   b = hash(key) in 0..capacity             N -= 1; A[b] = N                b = pop(R); A[b] = 0
///   while A[b] > 0:                          W[L[b]] = K[b] = W[N]           L[W[N]] = N
///     h = hash(key, b) in 0..A[b]            L[W[N]] = L[b]                  W[L[b]] = K[b] = b
///     while A[h] >= A[b]: h = K[h]           push(R, b)                      N += 1
///     b = h
/// ```
///
/// `A[b]` is 0 while b works, else how many worked after it was removed; `K[b]` is who took its place then; W and L are
/// the working numbers and where each stands among them; R are the removed ones. A key whose number was removed goes to
/// one of those that worked just after; so it is moved once, as by a hash of its own, and nobody else is.
#[derive(Clone, Debug)]
struct Anchors {
    /// What a lookup reads.
    nodes: Vec<Node>,
    working: Vec<u32>,
    places: Vec<u32>,
    removed: Vec<u32>,
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// A.
    left: u32,
    /// K.
    heir: u32,
}

impl Anchors {
    /// None works yet; numbers are given out from 0.
    fn new(capacity: u32) -> Self {
        let all: Vec<u32> = (0..capacity).collect();
        Self {
            nodes: all.iter().map(|&number| Node { left: number, heir: number }).collect(),
            working: all.clone(),
            places: all.clone(),
            removed: all.into_iter().rev().collect(),
            count: 0,
        }
    }

    fn capacity(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// The working number of a key. At least one must work.
    ///
    /// The paper hashes the key with each number that it meets; here each hash is made of the one before. A way is as long
    /// as it was before a removal, and then goes on, so nothing else moves for that; and hashes of one key that were all
    /// made of the key itself by one multiplication would follow each other.
    #[inline(always)]
    fn find(&self, hash: u64) -> u32 {
        let mut hash = hash;
        let mut number = scale(hash, self.capacity());
        loop {
            let left = self.nodes[number as usize].left;
            if left == 0 {
                return number;
            }
            hash = fold(hash ^ SALT, STRIDE ^ u64::from(number));
            number = scale(hash, left);
            loop {
                let node = self.nodes[number as usize];
                if node.left < left {
                    break;
                }
                number = node.heir;
            }
        }
    }
}

const SALT: u64 = 0x2d35_8dcc_aa6c_78a5;
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

impl Numbers for Anchors {
    fn take(&mut self) -> Option<u32> {
        let number = self.removed.pop()?;
        let node = &mut self.nodes[number as usize];
        *node = Node { left: 0, heir: number };
        let last = self.working[self.count as usize];
        self.places[last as usize] = self.count;
        self.working[self.places[number as usize] as usize] = number;
        self.count += 1;
        Some(number)
    }

    fn give_back(&mut self, number: u32) {
        self.count -= 1;
        let last = self.working[self.count as usize];
        self.nodes[number as usize] = Node { left: self.count, heir: last };
        let place = self.places[number as usize];
        self.working[place as usize] = last;
        self.places[last as usize] = place;
        self.removed.push(number);
    }
}

/// Of the order in which a table without history gives out its numbers; apart from what other tables are made with.
const SEED: u64 = 0x616e_6368;

/// How often a key that a bucket does not take draws again; half of all keys are taken each time at least.
const TRIES: u64 = 64;

/// The least capacity: growing from it costs a full move of the keys, and it holds 16 numbers of 24 bytes.
const LEAST_CAPACITY: u64 = 16;

/// The buckets of [`Anchor`].
#[derive(Clone, Debug)]
struct AnchorTable {
    ledger: Ledger,
    anchors: Anchors,
    seed: u64,
    headroom: u32,
}

impl AnchorTable {
    /// A table without history: endpoints get their numbers in the order of the hashes of their names.
    fn new(members: &dyn Members, seed: u64, headroom: u32) -> Self {
        let weights = members.weights();
        let needed = buckets_for(weights, unit_for(weights, 0));
        Self::with_capacity(members, seed, headroom, needed)
    }

    fn with_capacity(members: &dyn Members, seed: u64, headroom: u32, needed: u64) -> Self {
        // At least one number more than work, or the next endpoint would move every key.
        let capacity = needed.saturating_mul(headroom.into()).clamp(LEAST_CAPACITY, 1 << 31);
        let mut anchors = Anchors::new(capacity as u32);
        let ledger = Ledger::empty().moved_to(members, seed, &mut anchors);
        Self { ledger: ledger.expect("the capacity is what the members need"), anchors, seed, headroom }
    }

    /// The table for other members. What stays keeps its numbers; newcomers get those that were given back last.
    fn moved_to(&self, members: &dyn Members) -> Self {
        let mut anchors = self.anchors.clone();
        match self.ledger.moved_to(members, self.seed, &mut anchors) {
            Some(ledger) => Self { ledger, anchors, ..*self },
            None => Self::new(members, self.seed, self.headroom),
        }
    }

    /// The endpoint of a key; `None` if nobody owns a bucket.
    #[inline]
    fn position(&self, hash: u64) -> Option<usize> {
        if self.anchors.count == 0 {
            return None;
        }
        let bucket = self.ledger.buckets()[self.anchors.find(hash) as usize];
        bucket.owner_of(hash).or_else(|| self.further(hash))
    }

    /// The way of a key that its bucket does not take, since its owner has only a part of it.
    #[cold]
    fn further(&self, hash: u64) -> Option<usize> {
        let buckets = self.ledger.buckets();
        let mut last = None;
        for attempt in 0..TRIES {
            let hash = again(hash, attempt);
            let bucket = buckets[self.anchors.find(hash) as usize];
            if let Some(owner) = bucket.owner_of(hash) {
                return Some(owner);
            }
            last = Some(bucket.owner());
        }
        last
    }
}

impl Placement for AnchorTable {
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
    use crate::laws::members;

    fn table(crowd: &Crowd) -> AnchorTable {
        AnchorTable::new(crowd, SEED, 2)
    }

    #[test]
    fn nobody_and_everybody() {
        for nobody in [Crowd::of(&[]), Crowd::of(&[(1, 0), (2, 0)])] {
            assert_eq!(table(&nobody).home(5), None);
        }
        let one = Crowd::of(&[(1, 0), (2, 7)]);
        assert_eq!(table(&one).home(5), Some(Candidate::at(1)));
        let nobody = one.reweighed(2, 0);
        let none = table(&one).moved_to(&nobody);
        assert_eq!(none.home(5), None);
        assert_eq!(none.moved_to(&one).home(5), Some(Candidate::at(1)));
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
    fn one_taken_from_the_middle_and_put_back_moves_its_own_keys() {
        let ten = Crowd::equal(10);
        let nine = ten.without(4);
        let after = table(&ten).moved_to(&nine);
        let churn = compare(&table(&ten), &ten, &after, &nine);
        assert!(churn.needless == 0.0 && (0.08..0.12).contains(&churn.moved), "{churn:?}");
        assert_shares_are_weights(&after, &[1; 9]);
        assert_eq!(compare(&table(&ten), &ten, &after.moved_to(&ten), &ten).moved, 0.0);
    }

    #[test]
    fn a_set_may_double_before_keys_move() {
        let ten = Crowd::equal(10);
        let twenty = (100..110).fold(ten.clone(), |crowd, number| crowd.with(number, 1));
        let after = table(&ten).moved_to(&twenty);
        assert_eq!(after.anchors.capacity(), 20);
        assert_eq!(compare(&table(&ten), &ten, &after, &twenty).needless, 0.0);
        let more = twenty.with(110, 1);
        assert_eq!(after.moved_to(&more).anchors.capacity(), 42, "made from nothing for 21");
    }

    #[test]
    fn the_order_of_members_does_not_matter_without_a_history() {
        let crowd = Crowd::of(&[(5, 1), (1, 3), (9, 2), (4, 2)]);
        let reversed = crowd.reversed();
        assert_eq!(compare(&table(&crowd), &crowd, &table(&reversed), &reversed).moved, 0.0);
    }

    #[test]
    fn headroom_out_of_range_is_refused() {
        for headroom in [0, 1, 65, u32::MAX] {
            let config = AnchorConfig { headroom, ..AnchorConfig::default() };
            let error = Anchor::new(&config, &members(&[1])).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("policy anchor: headroom: {headroom} is out of range: allowed are 2 to 64")
            );
        }
    }

    /// The longest ways there are: hashes that followed each other would show.
    #[test]
    fn a_few_of_many_numbers_are_as_even_as_draws() {
        for capacity in [16, 1024] {
            let mut anchors = Anchors::new(capacity);
            assert_eq!([anchors.take(), anchors.take(), anchors.take()], [Some(0), Some(1), Some(2)]);
            let mut counts = [0_i64; 3];
            (0..300_000).for_each(|key| counts[anchors.find(again(key, 0)) as usize] += 1);
            // Five times √(300 000 × 1/3 × 2/3).
            assert!(counts.iter().all(|count| (count - 100_000).abs() < 1_291), "{capacity}: {counts:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whole buckets, and room for all: no key moves between two endpoints that both stay as they are.
        #[test]
        fn nothing_moves_that_need_not(steps in changes()) {
            let mut crowd = Crowd::equal(12);
            let mut now = AnchorTable::new(&crowd, SEED, 16);
            for step in steps {
                let next = step.of(&crowd);
                let after = now.moved_to(&next);
                prop_assert_eq!(compare(&now, &crowd, &after, &next).needless, 0.0);
                (crowd, now) = (next, after);
            }
        }

        /// The paper's invariants, through any sequence.
        #[test]
        fn what_is_found_works(steps in prop::collection::vec(any::<u32>(), 1..60)) {
            let mut anchors = Anchors::new(16);
            let mut works = [false; 16];
            for step in steps {
                let number = step % 16;
                if works[number as usize] {
                    anchors.give_back(number);
                    works[number as usize] = false;
                } else if let Some(number) = anchors.take() {
                    works[number as usize] = true;
                }
                if anchors.count > 0 {
                    prop_assert!(hashes().take(200).all(|hash| works[anchors.find(hash) as usize]));
                }
            }
        }
    }
}
