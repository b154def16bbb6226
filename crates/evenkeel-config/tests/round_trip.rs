//! What is written is read again, in every syntax.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use evenkeel::router::{Action, RouteConfig, StaticResponse};
use evenkeel::{BreakerConfig, ClusterConfig, Endpoint, PolicyConfig};
use evenkeel_config::{
    CheckSettings, ClusterSettings, Config, DiscoveryConfig, ListenerConfig, Loaded, Protocol, Syntax,
};
use evenkeel_file::FileConfig;
use proptest::prelude::*;

fn policies() -> impl Strategy<Value = PolicyConfig> {
    let all = PolicyConfig::all();
    (0..all.len()).prop_map(move |i| all[i].clone())
}

fn cluster(i: usize) -> impl Strategy<Value = ClusterSettings> {
    let parts = (policies(), any::<bool>(), 0..5_u8, any::<bool>(), any::<bool>(), any::<u32>());
    parts.prop_map(move |(policy, breaker, endpoints, check, discovery, seed)| {
        let mut cluster = ClusterConfig::new(format!("c{i} \"ä\""));
        cluster.policy = policy;
        cluster.breaker = breaker.then(BreakerConfig::default);
        cluster.hash_seed = u64::from(seed);
        let endpoint =
            |n| Endpoint::new(format!("e{n}").parse().unwrap(), ([10, 0, 0, n], 80).into_address());
        cluster.endpoints = (0..endpoints).map(endpoint).collect();
        let mut settings = ClusterSettings::new(cluster);
        settings.check = check.then(|| CheckSettings {
            probe: evenkeel_probe::TcpProbe::default().into(),
            schedule: evenkeel_health::CheckConfig::default(),
            port: Some(9000),
        });
        if discovery {
            let file = Some(FileConfig::at("a.toml"));
            settings.discovery.push(DiscoveryConfig { file, ..DiscoveryConfig::default() });
        }
        settings
    })
}

trait IntoAddress {
    fn into_address(self) -> evenkeel_types::Address;
}

impl IntoAddress for ([u8; 4], u16) {
    fn into_address(self) -> evenkeel_types::Address {
        evenkeel_types::Address::Socket(self.into())
    }
}

fn config() -> impl Strategy<Value = Config> {
    let parts =
        (prop::collection::vec(any::<u8>(), 0..4), prop::collection::vec((0..4_u8, any::<u16>()), 0..4));
    (parts, 1..60_000_u64).prop_flat_map(|((clusters, listeners), tick)| {
        let clusters: Vec<_> = (0..clusters.len()).map(cluster).collect();
        clusters.prop_map(move |clusters| {
            let mut config = Config { clusters, tick: Duration::from_millis(tick), ..Config::default() };
            for (i, (protocol, port)) in listeners.iter().enumerate() {
                let protocols = [Protocol::Http, Protocol::Tcp, Protocol::Udp, Protocol::TlsPassthrough];
                config.listeners.push(ListenerConfig {
                    name: format!("l{i}"),
                    address: ([0, 0, 0, 0], *port).into_address(),
                    protocol: protocols[usize::from(*protocol)],
                    tls: None,
                    limits: Default::default(),
                    timeouts: Default::default(),
                });
                config
                    .http
                    .routes
                    .push(RouteConfig::new(format!("r{i}"), Action::Respond(StaticResponse::new(404))));
            }
            config
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(config in config()) {
        let wanted = serde_json::to_value(&config).unwrap();
        let json = serde_json::to_string_pretty(&config).unwrap();
        // All of JSON is YAML.
        for (text, syntax) in [(&json, Syntax::Json), (&json, Syntax::Yaml)] {
            let read = Loaded::parse(text, syntax).map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
            prop_assert_eq!(serde_json::to_value(read.config()).unwrap(), wanted.clone());
        }
        let toml = toml::to_string(&config).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let read = Loaded::parse(&toml, Syntax::Toml).map_err(|errors| TestCaseError::fail(format!("{errors}\n{toml}")))?;
        prop_assert_eq!(serde_json::to_value(read.config()).unwrap(), wanted);
    }
}
