use std::sync::Arc;

use crate::draws::random;
use crate::{
    Caller, Event, InvalidPolicy, LeastRequest, Members, Policy, PolicyConfig, Random, RoundRobin,
    SmoothWeightedRoundRobin, View, Wants, WeightedRandom,
};

/// A policy built for a set of members, the commonest dispatched without a virtual call: what the façade holds.
///
/// Its tag lies apart from what the policies hold, so that the dispatch of a pick is one load and one jump.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[repr(u8)]
pub enum BuiltIn {
    /// See [`LeastRequest`].
    LeastRequest(LeastRequest),
    /// See [`RoundRobin`].
    RoundRobin(RoundRobin),
    /// See [`SmoothWeightedRoundRobin`].
    SmoothWeightedRoundRobin(SmoothWeightedRoundRobin),
    /// See [`Random`].
    Random(Random),
    /// See [`WeightedRandom`].
    WeightedRandom(WeightedRandom),
    /// Any other, called through a pointer.
    Dynamic(Arc<dyn Policy>),
}

impl BuiltIn {
    /// The policy of this configuration for these members.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if a setting is out of range, or a policy refuses its members.
    pub fn new(config: &PolicyConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        config.build(members)
    }

    /// A policy behind a pointer: what all enter by that are not worth an arm of their own in every pick.
    #[must_use]
    pub fn dynamic(policy: impl Policy + 'static) -> Self {
        Self::Dynamic(Arc::new(policy))
    }

    /// The policy for other members; one that keeps a place in a sequence or counts carries them over.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn rebuild(&self, config: &PolicyConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        match self {
            Self::Dynamic(policy) => {
                Ok(Self::Dynamic(policy.rebuild(members)?.unwrap_or_else(|| Arc::clone(policy))))
            }
            _ => Self::new(config, members),
        }
    }

    /// An open position, or `None` if none is open: [`first`](Self::first), and [`again`](Self::again) if that found none.
    #[inline(always)]
    pub fn choose<V: View, C: Caller>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.first(view, caller).or_else(|| self.again(view, caller))
    }

    /// What the first draw, turn or comparison gives, if it is open; `None` also where more is to be done than that, as always
    /// for a policy behind a pointer. Then [`again`](Self::again) decides. O(1).
    ///
    /// Neither `view` nor `caller` leaves the function, so that both can stay in registers: for whoever picks a hundred million
    /// times a second.
    #[inline(always)]
    pub fn first<V: View, C: Caller>(&self, view: &V, caller: &mut C) -> Option<usize> {
        match self {
            Self::LeastRequest(policy) => policy.first(view, caller),
            Self::RoundRobin(policy) => policy.first(view, caller),
            Self::SmoothWeightedRoundRobin(policy) => policy.first(view, caller),
            Self::Random(policy) => policy.first(view, caller),
            Self::WeightedRandom(policy) => policy.first(view, caller),
            Self::Dynamic(_) => None,
        }
    }

    /// An open position after [`first`](Self::first) found none, or `None` if none is open. What was drawn there is not drawn
    /// again, so that a turn that fell on an endpoint that is out is shared by all and does not go to the next.
    #[inline(always)]
    pub fn again<V: View, C: Caller>(&self, view: &V, caller: &mut C) -> Option<usize> {
        match self {
            Self::LeastRequest(policy) => policy.again(view, caller),
            Self::RoundRobin(_) | Self::Random(_) => random::again(view, caller),
            Self::SmoothWeightedRoundRobin(policy) => policy.again(view, caller),
            Self::WeightedRandom(policy) => policy.again(view, caller),
            Self::Dynamic(policy) => policy.pick(view, caller),
        }
    }
}

impl Policy for BuiltIn {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        match self {
            Self::LeastRequest(policy) => policy.choose(view, caller),
            Self::RoundRobin(policy) => policy.choose(view, caller),
            Self::SmoothWeightedRoundRobin(policy) => policy.choose(view, caller),
            Self::Random(policy) => policy.choose(view, caller),
            Self::WeightedRandom(policy) => policy.choose(view, caller),
            Self::Dynamic(policy) => policy.pick(view, caller),
        }
    }

    fn wants(&self) -> Wants {
        match self {
            Self::LeastRequest(policy) => policy.wants(),
            Self::RoundRobin(_)
            | Self::SmoothWeightedRoundRobin(_)
            | Self::Random(_)
            | Self::WeightedRandom(_) => Wants::empty(),
            Self::Dynamic(policy) => policy.wants(),
        }
    }

    fn on_event(&self, event: Event) {
        if let Self::Dynamic(policy) = self {
            policy.on_event(event);
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        match self {
            Self::LeastRequest(policy) => policy.rebuild(members),
            Self::RoundRobin(policy) => policy.rebuild(members),
            Self::SmoothWeightedRoundRobin(policy) => policy.rebuild(members),
            Self::Random(policy) => policy.rebuild(members),
            Self::WeightedRandom(policy) => policy.rebuild(members),
            Self::Dynamic(policy) => policy.rebuild(members),
        }
    }
}

/// Whether all weights above zero are the same: those of zero are masked anyway.
pub(crate) fn are_equal(weights: &[u32]) -> bool {
    let mut positive = weights.iter().filter(|&&weight| weight > 0);
    let first = positive.next();
    positive.all(|weight| Some(weight) == first)
}
