//! Configuration in TOML: what is read, and what is said about mistakes.
#![cfg(feature = "config")]

use std::time::Duration;

use evenkeel::{BuildError, Cluster, ClusterConfig, Request};

const WHOLE: &str = r#"
name = "users"
policy = { type = "p2c", choices = 3 }
seed = 7
hash_seed = 99
max_endpoints = 10

[breaker]
open_for = "2s"
rules = [
    { consecutive = { failures = 4 } },
    { ratio = { failures = 0.5, min_requests = 20, window = { time = { span = "10s", buckets = 10 } } } },
]

[breaker.half_open]
max_concurrent = 2
successes_needed = 3
lease = "20s"

[health]
rise = 3
fall = 2
start = "first_verdict"

[latency]
decay = "5s"

[[endpoints]]
id = "users-1"
address = "10.0.0.1:8080"
weight = 3
labels = { stage = "canary" }

[[endpoints]]
id = "users-2"
address = "users-2.example:8080"
priority = 1
"#;

#[test]
fn a_policy_may_be_a_name_alone() {
    let policy = |text: &str| ClusterConfig::from_toml(&format!("name = \"users\"\npolicy = {text}\n"));
    assert_eq!(policy("\"p2c\"").expect("an alias").policy.name(), "least_request");
    assert_eq!(policy("{ type = \"maglev\" }").expect("a table").policy.name(), "maglev");
    let error = policy("\"fastest\"").expect_err("no such policy").to_string();
    assert!(error.contains("fastest"), "{error}");
    let error = policy("{ type = \"least_request\", choises = 3 }").expect_err("misspelt").to_string();
    assert!(error.contains("choises"), "{error}");
    let json = "{\"name\": \"users\", \"policy\": \"random\"}";
    let config: ClusterConfig = serde_json::from_str(json).expect("reads");
    assert_eq!(config.policy.name(), "random");
}

#[test]
fn a_builder_does_not_drop_endpoints_silently() {
    let mut config = ClusterConfig::new("users");
    config.endpoints.push(evenkeel::Endpoint::at("10.0.0.1:80".parse().expect("an address")).expect("an id"));
    let built = evenkeel::ClusterBuilder::<()>::from(config).build();
    assert!(matches!(built, Err(BuildError::EndpointsWithoutPayloads)));
}

#[test]
fn a_whole_configuration_is_read_and_used() {
    let config = ClusterConfig::from_toml(WHOLE).unwrap();
    assert_eq!(config.breaker.as_ref().unwrap().open_for, Duration::from_secs(2));
    let text = toml::to_string(&config).unwrap();
    assert_eq!(
        ClusterConfig::from_toml(&text).unwrap().endpoints,
        config.endpoints,
        "it writes what it reads"
    );
    let cluster: Cluster<()> = Cluster::from_config(config).unwrap();
    assert_eq!((cluster.len(), cluster.report().policy), (2, "least_request"));
    let pick = cluster.pick(&Request::new()).unwrap();
    assert_eq!(pick.endpoint().description().label("stage"), Some("canary"));
}

#[test]
fn the_name_is_enough() {
    let config = ClusterConfig::from_toml("name = \"x\"").unwrap();
    assert!(Cluster::<()>::from_config(config).unwrap().is_empty());
}

#[test]
fn mistakes_name_the_field_and_what_is_allowed() {
    for (text, words) in [
        ("nmae = \"x\"", &["nmae", "name"][..]),
        ("", &["name"]),
        ("name = \"x\"\npolicy = { type = \"leest\" }", &["leest", "least_request"]),
        ("name = \"x\"\npolicy = { type = \"random\", choices = 2 }", &["choices"]),
        ("name = \"x\"\n[breaker]\nopen_for = \"soon\"", &["open_for", "250ms"]),
        ("name = \"x\"\n[breaker]\nopen_for = 5", &["open_for"]),
        ("name = \"x\"\n[breaker]\nopne_for = \"5s\"", &["opne_for", "open_for"]),
        ("name = \"x\"\n[health]\nrise = -1", &["rise"]),
        ("name = \"x\"\n[latency]\ndecay = \"10s\"\ntau = 1", &["tau", "decay"]),
        ("name = \"x\"\n[[endpoints]]\nid = \"a\"\naddress = \"10.0.0.1\"", &["address", "port"]),
        ("name = \"x\"\n[[endpoints]]\nid = \"\"\naddress = \"10.0.0.1:1\"", &["id", "empty"]),
        ("name = \"x\"\n[[endpoints]]\nid = \"a\"\naddress = \"10.0.0.1:1\"\nweight = -1", &["weight"]),
        ("name = \"x\"\n[[endpoints]]\nid = \"a\"\naddress = \"10.0.0.1:1\"\npriority = 200", &["128"]),
    ] {
        let error = ClusterConfig::from_toml(text).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{text}:\n{error}");
    }
}

#[test]
fn values_that_parse_and_make_no_sense_are_refused_at_build() {
    for (text, start) in [
        ("name = \"\"", "name:"),
        ("name = \"x\"\nmax_endpoints = 0", "max_endpoints = 0"),
        (
            "name = \"x\"\npolicy = { type = \"p2c\", choices = 1 }",
            "policy least_request: choices: 1 is out of range",
        ),
        ("name = \"x\"\n[breaker]\nopen_for = \"0s\"", "breaker."),
        ("name = \"x\"\n[breaker]\nrules = []", "breaker."),
        ("name = \"x\"\n[health]\nfall = 0", "health."),
        ("name = \"x\"\n[latency]\ndecay = \"0s\"", "latency.decay"),
        (
            "name = \"x\"\nendpoints = [{ id = \"a\", address = \"10.0.0.1:1\" }, { id = \"a\", address = \"10.0.0.2:1\" }]",
            "endpoints[1].id",
        ),
    ] {
        let built: Result<Cluster<()>, BuildError> =
            Cluster::from_config(ClusterConfig::from_toml(text).unwrap());
        let error = built.unwrap_err().to_string();
        assert!(error.starts_with(start), "{text}: {error}");
    }
}
