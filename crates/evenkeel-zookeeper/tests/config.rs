//! Settings that cannot stand are refused with the name of the field.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::time::Duration;

use evenkeel_zookeeper::{Acl, Credentials, Password, ZooKeeperConfig, ZooKeeperRegistrarConfig};

fn good() -> ZooKeeperConfig {
    ZooKeeperConfig::new(["10.0.0.1:2181", "[fd00::1]:2181", "zk.example:2181"], "/services/users")
}

#[test]
fn bad_settings_name_their_field() {
    good().validate().unwrap();
    type Bend = fn(&mut ZooKeeperConfig);
    let cases: [(&str, Bend); 17] = [
        ("servers.addresses is empty", |c| c.servers.addresses.clear()),
        ("servers.addresses holds \"10.0.0.1\"", |c| c.servers.addresses.push("10.0.0.1".into())),
        ("servers.addresses holds \"a:0\"", |c| c.servers.addresses.push("a:0".into())),
        ("servers.addresses holds \"a,b:1\"", |c| c.servers.addresses.push("a,b:1".into())),
        ("session timeout", |c| c.servers.session_timeout = Duration::from_millis(999)),
        ("session timeout", |c| c.servers.session_timeout = Duration::MAX),
        ("servers.request_timeout is zero", |c| c.servers.request_timeout = Duration::ZERO),
        ("servers.credentials.user is \"a:b\"", |c| {
            c.servers.credentials = Some(Credentials { user: "a:b".into(), password: Password::new("x") });
        }),
        ("path is \"\"", |c| c.path.clear()),
        ("path is \"/\"", |c| c.path = "/".into()),
        ("path is \"/a/\"", |c| c.path = "/a/".into()),
        ("path is \"/a/../b\"", |c| c.path = "/a/../b".into()),
        ("path is \"/a\\0\"", |c| c.path = "/a\0".into()),
        ("entries.max_bytes is zero", |c| c.entries.max_bytes = 0),
        ("bounds.probe_every is zero", |c| c.bounds.probe_every = Duration::ZERO),
        ("bounds.max_in_flight is zero", |c| c.bounds.max_in_flight = 0),
        ("bounds.backoff.min of 1s is above", |c| {
            (c.bounds.backoff.min, c.bounds.backoff.max) = (Duration::from_secs(1), Duration::from_millis(1));
        }),
    ];
    for (expected, bend) in cases {
        let mut config = good();
        bend(&mut config);
        let error = config.validate().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_registrar_checks_its_own() {
    let mut config = ZooKeeperRegistrarConfig::new(["10.0.0.1:2181"], "/services/users");
    config.validate().unwrap();
    config.acl = Acl::Private;
    assert!(config.validate().unwrap_err().to_string().starts_with("acl protects"));
    config.servers.credentials = Some(Credentials { user: "u".into(), password: Password::new("secret") });
    config.validate().unwrap();
    assert!(!format!("{config:?}").contains("secret"));
    config.registrar.ttl = Duration::from_millis(1);
    assert!(config.validate().unwrap_err().to_string().starts_with("registrar.ttl"));
}

#[cfg(not(feature = "tls"))]
#[test]
fn encryption_that_is_not_built_in_is_refused() {
    let mut config = good();
    config.servers.tls =
        Some(evenkeel_zookeeper::Tls { ca_file: "ca.pem".into(), cert_file: None, key_file: None });
    assert!(config.validate().unwrap_err().to_string().contains("feature `tls`"));
}

#[test]
fn settings_are_written_as_a_person_would() {
    let config: ZooKeeperConfig = toml::from_str(
        r#"
        path = "/services/users"
        [servers]
        addresses = ["10.0.0.1:2181"]
        session_timeout = "6s"
        credentials = { user = "u", password = "p" }
        [entries]
        format = "server_sets"
        additional_endpoint = "http"
        [bounds]
        probe_every = "1s"
        backoff = { min = "100ms", max = "5s" }
        "#,
    )
    .unwrap();
    config.validate().unwrap();
    assert_eq!(config.servers.session_timeout, Duration::from_secs(6));
    let error = toml::from_str::<ZooKeeperConfig>("paht = \"/a\"").unwrap_err().to_string();
    assert!(error.contains("paht"), "{error}");
}
