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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_policy_serves_any_weights_or_refuses_them(
        weights in prop::collection::vec(weight(), 0..160),
        next in prop::collection::vec(weight(), 0..160),
        loads in prop::collection::vec(prop_oneof![0_u32..5, any::<u32>()], 160),
        seed in any::<u64>(),
        out in 0_usize..5,
    ) {
        for config in PolicyConfig::all() {
            // A refusal is a typed error, and no panic.
            let Ok(mut policy) = BuiltIn::new(&config, &members(&weights)) else { continue };
            for weights in [&weights, &next] {
                let mask = Mask::new(weights.len(), |p| weights[p] > 0 && (out == 0 || p % 5 != out));
                let mut caller = Script::seeded(seed).starting_at(seed as u32).with_key_bytes(seed.to_le_bytes());
                for _ in 0..20 {
                    let picked = policy.choose(&Table::new(&mask, weights, &loads), &mut caller);
                    prop_assert_eq!(picked.is_some(), mask.usable() > 0, "{}", config.name());
                    let Some(picked) = picked else { continue };
                    prop_assert!(mask.contains(picked), "{}", config.name());
                    if policy.wants().contains(Wants::EVENTS) {
                        policy.on_event(Event::Picked(picked as u64));
                        policy.on_event(Event::Released(picked as u64));
                    }
                }
                let Ok(successor) = policy.rebuild(&config, &members(&next)) else { break };
                policy = successor;
            }
        }
    }
}
