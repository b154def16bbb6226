use std::cmp::Ordering;
use std::sync::Arc;

use evenkeel_types::{RandomSource, SplitMix64, below};

use crate::built_in::are_equal;
use crate::draws::weighted_random;
use crate::{AliasTable, BuiltIn, Caller, InvalidPolicy, Members, Policy, PolicySettings, View, Wants, scan};

/// How many endpoints a [`LeastRequest`] compares. Written as a number from 2 to 32, or `"all"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choices {
    /// Every usable one, O(n) a pick: with equal weights the exact minimum; with unequal ones the least by load ÷ weight,
    /// unless an endpoint drawn by weight is within one request of it.
    All,
    /// This many distinct ones, drawn at random; 2 to 32.
    Draw(u32),
}

#[cfg(feature = "serde")]
impl serde::Serialize for Choices {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Draw(choices) => serializer.serialize_u32(*choices),
        }
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Choices {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl serde::de::Visitor<'_> for Form {
            type Value = Choices;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`choices` as a number from 2 to 32, or \"all\"")
            }

            fn visit_u64<E: serde::de::Error>(self, choices: u64) -> Result<Choices, E> {
                u32::try_from(choices)
                    .map(Choices::Draw)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(choices), &self))
            }

            fn visit_i64<E: serde::de::Error>(self, choices: i64) -> Result<Choices, E> {
                u32::try_from(choices)
                    .map(Choices::Draw)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(choices), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Choices, E> {
                if text == "all" {
                    Ok(Choices::All)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl Default for Choices {
    /// Two: the first extra choice brings almost everything (Mitzenmacher 2001), a third costs a cache line more.
    fn default() -> Self {
        Self::Draw(2)
    }
}

/// Settings of [`LeastRequest`].
#[derive(Clone, Copy, Debug, PartialEq)]
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
    choices: Choices,
    /// Present when weights differ, or loads do not count.
    weighted: Option<Weighted>,
}

#[derive(Clone, Debug, PartialEq)]
struct Weighted {
    table: AliasTable,
    greatest: u32,
    /// Present unless it is 1, which is compared in whole numbers.
    bias: Option<Bias>,
}

/// An exponent for loads, with the powers of small loads at hand.
#[derive(Clone, Debug, PartialEq)]
struct Bias {
    exponent: f64,
    powers: Arc<[f64]>,
}

impl Bias {
    fn new(exponent: f64) -> Self {
        let powers = (0..POWERS).map(|load| libm::pow(f64::from(load), exponent)).collect();
        Self { exponent, powers }
    }

    /// The load as it counts: `load`^bias.
    fn of(&self, load: u64) -> f64 {
        let known = self.powers.get(usize::try_from(load).unwrap_or(usize::MAX));
        known.copied().unwrap_or_else(|| libm::pow(load as f64, self.exponent))
    }
}

/// Up to which load powers are kept.
const POWERS: u32 = 64;

impl LeastRequest {
    /// The policy for these weights. O(n).
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy::Setting`] unless choices are 2 to 32, or all, and the bias is a number from 0 up.
    pub fn new(config: LeastRequestConfig, weights: &[u32]) -> Result<Self, InvalidPolicy> {
        if let Choices::Draw(choices) = config.choices
            && !(2..=MOST_CHOICES).contains(&choices)
        {
            let problem = format!("{choices} is out of range: allowed are 2 to 32, or \"all\"");
            return Err(InvalidPolicy::setting("least_request", "choices", problem));
        }
        if !(config.bias.is_finite() && config.bias >= 0.0) {
            let problem = format!("{} is out of range: allowed are finite numbers from 0 up", config.bias);
            return Err(InvalidPolicy::setting("least_request", "bias", problem));
        }
        // With equal weights the order of loads is the order of their powers, unless all powers are one.
        let weighted = (!are_equal(weights) || config.bias == 0.0).then(|| Weighted {
            table: AliasTable::new(weights),
            greatest: weights.iter().copied().max().unwrap_or(0),
            bias: (config.bias != 1.0).then(|| Bias::new(config.bias)),
        });
        Ok(Self { choices: config.choices, weighted })
    }

    /// A position, or `None` if none is open.
    #[inline(always)]
    pub fn choose<V: View + ?Sized, C: Caller + ?Sized>(&self, view: &V, caller: &mut C) -> Option<usize> {
        let usable = view.mask().usable();
        match (self.choices, &self.weighted) {
            (Choices::Draw(2), None) if usable > 2 => choose_of_two(view, caller, usable),
            (_, Some(weighted)) if weighted.ignores_load() => choose_by_weight(view, caller, weighted),
            (Choices::Draw(choices), weighted) if usable > choices as usize => {
                choose_of_some(view, caller, choices, weighted.as_ref())
            }
            (_, weighted) => choose_of_all(view, caller, weighted.as_ref()),
        }
    }
}

/// A draw by weight, whatever the loads are.
#[inline(never)]
fn choose_by_weight<V: View + ?Sized, C: Caller + ?Sized>(
    view: &V,
    caller: &mut C,
    weighted: &Weighted,
) -> Option<usize> {
    weighted_random::again(view, caller, weighted.greatest, |draw| weighted.table.at(draw))
}

/// Two distinct ones of equal weight: the case that must cost nothing.
#[inline(always)]
fn choose_of_two<V: View + ?Sized, C: Caller + ?Sized>(
    view: &V,
    caller: &mut C,
    usable: usize,
) -> Option<usize> {
    let draw = caller.draw();
    let first = below(scan::upper(draw), usable as u32);
    let second = below(scan::lower(draw), usable as u32 - 1);
    let second = second + u32::from(second >= first);
    if usable == view.mask().len() && view.admits_all() {
        return Some(less_loaded(view, first as usize, second as usize));
    }
    let (first, second) = (view.mask().at(first as usize), view.mask().at(second as usize));
    if view.is_open(first) && view.is_open(second) {
        return Some(less_loaded(view, first, second));
    }
    choose_of_some(view, caller, 2, None)
}

/// Equals go to the first, which is as random as the second.
#[inline(always)]
fn less_loaded<V: View + ?Sized>(view: &V, first: usize, second: usize) -> usize {
    if view.load(second) < view.load(first) { second } else { first }
}

/// Up to `choices` distinct open ones; with exclusions or races fewer may be met, then the best of those counts.
#[inline(never)]
fn choose_of_some<V: View + ?Sized, C: Caller + ?Sized>(
    view: &V,
    caller: &mut C,
    choices: u32,
    weighted: Option<&Weighted>,
) -> Option<usize> {
    let mut seen = [usize::MAX; MOST_CHOICES as usize];
    let mut met = 0;
    let mut best: Option<Candidate> = None;
    for _ in 0..choices as usize + scan::DRAWS {
        let position = sample(view, caller, weighted);
        if !view.is_open(position) || seen[..met].contains(&position) {
            continue;
        }
        seen[met] = position;
        met += 1;
        best = Some(better(best, Candidate::at(view, position), weighted));
        if met == choices as usize {
            return best.map(|candidate| candidate.position);
        }
    }
    // One heavy endpoint can take every weighted draw: whoever has met too few meets others without regard to weight, so
    // that load always has something to be compared with.
    for _ in 0..scan::DRAWS {
        let usable = view.mask().usable();
        let position = scan::usable_at(view, below(scan::upper(caller.draw()), usable as u32), usable);
        if usable > 0 && view.is_open(position) && !seen[..met].contains(&position) {
            best = Some(better(best, Candidate::at(view, position), weighted));
            break;
        }
    }
    match best {
        Some(candidate) => Some(candidate.position),
        None => choose_of_all(view, caller, weighted),
    }
}

/// All open ones. With equal weights the least loaded, ties told apart at random; with unequal ones the least by load ÷
/// weight, unless one drawn by weight is within a request of it, so that idle shares are the weights.
#[inline(never)]
fn choose_of_all<V: View + ?Sized, C: Caller + ?Sized>(
    view: &V,
    caller: &mut C,
    weighted: Option<&Weighted>,
) -> Option<usize> {
    let mut ties = SplitMix64::new(caller.draw());
    let mut least: Option<Candidate> = None;
    let mut equals = 0;
    for position in view.mask().iter().filter(|&position| view.admits(position)) {
        let candidate = Candidate::at(view, position);
        let order = least.map_or(Ordering::Less, |least| candidate.compare(least, weighted));
        equals = match order {
            Ordering::Less => 1,
            Ordering::Equal => equals + 1,
            Ordering::Greater => equals,
        };
        let is_chosen = match order {
            Ordering::Less => true,
            // Reservoir sampling: the k-th equal replaces with probability 1 / k.
            Ordering::Equal => below(scan::upper(ties.next_u64()), equals) == 0,
            Ordering::Greater => false,
        };
        if is_chosen {
            least = Some(candidate);
        }
    }
    let (least, Some(weighted)) = (least?, weighted) else { return least.map(|least| least.position) };
    let drawn = weighted_random::again(view, caller, weighted.greatest, |draw| weighted.table.at(draw))?;
    Some(better(Some(Candidate::at(view, drawn)), least, Some(weighted)).position)
}

#[inline]
fn sample<V: View + ?Sized, C: Caller + ?Sized>(
    view: &V,
    caller: &mut C,
    weighted: Option<&Weighted>,
) -> usize {
    let draw = caller.draw();
    let usable = view.mask().usable();
    match weighted {
        // While most are usable the table is the quickest exact draw.
        Some(weighted) if usable * 2 >= view.mask().len() => weighted.table.at(draw),
        Some(weighted) => {
            weighted_random::again(view, caller, weighted.greatest, |draw| weighted.table.at(draw))
                .unwrap_or(usize::MAX)
        }
        None => scan::usable_at(view, below(scan::upper(draw), usable as u32), usable),
    }
}

#[derive(Clone, Copy)]
struct Candidate {
    position: usize,
    load: u64,
    weight: u64,
}

impl Candidate {
    #[inline]
    fn at<V: View + ?Sized>(view: &V, position: usize) -> Self {
        Self { position, load: view.load(position).into(), weight: view.weight(position).max(1).into() }
    }

    /// By load ÷ weight. Both products fit: 32 bits each.
    fn compare(self, other: Self, weighted: Option<&Weighted>) -> Ordering {
        if let Some(bias) = weighted.and_then(|weighted| weighted.bias.as_ref()) {
            let (own, others) =
                (bias.of(self.load) * other.weight as f64, bias.of(other.load) * self.weight as f64);
            return own.total_cmp(&others);
        }
        (self.load * other.weight).cmp(&(other.load * self.weight))
    }
}

/// The one that stays: `other` only if it would be no worse off after taking the request than `best` is now.
#[inline]
fn better(best: Option<Candidate>, other: Candidate, weighted: Option<&Weighted>) -> Candidate {
    let bias = weighted.and_then(|weighted| weighted.bias.as_ref());
    match (best, bias) {
        (Some(best), Some(bias)) => {
            let after = bias.of(other.load + 1) * best.weight as f64;
            if after > bias.of(best.load) * other.weight as f64 { best } else { other }
        }
        // Both sides are products of 33 and 32 bits at most: they fit.
        (Some(best), None)
            if u128::from(other.load + 1) * u128::from(best.weight)
                > u128::from(best.load) * u128::from(other.weight) =>
        {
            best
        }
        _ => other,
    }
}

impl Weighted {
    #[inline]
    fn ignores_load(&self) -> bool {
        self.bias.as_ref().is_some_and(|bias| bias.exponent == 0.0)
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

/// The most draws that are compared: above it a full scan is the honest choice.
const MOST_CHOICES: u32 = 32;

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
