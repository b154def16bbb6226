//! Runs the scenario files of this crate, and those that `EVENKEEL_SCENARIOS` names. Grammar: `docs/scenarios.md`.

#[path = "machines/outlier.rs"]
mod outlier;
#[path = "machines/outlier_compat.rs"]
mod outlier_compat;

use std::path::Path;

use evenkeel_scenario::Suite;

#[test]
fn scenarios() {
    let mut suite = Suite::new();
    outlier::add(&mut suite);
    outlier_compat::add(&mut suite);
    assert!(suite.unlisted().is_empty(), "{:?}", suite.unlisted());
    match suite.run(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios"))) {
        Ok(ran) => assert!(ran > 0),
        Err(failures) => panic!("\n{failures}"),
    }
}
