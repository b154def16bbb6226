//! The comparison of both patterns of discovery, as a newcomer runs it.

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
