use crate::hash::bound::Bound;
use crate::hash::key::Keys;
use crate::hash::rank::Ranks;
use crate::hash::{Bits, Candidate, KeySettings, MissingKey, Placement, top};
use crate::view::is_open_among;
use crate::{Caller, Event, InvalidPolicy, Members, Random, View, Wants, WeightedRandom};

/// What every policy over a [`Placement`] does for a request, whatever the placement is.
///
/// The key's home if it is open, and below its bound if there is one; else on through the placement, [`STEPS`] at most;
/// then the first by rendezvous among all that are open. So that a key whose endpoint is out goes to one place, comes
/// back when that endpoint does, and moves for no other reason; and so that few usable endpoints cost neither long walks
/// nor balance. A request that excludes where it has been goes on to the next endpoint in that order.
#[derive(Debug)]
pub struct Chooser {
    keys: Keys,
    keyless: Keyless,
    ranks: Ranks,
    bound: Option<Bound>,
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
        Ok(Self::with(Keys::new(settings, bits), settings, bound, members))
    }

    /// The successor for other members: counts of those that stay are shared with it. O(n).
    #[must_use]
    pub fn rebuild(&self, settings: &KeySettings, members: &dyn Members) -> Self {
        Self::with(self.keys, settings, self.bound.as_ref().map(|bound| bound.rebuild(members)), members)
    }

    fn with(keys: Keys, settings: &KeySettings, bound: Option<Bound>, members: &dyn Members) -> Self {
        let weights = members.weights();
        let keyless = match settings.missing_key {
            MissingKey::Fixed => Keyless::Fixed(keys.of_bytes(&[])),
            MissingKey::Random if bound.is_some() => Keyless::Draw,
            MissingKey::Random if crate::built_in::are_equal(weights) => Keyless::Uniform,
            MissingKey::Random => Keyless::Weighted(WeightedRandom::new(weights)),
        };
        Self { keys, keyless, ranks: Ranks::new(members), bound }
    }

    /// What the policy needs to be told.
    #[must_use]
    pub const fn wants(&self) -> Wants {
        if self.bound.is_some() { Wants::KEY.union(Wants::EVENTS) } else { Wants::KEY }
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
        match (self.keys.of(caller), &self.keyless) {
            (Some(hash), _) | (None, &Keyless::Fixed(hash)) => self.place(placement, view, hash),
            (None, Keyless::Draw) => self.place(placement, view, caller.draw()),
            (None, Keyless::Uniform) => Random.choose(view, caller),
            (None, Keyless::Weighted(random)) => random.choose(view, caller),
        }
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
