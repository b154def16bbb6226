//! The schema is that of the types, and says of a file what the types say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]
#![cfg(feature = "schema")]

use evenkeel_config::{Loaded, Syntax, schema};
use serde_json::{Value, json};

const COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.schema.json");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");

// The copy is about all kinds of discovery, which the program has.
#[cfg(feature = "cli")]
#[test]
fn the_copy_is_fresh() {
    let text = format!("{:#}\n", schema());
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        std::fs::write(COPY, &text).unwrap();
    }
    let copy = std::fs::read_to_string(COPY).unwrap_or_default();
    assert!(copy == text, "docs/config.schema.json is old: write it with `evenkeel-config schema`");
}

/// What a file holds, in the form that schemas are about: read by our own reader, which knows all three syntaxes.
fn value(path: &std::path::Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    match path.extension().unwrap().to_str().unwrap() {
        "json" => serde_json::from_str(&text).unwrap(),
        "toml" => serde_json::to_value(toml::from_str::<toml::Value>(&text).unwrap()).unwrap(),
        // There is no second reader of YAML here: what was read is written again.
        _ => serde_json::to_value(Loaded::load(path).unwrap().config()).unwrap(),
    }
}

#[test]
fn the_examples_are_valid() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for entry in std::fs::read_dir(EXAMPLES).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let value = value(&path);
            let errors: Vec<String> = validator
                .iter_errors(&value)
                .map(|error| format!("{}: {error}", error.instance_path))
                .collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
        }
    }
}

#[test]
fn what_the_types_write_is_valid() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for entry in std::fs::read_dir(EXAMPLES).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let value = serde_json::to_value(Loaded::load(&path).unwrap().config()).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&value)
                .map(|error| format!("{}: {error}", error.instance_path))
                .collect();
            assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
        }
    }
}

/// Puts an unknown key into every table of a file, one at a time: both refuse each.
#[test]
fn unknown_keys_are_refused_by_both() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let full = value(&std::path::Path::new(EXAMPLES).join("full.json"));
    let mut places = Vec::new();
    tables(&full, "", &mut places);
    assert!(places.len() > 50, "{}", places.len());
    for place in places {
        // Keys of these are names that the user gives.
        if place.ends_with("/fallbacks") || place.ends_with("/labels") {
            continue;
        }
        let mut broken = full.clone();
        broken.pointer_mut(&place).unwrap()["unheard_of"] = json!(1);
        assert!(Loaded::parse(&broken.to_string(), Syntax::Json).is_err(), "types: {place}");
        assert!(!validator.is_valid(&broken), "schema: {place}");
    }
}

/// What stands in no example: it needs a feature that is off by default.
#[cfg(feature = "cli")]
#[test]
fn kinds_of_discovery_are_what_their_types_say() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let of = |kind: &str, settings: Value| json!({ "clusters": [{ "name": "a", "discovery": [{ kind: settings }] }] });
    let kube = of(
        "kube",
        json!({ "service": "users", "access": { "server": { "url": "https://k:6443", "ca_file": "/ca" } },
                "endpoints": { "port": { "number": 80 }, "readiness": "actual" }, "bounds": { "resync_every": "1h" } }),
    );
    let xds = of(
        "xds",
        json!({ "resource": "cluster", "control_plane": { "node": { "id": "n", "locality": { "zone": "z" } },
                "connection": { "servers": ["https://cp:443"], "headers": { "authorization": "x" } }, "variant": "delta" } }),
    );
    for (kind, right) in [("kube", kube), ("xds", xds)] {
        let loaded = Loaded::parse(&right.to_string(), Syntax::Json).unwrap();
        let written = serde_json::to_value(loaded.config()).unwrap();
        for value in [&right, &written] {
            let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{kind}: {errors:#?}");
        }
        let mut places = Vec::new();
        tables(&written, "", &mut places);
        for place in places.iter().filter(|place| place.contains(kind)) {
            if place.ends_with("/headers") || place.ends_with("/metadata") {
                continue;
            }
            let mut broken = written.clone();
            broken.pointer_mut(place).unwrap()["unheard_of"] = json!(1);
            assert!(Loaded::parse(&broken.to_string(), Syntax::Json).is_err(), "types: {place}");
            assert!(!validator.is_valid(&broken), "schema: {place}");
        }
    }
}

fn tables(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(table) => {
            found.push(at.to_owned());
            for (key, value) in table {
                tables(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                tables(value, &format!("{at}/{i}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn wrong_kinds_are_refused_by_both() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for wrong in [
        json!({ "clusters": {} }),
        json!({ "clusters": [{}] }),
        json!({ "clusters": [{ "name": 1 }] }),
        json!({ "clusters": [{ "name": "a", "policy": "p3c" }] }),
        json!({ "clusters": [{ "name": "a", "policy": { "type": "p3c" } }] }),
        json!({ "clusters": [{ "name": "a", "policy": { "type": "random", "choices": 2 } }] }),
        json!({ "clusters": [{ "name": "a", "slow_start": { "window": "soon" } }] }),
        json!({ "clusters": [{ "name": "a", "slow_start": { "window": 5 } }] }),
        json!({ "clusters": [{ "name": "a", "merge": "newest" }] }),
        json!({ "clusters": [{ "name": "a", "check": {} }] }),
        json!({ "clusters": [{ "name": "a", "check": { "probe": { "tcp": {} }, "schedule": { "jitter": 2 } } }] }),
        json!({ "listeners": [{ "name": "a" }] }),
        json!({ "listeners": [{ "name": "a", "address": "0.0.0.0:1", "protocol": "quic" }] }),
        json!({ "http": { "routes": [{ "name": "a" }] } }),
        json!({ "http": { "routes": [{ "name": "a", "action": {} }] } }),
        json!({ "http": { "routes": [{ "name": "a", "action": { "cluster": "a", "respond": { "status": 200 } } }] } }),
        json!({ "tick": 1 }),
    ] {
        assert!(Loaded::parse(&wrong.to_string(), Syntax::Json).is_err(), "types: {wrong}");
        assert!(!validator.is_valid(&wrong), "schema: {wrong}");
    }
    for right in [
        json!({ "clusters": [{ "name": "a", "policy": "p2c" }] }),
        json!({ "clusters": [{ "name": "a", "policy": { "type": "p2c", "choices": "all" } }] }),
        json!({ "clusters": [{ "name": "a", "slow_start": { "window": "1m 30s" } }] }),
        json!({ "clusters": [{ "name": "a", "endpoints": [{ "id": "x", "address": "unix:/run/x" }] }] }),
        json!({}),
    ] {
        assert!(Loaded::parse(&right.to_string(), Syntax::Json).is_ok(), "types: {right}");
        assert!(validator.is_valid(&right), "schema: {right}");
    }
}
