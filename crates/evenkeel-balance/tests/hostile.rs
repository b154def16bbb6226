//! Histories that no cluster should produce: members that come, go and change places, events in any order for anybody, figures
//! out of any range, and old policies that are still asked after their successors were built. No policy may panic, hang,
//! return what is not open, or nothing while something is.
#![cfg(feature = "serde")]

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::{
    BuiltIn, Event, LoadReport, Mask, Members, Observation, Observed, Policy, PolicyConfig, Script, Table,
};
use evenkeel_types::{Endpoint, Locality, Timestamp, Weight};
use proptest::prelude::*;
use toml::Value;

/// Every policy at its defaults, and what has a machine of its own besides.
fn configs() -> Vec<PolicyConfig> {
    let read = |text: &&str| toml::from_str(text).unwrap_or_else(|error| unreachable!("{text}: {error}"));
    let mut configs: Vec<PolicyConfig> = FURTHER.iter().map(read).collect();
    configs.extend(PolicyConfig::all());
    configs
}

const FURTHER: &[&str] = &[
    "type = 'least_request'\nchoices = 'all'",
    "type = 'least_request'\nchoices = 5\nbias = 2.5",
    "type = 'smooth_weighted_round_robin'\norder = 'global'",
    "type = 'first_available'\nmax_in_flight = 2\nper = 'weight'",
    "type = 'shortest_expected_delay'\nnever_queue = true",
    "type = 'pick_first'\nshuffle = 'uniform'",
    "type = 'peak_ewma'\nchoices = 'all'",
    "type = 'c3'\nchoices = 'all'",
    "type = 'prequal'\nchoices = 'all'",
    "type = 'least_time'\nchoices = 2",
    "type = 'least_latency'\nscan_up_to = 0\nchoices = 2\nload_power = 4\nbackoff = 8",
    "type = 'least_latency'\ndecay = '1ns'\nprior = 100\noverdue = false\ntrials = false\nfailure_power = 0",
    "type = 'ring_hash'\npoints = 3\nkey = { balance_factor = 100 }",
    "type = 'ring_hash'\npoints = 3\nmax_points = 700\nkey = { balance_factor = 100, hot_keys = { sample = 1 } }",
    "type = 'ketama'\npoints = 2\nkey = { balance_factor = 125, hot_keys = { sample = 1 } }",
    "type = 'maglev'\ntable_size = 251\nkey = { balance_factor = 150 }",
    "type = 'anchor'\nkey = { balance_factor = 150, missing_key = 'fixed' }",
    "type = 'jump'\nkey = { balance_factor = 150, hot_keys = { sample = 1 } }",
    "type = 'rendezvous'\nkey = { balance_factor = 150, hot_keys = { sample = 1 } }",
    "type = 'multi_probe'\nkey = { balance_factor = 150, hot_keys = { sample = 1 } }",
    "type = 'modulo'\nkey = { function = 'crc32', balance_factor = 150 }",
    "type = 'nginx'\nmethod = 'least_conn'\nmax_fails = 2\nfail_timeout = '1s'",
    "type = 'nginx'\nmethod = 'ip_hash'",
    "type = 'nginx'\nmethod = 'hash'",
    "type = 'nginx'\nmethod = 'hash_consistent'",
    "type = 'haproxy'\nbalance = 'static-rr'",
    "type = 'haproxy'\nbalance = 'leastconn'\nmaxconn = 1",
    "type = 'haproxy'\nbalance = 'first'\nmaxconn = 2",
    "type = 'haproxy'\nbalance = 'source'",
    "type = 'haproxy'\nbalance = 'hdr'\nhash_type = { method = 'consistent', function = 'wt6' }\nhash_balance_factor = 125",
    "type = 'envoy'\npolicy = { ring_hash = { minimum_ring_size = 3, maximum_ring_size = 500 } }",
    "type = 'envoy'\npolicy = { maglev = { table_size = 251 } }\nlocality_weights = [{ region = 'r', weight = 3 }]",
    "type = 'envoy'\npolicy = { least_request = { active_request_bias = 0.5 } }",
    "type = 'grpc'\npolicy = { ring_hash = { min_ring_size = 3 } }",
    "type = 'grpc'\npolicy = { weighted_round_robin = {} }",
    "type = 'pingora'\nmax_iterations = 1\nselection = { type = 'fnv_hash' }",
    "type = 'pingora'\nselection = { type = 'consistent', point_multiple = 3 }",
    "type = 'traefik'\nstrategy = 'hrw'",
];

/// One member: who, and of what weight. The name says the token, but not where two have one token.
#[derive(Clone, Copy, Debug)]
struct Who {
    token: u64,
    weight: u32,
}

#[derive(Clone, Debug)]
struct Crowd {
    weights: Vec<u32>,
    tokens: Vec<u64>,
    endpoints: Vec<Arc<Endpoint>>,
}

impl Crowd {
    fn new(set: &[Who]) -> Self {
        let endpoint = |(position, who): (usize, &Who)| {
            let first = set.iter().position(|other| other.token == who.token) == Some(position);
            let id = if first { format!("e{}", who.token) } else { format!("e{}-{position}", who.token) };
            // Some share an address, and some have none that is a number.
            let address = match who.token % 5 {
                0 => "10.0.0.1:80".to_owned(),
                1 => format!("host-{}.example:80", who.token),
                _ => format!("10.1.{}.{}:80", who.token / 256 % 256, who.token % 256),
            };
            let endpoint = Endpoint::new(id.parse().expect("an id"), address.parse().expect("an address"))
                .with_weight(Weight::new(who.weight));
            Arc::new(match who.token % 3 {
                0 => endpoint.with_locality(Locality::new("r", "z", "")),
                _ => endpoint,
            })
        };
        Self {
            weights: set.iter().map(|who| who.weight).collect(),
            tokens: set.iter().map(|who| who.token).collect(),
            endpoints: set.iter().enumerate().map(endpoint).collect(),
        }
    }
}

impl Members for Crowd {
    fn weights(&self) -> &[u32] {
        &self.weights
    }

    fn token(&self, position: usize) -> u64 {
        self.tokens[position]
    }

    fn endpoint(&self, position: usize) -> Arc<Endpoint> {
        Arc::clone(&self.endpoints[position])
    }
}

/// One thing that happens; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    /// Members are shuffled by a seed; then some leave, and some come or come back.
    Rebuild { seed: u64, leave: Vec<u64>, come: Vec<Who> },
    /// A position flips; whether the policy hears of it.
    Flip { at: usize, heard: bool },
    /// Picks with this key, without `tried` of the first positions, and whether the policy hears of them.
    Pick { key: u64, tried: u64, count: usize, heard: bool },
    /// Anything, for anybody.
    Event(Event),
}

fn who(tokens: u64) -> impl Strategy<Value = Who> {
    let weight = prop_oneof![8 => 1_u32..6, 2 => Just(0_u32), 1 => Just(256_u32), 1 => any::<u32>()];
    (0..tokens, weight).prop_map(|(token, weight)| Who { token, weight })
}

fn figure() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        0.0..2.0,
        prop::sample::select(vec![
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MAX,
            f64::MIN_POSITIVE,
            -0.0,
            0.0
        ]),
    ]
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..100_000_000_000, any::<u64>()]
}

fn event(tokens: u64) -> impl Strategy<Value = Event> {
    let token = prop_oneof![9 => 0..tokens, 1 => any::<u64>()];
    let latency = prop_oneof![(0_u64..10_000_000_000).prop_map(Duration::from_nanos), Just(Duration::MAX)];
    let kind = prop::sample::select(vec![
        Observed::Success,
        Observed::Failure,
        Observed::Overload,
        Observed::Neutral,
        Observed::Censored,
    ]);
    let in_flight = prop_oneof![0_u32..9, any::<u32>()];
    let observed = (latency, kind, in_flight, time()).prop_map(|(latency, kind, in_flight, at)| {
        Observation { latency, kind, in_flight, at: Timestamp::from_nanos(at) }
    });
    let reported = (figure(), figure(), figure(), time()).prop_map(|(queries, errors, utilisation, at)| {
        LoadReport { at: Timestamp::from_nanos(at), ..LoadReport::new(queries, errors, utilisation) }
    });
    (token, 0_u8..7, observed, reported).prop_map(|(token, kind, observed, reported)| match kind {
        0 => Event::Picked(token),
        1 => Event::Released(token),
        2 => Event::Failed(token),
        3 => Event::Up(token),
        4 => Event::Down(token),
        5 => Event::Observed(token, observed),
        _ => Event::Reported(token, reported),
    })
}

fn step(tokens: u64) -> impl Strategy<Value = Step> {
    let come = prop::collection::vec(who(tokens), 0..4);
    let leave = prop::collection::vec(0..tokens, 0..4);
    prop_oneof![
        2 => (any::<u64>(), leave, come).prop_map(|(seed, leave, come)| Step::Rebuild { seed, leave, come }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(at, heard)| Step::Flip { at, heard }),
        5 => (any::<u64>(), prop_oneof![Just(0), any::<u64>()], 1_usize..6, any::<bool>())
            .prop_map(|(key, tried, count, heard)| Step::Pick { key, tried, count, heard }),
        5 => event(tokens).prop_map(Step::Event),
    ]
}

/// A policy with the members that it was built for.
struct Cluster {
    policy: BuiltIn,
    set: Vec<Who>,
    crowd: Crowd,
    mask: Mask,
    loads: Vec<u32>,
}

impl Cluster {
    fn new(policy: BuiltIn, set: Vec<Who>, crowd: Crowd, is_up: &dyn Fn(u64) -> bool) -> Self {
        let mask = Mask::new(set.len(), |position| set[position].weight > 0 && is_up(set[position].token));
        Self { policy, loads: vec![0; set.len()], set, crowd, mask }
    }

    fn flip(&self, at: usize, heard: bool) {
        let Some(who) = at.checked_rem(self.set.len()).map(|at| (at, self.set[at])) else { return };
        let (at, Who { token, weight }) = who;
        let usable = weight > 0 && !self.mask.contains(at);
        self.mask.set(at, usable);
        if heard {
            self.policy.on_event(if usable { Event::Up(token) } else { Event::Down(token) });
        }
    }

    fn pick(&mut self, name: &str, key: u64, tried: u64, heard: bool) -> Result<(), TestCaseError> {
        let excluded: Vec<usize> = (0..64.min(self.set.len())).filter(|at| tried >> at & 1 == 1).collect();
        let view = Table::new(&self.mask, &self.crowd.weights, &self.loads).excluding(&excluded);
        let mut caller = Script::seeded(key)
            .starting_at(key as u32)
            .at(Timestamp::from_nanos(key))
            .with_source(Ipv4Addr::from_bits(key as u32).into());
        if !key.is_multiple_of(3) {
            caller = caller.with_key(key);
        }
        if key % 3 > 1 {
            caller = caller.with_key_bytes(key.to_le_bytes());
        }
        let picked = self.policy.pick(&view, &mut caller);
        let open = self.mask.iter().any(|position| !excluded.contains(&position));
        prop_assert_eq!(picked.is_some(), open, "{}: {:?} of {:?}", name, picked, self.set);
        let Some(picked) = picked else { return Ok(()) };
        prop_assert!(self.mask.contains(picked) && !excluded.contains(&picked), "{}: {}", name, picked);
        if heard {
            self.loads[picked] += 1;
            self.policy.on_event(Event::Picked(self.set[picked].token));
        }
        Ok(())
    }
}

/// The set without those who leave, with those who come, in another order.
fn changed(set: &[Who], seed: u64, leave: &[u64], come: &[Who], distinct: bool) -> Vec<Who> {
    let mut set: Vec<Who> = set.iter().filter(|who| !leave.contains(&who.token)).copied().collect();
    for &who in come {
        match set.iter_mut().find(|other| distinct && other.token == who.token) {
            Some(known) => *known = who,
            None => set.push(who),
        }
    }
    for index in (1..set.len()).rev().filter(|_| !seed.is_multiple_of(4)) {
        set.swap(index, (evenkeel_types::SplitMix64::mix(seed ^ index as u64) % (index as u64 + 1)) as usize);
    }
    set
}

fn live(config: &PolicyConfig, first: &[Who], steps: &[Step], distinct: bool) -> Result<(), TestCaseError> {
    let name = format!("{config:?}");
    let set = changed(&[], 0, &[], first, distinct);
    let crowd = Crowd::new(&set);
    let Ok(policy) = BuiltIn::new(config, &crowd) else { return Ok(()) };
    let mut now = Cluster::new(policy, set, crowd, &|_| true);
    // Predecessors are asked and told for a while.
    let mut before: VecDeque<Cluster> = VecDeque::new();
    for step in steps {
        match step {
            Step::Rebuild { seed, leave, come } => {
                let set = changed(&now.set, *seed, leave, come, distinct);
                let crowd = Crowd::new(&set);
                // A refusal leaves what there was.
                let Ok(policy) = now.policy.rebuild(config, &crowd) else { continue };
                let next = Cluster::new(policy, set, crowd, &|token| (seed >> (token % 64)) & 3 > 0);
                before.push_back(std::mem::replace(&mut now, next));
                if before.len() > 2 {
                    before.pop_front();
                }
            }
            Step::Flip { at, heard } => {
                now.flip(*at, *heard);
                if let Some(before) = before.back() {
                    before.flip(*at, !*heard);
                }
            }
            Step::Pick { key, tried, count, heard } => {
                for step in 0..*count {
                    let key = key.wrapping_add(step as u64);
                    now.pick(&name, key, *tried, *heard)?;
                    if let Some(before) = before.back_mut() {
                        before.pick(&name, key, *tried, *heard)?;
                    }
                }
            }
            Step::Event(event) => {
                now.policy.on_event(*event);
                if let Some(before) = before.back() {
                    before.policy.on_event(*event);
                }
            }
        }
    }
    Ok(())
}

fn history(tokens: u64, most: usize) -> impl Strategy<Value = (Vec<Who>, Vec<Step>)> {
    (prop::collection::vec(who(tokens), 0..most), prop::collection::vec(step(tokens), 1..60))
}

/// Every number of a configuration, replaced by each of these in turn: refused in so many words, or served.
#[test]
fn any_setting_is_refused_or_served() {
    let numbers = [
        Value::Integer(0),
        Value::Integer(1),
        Value::Integer(-1),
        Value::Integer(i64::from(u32::MAX)),
        Value::Integer(i64::MAX),
        Value::Float(f64::NAN),
        Value::Float(f64::INFINITY),
        Value::Float(-1.0),
        Value::Float(0.0),
        Value::Float(1e300),
        Value::String("0s".to_owned()),
        Value::String("1ns".to_owned()),
        Value::String("584y".to_owned()),
    ];
    let first: Vec<Who> = (0..7).map(|token| Who { token, weight: 1 + token as u32 % 3 }).collect();
    let steps: Vec<Step> = (0..40_u64)
        .map(|step| match step % 5 {
            0 => Step::Flip { at: step as usize, heard: true },
            1 => {
                let latency = Duration::from_millis(step);
                let (kind, at) = (Observed::Success, Timestamp::from_secs(step));
                Step::Event(Event::Observed(step % 7, Observation { latency, kind, in_flight: 1, at }))
            }
            2 => {
                let report = LoadReport { at: Timestamp::from_secs(step), ..LoadReport::new(9.0, 1.0, 0.5) };
                Step::Event(Event::Reported(step % 7, report))
            }
            3 if step % 2 == 0 => Step::Rebuild { seed: step, leave: vec![step % 7], come: Vec::new() },
            _ => Step::Pick { key: step * 7, tried: step % 3, count: 4, heard: true },
        })
        .collect();
    for config in configs() {
        let written = Value::try_from(&config).expect("every policy can be written");
        for path in leaves(&written) {
            for number in &numbers {
                let mut other = written.clone();
                *path.iter().fold(&mut other, |value, key| &mut value[key.as_str()]) = number.clone();
                let Ok(config) = other.clone().try_into::<PolicyConfig>() else { continue };
                if let Err(error) = live(&config, &first, &steps, true) {
                    unreachable!("{other}: {error}");
                }
                if std::env::var_os("HOSTILE_TALK").is_some()
                    && BuiltIn::new(&config, &Crowd::new(&first)).is_ok()
                {
                    println!("{}: {} = {number}", config.name(), path.join("."));
                }
            }
        }
    }
}

/// The ways to all values that are no tables, but for the name of the policy.
fn leaves(value: &Value) -> Vec<Vec<String>> {
    let Value::Table(table) = value else { return vec![Vec::new()] };
    let below = |(key, value): (&String, &Value)| {
        leaves(value).into_iter().map(|path| [vec![key.clone()], path].concat()).collect::<Vec<_>>()
    };
    table.iter().filter(|(key, _)| *key != "type").flat_map(below).collect()
}

/// Few as a rule, since every policy lives through each: `HOSTILE_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("HOSTILE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn few_members_live_through_anything((first, steps) in history(12, 8)) {
        for config in configs() {
            live(&config, &first, &steps, true)?;
        }
    }

    /// More than the exact policies scan.
    #[test]
    fn many_members_live_through_anything((first, steps) in history(400, 200)) {
        for config in configs() {
            live(&config, &first, &steps, true)?;
        }
    }

    /// Tokens are promised to be distinct. A cluster that breaks the promise gets shares that are wrong, and answers.
    #[test]
    fn tokens_that_two_have_do_no_harm((first, steps) in history(5, 12)) {
        for config in configs() {
            live(&config, &first, &steps, false)?;
        }
    }
}
