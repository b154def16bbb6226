//! The policies over tables of hashes pass every law.

use evenkeel_balance::hash::{HotKeySettings, KeySettings};
use evenkeel_balance::laws::{Shares, check};
use evenkeel_balance::{AnchorConfig, BuiltIn, JumpConfig, PolicyConfig, RendezvousConfig};

fn run(config: &PolicyConfig, shares: Shares) {
    check(&format!("{config:?}"), shares, &|members| {
        Box::new(BuiltIn::new(config, members).expect("a valid policy"))
    });
}

#[test]
fn modulo() {
    run(&PolicyConfig::modulo(), Shares::Weighted);
}

#[test]
fn ip_hash() {
    run(&PolicyConfig::ip_hash(), Shares::Weighted);
}

#[test]
fn jump() {
    run(&PolicyConfig::jump(), Shares::Weighted);
}

#[test]
fn rendezvous() {
    run(&PolicyConfig::rendezvous(), Shares::Weighted);
}

/// An arc of a times the mean has a share of 1.05 (1 − e^-20a) of it. Arcs are exponentially distributed, so one standard
/// deviation is √(1.05² (1 − 2/21 + 1/41) − 1), which is 0.156.
#[test]
fn multi_probe() {
    run(&PolicyConfig::multi_probe(), Shares::Placed { stray: 16 });
}

#[test]
fn anchor() {
    run(&PolicyConfig::anchor(), Shares::Weighted);
    run(&PolicyConfig::Anchor(AnchorConfig { headroom: 64, ..AnchorConfig::default() }), Shares::Weighted);
}

/// With hot keys spread and loads bounded too.
#[test]
fn with_everything_that_keys_can_be_given() {
    let key = KeySettings {
        balance_factor: Some(125),
        hot_keys: Some(HotKeySettings { sample: 1, ..HotKeySettings::default() }),
        ..KeySettings::default()
    };
    run(&PolicyConfig::Jump(JumpConfig { key }), Shares::Other);
    run(&PolicyConfig::Rendezvous(RendezvousConfig { key }), Shares::Other);
    let key = KeySettings { balance_factor: None, ..key };
    run(&PolicyConfig::Jump(JumpConfig { key }), Shares::Other);
    run(&PolicyConfig::Rendezvous(RendezvousConfig { key }), Shares::Other);
}
