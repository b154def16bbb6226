use crate::built_in::are_equal;
use crate::hash::choose::Asked;
use crate::hash::mix::{fold, name};
use crate::hash::placed::placed;
use crate::hash::{Bits, Candidate, Chooser, KeySettings, Placement};
use crate::{BuiltIn, Caller, InvalidPolicy, Members, PolicySettings, View};

/// Settings of [`Rendezvous`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RendezvousConfig {
    /// What it shares with the other policies that hash a key.
    pub key: KeySettings,
}

impl PolicySettings for RendezvousConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::dynamic(Rendezvous::new(self, members)?))
    }
}

/// Equal keys to one endpoint by the highest random weight: every open endpoint bids, the best bid wins.
///
/// **Idea.** The bid of an endpoint of weight w is −ln(u) ÷ w, with u drawn from key and name; the least one wins. That is
/// a waiting time of rate w, so shares are exactly the weights, whoever is out: the keys of one that is out spread over
/// all others by weight. **Churn.** Whatever changes, keys move only from or to the endpoints that changed; a change of
/// weight moves the difference and nothing else. Nothing depends on history or order: balancers that know the same set
/// agree. **Exactness.** With equal weights the hashes are compared and no logarithm is taken. With others
/// a bid is at least v ÷ w for v = 1 − u, so the logarithm is taken only for the few that this bound does not rule out.
/// v is a multiple of 2^-53 and less than 1: no bid is infinite, and ties go by hash and then by name.
/// **Cost.** O(n) a pick, about a nanosecond an endpoint, without a table; 8 to 20 bytes an endpoint. **When.** Up to a
/// few hundred endpoints, and everything at once is wanted: exact weights, the least churn, agreement without a history.
/// **When not.** Thousands of endpoints: [`RingHash`](crate::RingHash), [`Maglev`](crate::Maglev),
/// [`Anchor`](crate::Anchor). **Source.** Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
/// IEEE/ACM ToN 1998; weights: Resch, "New hashing algorithms for data storage", SDC 2015.
#[derive(Debug)]
pub struct Rendezvous {
    config: RendezvousConfig,
    table: RendezvousTable,
    chooser: Chooser,
}

impl Rendezvous {
    /// The policy for these members. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range.
    pub fn new(config: &RendezvousConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let chooser = Chooser::new("rendezvous", &config.key, Bits::Uniform, members)?;
        Ok(Self { config: *config, table: RendezvousTable::new(members), chooser })
    }

    /// The policy for other members; counts of those that stay are shared with it.
    #[must_use]
    pub fn updated(&self, members: &dyn Members) -> Self {
        Self {
            config: self.config,
            table: RendezvousTable::new(members),
            chooser: self.chooser.rebuild(&self.config.key, members),
        }
    }

    /// An open position, or `None` if none is open.
    #[inline]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        match self.chooser.ask(view, caller) {
            Asked::Hash(hash) => match self.chooser.spread(&self.table, view, caller, hash) {
                Some(position) => Some(position),
                None if self.chooser.is_bounded() => self.chooser.place(&self.table, view, hash),
                None => self.table.best_open(hash, view),
            },
            Asked::Picked(picked) => picked,
        }
    }
}

placed!(Rendezvous, table, always);

/// Names and weights by position.
#[derive(Clone, Debug)]
pub(super) struct RendezvousTable {
    names: Box<[u64]>,
    /// Of no weight: they bid only if somebody finds them open.
    are_idle: Option<Box<[bool]>>,
    /// 1 ÷ weight, if weights differ.
    inverses: Option<Box<[f64]>>,
}

/// A bid, and what tells equal ones apart: of two the lesser wins.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Bid {
    cost: f64,
    hash: u64,
    name: u64,
}

/// With fewer than one in so many usable, those are looked at one by one.
const FEW: usize = 8;

/// Costs are computed to much better than this.
const ROUNDING: f64 = 1.0 + 1e-9;

/// The two least bounds met so far.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    first: f64,
    second: f64,
    /// Of the first.
    fraction: f64,
    winner: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { first: f64::INFINITY, second: f64::INFINITY, fraction: 0.0, winner: 0 }
    }
}

impl Bounds {
    #[inline(always)]
    fn add(&mut self, bound: f64, fraction: f64, position: usize) {
        let wins = bound < self.first;
        let loser = if wins { self.first } else { bound };
        self.second = if loser < self.second { loser } else { self.second };
        self.first = if wins { bound } else { self.first };
        self.fraction = if wins { fraction } else { self.fraction };
        self.winner = if wins { position } else { self.winner };
    }

    /// Whether the first has won: −ln(1 − v) is at most v ÷ (1 − v).
    fn decide(&self) -> bool {
        self.first / (1.0 - self.fraction) * ROUNDING < self.second
    }
}

/// Of the hashes of names; apart from what other tables are made with, so that they do not follow each other.
const SEED: u64 = 0x0068_7277;

impl RendezvousTable {
    pub(super) fn new(members: &dyn Members) -> Self {
        let weights = members.weights();
        let inverse = |&weight: &u32| 1.0 / f64::from(weight.max(1));
        Self {
            names: (0..weights.len()).map(|position| name(members, position, SEED)).collect(),
            are_idle: weights.contains(&0).then(|| weights.iter().map(|&weight| weight == 0).collect()),
            inverses: (!are_equal(weights)).then(|| weights.iter().map(inverse).collect()),
        }
    }

    /// The winner among all that are open.
    #[inline]
    pub(super) fn best_open<V: View + ?Sized>(&self, hash: u64, view: &V) -> Option<usize> {
        let (mask, len) = (view.mask(), self.names.len());
        let usable = mask.usable();
        if usable == len && mask.len() == len && view.admits_all() {
            self.best_of_all(hash)
        } else if usable * FEW < len {
            self.best(hash, mask.iter().filter(|&position| position < len && view.admits(position)))
        } else {
            self.best_where(hash, |position| view.is_open(position))
        }
    }

    /// The winner among all positions, whatever their weight.
    #[inline]
    fn best_of_all(&self, hash: u64) -> Option<usize> {
        if let Some(inverses) = &self.inverses {
            return self.least_cost_of_all(hash, inverses);
        }
        let (mut least, mut winner, mut tied) = (u64::MAX, 0, false);
        for (position, &name) in self.names.iter().enumerate() {
            let bid = bid_of(hash, name);
            // No branch: a new least bid is met too often to be foreseen.
            tied |= bid == least;
            winner = if bid < least { position } else { winner };
            least = least.min(bid);
        }
        if tied {
            return self.best(hash, 0..self.names.len());
        }
        (!self.names.is_empty()).then_some(winner)
    }

    /// The winner among the positions that are `open`, which is asked only about those that would win.
    #[inline]
    fn best_where(&self, hash: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        match &self.inverses {
            None => self.least_hash(hash, open),
            Some(inverses) => self.least_cost(hash, inverses, open),
        }
    }

    fn least_hash(&self, hash: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(u64, u64, usize)> = None;
        let mut least = u64::MAX;
        for (position, &name) in self.names.iter().enumerate() {
            let bid = bid_of(hash, name);
            if bid <= least
                && open(position)
                && best.is_none_or(|(best, other, _)| (bid, name) < (best, other))
            {
                (least, best) = (bid, Some((bid, name, position)));
            }
        }
        best.map(|(_, _, position)| position)
    }

    /// By what bids are at least, which takes no logarithm. The least of these has won if what it is at most is below the
    /// second; if it is not, it is the one to be compared with all.
    fn least_cost(&self, hash: u64, inverses: &[f64], open: impl Fn(usize) -> bool) -> Option<usize> {
        let mut bounds = Bounds::default();
        for (position, (&name, &inverse)) in self.names.iter().zip(inverses).enumerate() {
            let fraction = fraction(bid_of(hash, name));
            let bound = fraction * inverse;
            if bound < bounds.second && open(position) {
                bounds.add(bound, fraction, position);
            }
        }
        self.winner_by(&bounds, hash, open)
    }

    /// The same for all. No branches: new least bounds are met too often to be foreseen.
    fn least_cost_of_all(&self, hash: u64, inverses: &[f64]) -> Option<usize> {
        let mut bounds = Bounds::default();
        for (position, (&name, &inverse)) in self.names.iter().zip(inverses).enumerate() {
            let fraction = fraction(bid_of(hash, name));
            bounds.add(fraction * inverse, fraction, position);
        }
        self.winner_by(&bounds, hash, |_| true)
    }

    #[inline]
    fn winner_by(&self, bounds: &Bounds, hash: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        if bounds.first < f64::INFINITY && bounds.decide() {
            return Some(bounds.winner);
        }
        let first = (bounds.first < f64::INFINITY).then(|| (self.bid(hash, bounds.winner), bounds.winner));
        self.better(hash, first, (0..self.names.len()).filter(|&position| open(position)))
    }

    /// The winner among `positions`.
    #[inline]
    fn best(&self, hash: u64, positions: impl Iterator<Item = usize>) -> Option<usize> {
        self.better(hash, None, positions)
    }

    /// The winner among `positions` and the best so far.
    #[inline(never)]
    fn better(
        &self,
        hash: u64,
        mut best: Option<(Bid, usize)>,
        positions: impl Iterator<Item = usize>,
    ) -> Option<usize> {
        for position in positions {
            let name = self.names[position];
            let drawn = bid_of(hash, name);
            if let (Some(inverses), Some((best, _))) = (&self.inverses, &best)
                && fraction(drawn) * inverses[position] > best.cost
            {
                continue;
            }
            let bid = self.bid(hash, position);
            if best.is_none_or(|(best, _)| bid < best) {
                best = Some((bid, position));
            }
        }
        best.map(|(_, position)| position)
    }

    /// The bid of one position.
    fn bid(&self, hash: u64, position: usize) -> Bid {
        let name = self.names[position];
        let drawn = bid_of(hash, name);
        let cost = self.inverses.as_ref().map_or(0.0, |inverses| cost(fraction(drawn)) * inverses[position]);
        Bid { cost, hash: drawn, name }
    }

    /// Those that weights let bid.
    fn bidders(&self) -> impl Iterator<Item = usize> + '_ {
        let is_idle = |position: usize| self.are_idle.as_ref().is_some_and(|idle| idle[position]);
        (0..self.names.len()).filter(move |&position| !is_idle(position))
    }
}

/// Key and name multiplied with each other: both halves of the product depend on all bits of both.
#[inline(always)]
fn bid_of(hash: u64, name: u64) -> u64 {
    fold(hash ^ name, hash.rotate_left(32) ^ name.rotate_left(17) ^ ODD)
}

/// Keeps hash and name of nothing but zeros from being a fixed point.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// 1 − u: a multiple of 2^-53, at least 0 and below 1.
#[inline(always)]
fn fraction(hash: u64) -> f64 {
    (hash >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

/// −ln(u), to the last bit or two, and never below the bound v that rules bids out without a logarithm.
fn cost(fraction: f64) -> f64 {
    (-libm::log1p(-fraction)).max(fraction)
}

impl Placement for RendezvousTable {
    fn len(&self) -> usize {
        self.names.len()
    }

    #[inline]
    fn home(&self, hash: u64) -> Option<Candidate> {
        let winner = match self.are_idle {
            None => self.best_of_all(hash),
            Some(_) => self.best(hash, self.bidders()),
        };
        winner.map(Candidate::at)
    }

    /// The next bid. After the last the first again.
    fn next(&self, hash: u64, _: u32, last: Candidate) -> Candidate {
        if last.position >= self.names.len() {
            return last;
        }
        let before = self.bid(hash, last.position);
        let later = self.bidders().filter(|&position| self.bid(hash, position) > before);
        self.best(hash, later).map(Candidate::at).or_else(|| self.home(hash)).unwrap_or(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::crowd::{Crowd, assert_shares_are_weights, changes, compare, hashes};
    use crate::{Mask, Table};

    fn table(crowd: &Crowd) -> RendezvousTable {
        RendezvousTable::new(crowd)
    }

    #[test]
    fn bids_are_finite_at_both_ends() {
        assert_eq!((fraction(0), cost(fraction(0))), (0.0, 0.0));
        let most = fraction(u64::MAX);
        assert!(most < 1.0 && (36.7..36.8).contains(&cost(most)), "{}", cost(most));
        let mut last = 0.0;
        for step in 0..1000 {
            let fraction = fraction(step * (u64::MAX / 1000));
            assert!(cost(fraction) >= fraction && cost(fraction) >= last, "{fraction}");
            last = cost(fraction);
        }
    }

    /// The quick way against the formula, bid for bid.
    #[test]
    fn the_winner_is_the_least_of_all_bids() {
        let crowd = Crowd::of(&[(1, 1), (2, 9), (3, 100), (4, u32::MAX), (5, 9)]);
        let table = table(&crowd);
        for hash in hashes() {
            let bid = |position: &usize| -libm::log1p(-fraction(bid_of(hash, table.names[*position])));
            let rated = |position: &usize| bid(position) / f64::from(crowd.weights()[*position]);
            let winner = (0..5).min_by(|one, other| rated(one).total_cmp(&rated(other)));
            assert_eq!(table.home(hash).map(|candidate| candidate.position), winner);
        }
    }

    #[test]
    fn shares_are_weights_however_odd() {
        for weights in [
            vec![1; 10],
            vec![3, 1, 0, 2],
            vec![7, 0, 7],
            vec![u32::MAX, 1, 1, u32::MAX],
            vec![997, 1009, 65_537],
        ] {
            let crowd = Crowd::of(&(0..).zip(weights.clone()).collect::<Vec<_>>());
            assert_shares_are_weights(&table(&crowd), &weights);
        }
        assert_eq!(table(&Crowd::of(&[])).home(1), None);
        assert_eq!(table(&Crowd::of(&[(1, 0)])).home(1), None);
    }

    /// Bids of hashes that are small numbers: what a caller with a poor hash of its own gives.
    #[test]
    fn poor_hashes_are_shared_out_too() {
        let table = table(&Crowd::equal(10));
        for stride in [1, 1 << 32, 10] {
            let mut counts = [0_i32; 10];
            for hash in 0..20_000_u64 {
                counts[table.home(hash.wrapping_mul(stride)).unwrap().position] += 1;
            }
            assert!(counts.iter().all(|count| (count - 2000).abs() < 220), "{stride}: {counts:?}");
        }
    }

    #[test]
    fn the_walk_meets_everybody_once_and_starts_again() {
        for crowd in [Crowd::equal(5), Crowd::of(&[(1, 5), (2, 1), (3, 2), (4, 2), (5, 1)])] {
            let table = table(&crowd);
            for hash in hashes().take(200) {
                let home = table.home(hash).unwrap();
                let mut met = vec![home];
                for step in 1..5 {
                    met.push(table.next(hash, step, met[met.len() - 1]));
                }
                assert_eq!(table.next(hash, 5, met[4]), home);
                let mut positions: Vec<_> = met.iter().map(|candidate| candidate.position).collect();
                positions.sort_unstable();
                assert_eq!(positions, [0, 1, 2, 3, 4]);
            }
        }
    }

    #[test]
    fn the_best_open_one_is_the_first_open_one_of_the_walk() {
        for crowd in [Crowd::equal(6), Crowd::of(&[(1, 5), (2, 1), (3, 2), (4, 2), (5, 1), (6, 6)])] {
            let table = table(&crowd);
            let mask = Mask::new(6, |position| position % 3 != 1);
            let excluded = [3];
            let view = Table::new(&mask, crowd.weights(), &[0; 6]).excluding(&excluded);
            for hash in hashes().take(500) {
                let mut candidate = table.home(hash).unwrap();
                while !view.is_open(candidate.position) {
                    candidate = table.next(hash, 1, candidate);
                }
                assert_eq!(table.best_open(hash, &view), Some(candidate.position));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Any change, any weights, no history: and no key moves between two endpoints that both stay as they are.
        #[test]
        fn nothing_moves_that_need_not(steps in changes()) {
            let mut crowd = Crowd::of(&[(0, 1), (1, 7), (2, 7), (3, 2), (4, 1)]);
            for step in steps {
                let next = step.of(&crowd).reversed();
                let churn = compare(&table(&crowd), &crowd, &table(&next), &next);
                prop_assert_eq!(churn.needless, 0.0);
                crowd = next;
            }
        }
    }
}
