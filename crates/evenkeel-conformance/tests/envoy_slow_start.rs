//! Envoy's slow start, as measured: every half second within its band.

use std::path::Path;

use evenkeel_conformance::{Vector, programs};

#[test]
fn every_half_second_is_within_its_band() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join("envoy")
        .join("behaviour_slow_start.jsonl");
    let tally = programs::replay(&Vector::read(&path).expect("the file is there")).expect("known");
    assert_eq!((tally.passed, tally.total), (44, 44), "{:#?}", tally.mismatches);
}

/// The replay can fail: a recording that warmed up at once is not ours.
#[test]
fn a_recording_of_something_else_is_noticed() {
    let text = r#"{"type":"meta","program":"envoy","algorithm":"slow_start"}
{"type":"case","group":"slow_start","id":"x","config":{"slow_start_config":{"slow_start_window":"6s"},"servers":5},"rate_per_s":400,"half_second_buckets":[[0.0,200,40,0.2],[0.5,200,40,0.2]]}"#;
    let vector = Vector::parse(Path::new("x"), text).expect("reads");
    let tally = programs::replay(&vector).expect("known");
    assert_eq!((tally.passed, tally.total), (0, 2));
}
