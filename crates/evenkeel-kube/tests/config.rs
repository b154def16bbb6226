//! Settings: what is read, what is refused, and how.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::time::Duration;

use evenkeel_kube::{Access, KubeConfig, PortChoice, Readiness, Server};

fn refused(part: &str, change: impl FnOnce(&mut KubeConfig)) {
    let mut config = KubeConfig::new("users");
    change(&mut config);
    let why = config.validate().unwrap_err().to_string();
    assert!(why.contains(part), "{why}");
}

#[test]
fn what_cannot_stand_is_named() {
    assert!(KubeConfig::new("users").validate().is_ok());
    for name in ["", "Users", "-a", "a-", "a.b", "a/b", "ä", &"a".repeat(64)] {
        refused("service is", |config| config.service = name.to_owned());
        refused("namespace is", |config| config.namespace = Some(name.to_owned()));
    }
    refused("endpoints.port is 0", |config| config.endpoints.port = PortChoice::Number(0));
    refused("63 bytes", |config| config.endpoints.port = PortChoice::Named("a".repeat(64)));
    for given in [Duration::ZERO, Duration::from_millis(1500), Duration::from_secs(291), Duration::MAX] {
        refused("bounds.watch_for", |config| config.bounds.watch_for = given);
    }
    refused("bounds.answer_timeout is zero", |config| config.bounds.answer_timeout = Duration::ZERO);
    refused("bounds.list_timeout is", |config| config.bounds.list_timeout = Duration::MAX);
    refused("bounds.linger", |config| config.bounds.linger = Duration::MAX);
    refused("bounds.resync_every", |config| config.bounds.resync_every = Some(Duration::ZERO));
    refused("bounds.page_size", |config| config.bounds.page_size = 0);
    refused("bounds.max_line_bytes", |config| config.bounds.max_line_bytes = 0);
    refused("bounds.max_endpoints", |config| config.bounds.max_endpoints = 0);
    refused("backoff.max", |config| config.bounds.backoff.max = Duration::ZERO);
    for url in ["", "127.0.0.1:6443", "ftp://a", "https://", "http:///x"] {
        let server = Server { url: url.into(), ..Server::default() };
        refused("access.server.url", |config| config.access = Access::Server(server));
    }
    let half = Server { url: "https://a".into(), cert_file: Some("c".into()), ..Server::default() };
    refused("access.server.key_file is missing", |config| config.access = Access::Server(half));
}

#[test]
fn settings_are_read_and_written() {
    let text = r#"
        service = "users"
        namespace = "shop"
        [access.kubeconfig]
        path = "/etc/kubeconfig"
        context = "prod"
        [endpoints]
        port = { named = "http" }
        readiness = "actual"
        first_family = "v6"
        [bounds]
        watch_for = "10s"
        linger = "1s"
    "#;
    let config: KubeConfig = toml::from_str(text).unwrap();
    assert!(config.validate().is_ok());
    assert_eq!(config.endpoints.port, PortChoice::Named("http".into()));
    assert_eq!((config.endpoints.readiness, config.bounds.page_size), (Readiness::Actual, 100));
    let again: KubeConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    for bad in [
        "servcie = 'a'",
        "[bounds]\nwatch = '1s'",
        "[access]\ncloud = 1",
        "[access.server]\nurl = 'http://a'\ntoken = 'x'",
    ] {
        assert!(toml::from_str::<KubeConfig>(bad).is_err(), "{bad}");
    }
}
