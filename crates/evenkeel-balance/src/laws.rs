//! The laws that every balancer passes.
//!
//! Run [`check`] on a policy of your own:
//!
//! ```
//! use evenkeel_balance::{BuiltIn, PolicyConfig, laws};
//!
//! laws::check("random", laws::Shares::Weighted, &|members| {
//!     Box::new(BuiltIn::new(&PolicyConfig::random(), members).expect("no settings"))
//! });
//! ```
//!
//! Draws come from fixed seeds, so a law that fails once fails always; the message names the case.

use std::net::Ipv4Addr;

use evenkeel_types::{Endpoint, SplitMix64, Weight};

use crate::{Mask, MemberList, Members, Policy, Script, Table, Wants};

/// What the picks of an idle set should add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shares {
    /// Each endpoint as much as any other.
    Uniform,
    /// Each in proportion to its weight.
    Weighted,
    /// As [`Weighted`](Self::Weighted), as closely as the placement of keys allows.
    Placed {
        /// By how many hundredths a share of the placement strays from its weight: one standard deviation.
        stray: u32,
    },
    /// Neither: the law of shares is not tested.
    Other,
}

/// Builds the policy under test for some members.
pub type Make<'a> = &'a dyn Fn(&dyn Members) -> Box<dyn Policy>;

/// Tests every law on the policy that `make` builds.
///
/// # Panics
///
/// If a law is broken: the message names the law, the policy and the case.
pub fn check(name: &str, shares: Shares, make: Make<'_>) {
    let law = Law { name, make };
    law.picks_open_positions_and_never_none_while_one_is_open();
    law.serves_large_sets_with_almost_all_out();
    law.survives_absurd_weights_and_loads();
    law.same_inputs_same_picks();
    law.prefers_the_idle_one_if_it_reads_loads();
    if shares != Shares::Other {
        law.shares_are_fair(shares);
    }
}

struct Law<'a> {
    name: &'a str,
    make: Make<'a>,
}

impl Law<'_> {
    fn build(&self, weights: &[u32]) -> Box<dyn Policy> {
        (self.make)(&members(weights))
    }

    /// Every mask and every exclusion of up to six endpoints.
    fn picks_open_positions_and_never_none_while_one_is_open(&self) {
        for weights in [&[1_u32][..], &[1, 1], &[3, 1], &[1, 0, 2], &[1; 4], &[5, 1, 1, 9, 2, 7]] {
            let policy = self.build(weights);
            for (down, tried) in subsets(weights.len()) {
                let usable = |p: usize| weights[p] > 0 && down >> p & 1 == 0;
                let mask = Mask::new(weights.len(), usable);
                let excluded: Vec<usize> = (0..weights.len()).filter(|p| tried >> p & 1 == 1).collect();
                let loads: Vec<u32> = (0..weights.len() as u32).map(|p| p * 3 % 4).collect();
                let view = Table::new(&mask, weights, &loads).excluding(&excluded);
                let open = (0..weights.len()).any(|p| usable(p) && !excluded.contains(&p));
                for seed in 0..6 {
                    let picked =
                        policy.pick(&view, &mut Script::seeded(seed).starting_at(seed as u32).with_key(seed));
                    let case = format!("{} {weights:?} down {down:b} tried {tried:b} seed {seed}", self.name);
                    assert_eq!(picked.is_some(), open, "none iff nothing is open: {case}");
                    if let Some(position) = picked {
                        assert!(position < weights.len(), "in range: {case}");
                        assert!(usable(position), "usable, never of weight zero: {case}");
                        assert!(!excluded.contains(&position), "not excluded: {case}");
                    }
                }
            }
        }
    }

    fn serves_large_sets_with_almost_all_out(&self) {
        for count in [63, 64, 65, 1000] {
            let weights: Vec<u32> = (0..count as u32).map(|p| 1 + p % 10).collect();
            let policy = self.build(&weights);
            let loads = vec![1; count];
            for left in [0, 1, count / 2, count - 1] {
                let mask = Mask::new(count, |position| position == left);
                let view = Table::new(&mask, &weights, &loads);
                for seed in 0..20 {
                    let picked = policy.pick(&view, &mut Script::seeded(seed).with_key(seed));
                    assert_eq!(picked, Some(left), "the only one left: {} of {count}", self.name);
                }
            }
        }
    }

    fn survives_absurd_weights_and_loads(&self) {
        for weights in [
            vec![u32::MAX; 10_000],
            vec![u32::MAX, 1, 1, u32::MAX],
            (0..300).map(|p| 1 << (p % 32)).collect(),
        ] {
            let policy = self.build(&weights);
            let mask = Mask::for_weights(&weights);
            let loads = vec![u32::MAX; weights.len()];
            let view = Table::new(&mask, &weights, &loads);
            let mut caller = Script::seeded(1).starting_at(u32::MAX).with_key(u64::MAX);
            for _ in 0..100 {
                assert!(policy.pick(&view, &mut caller).is_some_and(|p| p < weights.len()), "{}", self.name);
            }
        }
    }

    fn same_inputs_same_picks(&self) {
        let weights = [5, 1, 1, 3, 2];
        let loads = [1, 0, 2, 1, 0];
        let mask = Mask::new(5, |position| position != 2);
        let run = || {
            let policy = self.build(&weights);
            let mut caller = Script::seeded(77).with_key(77);
            (0..500)
                .map(|_| policy.pick(&Table::new(&mask, &weights, &loads), &mut caller))
                .collect::<Vec<_>>()
        };
        assert_eq!(run(), run(), "same inputs, same picks: {}", self.name);
    }

    fn prefers_the_idle_one_if_it_reads_loads(&self) {
        let policy = self.build(&[1; 8]);
        if !policy.wants().contains(Wants::LOADS) {
            return;
        }
        let mask = Mask::all_usable(8);
        let loads = [9, 9, 9, 0, 9, 9, 9, 9];
        let view = Table::new(&mask, &[1; 8], &loads);
        let mut caller = Script::seeded(5).with_key(5);
        let idle = (0..800).filter(|_| policy.pick(&view, &mut caller) == Some(3)).count();
        assert!(idle > 150, "an idle endpoint of 8 gets more than its 100 of 800: {} got {idle}", self.name);
    }

    /// Counts stay within five standard deviations of a multinomial draw, and of what the placement strays: beyond that
    /// one run in a million would fail, and the seeds are fixed. All usable, then two of three. Every pick has another key
    /// and comes from another address, if that is what the policy asks for.
    fn shares_are_fair(&self, shares: Shares) {
        for weights in [
            vec![1, 1],
            vec![1, 2, 3],
            vec![1; 10],
            (1..=10).collect(),
            (0..100).map(|p| 1 + p % 7).collect(),
        ] {
            for some_out in [false, true] {
                self.shares_of(shares, &weights, some_out);
            }
        }
    }

    fn shares_of(&self, shares: Shares, weights: &[u32], some_out: bool) {
        // Uneven gaps, so that stepping over to a neighbour shows.
        let usable = |position: usize| !some_out || position % 3 != 1;
        let part = |position: usize| match shares {
            _ if !usable(position) => 0.0,
            Shares::Weighted | Shares::Placed { .. } => f64::from(weights[position]),
            Shares::Uniform | Shares::Other => 1.0,
        };
        let policy = self.build(weights);
        let mask = Mask::new(weights.len(), usable);
        let loads = vec![0; weights.len()];
        let mut counts = vec![0_u32; weights.len()];
        let mut caller = Script::seeded(13);
        let picks = 20_000_u32;
        for pick in 0..picks {
            let key = SplitMix64::mix(pick.into());
            if policy.wants().contains(Wants::KEY) {
                caller = caller.with_key(key);
            }
            if policy.wants().contains(Wants::SOURCE) {
                caller = caller.with_source(Ipv4Addr::from_bits(key as u32).into());
            }
            let picked = policy.pick(&Table::new(&mask, weights, &loads), &mut caller);
            counts[picked.expect("something is usable")] += 1;
        }
        let total: f64 = (0..weights.len()).map(part).sum();
        for (position, &count) in counts.iter().enumerate() {
            let share = part(position) / total;
            let expected = f64::from(picks) * share;
            let stray = match shares {
                Shares::Placed { stray } => expected * f64::from(stray) / 100.0,
                Shares::Uniform | Shares::Weighted | Shares::Other => 0.0,
            };
            let bound = 5.0 * (expected * (1.0 - share) + stray * stray).sqrt() + 1.0;
            assert!(
                (f64::from(count) - expected).abs() <= bound,
                "fair: {} gives {count} to position {position} of {weights:?} (some out: {some_out}), not {expected:.0}",
                self.name
            );
        }
    }
}

/// Members with these weights and plain names.
#[must_use]
pub fn members(weights: &[u32]) -> MemberList {
    MemberList::new(weights.iter().enumerate().map(|(position, &weight)| {
        let id = format!("endpoint-{position}").parse().expect("a short plain name");
        let address =
            format!("10.0.{}.{}:80", position / 256 % 256, position % 256).parse().expect("an address");
        Endpoint::new(id, address).with_weight(Weight::new(weight))
    }))
}

fn subsets(count: usize) -> impl Iterator<Item = (u32, u32)> {
    (0..1_u32 << count).flat_map(move |down| (0..1_u32 << count).map(move |tried| (down, tried)))
}
