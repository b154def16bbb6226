//! A policy that was built for two serves three after `rebuild`, whoever holds it: also one of your own configuration.

use std::sync::Arc;

use evenkeel_balance::{
    BuiltIn, Choices, LeastRequest, LeastRequestConfig, Mask, MemberList, Members, Policy, PolicyConfig,
    Random, RoundRobin, Script, SmoothWeightedRoundRobin, Table, WeightedRandom,
};
use evenkeel_types::{Endpoint, Weight};

fn members(weights: &[u32]) -> MemberList {
    MemberList::new(weights.iter().enumerate().map(|(number, &weight)| {
        let address = format!("10.0.0.{number}:80").parse().expect("an address");
        Endpoint::at(address).expect("a short name").with_weight(Weight::new(weight))
    }))
}

/// How often each of these is picked, for different keys and clients.
fn picked(policy: &dyn Policy, members: &MemberList) -> Vec<u32> {
    let weights = members.weights();
    let mask = Mask::all_usable(weights.len());
    let mut loads = vec![0; weights.len()];
    let mut counts = vec![0; weights.len()];
    let mut caller = Script::seeded(5);
    for number in 0..3000_u32 {
        caller = caller
            .with_key_bytes(number.to_be_bytes().to_vec())
            .with_source(std::net::Ipv4Addr::from_bits(number).into());
        let view = Table::new(&mask, weights, &loads);
        let at = policy.pick(&view, &mut caller).expect("all are usable");
        counts[at] += 1;
        // Requests stay for a while, so that whoever goes by loads sees some.
        loads[at] += 1;
        if loads.iter().sum::<u32>() > 60 {
            loads.fill(0);
        }
        policy.on_event(evenkeel_balance::Event::Picked(members.token(at)));
        policy.on_event(evenkeel_balance::Event::Released(members.token(at)));
    }
    counts
}

fn all() -> Vec<(String, Arc<dyn Policy>)> {
    let two = members(&[2, 1]);
    let biased = |bias| LeastRequestConfig { bias, ..LeastRequestConfig::default() };
    let scan = LeastRequestConfig { choices: Choices::All, ..LeastRequestConfig::default() };
    let mut all: Vec<(String, Arc<dyn Policy>)> = vec![
        ("SmoothWeightedRoundRobin".into(), Arc::new(SmoothWeightedRoundRobin::new(&[2, 1]))),
        ("WeightedRandom".into(), Arc::new(WeightedRandom::new(&[2, 1]))),
        ("Random".into(), Arc::new(Random)),
        ("RoundRobin".into(), Arc::new(RoundRobin)),
    ];
    for config in [biased(1.0), biased(0.0), biased(2.0), scan] {
        let policy = LeastRequest::new(config, &[2, 1]).expect("valid settings");
        all.push((format!("{config:?}"), Arc::new(policy)));
    }
    for config in PolicyConfig::all() {
        let policy = BuiltIn::new(&config, &two).expect("valid settings");
        all.push((format!("BuiltIn {}", config.name()), Arc::new(policy)));
    }
    all
}

#[test]
fn whoever_is_new_is_picked_and_whoever_left_is_not() {
    for (name, policy) in all() {
        // These take the first, or one for everything.
        let is_one = ["first_available", "pick_first"].iter().any(|one| name.ends_with(one));
        for weights in [&[2, 1, 1][..], &[1, 1, 4], &[1]] {
            let set = members(weights);
            let rebuilt = policy.rebuild(&set).expect("valid members");
            let counts = picked(&*rebuilt.unwrap_or_else(|| Arc::clone(&policy)), &set);
            assert!(is_one || counts.iter().all(|&count| count > 20), "{name} {weights:?}: {counts:?}");
            // And as a policy of one's own.
            let config = PolicyConfig::Custom(Arc::clone(&policy));
            let built = BuiltIn::new(&config, &set).expect("valid members");
            let counts = picked(&built, &set);
            assert!(
                is_one || counts.iter().all(|&count| count > 20),
                "custom {name} {weights:?}: {counts:?}"
            );
        }
    }
}

/// The settings stay: a bias of zero goes by weight alone, and a draw of two looks at two.
#[test]
fn settings_outlive_a_rebuild() {
    let config = LeastRequestConfig { bias: 0.0, ..LeastRequestConfig::default() };
    let policy = LeastRequest::new(config, &[1, 1]).expect("valid settings");
    let set = members(&[1, 3]);
    let rebuilt = policy.rebuild(&set).expect("valid members").expect("it has a table");
    let mask = Mask::all_usable(2);
    let mut caller = Script::seeded(1);
    let heavy = (0..4000)
        .filter(|_| rebuilt.pick(&Table::new(&mask, &[1, 3], &[0, 1000]), &mut caller) == Some(1))
        .count();
    assert!((2850..3150).contains(&heavy), "{heavy}");
}
