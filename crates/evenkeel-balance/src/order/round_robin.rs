use crate::built_in::are_equal;
use crate::draws::random;
use crate::view::is_open_among;
use crate::{
    BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, SmoothWeightedRoundRobin, View, scan,
};

/// Each usable endpoint in turn.
///
/// **Idea.** A cursor walks the usable positions; an endpoint that is out is not stepped over (which would double the
/// load of its neighbour) but is not in the walk, so the others share its part evenly.
/// **Cost.** O(1): the caller's cursor, one load of the mask's order. Every thread has a cursor of its own with its own
/// start: a shared one costs 100 ns a pick as soon as a second core uses it, and strictly global order is not worth that.
/// **When.** Equal endpoints, equal requests. **When not.** Requests of very different cost: take [`LeastRequest`].
/// **Source.** Every load balancer; the even walk over the usable ones as in rpxy.
///
/// [`LeastRequest`]: crate::LeastRequest
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundRobin;

impl RoundRobin {
    /// The next position, or `None` if none is open.
    #[inline(always)]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.first(view, caller).or_else(|| random::again(view, caller))
    }

    /// The caller's turn, if it falls on one that is open.
    #[inline(always)]
    pub(crate) fn first<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        let usable = view.usable();
        let position = scan::usable_at(view, caller.turn(usable as u32), usable);
        (usable > 0 && is_open_among(view, position, usable)).then_some(position)
    }
}

/// Settings of [`RoundRobin`]: none. Any key beside `type` is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct RoundRobinConfig {}

impl PolicySettings for RoundRobinConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        let weights = members.weights();
        Ok(if are_equal(weights) {
            BuiltIn::RoundRobin(RoundRobin)
        } else {
            BuiltIn::SmoothWeightedRoundRobin(SmoothWeightedRoundRobin::new(weights))
        })
    }
}

impl Policy for RoundRobin {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Mask, RoundRobin, Script, Table};

    fn picks(down: &[usize], excluded: &[usize], count: usize) -> Vec<usize> {
        let mask = Mask::new(4, |position| !down.contains(&position));
        let view = Table::new(&mask, &[], &[]).excluding(excluded);
        let mut caller = Script::seeded(3);
        (0..count).filter_map(|_| RoundRobin.choose(&view, &mut caller)).collect()
    }

    #[test]
    fn walks_in_order_over_what_is_usable() {
        assert_eq!(picks(&[], &[], 6), [0, 1, 2, 3, 0, 1]);
        assert_eq!(picks(&[1], &[], 6), [0, 2, 3, 0, 2, 3]);
        assert_eq!(picks(&[0, 1, 2], &[], 2), [3, 3]);
        assert_eq!(picks(&[0, 1, 2, 3], &[], 2), [0; 0]);
    }

    #[test]
    fn the_turns_of_an_excluded_endpoint_spread_over_the_others() {
        let mut counts = [0; 4];
        for position in picks(&[], &[1], 4000) {
            counts[position] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!(counts.iter().enumerate().all(|(p, &c)| p == 1 || (1250..1420).contains(&c)), "{counts:?}");
    }
}
