//! Runs the scenario files of this crate, and those of `EVENKEEL_SCENARIOS`.
#![cfg(not(loom))]

mod machines;

use std::path::Path;

use evenkeel_scenario::Suite;

#[test]
fn scenarios_hold() {
    let mut suite = Suite::new();
    machines::add_all(&mut suite);
    assert_eq!(suite.unlisted(), Vec::<&str>::new());
    let own = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios"));
    let ran = suite.run(own).unwrap_or_else(|failures| panic!("{failures}"));
    assert!(ran >= 60, "only {ran} ran");
}
