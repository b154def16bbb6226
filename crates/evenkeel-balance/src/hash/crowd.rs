//! Members for tests of placements: a number is name and token at once, so the same endpoint is known in other sets.

use std::sync::Arc;

use evenkeel_types::{Endpoint, SplitMix64, Weight};
use proptest::prelude::*;

use crate::Members;
use crate::hash::Placement;

#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    numbers: Vec<u64>,
    weights: Vec<u32>,
}

impl Crowd {
    /// Endpoints by number and weight, in this order.
    pub(crate) fn of(endpoints: &[(u64, u32)]) -> Self {
        let (numbers, weights) = endpoints.iter().copied().unzip();
        Self { numbers, weights }
    }

    /// As many endpoints of weight 1.
    pub(crate) fn equal(count: u64) -> Self {
        Self { numbers: (0..count).collect(), weights: vec![1; count as usize] }
    }

    pub(crate) fn with(&self, number: u64, weight: u32) -> Self {
        let mut crowd = self.clone();
        crowd.numbers.push(number);
        crowd.weights.push(weight);
        crowd
    }

    pub(crate) fn without(&self, number: u64) -> Self {
        let mut crowd = self.clone();
        if let Some(position) = crowd.numbers.iter().position(|&other| other == number) {
            crowd.numbers.remove(position);
            crowd.weights.remove(position);
        }
        crowd
    }

    pub(crate) fn reweighed(&self, number: u64, weight: u32) -> Self {
        let mut crowd = self.clone();
        if let Some(position) = crowd.numbers.iter().position(|&other| other == number) {
            crowd.weights[position] = weight;
        }
        crowd
    }

    pub(crate) fn reversed(&self) -> Self {
        let mut crowd = self.clone();
        crowd.numbers.reverse();
        crowd.weights.reverse();
        crowd
    }

    pub(crate) fn number(&self, position: usize) -> u64 {
        self.numbers[position]
    }
}

impl Members for Crowd {
    fn weights(&self) -> &[u32] {
        &self.weights
    }

    fn token(&self, position: usize) -> u64 {
        self.numbers[position]
    }

    fn endpoint(&self, position: usize) -> Arc<Endpoint> {
        let number = self.numbers[position];
        let id = format!("endpoint-{number}").parse().unwrap();
        let address = format!("10.0.{}.{}:80", number / 256 % 256, number % 256).parse().unwrap();
        Arc::new(Endpoint::new(id, address).with_weight(Weight::new(self.weights[position])))
    }
}

/// What a change moved, as parts of all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Churn {
    pub(crate) moved: f64,
    /// Between two endpoints that are in both sets, neither of which changed its weight.
    pub(crate) needless: f64,
}

const KEYS: u64 = 20_000;

/// The hashes of the keys of tests.
pub(crate) fn hashes() -> impl Iterator<Item = u64> {
    (0..KEYS).map(|key| SplitMix64::mix(key.wrapping_mul(SplitMix64::STEP)))
}

pub(crate) fn compare(before: &impl Placement, old: &Crowd, after: &impl Placement, new: &Crowd) -> Churn {
    let same = |number: u64| {
        let weight =
            |crowd: &Crowd| crowd.numbers.iter().position(|&other| other == number).map(|p| crowd.weights[p]);
        weight(old).is_some() && weight(old) == weight(new)
    };
    let (mut moved, mut needless) = (0, 0);
    for hash in hashes() {
        let from = old.number(before.home(hash).unwrap().position);
        let to = new.number(after.home(hash).unwrap().position);
        moved += u64::from(from != to);
        needless += u64::from(from != to && same(from) && same(to));
    }
    Churn { moved: moved as f64 / KEYS as f64, needless: needless as f64 / KEYS as f64 }
}

/// How many keys each position gets.
pub(crate) fn counts(placement: &impl Placement) -> Vec<u64> {
    let mut counts = vec![0; placement.len()];
    for hash in hashes() {
        counts[placement.home(hash).unwrap().position] += 1;
    }
    counts
}

/// Counts within five standard deviations of a draw by weight.
pub(crate) fn assert_shares_are_weights(placement: &impl Placement, weights: &[u32]) {
    let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    for (position, &count) in counts(placement).iter().enumerate() {
        let share = f64::from(weights[position]) / total;
        let expected = KEYS as f64 * share;
        let bound = 5.0 * (expected * (1.0 - share)).sqrt() + 1.0;
        let count = count as f64;
        assert!(
            (count - expected).abs() <= bound,
            "{count} for {position} of {weights:?}, not {expected:.0}"
        );
    }
}

/// A change of membership or of a weight.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Add(u64),
    Remove(usize),
    Reweigh(usize, u32),
}

impl Change {
    /// The set after it. One endpoint of weight at least stays.
    pub(crate) fn of(self, crowd: &Crowd) -> Crowd {
        let number = |index: usize| crowd.numbers[index % crowd.numbers.len()];
        let next = match self {
            Self::Add(number) if !crowd.numbers.contains(&number) => crowd.with(number, 1),
            Self::Add(_) => crowd.clone(),
            Self::Remove(index) => crowd.without(number(index)),
            Self::Reweigh(index, weight) => crowd.reweighed(number(index), weight),
        };
        let remains = next.weights.iter().filter(|&&weight| weight > 0).count();
        if remains < 4 { crowd.clone() } else { next }
    }
}

/// Some changes in a row.
pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (100_u64..104).prop_map(Change::Add),
        any::<usize>().prop_map(Change::Remove),
        (any::<usize>(), 0_u32..4).prop_map(|(index, weight)| Change::Reweigh(index, weight)),
    ];
    prop::collection::vec(change, 1..8)
}
