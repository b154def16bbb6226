use std::cmp::Ordering;

use crate::draws::few::{Contest, Few};
use crate::{BuiltIn, Caller, Choices, InvalidPolicy, Members, Policy, PolicySettings, View, Wants};

/// Settings of [`LeastRequest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LeastRequestConfig {
    /// How many endpoints are compared: 2 unless set, at most 32, or all of them.
    pub choices: Choices,
}

impl PolicySettings for LeastRequestConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Ok(BuiltIn::LeastRequest(LeastRequest::new(*self, members.weights())?))
    }
}

/// The less loaded of a few endpoints drawn at random: power of d choices, or a full scan.
///
/// **Idea.** Draw d *distinct* usable endpoints (with replacement, as Envoy and gRPC draw, two endpoints would give the
/// busier one a quarter of the requests) and take the one with the fewest requests in flight; at n ≤ d look at all.
/// **Weights.** The first candidate is drawn by weight; another replaces it iff (its load + 1) ÷ its weight is at most the
/// load ÷ weight of the best so far, that is, if it would still be no worse off after taking the request. With equal
/// weights this is exactly "fewer in flight"; with unequal ones the shares are exactly the weights while loads are low,
/// also for two endpoints, and follow the load when it builds up. Candidates are drawn by weight; if one weight is so
/// large that its endpoint takes all draws, the other candidate is drawn uniformly. **Ties** stay with the candidate drawn
/// first.
/// **Cost.** O(d), or O(n) for a full scan. **When.** The default for most traffic. **When not.** Load is not told by
/// the requests in flight (batch jobs of very different size). **Source.** Mitzenmacher, "The power of two choices in
/// randomized load balancing", IEEE TPDS 2001; Envoy `LEAST_REQUEST`, gRPC A48, Finagle `P2C` (draws without
/// replacement); comparison by cross products as in nginx `least_conn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeastRequest {
    few: Few,
}

impl LeastRequest {
    /// The policy for these weights. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] unless 2 to 32, or all.
    pub fn new(config: LeastRequestConfig, weights: &[u32]) -> Result<Self, InvalidPolicy> {
        Ok(Self { few: Few::new("least_request", config.choices, weights)? })
    }

    /// A position, or `None` if none is open.
    #[inline(always)]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.few.choose(view, caller, &LessLoaded)
    }
}

/// Fewer requests in flight win.
#[derive(Clone, Copy)]
struct LessLoaded;

#[derive(Clone, Copy)]
struct Candidate {
    load: u64,
    weight: u64,
}

impl Contest for LessLoaded {
    type Candidate = Candidate;

    #[inline]
    fn enter<V: View + ?Sized>(&self, view: &V, position: usize) -> Candidate {
        Candidate { load: view.load(position).into(), weight: view.weight(position).max(1).into() }
    }

    /// Equals go to the first, which is as random as the second.
    #[inline(always)]
    fn second_wins<V: View + ?Sized>(&self, view: &V, first: usize, second: usize) -> bool {
        view.load(second) < view.load(first)
    }

    /// Only if it would be no worse off after taking the request than the other is now.
    #[inline]
    fn replaces(&self, candidate: Candidate, best: Candidate) -> bool {
        // Both sides are products of 33 and 32 bits at most.
        u128::from(candidate.load + 1) * u128::from(best.weight)
            <= u128::from(best.load) * u128::from(candidate.weight)
    }

    /// By load ÷ weight. Both products fit: 32 bits each.
    #[inline]
    fn compare(&self, one: Candidate, other: Candidate) -> Ordering {
        (one.load * other.weight).cmp(&(other.load * one.weight))
    }
}

impl Policy for LeastRequest {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.choose(view, caller)
    }

    fn wants(&self) -> Wants {
        Wants::LOADS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mask, Script, Table};

    fn policy(choices: Choices, weights: &[u32]) -> LeastRequest {
        LeastRequest::new(LeastRequestConfig { choices }, weights).unwrap()
    }

    #[test]
    fn two_distinct_endpoints_are_compared() {
        let mask = Mask::all_usable(4);
        let policy = policy(Choices::Draw(2), &[1; 4]);
        for (draw, loads, expected) in [
            // The upper half gives the first of 4, the lower half the second of the 3 others.
            (0x0000_0000_0000_0000_u64, [5, 3, 0, 0], 1),
            (0x0000_0000_0000_0000, [3, 3, 0, 0], 0),
            (0x4000_0000_0000_0000, [0, 9, 0, 0], 0),
            (0x4000_0000_5555_5556, [0, 9, 7, 0], 2),
            (0xffff_ffff_ffff_ffff, [0, 0, 1, 2], 2),
        ] {
            let view = Table::new(&mask, &[1; 4], &loads);
            assert_eq!(policy.choose(&view, &mut Script::new(|| draw)), Some(expected), "{draw:x} {loads:?}");
        }
    }

    #[test]
    fn two_endpoints_are_both_looked_at() {
        let mask = Mask::all_usable(2);
        let policy = policy(Choices::Draw(2), &[1; 2]);
        let view = Table::new(&mask, &[1, 1], &[4, 3]);
        let mut caller = Script::seeded(1);
        assert!((0..100).all(|_| policy.choose(&view, &mut caller) == Some(1)));
    }

    #[test]
    fn a_full_scan_finds_the_minimum_and_shares_ties() {
        let mask = Mask::all_usable(5);
        let policy = policy(Choices::All, &[1; 5]);
        let view = Table::new(&mask, &[1; 5], &[2, 1, 7, 1, 1]);
        let mut counts = [0; 5];
        let mut caller = Script::seeded(9);
        for _ in 0..3000 {
            counts[policy.choose(&view, &mut caller).unwrap()] += 1;
        }
        assert_eq!((counts[0], counts[2]), (0, 0));
        assert!([1, 3, 4].iter().all(|&p| (880..1120).contains(&counts[p])), "{counts:?}");
    }

    #[test]
    fn idle_shares_are_the_weights_even_for_two() {
        for weights in [vec![1, 2], vec![1, 3, 6], vec![1, 1, 8, 10, 20]] {
            let mask = Mask::all_usable(weights.len());
            let policy = policy(Choices::Draw(2), &weights);
            let loads = vec![0; weights.len()];
            let view = Table::new(&mask, &weights, &loads);
            let mut counts = vec![0_u32; weights.len()];
            let mut caller = Script::seeded(5);
            for _ in 0..30_000 {
                counts[policy.choose(&view, &mut caller).unwrap()] += 1;
            }
            let total: u32 = weights.iter().sum();
            for (&count, &weight) in counts.iter().zip(&weights) {
                let expected = 30_000.0 * f64::from(weight) / f64::from(total);
                assert!(
                    (f64::from(count) - expected).abs() < 5.0 * expected.sqrt(),
                    "{counts:?} for {weights:?}"
                );
            }
        }
    }

    /// Endpoint 0 never answers: its requests pile up, all others are idle.
    #[test]
    fn a_heavy_black_hole_does_not_swallow_the_traffic() {
        for weights in [vec![4, 1, 1, 1, 1], vec![10, 1, 1, 1], vec![100, 1, 1, 1], vec![1000, 1, 1, 1, 1, 1]]
        {
            for choices in [Choices::Draw(2), Choices::All] {
                let mask = Mask::all_usable(weights.len());
                let policy = policy(choices, &weights);
                let mut loads = vec![0; weights.len()];
                let mut caller = Script::seeded(3);
                for _ in 0..20_000 {
                    let view = Table::new(&mask, &weights, &loads);
                    if policy.choose(&view, &mut caller) == Some(0) {
                        loads[0] += 1;
                    }
                }
                // Once it has a request for each unit of its weight, any idle one is better.
                assert!(
                    loads[0] <= 20 * weights[0].max(10),
                    "{choices:?} {weights:?}: {} swallowed",
                    loads[0]
                );
            }
        }
    }

    #[test]
    fn absurd_loads_and_weights_overflow_nothing() {
        let mask = Mask::all_usable(3);
        let weights = [u32::MAX, 1, u32::MAX - 1];
        let policy = policy(Choices::All, &weights);
        let view = Table::new(&mask, &weights, &[u32::MAX, u32::MAX, 0]);
        assert_eq!(policy.choose(&view, &mut Script::seeded(1)), Some(2));
    }

    #[test]
    fn choices_out_of_range_are_refused() {
        for choices in [0, 1, 33, u32::MAX] {
            let config = LeastRequestConfig { choices: Choices::Draw(choices) };
            let error = LeastRequest::new(config, &[]).unwrap_err().to_string();
            assert!(
                error.contains("least_request: choices") && error.contains(&choices.to_string()),
                "{error}"
            );
        }
    }
}
