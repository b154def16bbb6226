use std::cmp::Ordering;
use std::sync::Arc;

use crate::built_in::are_equal;
use crate::draws::few::{Contest, Few};
use crate::{
    BuiltIn, Caller, Choices, InvalidPolicy, Members, Policy, PolicySettings, View, Wants, WeightedRandom,
};

/// Settings of [`LeastRequest`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LeastRequestConfig {
    /// How many endpoints are compared: 2 unless set, at most 32, or all of them.
    pub choices: Choices,
    /// How much load counts against weight: endpoints are compared by weight ÷ load^`bias`. 1 unless set, since then loads
    /// build up in proportion to weights. Above 1 load counts for more, between 0 and 1 weight does; 0 ignores load, and
    /// picks are drawn by weight alone. With equal weights every bias above 0 does the same. Not negative, and finite.
    pub bias: f64,
}

impl Default for LeastRequestConfig {
    fn default() -> Self {
        Self { choices: Choices::default(), bias: 1.0 }
    }
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
/// first. **Bias.** Where weights differ, loads are raised to the power of `bias` before they are compared
/// ([`LeastRequestConfig::bias`]).
/// **Cost.** O(d), or O(n) for a full scan. **When.** The default for most traffic. **When not.** Load is not told by
/// the requests in flight (batch jobs of very different size). **Source.** Mitzenmacher, "The power of two choices in
/// randomized load balancing", IEEE TPDS 2001; Envoy `LEAST_REQUEST`, gRPC A48, Finagle `P2C` (draws without
/// replacement); comparison by cross products as in nginx `least_conn`.
#[derive(Clone, Debug, PartialEq)]
pub struct LeastRequest {
    few: Few,
    /// Present where the bias is not 1, and makes a difference.
    bias: Option<Arc<Bias>>,
    config: LeastRequestConfig,
}

impl LeastRequest {
    /// The policy for these weights. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] unless choices are 2 to 32, or all, and the bias is a number from 0 up.
    pub fn new(config: LeastRequestConfig, weights: &[u32]) -> Result<Self, InvalidPolicy> {
        let few = Few::new("least_request", config.choices, weights)?;
        if !(config.bias.is_finite() && config.bias >= 0.0) {
            let problem = format!("{} is out of range: allowed are finite numbers from 0 up", config.bias);
            return Err(InvalidPolicy::setting("least_request", "bias", problem));
        }
        let bias = match config.bias {
            0.0 => Some(Bias::IgnoresLoad(WeightedRandom::new(weights))),
            // With equal weights the order of loads is the order of their powers.
            exponent if exponent != 1.0 && !are_equal(weights) => Some(Bias::Raises(Powers::new(exponent))),
            _ => None,
        };
        Ok(Self { few, bias: bias.map(Arc::new), config })
    }

    /// A position, or `None` if none is open.
    #[inline(always)]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        self.first(view, caller).or_else(|| self.again(view, caller))
    }

    /// The less loaded of two, where they are of equal weight and open.
    #[inline(always)]
    pub(crate) fn first<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        if self.bias.is_some() { None } else { self.few.first(view, caller, &LessLoaded) }
    }

    /// What [`first`](Self::first) leaves.
    #[inline(always)]
    pub(crate) fn again<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
    ) -> Option<usize> {
        match &self.bias {
            None => self.few.again(view, caller, &LessLoaded),
            Some(bias) => self.choose_biased(view, caller, bias),
        }
    }

    #[cold]
    fn choose_biased<V: View + ?Sized, C: Caller + ?Sized>(
        &self,
        view: &V,
        caller: &mut C,
        bias: &Bias,
    ) -> Option<usize> {
        match bias {
            Bias::IgnoresLoad(weighted) => weighted.choose(view, caller),
            Bias::Raises(powers) => self.few.choose(view, caller, powers),
        }
    }
}

/// A bias other than 1.
#[derive(Clone, Debug, PartialEq)]
enum Bias {
    IgnoresLoad(WeightedRandom),
    Raises(Powers),
}

/// Fewer requests in flight win, after they were raised to a power. Those of small loads are at hand.
#[derive(Clone, Debug, PartialEq)]
struct Powers {
    exponent: f64,
    known: Box<[f64]>,
}

impl Powers {
    fn new(exponent: f64) -> Self {
        let known = (0..MOST_KNOWN).map(|load| libm::pow(f64::from(load), exponent)).collect();
        Self { exponent, known }
    }

    fn of(&self, load: u64) -> f64 {
        let known = self.known.get(usize::try_from(load).unwrap_or(usize::MAX));
        known.copied().unwrap_or_else(|| libm::pow(load as f64, self.exponent))
    }
}

impl Contest for Powers {
    type Candidate = Candidate;

    #[inline]
    fn enter<V: View + ?Sized>(&self, view: &V, position: usize) -> Candidate {
        LessLoaded.enter(view, position)
    }

    fn replaces(&self, candidate: Candidate, best: Candidate) -> bool {
        self.of(candidate.load + 1) * best.weight as f64 <= self.of(best.load) * candidate.weight as f64
    }

    fn compare(&self, one: Candidate, other: Candidate) -> Ordering {
        let (own, others) =
            (self.of(one.load) * other.weight as f64, self.of(other.load) * one.weight as f64);
        own.total_cmp(&others)
    }
}

/// Up to which load powers are kept.
const MOST_KNOWN: u32 = 64;

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

    const COMPARES_TWO_EXACTLY: bool = true;

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

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(Self::new(self.config, members.weights())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mask, Script, Table};

    fn policy(choices: Choices, weights: &[u32]) -> LeastRequest {
        LeastRequest::new(LeastRequestConfig { choices, ..LeastRequestConfig::default() }, weights).unwrap()
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
            let config =
                LeastRequestConfig { choices: Choices::Draw(choices), ..LeastRequestConfig::default() };
            let error = LeastRequest::new(config, &[]).unwrap_err().to_string();
            assert!(
                error.contains("least_request: choices") && error.contains(&choices.to_string()),
                "{error}"
            );
        }
    }

    /// Loads in the end, after requests that all take equally long, at one time in flight.
    fn steady(bias: f64, choices: Choices, weights: &[u32]) -> Vec<u32> {
        let policy = LeastRequest::new(LeastRequestConfig { choices, bias }, weights).unwrap();
        let mask = Mask::all_usable(weights.len());
        let mut loads = vec![0; weights.len()];
        let mut caller = Script::seeded(4);
        let mut in_flight = std::collections::VecDeque::new();
        for _ in 0..20_000 {
            let picked = policy.choose(&Table::new(&mask, weights, &loads), &mut caller).unwrap();
            loads[picked] += 1;
            in_flight.push_back(picked);
            if in_flight.len() > 300 {
                loads[in_flight.pop_front().unwrap()] -= 1;
            }
        }
        loads
    }

    #[test]
    fn a_bias_shifts_what_load_counts_against_weight() {
        // Loads settle where weight ÷ load^bias is the same for all: in proportion to weight^(1 ÷ bias).
        for (bias, expected) in [(1.0, [75, 225]), (2.0, [110, 190]), (0.5, [30, 270])] {
            let loads = steady(bias, Choices::All, &[1, 3]);
            assert!(
                loads.iter().zip(expected).all(|(load, expected)| load.abs_diff(expected) <= 5),
                "{bias}: {loads:?}"
            );
        }
        assert_eq!(steady(2.0, Choices::All, &[1; 4]), steady(1.0, Choices::All, &[1; 4]), "equal weights");
    }

    #[test]
    fn a_bias_of_zero_ignores_load() {
        for choices in [Choices::Draw(2), Choices::All] {
            for weights in [[1, 1, 1], [1, 2, 3]] {
                let policy = LeastRequest::new(LeastRequestConfig { choices, bias: 0.0 }, &weights).unwrap();
                let mask = Mask::all_usable(3);
                let view = Table::new(&mask, &weights, &[900, 0, 900]);
                let (mut counts, mut caller) = ([0_u32; 3], Script::seeded(8));
                for _ in 0..6_000 {
                    counts[policy.choose(&view, &mut caller).unwrap()] += 1;
                }
                let total: u32 = weights.iter().sum();
                for (count, weight) in counts.into_iter().zip(weights) {
                    let expected = 6_000.0 * f64::from(weight) / f64::from(total);
                    assert!(
                        (f64::from(count) - expected).abs() < 5.0 * expected.sqrt(),
                        "{counts:?} {weights:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_bias_out_of_range_is_refused() {
        for bias in [f64::NAN, -0.1, f64::INFINITY, f64::NEG_INFINITY] {
            let config = LeastRequestConfig { bias, ..LeastRequestConfig::default() };
            let error = LeastRequest::new(config, &[1, 2]).unwrap_err().to_string();
            assert!(error.contains("bias") && error.contains(&bias.to_string()), "{error}");
        }
        for bias in [1e-300, 1e300] {
            let policy =
                LeastRequest::new(LeastRequestConfig { bias, ..LeastRequestConfig::default() }, &[1, 2]);
            let mask = Mask::all_usable(2);
            let view = Table::new(&mask, &[1, 2], &[u32::MAX, 3]);
            assert!(policy.unwrap().choose(&view, &mut Script::seeded(1)).is_some());
        }
    }
}
