use crate::hash::bound::Bound;
use crate::hash::key::Keys;
use crate::hash::rank::Ranks;
use crate::hash::{Bits, Candidate, KeySettings, MissingKey, Placement};
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
        match self.ask(view, caller) {
            Asked::Hash(hash) => self.place(placement, view, hash),
            Asked::Picked(picked) => picked,
        }
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
