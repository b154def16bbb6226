//! Clients that send, wait for the answer, and send again, in virtual time: what a policy makes of slow endpoints.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::time::Duration;

use evenkeel_balance::{
    BuiltIn, Caller, Event, Mask, Observation, Observed, Policy, PolicyConfig, Table, Wants, place_in,
};
use evenkeel_types::{RandomSource, SplitMix64, Timestamp};

use crate::order::members;
use crate::picture::{Axis, Line, bars, lines};

const POLICIES: [&str; 6] =
    ["random", "round_robin", "least_request", "least_connections", "peak_ewma", "join_idle_queue"];
const REQUESTS: u64 = 300_000;

/// The requests in flight at the busiest endpoint, the more endpoints the harder.
pub(crate) fn draw_concurrency() -> Result<String, Box<dyn Error>> {
    let mut drawn = Vec::new();
    for name in POLICIES {
        let points =
            [3, 10, 30, 100, 300].map(|n| Ok((n as f64, Fleet::new(name, n, 2 * n, 1.0)?.run().busiest)));
        let points = points.into_iter().collect::<Result<_, Box<dyn Error>>>()?;
        drawn.push(Line { name: name.to_owned(), points });
    }
    lines(
        "Mean number in flight at the busiest endpoint; the mean of all is 2",
        &Axis { title: "endpoints, with twice as many clients", from: 3.0, to: 300.0 },
        &Axis { title: "requests in flight", from: 0.0, to: 12.0 },
        &drawn,
    )
}

/// The share that goes to the one of ten endpoints that takes ten times as long.
pub(crate) fn draw_slow_endpoint() -> Result<String, Box<dyn Error>> {
    let share = |name: &&str| -> Result<_, Box<dyn Error>> {
        Ok(((*name).to_owned(), 100.0 * Fleet::new(name, 10, 20, 10.0)?.run().slow_share))
    };
    let shares = POLICIES.iter().map(share).collect::<Result<Vec<_>, _>>()?;
    bars(
        "Requests that go to the one of ten endpoints that is ten times as slow",
        "%",
        &shares,
        (10.0, "an equal share"),
    )
}

/// What a run shows.
struct Shown {
    /// In flight at the busiest endpoint, mean over requests.
    busiest: f64,
    /// Of all requests, those that went to the slow endpoint.
    slow_share: f64,
}

struct Fleet {
    policy: BuiltIn,
    hears: Wants,
    weights: Vec<u32>,
    loads: Vec<u32>,
    slowness: f64,
    inputs: Inputs,
    /// When a request ends, which it is, where it is, and when it began.
    ends: BinaryHeap<Reverse<(u64, u64, usize, u64)>>,
    clients: usize,
}

impl Fleet {
    fn new(name: &str, n: usize, clients: usize, slowness: f64) -> Result<Self, Box<dyn Error>> {
        let weights = vec![1; n];
        let policy = BuiltIn::new(&name.parse::<PolicyConfig>()?, &members(&weights)?)?;
        let hears = policy.wants();
        let inputs = Inputs { draws: SplitMix64::new(17), place: 0, now: Timestamp::from_secs(1) };
        let loads = vec![0; n];
        Ok(Self { policy, hears, weights, loads, slowness, inputs, ends: BinaryHeap::new(), clients })
    }

    fn run(mut self) -> Shown {
        let mask = Mask::all_usable(self.weights.len());
        let (mut busiest, mut slow) = (0_u64, 0_u64);
        for request in 0..REQUESTS {
            if self.ends.len() >= self.clients {
                self.end();
            }
            slow += u64::from(self.start(&mask, request) == Some(0));
            busiest += u64::from(self.loads.iter().copied().max().unwrap_or_default());
        }
        Shown { busiest: busiest as f64 / REQUESTS as f64, slow_share: slow as f64 / REQUESTS as f64 }
    }

    fn start(&mut self, mask: &Mask, request: u64) -> Option<usize> {
        let position = self.policy.choose(&Table::new(mask, &self.weights, &self.loads), &mut self.inputs)?;
        self.loads[position] += 1;
        if self.hears.contains(Wants::EVENTS) {
            self.policy.on_event(Event::Picked(position as u64));
        }
        let factor = if position == 0 { self.slowness } else { 1.0 };
        let began = self.inputs.now.as_nanos();
        let takes = (self.inputs.exponential() * factor * SERVICE_NANOS) as u64;
        self.ends.push(Reverse((began + takes, request, position, began)));
        Some(position)
    }

    fn end(&mut self) {
        let Some(Reverse((end, _, position, began))) = self.ends.pop() else { return };
        self.inputs.now = Timestamp::from_nanos(end);
        if self.hears.contains(Wants::OBSERVED) {
            let latency = Duration::from_nanos(end - began);
            let (in_flight, at) = (self.loads[position], self.inputs.now);
            let seen = Observation { latency, kind: Observed::Success, in_flight, at };
            self.policy.on_event(Event::Observed(position as u64, seen));
        }
        self.loads[position] -= 1;
        if self.hears.contains(Wants::EVENTS) {
            self.policy.on_event(Event::Released(position as u64));
        }
    }
}

struct Inputs {
    draws: SplitMix64,
    place: u32,
    now: Timestamp,
}

impl Inputs {
    /// An exponentially distributed draw of mean one.
    fn exponential(&mut self) -> f64 {
        let uniform = ((self.draws.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -libm::log(uniform)
    }
}

impl Caller for Inputs {
    fn draw(&mut self) -> u64 {
        self.draws.next_u64()
    }

    fn turn(&mut self, length: u32) -> u32 {
        self.place = place_in(self.place.wrapping_add(1), length);
        self.place
    }

    fn now(&mut self) -> Timestamp {
        self.now
    }
}

/// What a request takes at an endpoint that is not slow: 10 ms.
const SERVICE_NANOS: f64 = 10_000_000.0;
