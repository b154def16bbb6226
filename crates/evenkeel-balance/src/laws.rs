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
//!
//! A policy that asks for [`Event`]s is told of every pick, release and flip, in the order in which the façade tells them:
//! a pick after it counts, a release before it stops counting, a flip after the mask has changed.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use evenkeel_types::{Endpoint, RandomSource, SplitMix64, Weight};

use crate::{Event, InvalidPolicy, Mask, MemberList, Members, Policy, Script, Table, Wants};

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

/// As [`Make`], for a policy that may refuse members.
pub type TryMake<'a> = &'a dyn Fn(&dyn Members) -> Result<Box<dyn Policy>, InvalidPolicy>;

/// Tests every law on the policy that `make` builds.
///
/// # Panics
///
/// If a law is broken: the message names the law, the policy and the case.
pub fn check(name: &str, shares: Shares, make: Make<'_>) {
    try_check(name, shares, &|members| Ok(make(members)));
}

/// As [`check`], for a policy that may refuse members that it cannot represent. Where a law is about absurd weights, a
/// refusal keeps it; any other members have to be served.
///
/// # Panics
///
/// As [`check`].
pub fn try_check(name: &str, shares: Shares, make: TryMake<'_>) {
    let law = Law { name, make };
    law.picks_open_positions_and_never_none_while_one_is_open();
    law.serves_large_sets_with_almost_all_out();
    law.weight_zero_gets_nothing();
    law.survives_absurd_weights_and_loads();
    law.same_inputs_same_picks();
    law.prefers_the_idle_one_if_it_reads_loads();
    law.serves_whoever_is_open_while_requests_and_flips_come_and_go(shares);
    if shares != Shares::Other {
        law.shares_are_fair(shares);
    }
}

struct Law<'a> {
    name: &'a str,
    make: TryMake<'a>,
}

/// Tells a policy what it asked to be told: a request to `position` that ends at once.
fn tell_of_a_short_request(policy: &dyn Policy, position: usize) {
    tell(policy, Event::Picked(position as u64));
    tell(policy, Event::Released(position as u64));
}

fn tell(policy: &dyn Policy, event: Event) {
    if policy.wants().contains(Wants::EVENTS) {
        policy.on_event(event);
    }
}

impl Law<'_> {
    fn build(&self, weights: &[u32]) -> Box<dyn Policy> {
        self.try_build(weights).expect("these members can be served")
    }

    fn try_build(&self, weights: &[u32]) -> Result<Box<dyn Policy>, InvalidPolicy> {
        (self.make)(&members(weights))
    }

    /// Every mask and every exclusion of up to six endpoints.
    fn picks_open_positions_and_never_none_while_one_is_open(&self) {
        for weights in [&[1_u32][..], &[1, 1], &[3, 1], &[1, 0, 2], &[1; 4], &[5, 1, 1, 9, 2, 7]] {
            let policy = self.build(weights);
            let mut before = 0;
            for (down, tried) in subsets(weights.len()) {
                let usable = |p: usize| weights[p] > 0 && down >> p & 1 == 0;
                let mask = Mask::new(weights.len(), usable);
                for flipped in (0..weights.len()).filter(|p| (before ^ down) >> p & 1 == 1) {
                    let token = flipped as u64;
                    tell(&*policy, if usable(flipped) { Event::Up(token) } else { Event::Down(token) });
                }
                before = down;
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
                        tell_of_a_short_request(&*policy, position);
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

    /// Sets of up to ten endpoints, of which some ask for no traffic.
    fn weight_zero_gets_nothing(&self) {
        for count in 2..=10 {
            for pattern in 0..8_u32 {
                let weights: Vec<u32> = (0..count)
                    .map(|p| if (p + pattern) % (2 + pattern % 3) == 0 { 0 } else { 1 + p })
                    .collect();
                let policy = self.build(&weights);
                let mask = Mask::for_weights(&weights);
                let loads = vec![0; weights.len()];
                let mut caller = Script::seeded(u64::from(pattern)).with_key(u64::from(pattern));
                for _ in 0..50 {
                    let picked = policy.pick(&Table::new(&mask, &weights, &loads), &mut caller);
                    assert_eq!(picked.is_some(), mask.usable() > 0, "weight zero: {} {weights:?}", self.name);
                    let Some(picked) = picked else { continue };
                    assert!(
                        weights.get(picked).is_some_and(|&weight| weight > 0),
                        "weight zero gets nothing: {} gives {picked} of {weights:?}",
                        self.name
                    );
                    tell_of_a_short_request(&*policy, picked);
                }
            }
        }
    }

    /// A busy world, small and large: requests of any length, endpoints that go down and come back. When it is quiet again
    /// and all are up, whoever shares anything with anybody gets its turn within a hundred picks for each endpoint.
    fn serves_whoever_is_open_while_requests_and_flips_come_and_go(&self, shares: Shares) {
        for count in [2, 5, 40, 200] {
            let policy = self.build(&vec![1; count]);
            let mut world = World::new(count);
            for _ in 0..60 * count {
                world.step(&*policy, self.name);
            }
            world.end(&*policy);
            let mut served = vec![false; count];
            for _ in 0..100 * count {
                served[world.pick(&*policy, self.name).expect("all are usable")] = true;
                world.release(&*policy, 0);
            }
            if shares != Shares::Other {
                let starving = served.iter().position(|&served| !served);
                assert_eq!(starving, None, "nobody starves: {} forgot one of {count}", self.name);
            }
        }
    }

    fn survives_absurd_weights_and_loads(&self) {
        for weights in [
            vec![u32::MAX; 10_000],
            vec![u32::MAX, 1, 1, u32::MAX],
            (0..300).map(|p| 1 << (p % 32)).collect(),
        ] {
            let Ok(policy) = self.try_build(&weights) else { continue };
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
        let mut pick = || {
            let picked = policy.pick(&view, &mut caller);
            picked.inspect(|&position| tell_of_a_short_request(&*policy, position))
        };
        let idle = (0..800).filter(|_| pick() == Some(3)).count();
        assert!(idle > 150, "an idle endpoint of 8 gets more than its 100 of 800: {} got {idle}", self.name);
    }

    /// Counts stay within the bound of [`tolerance`]: for two to ten endpoints and for a hundred, with equal weights and
    /// unequal ones, with all usable, two of three, and a half. Every pick has another key and comes from another address,
    /// if that is what the policy asks for.
    fn shares_are_fair(&self, shares: Shares) {
        for count in (2..=10).chain([100]) {
            for weights in [
                vec![1; count],
                (1..=count as u32).collect(),
                (0..count as u32).map(|p| 1 + p * 5 % 7).collect::<Vec<u32>>(),
            ] {
                // Every third: uneven gaps, so that stepping over to a neighbour shows.
                for out in [usize::MAX, 3, 2] {
                    self.shares_of(shares, &weights, |position| position % out != 1);
                }
            }
        }
    }

    fn shares_of(&self, shares: Shares, weights: &[u32], usable: impl Fn(usize) -> bool) {
        let part = |position: usize| match shares {
            _ if !usable(position) => 0.0,
            Shares::Weighted | Shares::Placed { .. } => f64::from(weights[position]),
            Shares::Uniform | Shares::Other => 1.0,
        };
        let policy = self.build(weights);
        let mask = Mask::new(weights.len(), &usable);
        let loads = vec![0; weights.len()];
        let mut counts = vec![0_u32; weights.len()];
        let mut caller = Script::seeded(13);
        let picks = 6_000_u32;
        for pick in 0..picks {
            let key = SplitMix64::mix(pick.into());
            if policy.wants().contains(Wants::KEY) {
                caller = caller.with_key(key);
            }
            if policy.wants().contains(Wants::SOURCE) {
                caller = caller.with_source(Ipv4Addr::from_bits(key as u32).into());
            }
            let picked = policy.pick(&Table::new(&mask, weights, &loads), &mut caller);
            let picked = picked.expect("something is usable");
            counts[picked] += 1;
            tell_of_a_short_request(&*policy, picked);
        }
        let total: f64 = (0..weights.len()).map(part).sum();
        for (position, &count) in counts.iter().enumerate() {
            let share = part(position) / total;
            let expected = f64::from(picks) * share;
            let stray = match shares {
                Shares::Placed { stray } => expected * f64::from(stray) / 100.0,
                Shares::Uniform | Shares::Weighted | Shares::Other => 0.0,
            };
            assert!(
                (f64::from(count) - expected).abs() <= tolerance(expected * (1.0 - share) + stray * stray),
                "fair: {} gives {count} to position {position} of {weights:?} ({} usable), not {expected:.0}",
                self.name,
                mask.usable()
            );
        }
    }
}

/// How far a count of this variance may stray from what is expected of it.
///
/// If picks are independent draws, the count X of an endpoint with share p in N picks is binomial, and Bernstein's
/// inequality gives P(|X − Np| ≥ t) ≤ 2 exp(−t² ÷ 2(v + t ÷ 3)) with the variance v = Np(1 − p). The law compares fewer
/// than 1 500 counts for a policy; so that a fair policy fails it at most once in a million seeds (α = 10^-6), each
/// comparison may fail with α ÷ 1500 (Bonferroni), and t solves the inequality for that: with L = ln(2 × 1500 ÷ α) = 21.8
/// it is L ÷ 3 + √(L² ÷ 9 + 2vL), or 6.6 standard deviations and 7 picks. Seeds are fixed, so it fails always or never.
/// Policies that keep an order stray less than those that draw. Where keys are placed, what a placement strays is added to
/// the variance.
fn tolerance(variance: f64) -> f64 {
    let l = 21.8;
    l / 3.0 + (l * l / 9.0 + 2.0 * variance * l).sqrt()
}

/// Endpoints of weight one with requests in flight.
struct World {
    mask: Mask,
    loads: Vec<u32>,
    in_flight: VecDeque<usize>,
    chance: SplitMix64,
    caller: Script<SplitMix64>,
}

impl World {
    fn new(count: usize) -> Self {
        Self {
            mask: Mask::all_usable(count),
            loads: vec![0; count],
            in_flight: VecDeque::new(),
            chance: SplitMix64::new(count as u64),
            caller: Script::seeded(7).with_key(7),
        }
    }

    fn below(&mut self, n: usize) -> usize {
        (self.chance.next_u64() % n as u64) as usize
    }

    /// A pick, a release or a flip.
    fn step(&mut self, policy: &dyn Policy, name: &str) {
        match self.below(20) {
            0 => {
                let position = self.below(self.loads.len());
                self.flip(policy, position, !self.mask.contains(position));
            }
            1..9 if !self.in_flight.is_empty() => {
                let index = self.below(self.in_flight.len());
                self.release(policy, index);
            }
            _ => _ = self.pick(policy, name),
        }
    }

    fn pick(&mut self, policy: &dyn Policy, name: &str) -> Option<usize> {
        let weights = vec![1; self.loads.len()];
        let key = self.chance.next_u64();
        let mut caller =
            self.caller.clone().with_key(key).with_source(Ipv4Addr::from_bits(key as u32).into());
        let picked = policy.pick(&Table::new(&self.mask, &weights, &self.loads), &mut caller);
        self.caller = caller;
        assert_eq!(picked.is_some(), self.mask.usable() > 0, "none iff nothing is open, when busy: {name}");
        let position = picked?;
        assert!(self.mask.contains(position), "usable, when busy: {name}");
        self.loads[position] += 1;
        self.in_flight.push_back(position);
        tell(policy, Event::Picked(position as u64));
        picked
    }

    fn release(&mut self, policy: &dyn Policy, index: usize) {
        if let Some(position) = self.in_flight.remove(index) {
            tell(policy, Event::Released(position as u64));
            self.loads[position] -= 1;
        }
    }

    fn flip(&self, policy: &dyn Policy, position: usize, usable: bool) {
        if self.mask.set(position, usable) {
            let token = position as u64;
            tell(policy, if usable { Event::Up(token) } else { Event::Down(token) });
        }
    }

    /// All requests end, and all endpoints are up.
    fn end(&mut self, policy: &dyn Policy) {
        while !self.in_flight.is_empty() {
            self.release(policy, 0);
        }
        (0..self.loads.len()).for_each(|position| self.flip(policy, position, true));
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
