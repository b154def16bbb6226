//! Requests asked for under two masks in turn, as where some endpoints are degraded: in each part everybody gets the share of its weight, and
//! nothing is made anew at each switch.

use allocation_counter::measure;
use evenkeel_balance::compat::envoy::{EnvoyConfig, EnvoyPolicy};
use evenkeel_balance::compat::grpc::{GrpcConfig, GrpcPolicy};
use evenkeel_balance::compat::haproxy::{Balance, HaproxyConfig};
use evenkeel_balance::{BuiltIn, Mask, MemberList, Policy, PolicyConfig, Script, Table};
use evenkeel_types::{Endpoint, RandomSource, SplitMix64, Weight};

fn policies() -> Vec<(&'static str, PolicyConfig)> {
    let envoy = |policy| PolicyConfig::Envoy(EnvoyConfig { policy, ..EnvoyConfig::default() });
    let grpc = |policy| PolicyConfig::Grpc(GrpcConfig { policy });
    let haproxy = |balance| PolicyConfig::Haproxy(HaproxyConfig { balance, ..HaproxyConfig::default() });
    vec![
        ("envoy round_robin", envoy(EnvoyPolicy::RoundRobin(Default::default()))),
        ("envoy least_request", envoy(EnvoyPolicy::LeastRequest(Default::default()))),
        ("grpc weighted_round_robin", grpc(GrpcPolicy::WeightedRoundRobin(Default::default()))),
        ("haproxy roundrobin", haproxy(Balance::RoundRobin)),
        ("haproxy static-rr", haproxy(Balance::StaticRr)),
        ("nginx", PolicyConfig::nginx()),
    ]
}

fn members(weights: &[u32]) -> MemberList {
    MemberList::new(weights.iter().enumerate().map(|(number, &weight)| {
        let address = format!("10.0.{}.{}:80", number / 250, number % 250).parse().expect("an address");
        Endpoint::at(address).expect("a short name").with_weight(Weight::new(weight))
    }))
}

/// Picks with one mask or the other, drawn 56 to 44; how often each was picked.
fn picks(config: &PolicyConfig, weights: &[u32], first: usize, count: u32) -> Vec<u32> {
    let policy = BuiltIn::new(config, &members(weights)).expect("valid settings");
    let masks = [Mask::new(weights.len(), |at| at < first), Mask::new(weights.len(), |at| at >= first)];
    let loads = vec![0; weights.len()];
    let views = [&masks[0], &masks[1]].map(|mask| Table::new(mask, weights, &loads));
    let (mut draws, mut caller) = (SplitMix64::new(7), Script::seeded(3));
    let mut picked = vec![0; weights.len()];
    // The first pick of each part makes its machine. HAProxy's queues grow while all come into them for the first time.
    let rounds = if matches!(config, PolicyConfig::Haproxy(_)) { 4 * weights.len() } else { 1 };
    for _ in 0..rounds {
        for view in &views {
            let _ = policy.pick(view, &mut caller);
        }
    }
    let allocated = measure(|| {
        for _ in 0..count {
            let part = usize::from(draws.next_u64() % 100 >= 56);
            let at = policy.pick(&views[part], &mut caller).expect("somebody is usable");
            assert_eq!(at >= first, part == 1, "of the part that was asked for");
            picked[at] += 1;
        }
    });
    assert_eq!(allocated.count_total, 0, "{config:?}");
    picked
}

#[test]
fn each_part_goes_on_with_its_own_turns() {
    const COUNT: u32 = 20_000;
    // Of four and six, and of as many each.
    for (first, weights) in [
        (4, [2, 1, 1, 1, 2, 1, 1, 1, 1, 1]),
        (5, [2, 1, 1, 1, 1, 2, 1, 1, 1, 1]),
        (5, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
    ] {
        for (name, config) in policies() {
            let found = picks(&config, &weights, first, COUNT);
            for (part, range) in [(0, 0..first), (1, first..weights.len())] {
                let all: u32 = found[range.clone()].iter().sum();
                let weight: u32 = weights[range.clone()].iter().sum();
                for at in range {
                    let wanted = f64::from(all) * f64::from(weights[at]) / f64::from(weight);
                    // In turn: what is off comes from the ends of the schedule alone. With equal weights Envoy draws.
                    let is_drawn = name == "envoy least_request" && weights.iter().all(|&weight| weight == 1);
                    let most = if is_drawn { 4.5 * (wanted * 0.8).sqrt() } else { 10.0 };
                    let off = (f64::from(found[at]) - wanted).abs();
                    assert!(off <= most, "{name}, part {part}, {at}: {} of {wanted}: {found:?}", found[at]);
                }
            }
        }
    }
}

/// More than are compared at every pick: whoever meets a closed one turns to the other part.
#[test]
fn many_are_told_apart_too() {
    let weights: Vec<u32> = (0..1100).map(|at| if at % 550 == 0 { 2 } else { 1 }).collect();
    for (name, config) in policies() {
        // Its map is dealt by the weights of all servers, and its sequence is a line of all of them.
        if ["nginx"].contains(&name) {
            continue;
        }
        let found = picks(&config, &weights, 550, 22_000);
        let (most, least) = (found.iter().max(), found.iter().min());
        assert!(most <= Some(&70) && least >= Some(&4), "{name}: {least:?} to {most:?}");
    }
}
