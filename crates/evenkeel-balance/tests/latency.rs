//! What the policies that learn do in a fleet of simulated endpoints: time and draws are scripted, nothing waits.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::{
    BuiltIn, C3Config, Caller, Choices, Event, LeastLatencyConfig, LoadReport, Mask, Members, Observation,
    Observed, PeakEwmaConfig, Policy, PolicyConfig, Script, Table,
};
use evenkeel_types::{Endpoint, SplitMix64, Timestamp};
use proptest::prelude::*;

/// Those that go by latency, at their defaults and of all.
fn by_latency() -> Vec<PolicyConfig> {
    let all = Choices::All;
    vec![
        PolicyConfig::peak_ewma(),
        PolicyConfig::PeakEwma(PeakEwmaConfig { choices: all, ..PeakEwmaConfig::default() }),
        PolicyConfig::least_time(),
        PolicyConfig::c3(),
        PolicyConfig::C3(C3Config { choices: all, ..C3Config::default() }),
        PolicyConfig::prequal(),
        PolicyConfig::least_latency(),
        PolicyConfig::LeastLatency(LeastLatencyConfig {
            scan_up_to: 0,
            choices: 3,
            ..LeastLatencyConfig::default()
        }),
    ]
}

/// How an endpoint treats a request.
#[derive(Clone, Copy, Debug)]
enum Does {
    Answer(u64),
    Fail(u64),
    /// Nothing, until the caller gives up.
    Hang(u64),
}

struct Members10(Vec<u64>, Vec<u32>);

impl Members10 {
    fn new(tokens: impl IntoIterator<Item = u64>) -> Self {
        let tokens: Vec<u64> = tokens.into_iter().collect();
        let weights = vec![1; tokens.len()];
        Self(tokens, weights)
    }
}

impl Members for Members10 {
    fn weights(&self) -> &[u32] {
        &self.1
    }

    fn token(&self, position: usize) -> u64 {
        self.0[position]
    }

    fn endpoint(&self, position: usize) -> Arc<Endpoint> {
        let id = format!("e{}", self.0[position]).parse().expect("a name");
        Arc::new(Endpoint::new(id, "10.0.0.1:80".parse().expect("an address")))
    }
}

/// A fleet whose tokens are the positions.
struct Fleet {
    policy: BuiltIn,
    config: PolicyConfig,
    now: Timestamp,
    loads: Vec<u32>,
    picks: Vec<u32>,
    under_way: Vec<(Timestamp, usize, Duration, Observed)>,
    draws: Script<SplitMix64>,
}

impl Fleet {
    fn new(config: &PolicyConfig, count: usize) -> Self {
        let policy = BuiltIn::new(config, &Members10::new(0..count as u64)).expect("a valid policy");
        Self {
            policy,
            config: config.clone(),
            now: Timestamp::from_secs(100),
            loads: vec![0; count],
            picks: vec![0; count],
            under_way: Vec::new(),
            draws: Script::seeded(11),
        }
    }

    fn join(&mut self) {
        self.loads.push(0);
        self.picks.push(0);
        let members = Members10::new(0..self.loads.len() as u64);
        self.policy = self.policy.rebuild(&self.config, &members).expect("a valid policy");
    }

    /// Sends a request every so often, for so long; says where they went.
    fn run(&mut self, span: Duration, every: Duration, does: impl Fn(usize) -> Does) -> Vec<u32> {
        self.picks.fill(0);
        let end = self.now.saturating_add(span);
        while self.now < end {
            self.finish_due();
            self.send(&does);
            self.now = self.now.saturating_add(every);
        }
        self.picks.clone()
    }

    fn finish_due(&mut self) {
        let now = self.now;
        let mut done: Vec<_> = self.under_way.extract_if(.., |(end, ..)| *end <= now).collect();
        done.sort_by_key(|(end, position, ..)| (*end, *position));
        for (at, position, latency, kind) in done {
            let observation = Observation { latency, kind, in_flight: self.loads[position], at };
            self.policy.on_event(Event::Observed(position as u64, observation));
            self.loads[position] -= 1;
        }
    }

    fn send(&mut self, does: &impl Fn(usize) -> Does) {
        let mask = Mask::all_usable(self.loads.len());
        let weights = vec![1; self.loads.len()];
        let mut caller = self.draws.clone().at(self.now);
        let picked = self.policy.pick(&Table::new(&mask, &weights, &self.loads), &mut caller);
        self.draws = caller;
        let position = picked.expect("all are usable");
        // A tenth up or down, so that no two answers take the same.
        let jitter = 900 + self.draws.draw() % 200;
        let (micros, kind) = match does(position) {
            Does::Answer(millis) => (millis * jitter, Observed::Success),
            Does::Fail(millis) => (millis * jitter, Observed::Failure),
            Does::Hang(millis) => (millis * 1000, Observed::Censored),
        };
        let latency = Duration::from_micros(micros);
        self.policy.on_event(Event::Picked(position as u64));
        self.loads[position] += 1;
        self.picks[position] += 1;
        self.under_way.push((self.now.saturating_add(latency), position, latency, kind));
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn part(picks: &[u32], position: usize) -> f64 {
    f64::from(picks[position]) / f64::from(picks.iter().sum::<u32>())
}

#[test]
fn a_slow_endpoint_is_left_and_comes_back_when_it_has_recovered() {
    for config in by_latency() {
        for every in [ms(5), ms(200)] {
            let mut fleet = Fleet::new(&config, 5);
            fleet.run(secs(10), every, |_| Does::Answer(20));
            let slow = |position| Does::Answer(if position == 0 { 1000 } else { 20 });
            let picks = fleet.run(secs(150), every, slow);
            assert!(part(&picks, 0) < 0.08, "{config:?} {every:?}: slow {picks:?}");
            assert!(picks[0] > 0, "{config:?} {every:?}: never asked");
            fleet.run(secs(240), every, |_| Does::Answer(20));
            let picks = fleet.run(secs(60), every, |_| Does::Answer(20));
            assert!(part(&picks, 0) > 0.1, "{config:?} {every:?}: recovered {picks:?}");
        }
    }
}

#[test]
fn a_slow_endpoint_that_is_forgiven_is_tried_and_not_flooded() {
    for config in by_latency() {
        let mut fleet = Fleet::new(&config, 5);
        let slow = |position| Does::Answer(if position == 0 { 3000 } else { 20 });
        fleet.run(secs(20), ms(5), slow);
        let mut most = 0;
        for _ in 0..1200 {
            fleet.run(ms(100), ms(5), slow);
            most = most.max(fleet.loads[0]);
        }
        assert!((1..=3).contains(&most), "{config:?}: {most} in flight at once");
    }
}

#[test]
fn a_fast_failer_gets_fewer_than_its_share() {
    for config in by_latency() {
        for (every, bound) in [(ms(5), 0.05), (ms(50), 0.08)] {
            let mut fleet = Fleet::new(&config, 10);
            fleet.run(secs(5), every, |_| Does::Answer(80));
            let sinkhole = |position| if position == 0 { Does::Fail(1) } else { Does::Answer(80) };
            let picks = fleet.run(secs(60), every, sinkhole);
            assert!(part(&picks, 0) < bound, "{config:?} {every:?}: {picks:?}");
            // Who fails whenever it is tried is believed to do so for longer there.
            let is_patient = matches!(config, PolicyConfig::LeastLatency(_));
            fleet.run(secs(if is_patient { 240 } else { 60 }), every, |_| Does::Answer(80));
            let picks = fleet.run(secs(30), every, |_| Does::Answer(80));
            assert!(part(&picks, 0) > 0.04, "{config:?} {every:?}: mended {picks:?}");
        }
    }
}

#[test]
fn an_endpoint_that_fails_fast_from_its_first_request_on_is_no_better() {
    for config in by_latency() {
        let mut fleet = Fleet::new(&config, 10);
        let sinkhole = |position| if position == 0 { Does::Fail(1) } else { Does::Answer(80) };
        fleet.run(secs(5), ms(5), sinkhole);
        let picks = fleet.run(secs(60), ms(5), sinkhole);
        assert!(part(&picks, 0) < 0.05, "{config:?}: {picks:?}");
    }
}

#[test]
fn an_endpoint_that_hangs_is_left_though_nobody_ever_judges() {
    for config in by_latency() {
        let mut fleet = Fleet::new(&config, 10);
        fleet.run(secs(5), ms(5), |_| Does::Answer(20));
        let hole = |position| if position == 0 { Does::Hang(1000) } else { Does::Answer(20) };
        let picks = fleet.run(secs(60), ms(5), hole);
        assert!(part(&picks, 0) < 0.02, "{config:?}: {picks:?}");
    }
}

#[test]
fn a_new_endpoint_is_neither_flooded_nor_starved() {
    for config in by_latency() {
        for every in [ms(2), ms(20)] {
            let mut fleet = Fleet::new(&config, 10);
            fleet.run(every * 4000, every, |_| Does::Answer(20));
            fleet.join();
            let picks = fleet.run(every * 1000, every, |_| Does::Answer(20));
            let shares = f64::from(picks[10]) / (1000.0 / 11.0);
            assert!((0.3..3.0).contains(&shares), "{config:?} {every:?}: {shares:.2} shares, {picks:?}");
        }
    }
}

#[test]
fn one_slow_answer_does_not_exile() {
    for config in by_latency() {
        let mut fleet = Fleet::new(&config, 4);
        fleet.run(secs(10), ms(10), |_| Does::Answer(20));
        let observation =
            Observation { latency: secs(20), kind: Observed::Success, in_flight: 1, at: fleet.now };
        fleet.policy.on_event(Event::Observed(0, observation));
        fleet.run(secs(110), ms(10), |_| Does::Answer(20));
        let picks = fleet.run(secs(60), ms(10), |_| Does::Answer(20));
        assert!(part(&picks, 0) > 0.1, "{config:?}: {picks:?}");
    }
}

#[test]
fn what_is_learnt_survives_an_update() {
    for config in by_latency() {
        let mut fleet = Fleet::new(&config, 4);
        let slow = |position| Does::Answer(if position == 0 { 400 } else { 20 });
        fleet.run(secs(20), ms(5), slow);
        let before = fleet.policy.clone();
        fleet.join();
        // Requests that began before the update end in the old policy.
        let at = fleet.now;
        let observation = Observation { latency: secs(2), kind: Observed::Success, in_flight: 1, at };
        before.on_event(Event::Observed(1, observation));
        let picks = fleet.run(ms(500), ms(5), slow);
        assert!(part(&picks, 0) < 0.07, "{config:?}: {picks:?}");
        if !matches!(config, PolicyConfig::Prequal(_)) {
            assert!(picks[1] < picks[2] && picks[1] < picks[3], "{config:?}: {picks:?}");
        }
    }
}

fn any_kind() -> impl Strategy<Value = Observed> {
    prop_oneof![
        Just(Observed::Success),
        Just(Observed::Failure),
        Just(Observed::Overload),
        Just(Observed::Neutral),
        Just(Observed::Censored),
    ]
}

fn any_nanos() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 0..10_000_000_000_u64]
}

fn any_figure() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(f64::NAN), Just(0.0), Just(f64::INFINITY), 0.0..1000.0]
}

fn any_event() -> impl Strategy<Value = (Event, u64)> {
    let observed = (0_u64..7, any_nanos(), any_kind(), any::<u32>(), any_nanos()).prop_map(
        |(token, latency, kind, in_flight, at)| {
            let (latency, at) = (Duration::from_nanos(latency), Timestamp::from_nanos(at));
            Event::Observed(token, Observation { latency, kind, in_flight, at })
        },
    );
    let reported = (0_u64..7, any_figure(), any_figure(), any_figure(), any_nanos()).prop_map(
        |(token, queries, errors, utilisation, at)| {
            let at = Timestamp::from_nanos(at);
            Event::Reported(token, LoadReport { at, ..LoadReport::new(queries, errors, utilisation) })
        },
    );
    (prop_oneof![observed, reported], any_nanos())
}

proptest! {
    /// Whatever is observed or reported, at whatever times: no panic, and an open position.
    #[test]
    fn absurd_events_harm_nobody(
        events in prop::collection::vec(any_event(), 0..60),
        loads in prop::collection::vec(any::<u32>(), 5),
        weights in prop::collection::vec(prop_oneof![0_u32..9, any::<u32>()], 5),
    ) {
        let mut configs = by_latency();
        configs.push(PolicyConfig::client_side_weighted_round_robin());
        for config in configs {
            let members = Members10((0..5).collect(), weights.clone());
            let policy = BuiltIn::new(&config, &members).expect("a valid policy");
            let mask = Mask::for_weights(&weights);
            for (seed, (event, now)) in events.iter().enumerate() {
                policy.on_event(*event);
                let mut caller = Script::seeded(seed as u64).at(Timestamp::from_nanos(*now));
                let picked = policy.pick(&Table::new(&mask, &weights, &loads), &mut caller);
                prop_assert_eq!(picked.is_some(), mask.usable() > 0);
                prop_assert!(picked.is_none_or(|position| weights[position] > 0));
            }
        }
    }
}
