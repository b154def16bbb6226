//! The policies that place keys pass every law.

use evenkeel_balance::hash::KeySettings;
use evenkeel_balance::laws::{Shares, check};
use evenkeel_balance::{BuiltIn, PolicyConfig, RingHashConfig};

fn run(config: &PolicyConfig, shares: Shares) {
    check(&format!("{config:?}"), shares, &|members| {
        Box::new(BuiltIn::new(config, members).expect("a valid policy"))
    });
}

/// 160 points a unit of weight: a share strays by one in √160.
const POINTS_160: Shares = Shares::Placed { stray: 8 };

#[test]
fn ring_hash() {
    run(&PolicyConfig::ring_hash(), POINTS_160);
}

#[test]
fn ketama() {
    run(&PolicyConfig::ketama(), POINTS_160);
}

#[test]
fn maglev() {
    run(&PolicyConfig::maglev(), Shares::Weighted);
}

#[test]
fn with_a_bound() {
    let key = KeySettings { balance_factor: Some(100), ..KeySettings::default() };
    run(&PolicyConfig::RingHash(RingHashConfig { key, ..RingHashConfig::default() }), POINTS_160);
}
