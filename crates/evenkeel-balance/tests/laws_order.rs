//! Every policy that keeps an order passes every law.

use evenkeel_balance::laws::{Shares, check, try_check};
use evenkeel_balance::{
    BuiltIn, FirstAvailableConfig, PickFirstConfig, PolicyConfig, RoomPer, Shuffle,
    SmoothWeightedRoundRobinConfig, TurnOrder,
};

fn run(config: &PolicyConfig, shares: Shares) {
    check(&format!("{config:?}"), shares, &|members| {
        Box::new(BuiltIn::new(config, members).expect("a valid policy"))
    });
}

#[test]
fn earliest_deadline_first() {
    run(&PolicyConfig::earliest_deadline_first(), Shares::Weighted);
}

#[test]
fn static_stride() {
    run(&PolicyConfig::static_stride(), Shares::Weighted);
}

#[test]
fn interleaved() {
    run(&PolicyConfig::interleaved(), Shares::Weighted);
}

/// It refuses weights that would need too large a map.
#[test]
fn static_map() {
    let config = PolicyConfig::static_map();
    try_check("static_map", Shares::Weighted, &|members| Ok(Box::new(BuiltIn::new(&config, members)?)));
}

/// With little room, so that the others have their turn too.
#[test]
fn first_available() {
    for per in [RoomPer::Endpoint, RoomPer::Weight] {
        let config = FirstAvailableConfig { max_in_flight: 5, per };
        run(&PolicyConfig::FirstAvailable(config), Shares::Other);
    }
}

#[test]
fn pick_first() {
    for shuffle in [Shuffle::Weighted, Shuffle::Uniform, Shuffle::Off] {
        for seed in [None, Some(1)] {
            run(&PolicyConfig::PickFirst(PickFirstConfig { shuffle, seed }), Shares::Other);
        }
    }
}

#[test]
fn smooth_weighted_round_robin_in_one_global_order() {
    let config = SmoothWeightedRoundRobinConfig { order: TurnOrder::Global };
    run(&PolicyConfig::SmoothWeightedRoundRobin(config), Shares::Weighted);
}
