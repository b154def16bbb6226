//! What every policy costs, side by side: the table of `docs/algorithms.md`.
//!
//! ```text
//! cargo run --release -p evenkeel-benches --bin algorithms [-- POLICY ...]
//! ```
//!
//! Nanoseconds of a choice alone (for a policy that hears events, with those of pick and release), over plain slices with
//! equal weights, median of 21 batches; bytes that the built policy keeps for each endpoint; and the busiest endpoint's
//! share of 200 000 picks from an idle set, over the mean.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use evenkeel_balance::{
    BuiltIn, Caller, Event, Mask, Members, Observation, Observed, Policy, PolicyConfig, Table, Wants,
};
use evenkeel_benches::{Weights, members};
use evenkeel_types::{RandomSource, SplitMix64, Timestamp};

fn main() {
    let only: Vec<String> = std::env::args().skip(1).collect();
    println!("| policy | ns, N = 10 | 1 000 | 10 000 | bytes an endpoint | max / mean, N = 10 | 100 |");
    println!("|---|---|---|---|---|---|---|");
    for config in PolicyConfig::all() {
        let name = config.name();
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            let costs = [10, 1000, 10_000].map(|n| cost(&config, n));
            let shares = [10, 100].map(|n| imbalance(&config, n));
            println!(
                "| `{name}` | {} | {} | {} | {:.0} | {} | {} |",
                shown(costs[0]),
                shown(costs[1]),
                shown(costs[2]),
                bytes(&config, 1000),
                ratio(shares[0]),
                ratio(shares[1]),
            );
        }
    }
}

fn shown(cost: Option<f64>) -> String {
    match cost {
        None => "refused".to_owned(),
        Some(ns) if ns < 10.0 => format!("{ns:.1}"),
        Some(ns) => format!("{ns:.0}"),
    }
}

fn ratio(share: Option<f64>) -> String {
    share.map_or_else(|| "refused".to_owned(), |share| format!("{share:.2}"))
}

/// One policy in its world.
struct World {
    policy: BuiltIn,
    hears: Wants,
    mask: Mask,
    weights: Vec<u32>,
    loads: Vec<u32>,
    caller: Varied,
}

impl World {
    fn new(config: &PolicyConfig, n: usize) -> Option<Self> {
        let members = members(n, Weights::Equal);
        let policy = BuiltIn::new(config, &members).ok()?;
        let hears = policy.wants();
        let weights = members.weights().to_vec();
        Some(Self {
            policy,
            hears,
            mask: Mask::all_usable(n),
            weights,
            loads: vec![0; n],
            caller: Varied::new(),
        })
    }

    /// One request that comes and goes.
    #[inline(always)]
    fn request(&mut self) -> usize {
        let view = Table::new(&self.mask, &self.weights, &self.loads);
        let position = self.policy.choose(&view, &mut self.caller).unwrap_or_default();
        let token = position as u64;
        if self.hears.contains(Wants::EVENTS) {
            self.policy.on_event(Event::Picked(token));
        }
        if self.hears.contains(Wants::OBSERVED) {
            let (latency, at) = (Duration::from_millis(5), self.caller.now());
            let seen = Observation { latency, kind: Observed::Success, in_flight: 1, at };
            self.policy.on_event(Event::Observed(token, seen));
        }
        if self.hears.contains(Wants::EVENTS) {
            self.policy.on_event(Event::Released(token));
        }
        position
    }
}

/// Inputs that differ from request to request: draws, turns, keys, addresses, and a millisecond passes.
struct Varied {
    draws: SplitMix64,
    place: u32,
    key: [u8; 16],
    hash: u64,
    requests: u64,
}

impl Varied {
    const fn new() -> Self {
        Self { draws: SplitMix64::new(1), place: 0, key: [0; 16], hash: 0, requests: 0 }
    }
}

impl Caller for Varied {
    #[inline]
    fn draw(&mut self) -> u64 {
        self.draws.next_u64()
    }

    #[inline]
    fn turn(&mut self, length: u32) -> u32 {
        self.place = evenkeel_balance::place_in(self.place.wrapping_add(1), length);
        self.place
    }

    #[inline]
    fn key(&mut self) -> Option<u64> {
        self.hash = self.hash.wrapping_add(SplitMix64::STEP);
        Some(SplitMix64::mix(self.hash))
    }

    fn key_bytes(&mut self) -> Option<&[u8]> {
        let key = self.key()?;
        self.key[..8].copy_from_slice(&key.to_le_bytes());
        Some(&self.key)
    }

    fn source(&mut self) -> Option<IpAddr> {
        self.key().map(|key| IpAddr::V4(Ipv4Addr::from_bits((key >> 32) as u32)))
    }

    fn now(&mut self) -> Timestamp {
        self.requests += 1;
        Timestamp::from_millis(self.requests)
    }
}

/// Nanoseconds a request.
fn cost(config: &PolicyConfig, n: usize) -> Option<f64> {
    let mut world = World::new(config, n)?;
    let mut calls = 1_u32;
    while batch(&mut world, calls) < BATCH {
        calls = calls.saturating_mul(2);
    }
    let mut samples: Vec<f64> =
        (0..BATCHES).map(|_| batch(&mut world, calls).as_nanos() as f64 / f64::from(calls)).collect();
    samples.sort_by(f64::total_cmp);
    Some(samples[BATCHES / 2])
}

fn batch(world: &mut World, calls: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        black_box(world.request());
    }
    start.elapsed()
}

/// Bytes that the policy keeps, an endpoint.
fn bytes(config: &PolicyConfig, n: usize) -> f64 {
    let members = members(n, Weights::Equal);
    let mut built = None;
    let kept = measure(|| built = BuiltIn::new(config, &members).ok()).bytes_current;
    drop(built);
    kept as f64 / n as f64
}

/// The busiest endpoint's picks over the mean, of an idle set.
fn imbalance(config: &PolicyConfig, n: usize) -> Option<f64> {
    let mut world = World::new(config, n)?;
    let mut picks = vec![0_u32; n];
    for _ in 0..PICKS {
        picks[world.request()] += 1;
    }
    let most = picks.iter().copied().max().unwrap_or_default();
    Some(f64::from(most) * n as f64 / f64::from(PICKS))
}

const BATCH: Duration = Duration::from_millis(2);
const BATCHES: usize = 21;
const PICKS: u32 = 200_000;
