//! Runs the scenario files: `docs/scenarios.md` has their grammar, and the tables of these two machines.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

mod machine;

use std::path::Path;

use evenkeel_scenario::Suite;

#[test]
fn scenarios() {
    let mut suite = Suite::new();
    suite.machine("breaker", |config, seed| Ok(Box::new(machine::BreakerMachine::read(config, seed)?)));
    suite.machine("breaker_set", |config, _seed| Ok(Box::new(machine::SetMachine::read(config)?)));
    assert_eq!(suite.unlisted(), Vec::<&str>::new());
    let ran = suite.run(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios")));
    match ran {
        Ok(ran) => println!("{ran} scenarios"),
        Err(failures) => panic!("{failures}"),
    }
}
