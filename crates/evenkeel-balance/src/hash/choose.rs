use crate::hash::bound::Bound;
use crate::hash::hot_keys::{HotKeys, MOST_WIDTH};
use crate::hash::key::Keys;
use crate::hash::rank::Ranks;
use crate::hash::{Bits, Candidate, KeySettings, MissingKey, Placement, top};
use crate::view::is_open_among;
use evenkeel_types::below;

use crate::{Caller, Event, InvalidPolicy, Members, Random, View, Wants, WeightedRandom, scan};

/// What every policy over a [`Placement`] does for a request, whatever the placement is.
///
/// The key's home if it is open, and below its bound if there is one; else on through the placement, 32 steps at most;
/// then the first by rendezvous among all that are open. So that a key whose endpoint is out goes to one place, comes
/// back when that endpoint does, and moves for no other reason; and so that few usable endpoints cost neither long walks
/// nor balance. A request that excludes where it has been goes on to the next endpoint in that order.
#[derive(Debug)]
pub struct Chooser {
    keys: Keys,
    keyless: Keyless,
    ranks: Ranks,
    bound: Option<Bound>,
    hot: Option<HotKeys>,
}

/// The hash of a request's key, or what was picked for want of one.
pub(crate) enum Asked {
    Hash(u64),
    Picked(Option<usize>),
}

/// What a request without a key does.
#[derive(Clone, Debug)]
enum Keyless {
    /// Its hash is a draw: with a bound every request must pass it.
    Draw,
    Uniform,
    Weighted(WeightedRandom),
    Fixed(u64),
}

impl Chooser {
    /// For these members. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`], in the name of `policy`, if a setting is out of range.
    pub fn new(
        policy: &'static str,
        settings: &KeySettings,
        bits: Bits,
        members: &dyn Members,
    ) -> Result<Self, InvalidPolicy> {
        settings.validate(policy)?;
        let bound = settings.balance_factor.map(|percent| Bound::new(percent, members));
        let hot =
            settings.hot_keys.map(|hot| HotKeys::new(policy, hot, members.weights().len())).transpose()?;
        let keys = Keys::new(settings, bits);
        Ok(Self::with(keys, settings, bound, hot, Ranks::new(members), members))
    }

    /// The successor for other members: counts of those that stay are shared with it. O(n).
    #[must_use]
    pub fn rebuild(&self, settings: &KeySettings, members: &dyn Members) -> Self {
        let bound = self.bound.as_ref().map(|bound| bound.rebuild(members));
        let hot = self.hot.as_ref().map(|hot| hot.resized(members.weights().len()));
        Self::with(self.keys, settings, bound, hot, self.ranks.rebuild(members), members)
    }

    fn with(
        keys: Keys,
        settings: &KeySettings,
        bound: Option<Bound>,
        hot: Option<HotKeys>,
        ranks: Ranks,
        members: &dyn Members,
    ) -> Self {
        let weights = members.weights();
        let keyless = match settings.missing_key {
            MissingKey::Fixed => Keyless::Fixed(keys.of_bytes(&[])),
            MissingKey::Random if bound.is_some() => Keyless::Draw,
            MissingKey::Random if crate::built_in::are_equal(weights) => Keyless::Uniform,
            MissingKey::Random => Keyless::Weighted(WeightedRandom::new(weights)),
        };
        Self { keys, keyless, ranks, bound, hot }
    }

    /// What the policy needs to be told.
    #[must_use]
    pub const fn wants(&self) -> Wants {
        let bound = if self.bound.is_some() { Wants::EVENTS } else { Wants::empty() };
        let hot = if self.hot.is_some() { Wants::LOADS.union(Wants::SEQUENCE) } else { Wants::empty() };
        Wants::KEY.union(bound).union(hot)
    }

    /// Counts what the bound needs.
    pub fn on_event(&self, event: Event) {
        if let Some(bound) = &self.bound {
            bound.on_event(event);
        }
    }

    /// An open position, or `None` if none is open.
    #[inline]
    pub fn choose<P, V, C>(&self, placement: &P, view: &V, caller: &mut C) -> Option<usize>
    where
        P: Placement + ?Sized,
        V: View + ?Sized,
        C: Caller + ?Sized,
    {
        match self.ask(view, caller) {
            Asked::Hash(hash) => match self.spread(placement, view, caller, hash) {
                Some(position) => Some(position),
                None => self.place(placement, view, hash),
            },
            Asked::Picked(picked) => picked,
        }
    }

    /// Where a request goes whose key is hot: the less loaded of two of the first endpoints for that key. `None` for all
    /// other requests, which go where their key lives.
    #[inline]
    pub(crate) fn spread<P, V, C>(&self, placement: &P, view: &V, caller: &mut C, hash: u64) -> Option<usize>
    where
        P: Placement + ?Sized,
        V: View + ?Sized,
        C: Caller + ?Sized,
    {
        let hot = self.hot.as_ref()?;
        hot.observe(hash, caller.draw());
        match hot.width(hash) {
            0 | 1 => None,
            width => self.spread_over(placement, view, hash, width, caller.draw()),
        }
    }

    #[inline(never)]
    fn spread_over<P, V>(&self, placement: &P, view: &V, hash: u64, width: u32, draw: u64) -> Option<usize>
    where
        P: Placement + ?Sized,
        V: View + ?Sized,
    {
        let mut found = [0; MOST_WIDTH as usize];
        let mut count = 0;
        let mut candidate = placement.home(hash)?;
        // Few that are wanted are met among many steps; with most endpoints out there may be fewer of them.
        for step in 1..=STEPS + 2 * width {
            let position = candidate.position;
            if !found[..count].contains(&position) && self.takes(view, position) {
                found[count] = position;
                count += 1;
                if count == width as usize {
                    break;
                }
            }
            candidate = placement.next(hash, step, candidate);
        }
        let others = (count as u32).checked_sub(1)?;
        let first = below(scan::upper(draw), count as u32);
        let second = below(scan::lower(draw), others);
        let second = second + u32::from(second >= first && others > 0);
        Some(less_loaded(view, found[first as usize], found[second as usize]))
    }

    /// What a request says of where it goes.
    #[inline]
    pub(crate) fn ask<V, C>(&self, view: &V, caller: &mut C) -> Asked
    where
        V: View + ?Sized,
        C: Caller + ?Sized,
    {
        match self.keys.of(caller) {
            Some(hash) => Asked::Hash(hash),
            None => self.ask_without_key(view, caller),
        }
    }

    /// The same for one that has no key.
    pub(crate) fn ask_without_key<V, C>(&self, view: &V, caller: &mut C) -> Asked
    where
        V: View + ?Sized,
        C: Caller + ?Sized,
    {
        match &self.keyless {
            &Keyless::Fixed(hash) => Asked::Hash(hash),
            Keyless::Draw => Asked::Hash(caller.draw()),
            Keyless::Uniform => Asked::Picked(Random.choose(view, caller)),
            Keyless::Weighted(random) => Asked::Picked(random.choose(view, caller)),
        }
    }

    /// Whether loads are bounded.
    pub(crate) const fn is_bounded(&self) -> bool {
        self.bound.is_some()
    }

    /// The same for a hash.
    #[inline]
    pub fn place<P, V>(&self, placement: &P, view: &V, hash: u64) -> Option<usize>
    where
        P: Placement + ?Sized,
        V: View + ?Sized,
    {
        let home = placement.home(hash);
        match (home, &self.bound) {
            (Some(home), None) if is_open_among(view, home.position, view.mask().usable()) => {
                Some(home.position)
            }
            _ => self.walk(placement, view, hash, home),
        }
    }

    /// On from the home, which is out, full or excluded.
    #[inline(never)]
    fn walk<P, V>(&self, placement: &P, view: &V, hash: u64, home: Option<Candidate>) -> Option<usize>
    where
        P: Placement + ?Sized,
        V: View + ?Sized,
    {
        if view.mask().usable() == 0 {
            return None;
        }
        if let Some(mut candidate) = home {
            for step in 1..=STEPS {
                if self.takes(view, candidate.position) {
                    return Some(candidate.position);
                }
                candidate = placement.next(hash, step, candidate);
            }
        }
        let open = || view.mask().iter().filter(|&position| view.admits(position));
        let weighed = |position: usize| (position, view.weight(position));
        let first = self.ranks.first(hash, open().filter(|&p| self.takes(view, p)).map(weighed));
        match &self.bound {
            // All are full by a race, or those that are not are excluded.
            Some(bound) if first.is_none() => bound.least_loaded(open()),
            _ => first,
        }
    }

    /// The first `count` distinct positions of positive weight for a hash, whoever is usable: those that a walk finds, then
    /// by rank. O(n) at most.
    #[must_use]
    pub fn replicas<P: Placement + ?Sized>(&self, placement: &P, hash: u64, count: usize) -> Vec<usize> {
        let mut found = top(placement, hash, count);
        if found.len() < count {
            self.ranks.extend(hash, &mut found, count);
        }
        found
    }

    #[inline]
    fn takes<V: View + ?Sized>(&self, view: &V, position: usize) -> bool {
        let open = view.is_open(position);
        match &self.bound {
            None => open,
            Some(bound) => bound.takes(view, position) && open,
        }
    }
}

/// By load for its weight; equals go to the first, which is as random as the second.
fn less_loaded<V: View + ?Sized>(view: &V, first: usize, second: usize) -> usize {
    let product =
        |load: usize, weight: usize| u64::from(view.load(load)) * u64::from(view.weight(weight).max(1));
    if product(second, first) < product(first, second) { second } else { first }
}

/// How many candidates of the placement are asked before ranks decide. With a share f of n endpoints usable the walk
/// fails once in (1 − f)^−32 requests and then looks at f n of them: at most n / 90 on average, whatever f is.
const STEPS: u32 = 32;

#[cfg(test)]
mod tests {
    use evenkeel_types::SplitMix64;

    use super::*;
    use crate::laws::members;
    use crate::{Mask, Script, Table};

    /// All keys live at one position, and the walk goes to and fro between two.
    #[derive(Debug)]
    struct TwoOf(usize);

    impl Placement for TwoOf {
        fn len(&self) -> usize {
            self.0
        }

        fn home(&self, _hash: u64) -> Option<Candidate> {
            Some(Candidate { position: 0, cursor: 0 })
        }

        fn next(&self, _hash: u64, _step: u32, last: Candidate) -> Candidate {
            Candidate { position: 1 - last.position, cursor: 0 }
        }
    }

    fn chooser(settings: &KeySettings, weights: &[u32]) -> Chooser {
        Chooser::new("test", settings, Bits::Uniform, &members(weights)).unwrap()
    }

    #[test]
    fn home_then_walk_then_rank() {
        let chooser = chooser(&KeySettings::default(), &[1; 9]);
        let mask = Mask::all_usable(9);
        let pick = |hash, excluded: &[usize]| {
            chooser.place(&TwoOf(9), &Table::new(&mask, &[], &[]).excluding(excluded), hash)
        };
        assert_eq!(pick(7, &[]), Some(0));
        assert_eq!(pick(7, &[0]), Some(1));
        let mut seen = [0_u32; 9];
        for key in 0..7000 {
            seen[pick(SplitMix64::mix(key), &[0, 1]).unwrap()] += 1;
        }
        assert_eq!(seen[..2], [0, 0]);
        assert!(seen[2..].iter().all(|count| (840..1160).contains(count)), "by rank all get alike: {seen:?}");
    }

    /// The order in which an endpoint went down or came up is not to be seen.
    #[test]
    fn ranks_know_no_history() {
        let chooser = chooser(&KeySettings::default(), &[1, 3, 1, 2, 1, 1, 4, 1]);
        let (straight, winding) = (Mask::new(8, |p| p > 2), Mask::all_usable(8));
        for position in [7, 0, 5, 2, 1, 6] {
            winding.set(position, false);
        }
        for position in [6, 5, 7] {
            winding.set(position, true);
        }
        for key in 0..500 {
            let place = |mask| chooser.place(&TwoOf(8), &Table::new(mask, &[], &[]), SplitMix64::mix(key));
            assert_eq!(place(&straight), place(&winding));
        }
    }

    /// Each retry excludes where it has been: everybody is met once.
    #[test]
    fn retries_meet_everybody_once() {
        let chooser = chooser(&KeySettings::default(), &[1; 6]);
        let mask = Mask::all_usable(6);
        let mut tried = Vec::new();
        while let Some(next) = chooser.place(&TwoOf(6), &Table::new(&mask, &[], &[]).excluding(&tried), 99) {
            tried.push(next);
        }
        assert_eq!(tried[..2], [0, 1]);
        tried.sort_unstable();
        assert_eq!(tried, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn without_a_key_by_weight_or_all_to_one_place() {
        let weights = [1, 0, 3];
        let mask = Mask::for_weights(&weights);
        let view = Table::new(&mask, &weights, &[]);
        let settings = |missing_key| KeySettings { missing_key, ..KeySettings::default() };
        let mut caller = Script::seeded(5);
        let mut counts = [0; 3];
        let random = chooser(&settings(MissingKey::Random), &weights);
        for _ in 0..4000 {
            counts[random.choose(&TwoOf(3), &view, &mut caller).unwrap()] += 1;
        }
        assert!(counts[1] == 0 && (2870..3130).contains(&counts[2]), "{counts:?}");
        let fixed = chooser(&settings(MissingKey::Fixed), &weights);
        assert!((0..100).all(|_| fixed.choose(&TwoOf(3), &view, &mut caller) == Some(0)));
    }

    #[test]
    fn keys_are_hashed_as_asked() {
        let of = |function, bits, script: &mut Script<SplitMix64>| {
            Keys::new(&KeySettings { function, ..KeySettings::default() }, bits).of(script)
        };
        use crate::hash::HashFunction::{Crc32, Xxh64};
        use crate::hash::{crc32, xxh64};
        let both = || Script::seeded(1).with_key_bytes(*b"cart-7").with_key(5);
        assert_eq!(of(None, Bits::Uniform, &mut both()), Some(5), "the caller's keyed hash");
        assert_eq!(of(Some(Xxh64), Bits::Uniform, &mut both()), Some(xxh64(b"cart-7", 0)));
        let crc = u64::from(crc32(b"cart-7"));
        assert_eq!(of(Some(Crc32), Bits::AsTheyAre, &mut both()), Some(crc));
        assert_eq!(
            of(Some(Crc32), Bits::Uniform, &mut both()),
            Some(SplitMix64::mix(crc)),
            "32 bits are spread"
        );
        assert_eq!(
            of(Some(Crc32), Bits::Uniform, &mut Script::seeded(1).with_key(5)),
            Some(5),
            "only a hash is there"
        );
        assert_eq!(of(Some(Crc32), Bits::Uniform, &mut Script::seeded(1)), None);
    }

    #[test]
    fn a_factor_below_the_fair_share_is_refused() {
        for percent in [0, 1, 99] {
            let settings = KeySettings { balance_factor: Some(percent), ..KeySettings::default() };
            let error =
                Chooser::new("maglev", &settings, Bits::Uniform, &members(&[])).unwrap_err().to_string();
            assert!(error.contains("maglev") && error.contains("balance_factor"), "{error}");
            assert!(error.contains(&percent.to_string()) && error.contains("100"), "{error}");
        }
    }

    #[test]
    fn replicas_are_distinct_and_all_of_positive_weight() {
        let chooser = chooser(&KeySettings::default(), &[1, 1, 0, 5, 1]);
        let replicas = chooser.replicas(&TwoOf(5), 7, 9);
        assert_eq!(replicas[..2], [0, 1]);
        let mut sorted = replicas.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 3, 4]);
        assert_eq!(chooser.replicas(&TwoOf(5), 7, 3), replicas[..3]);
        assert!(chooser.replicas(&TwoOf(5), 7, 0).is_empty());
    }
}
