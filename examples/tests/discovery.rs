//! The programs on discovery, as a newcomer runs them.

use std::process::Command;

#[test]
fn both_patterns_honour_every_change() {
    let output = Command::new(env!("CARGO_BIN_EXE_discovery")).args(["--clients", "3"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for row in ["requests", "failures", "hops for a request", "d crashes: last pick after"] {
        assert!(told.contains(row), "{row}: {told}");
    }
    assert!(!told.contains("never"), "{told}");
}

#[test]
fn a_service_is_announced_when_it_is_ready_and_leaves_without_a_loss() {
    let arguments = ["--warm-up", "0.3", "--run-for", "1.5", "--deadline", "5"];
    let output = Command::new(env!("CARGO_BIN_EXE_registrar")).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let at = |words: &str| told.find(words).unwrap_or_else(|| panic!("{words}: {told}"));
    assert!(
        at("Waiting") < at("Kept") && at("Kept") < at("Draining") && at("Draining") < at("stops listening")
    );
    assert!(told.contains(" 0 lost"), "{told}");
}

#[test]
fn a_deadline_that_is_too_short_is_said() {
    let arguments = ["--warm-up", "0", "--run-for", "0.5", "--deadline", "0.1"];
    let output = Command::new(env!("CARGO_BIN_EXE_registrar")).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("it stops all the same: the endpoint is still Draining after 100ms"), "{told}");
}
