//! How policies are written, and what is said about mistakes.
#![cfg(feature = "serde")]

use evenkeel_balance::PolicyConfig;

fn read(text: &str) -> Result<PolicyConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn every_policy_round_trips_and_aliases_are_understood() {
    for config in PolicyConfig::all() {
        let text = toml::to_string(&config).unwrap();
        assert_eq!(read(&text).unwrap().name(), config.name(), "{text}");
    }
    for (alias, name) in [
        ("p2c", "least_request"),
        ("least_conn", "least_connections"),
        ("leastconn", "least_connections"),
        ("edf", "earliest_deadline_first"),
        ("sed", "shortest_expected_delay"),
        ("rr", "round_robin"),
        ("wrr", "smooth_weighted_round_robin"),
    ] {
        assert_eq!(read(&format!("type = \"{alias}\"")).unwrap().name(), name);
    }
    assert!(read("type = \"least_request\"\nchoices = \"all\"").is_ok());
    assert!(read("type = \"least_request\"\nchoices = 3\nbias = 1.5").is_ok());
    assert!(read("type = \"smooth_weighted_round_robin\"\norder = \"global\"").is_ok());
    assert!(read("type = \"first_available\"\nmax_in_flight = 8\nper = \"weight\"").is_ok());
    assert!(read("type = \"pick_first\"\nshuffle = \"uniform\"\nseed = 7").is_ok());
    assert!(read("type = \"sed\"\nnever_queue = true").is_ok());
}

#[test]
fn mistakes_name_the_field_and_what_is_allowed() {
    for (text, words) in [
        ("type = \"least_reqest\"", &["least_reqest", "least_request", "round_robin"][..]),
        ("type = \"least_request\"\nchoises = 2", &["choises", "choices"]),
        ("type = \"round_robin\"\nchoices = 2", &["choices"]),
        ("choices = 2", &["type"]),
        ("type = \"least_request\"\nchoices = \"some\"", &["choices"]),
    ] {
        let error = read(text).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
    }
}

/// The page for choosing has a row of costs for each policy, in the order in which they are listed.
#[test]
fn the_table_of_costs_names_every_policy() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/algorithms.md");
    let Ok(page) = std::fs::read_to_string(path) else {
        // A package has no documents of the workspace.
        return;
    };
    let costs = page.split("## What each costs").nth(1).expect("the section");
    let rows: Vec<&str> =
        costs.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let names: Vec<&str> = PolicyConfig::all().iter().map(PolicyConfig::name).collect();
    assert_eq!(rows, names);
}
