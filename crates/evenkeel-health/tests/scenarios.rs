//! The cases of `tests/scenarios`, and more from the environment: see `docs/scenarios.md`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]
#![cfg(not(loom))]

mod machines;

use std::path::Path;

use evenkeel_scenario::Suite;

#[test]
fn scenarios() {
    let mut suite = Suite::new();
    suite
        .machine("check", machines::check::make)
        .machine("drain", machines::drain::make)
        .machine("envoy_slow_start", machines::envoy_slow_start::make)
        .machine("flap", machines::flap::make)
        .machine("phi", machines::phi::make)
        .machine("slow_start", machines::slow_start::make)
        .machine("standing", machines::standing::make);
    machines::outlier::add(&mut suite);
    machines::outlier_compat::add(&mut suite);
    assert!(suite.unlisted().is_empty(), "not in the list of evenkeel-scenario: {:?}", suite.unlisted());
    let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios"));
    match suite.run(own) {
        Ok(ran) => assert!(ran >= 160, "only {ran} scenarios ran"),
        Err(failures) => panic!("{failures}"),
    }
}
