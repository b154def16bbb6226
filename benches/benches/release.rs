//! A pick and a release by policies that keep an order by load: what they do at both ends of a request, over plain
//! counters. With `2n in flight` every endpoint has two requests all the time, and the oldest request ends.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use evenkeel_balance::{BuiltIn, Event, Mask, Policy, View, Wants};
use evenkeel_benches::{Weights, caller, mask, members, policy};

struct Counters {
    mask: Mask,
    loads: Vec<AtomicU32>,
    weights: Vec<u32>,
}

impl View for Counters {
    fn mask(&self) -> &Mask {
        &self.mask
    }

    fn load(&self, position: usize) -> u32 {
        self.loads[position].load(Ordering::Relaxed)
    }

    fn weight(&self, position: usize) -> u32 {
        self.weights[position]
    }

    fn admits_all(&self) -> bool {
        true
    }
}

/// One thread's requests: as many as were in flight at the start, always.
struct Client<'a> {
    policy: &'a BuiltIn,
    world: &'a Counters,
    in_flight: VecDeque<usize>,
    has_events: bool,
}

impl Client<'_> {
    fn pick(&mut self, caller: &mut impl evenkeel_balance::Caller) {
        let position = self.policy.choose(self.world, caller).expect("all are usable");
        self.world.loads[position].fetch_add(1, Ordering::Relaxed);
        if self.has_events {
            self.policy.on_event(Event::Picked(position as u64));
        }
        self.in_flight.push_back(position);
    }

    fn release(&mut self) {
        let Some(position) = self.in_flight.pop_front() else { return };
        if self.has_events {
            self.policy.on_event(Event::Released(position as u64));
        }
        self.world.loads[position].fetch_sub(1, Ordering::Relaxed);
    }

    fn run(&mut self, rounds: u64, caller: &mut impl evenkeel_balance::Caller) {
        for _ in 0..rounds {
            self.pick(caller);
            self.release();
        }
    }
}

fn measure(name: &str, n: usize, in_flight: usize, threads: usize, rounds: u64, spread: Weights) -> Duration {
    let policy = BuiltIn::new(&policy(name), &members(n, spread)).expect("valid defaults");
    let world = Counters {
        mask: mask(n, 1.0),
        loads: (0..n).map(|_| AtomicU32::new(0)).collect(),
        weights: (0..n).map(|position| spread.at(position)).collect(),
    };
    let has_events = policy.wants().contains(Wants::EVENTS);
    let start = std::sync::Barrier::new(threads);
    let run = || {
        let mut client = Client { policy: &policy, world: &world, in_flight: VecDeque::new(), has_events };
        let mut caller = caller();
        (0..in_flight / threads).for_each(|_| client.pick(&mut caller));
        client.run(10_000, &mut caller);
        start.wait();
        let begin = Instant::now();
        client.run(rounds, &mut caller);
        begin.elapsed()
    };
    if threads == 1 {
        return black_box(run());
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        running.into_iter().map(|thread| thread.join().expect("no panic")).max().unwrap_or_default()
    })
}

fn pick_and_release(criterion: &mut Criterion) {
    for name in ["least_connections", "shortest_expected_delay", "join_idle_queue", "least_request"] {
        let mut group = criterion.benchmark_group(name);
        for n in [10, 100, 128, 1_000, 10_000] {
            for (label, in_flight) in [("idle", 0), ("2n in flight", 2 * n)] {
                for threads in [1, 2] {
                    let id = BenchmarkId::new(format!("{label}, {threads} threads"), n);
                    group.bench_function(id, |bencher| {
                        bencher.iter_custom(|rounds| {
                            measure(name, n, in_flight, threads, rounds, Weights::Equal)
                        });
                    });
                }
            }
        }
        group.bench_function("2n in flight, weights 1 to 10, 1 threads/10000", |bencher| {
            bencher.iter_custom(|rounds| measure(name, 10_000, 20_000, 1, rounds, Weights::OneToTen));
        });
        group.finish();
    }
}

criterion_group!(benches, pick_and_release);
criterion_main!(benches);
