//! Whatever the weights are, no built-in policy panics, and all of them serve whoever is open.

use evenkeel_balance::{BuiltIn, Event, Mask, MemberList, Policy, PolicyConfig, Script, Table, Wants};
use evenkeel_types::{Endpoint, Weight};
use proptest::prelude::*;

fn members(weights: &[u32]) -> MemberList {
    MemberList::new(weights.iter().enumerate().map(|(position, &weight)| {
        let id = format!("endpoint-{position}").parse().expect("a plain name");
        let address = format!("10.0.{}.{}:80", position / 256, position % 256).parse().expect("an address");
        Endpoint::new(id, address).with_weight(Weight::new(weight))
    }))
}

fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0_u32..20, 1 => any::<u32>(), 1 => Just(u32::MAX), 1 => Just(0)]
}

/// What a case is made of: weights, those of an update, loads, a seed, and which fifth is out, if any.
type Case = (Vec<u32>, Vec<u32>, Vec<u32>, u64, usize);

fn case() -> impl Strategy<Value = Case> {
    let weights = || prop::collection::vec(weight(), 0..MOST);
    let loads = prop::collection::vec(prop_oneof![0_u32..5, any::<u32>()], MOST);
    (weights(), weights(), loads, any::<u64>(), 0_usize..5)
}

/// More than any policy scans.
const MOST: usize = 160;

fn serve(config: &PolicyConfig, (weights, next, loads, seed, out): &Case) -> Result<(), TestCaseError> {
    // A refusal is a typed error, and no panic.
    let Ok(mut policy) = BuiltIn::new(config, &members(weights)) else { return Ok(()) };
    for weights in [weights, next] {
        let mask = Mask::new(weights.len(), |p| weights[p] > 0 && (*out == 0 || p % 5 != *out));
        let key = seed.to_le_bytes();
        let mut caller = Script::seeded(*seed).starting_at(*seed as u32).with_key_bytes(key);
        for _ in 0..20 {
            let picked = policy.choose(&Table::new(&mask, weights, loads), &mut caller);
            prop_assert_eq!(picked.is_some(), mask.usable() > 0, "{}", config.name());
            let Some(picked) = picked else { continue };
            prop_assert!(mask.contains(picked), "{}", config.name());
            if policy.wants().contains(Wants::EVENTS) {
                policy.on_event(Event::Picked(picked as u64));
                policy.on_event(Event::Released(picked as u64));
            }
        }
        let Ok(successor) = policy.rebuild(config, &members(next)) else { return Ok(()) };
        policy = successor;
    }
    Ok(())
}

/// Policies whose tables take long to build get few cases.
const QUICK: [&str; 14] = [
    "least_request",
    "round_robin",
    "smooth_weighted_round_robin",
    "random",
    "weighted_random",
    "earliest_deadline_first",
    "static_stride",
    "interleaved",
    "static_map",
    "first_available",
    "pick_first",
    "least_connections",
    "shortest_expected_delay",
    "join_idle_queue",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn every_policy_serves_any_weights_or_refuses_them(case in case()) {
        for config in PolicyConfig::all() {
            serve(&config, &case)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_quick_policy_serves_any_weights_or_refuses_them(case in case()) {
        for name in QUICK {
            serve(&name.parse().expect("a known name"), &case)?;
        }
    }
}
