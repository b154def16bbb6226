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
        Ok(Self::with(Keys::new(settings, bits), settings, bound, hot, members))
    }

    /// The successor for other members: counts of those that stay are shared with it. O(n).
    #[must_use]
    pub fn rebuild(&self, settings: &KeySettings, members: &dyn Members) -> Self {
        let bound = self.bound.as_ref().map(|bound| bound.rebuild(members));
        let hot = self.hot.as_ref().map(|hot| hot.resized(members.weights().len()));
        Self::with(self.keys, settings, bound, hot, members)
    }

    fn with(
        keys: Keys,
        settings: &KeySettings,
        bound: Option<Bound>,
        hot: Option<HotKeys>,
        members: &dyn Members,
    ) -> Self {
        let weights = members.weights();
        let keyless = match settings.missing_key {
            MissingKey::Fixed => Keyless::Fixed(keys.of_bytes(&[])),
            MissingKey::Random if bound.is_some() => Keyless::Draw,
            MissingKey::Random if crate::built_in::are_equal(weights) => Keyless::Uniform,
            MissingKey::Random => Keyless::Weighted(WeightedRandom::new(weights)),
        };
        Self { keys, keyless, ranks: Ranks::new(members), bound, hot }
    }

    /// What the policy needs to be told.
    #[must_use]
    pub const fn wants(&self) -> Wants {
        let bound = if self.bound.is_some() { Wants::EVENTS } else { Wants::empty() };
        let hot = if self.hot.is_some() { Wants::LOADS } else { Wants::empty() };
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
