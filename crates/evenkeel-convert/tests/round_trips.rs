//! Ours, written as theirs and read again, is ours: for what they can say.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::time::Duration;

use evenkeel::router::{Action, Redirect, RouteConfig, RouterConfig, StaticResponse};
use evenkeel::{ClusterConfig, FailoverMode, PolicyConfig, SlowStartConfig};
use evenkeel_balance::compat::envoy::{
    EnvoyConfig, EnvoyPolicy, LeastRequestSettings, MaglevSettings, RingHashSettings,
};
use evenkeel_balance::compat::haproxy::{
    Balance, Function, HaproxyConfig, HashType, Method as HashMethod, UriKey,
};
use evenkeel_balance::compat::nginx::{Method, NginxConfig};
use evenkeel_convert::{
    Converter, Dialect, EnvoyHash, KeyPart, KeyRule, Listener, ListenerTls, Options, Serves, Setup, read,
    write,
};
use evenkeel_limit::LimitConfig;
use evenkeel_route::matching::{DotSegments, EscapedSlashes, PathMatch, PathOptions, Percent};
use evenkeel_types::{Announced, Endpoint, EndpointId, Priority, Weight};
use proptest::prelude::*;

fn again(dialect: Dialect, setup: &Setup) -> Result<(), TestCaseError> {
    let ours = setup.to_toml().unwrap();
    let written = write(dialect, setup);
    let read = read(dialect, &written.text, "written", &Options::default())
        .map_err(|error| TestCaseError::fail(format!("{error}\n{}", written.text)))?;
    prop_assert_eq!(read.setup.to_toml().unwrap(), ours, "{}", written.text);
    Ok(())
}

type Server = (u8, u32, bool, bool);

fn servers(most_weight: u32) -> impl Strategy<Value = Vec<Server>> {
    // Weight, whether down, whether backup; the first one is neither.
    prop::collection::vec(
        (any::<u8>(), 1..=most_weight, prop::bool::weighted(0.2), prop::bool::weighted(0.2)),
        1..6,
    )
}

fn endpoints(servers: &[Server], names: bool, backups: bool, each_its_own: bool) -> Vec<Endpoint> {
    let mut tier = 0;
    let mut all: Vec<Endpoint> = Vec::new();
    for (number, &(octet, weight, down, backup)) in servers.iter().enumerate() {
        let address = format!("10.0.{octet}.{}:80", number + 1);
        let id = if names { format!("s{number}") } else { address.clone() };
        let mut endpoint = Endpoint::new(EndpointId::new(id).unwrap(), address.parse().unwrap())
            .with_weight(Weight::new(weight));
        if down && number > 0 {
            endpoint = endpoint.with_announced(Announced::Down);
        }
        if backup && backups && number > 0 {
            tier = if each_its_own { tier + 1 } else { 1 };
            endpoint = endpoint.with_priority(Priority::new(tier).unwrap());
        }
        all.push(endpoint);
    }
    all
}

fn part() -> impl Strategy<Value = KeyPart> {
    prop_oneof![
        "[a-z]{1,5}(-[a-z]{1,5})?".prop_map(KeyPart::Header),
        "[a-z_]{1,6}".prop_map(KeyPart::Query),
        "[a-z_]{1,6}".prop_map(KeyPart::Cookie),
        Just(KeyPart::Source),
        Just(KeyPart::Target),
        Just(KeyPart::Method),
    ]
}

prop_compose! {
    fn nginx_cluster()(
        servers in servers(1000),
        method in prop_oneof![Just(Method::RoundRobin), Just(Method::IpHash), Just(Method::Hash), Just(Method::HashConsistent), Just(Method::LeastConn)],
        max_fails in 0_u32..5,
        seconds in 0_u64..100_000,
        max_conns in prop::option::of(1_u32..1000),
        parts in prop::collection::vec(part(), 1..4),
        text in "[a-z#; \"\\\\{}:]{0,6}",
    ) -> (ClusterConfig, Option<KeyRule>) {
        let mut cluster = ClusterConfig::new("users");
        cluster.policy = PolicyConfig::Nginx(NginxConfig { method, max_fails, fail_timeout: Duration::from_secs(seconds) });
        cluster.endpoint_limit = max_conns.map(LimitConfig::fixed);
        cluster.endpoints = endpoints(&servers, false, method.allows_backup(), false);
        let mut parts = parts;
        if !text.is_empty() {
            parts.push(KeyPart::Literal(text));
        }
        let key = match method {
            Method::IpHash => Some(KeyRule::Source),
            Method::Hash | Method::HashConsistent => Some(KeyRule::Text(parts)),
            _ => None,
        };
        (cluster, key)
    }
}

fn converter() -> impl Strategy<Value = Converter> {
    let index = prop_oneof![1..9_i32, -9..-1_i32];
    prop_oneof![
        Just(Converter::Lower),
        Just(Converter::Upper),
        (0..99_u32, prop::option::of(0..99_u32))
            .prop_map(|(offset, length)| Converter::Bytes { offset, length }),
        (index.clone(), "[/.:@|=-]{1,3}", 0..4_u32).prop_map(|(index, separators, count)| Converter::Field {
            index,
            separators,
            count
        }),
        (index, "[/.:@|=-]{1,3}", 0..4_u32).prop_map(|(index, separators, count)| Converter::Word {
            index,
            separators,
            count
        }),
    ]
}

prop_compose! {
    fn haproxy_cluster()(
        servers in servers(256),
        balance in prop_oneof![
            Just((Balance::RoundRobin, None)), Just((Balance::StaticRr, None)), Just((Balance::LeastConn, None)), Just((Balance::First, None)),
            Just((Balance::Source, Some(KeyRule::Source))),
            (prop::option::of(1_u32..99), prop::option::of(1_u32..9), any::<bool>(), any::<bool>()).prop_map(|(len, depth, is_whole, is_path_only)| (Balance::Uri, Some(KeyRule::Uri(UriKey { len, depth, is_whole, is_path_only })))),
            "[a-z]{1,5}".prop_map(|name| (Balance::UrlParam, Some(KeyRule::UrlParam(name)))),
            ("[a-zA-Z-]{1,9}", any::<bool>()).prop_map(|(name, domain_only)| (Balance::Hdr, Some(KeyRule::Header { name, domain_only }))),
            "[a-z]{1,5}".prop_map(|name| (Balance::Hash, Some(KeyRule::Sample(KeyPart::Cookie(name))))),
            prop::collection::vec(converter(), 1..4).prop_map(|by| (Balance::Hash, Some(KeyRule::Converted { of: KeyPart::Path, by }))),
        ],
        is_consistent in any::<bool>(),
        function in prop_oneof![Just(Function::Sdbm), Just(Function::Djb2), Just(Function::Wt6), Just(Function::Crc32)],
        avalanche in any::<bool>(),
        factor in prop::option::of(101_u32..500),
        maxconn in prop::option::of(1_u32..999),
        slow in prop::option::of(1_u64..99),
    ) -> (ClusterConfig, Option<KeyRule>) {
        let mut cluster = ClusterConfig::new("users");
        let method = if is_consistent { HashMethod::Consistent } else { HashMethod::MapBased };
        let (balance, key) = balance;
        cluster.policy = PolicyConfig::Haproxy(HaproxyConfig {
            balance,
            hash_type: HashType { method, function, avalanche },
            hash_balance_factor: factor,
            maxconn,
        });
        cluster.slow_start = slow.map(|seconds| SlowStartConfig::haproxy(Duration::from_secs(seconds)));
        cluster.endpoints = endpoints(&servers, true, true, true);
        (cluster, key)
    }
}

prop_compose! {
    fn envoy_cluster()(
        servers in servers(128),
        policy in prop_oneof![
            Just(EnvoyPolicy::default()),
            (2_u32..9, 0_u32..9).prop_map(|(choice_count, bias)| EnvoyPolicy::LeastRequest(LeastRequestSettings { choice_count, active_request_bias: f64::from(bias) / 2.0 })),
            (1_u64..2000, 2000_u64..9000).prop_map(|(minimum_ring_size, maximum_ring_size)| EnvoyPolicy::RingHash(RingHashSettings { minimum_ring_size, maximum_ring_size, ..Default::default() })),
            prop_oneof![Just(5003_u64), Just(65_537)].prop_map(|table_size| EnvoyPolicy::Maglev(MaglevSettings { table_size })),
        ],
        limit in prop::option::of(1_u32..9999),
        panic in 0_u32..100,
        over in 100_u32..200,
        hashes in prop::collection::vec((part().prop_filter("of Envoy", |part| !matches!(part, KeyPart::Target | KeyPart::Method)), any::<bool>()), 0..3),
    ) -> (ClusterConfig, Option<KeyRule>) {
        let mut cluster = ClusterConfig::new("users");
        cluster.policy = PolicyConfig::Envoy(EnvoyConfig { policy, ..EnvoyConfig::default() });
        cluster.limit = limit.map(LimitConfig::fixed);
        cluster.failover = Some(FailoverMode::Envoy(evenkeel::EnvoyFailoverConfig {
            overprovisioning_percent: over,
            panic_threshold_percent: panic,
            fail_traffic_on_panic: panic % 2 == 1,
        }));
        cluster.endpoints = endpoints(&servers, false, true, true);
        let hashes: Vec<EnvoyHash> = hashes.into_iter().map(|(of, terminal)| EnvoyHash { of, terminal }).collect();
        (cluster, (!hashes.is_empty()).then_some(KeyRule::Envoy(hashes)))
    }
}

fn setup((cluster, key): (ClusterConfig, Option<KeyRule>)) -> Setup {
    let mut setup = Setup::default();
    if let Some(key) = key {
        setup.keys.insert(cluster.name.clone(), key);
    }
    setup.clusters.push(cluster);
    setup
}

fn raw() -> PathOptions {
    PathOptions {
        percent: Percent::Keep,
        escaped_slashes: EscapedSlashes::Keep,
        dot_segments: DotSegments::Keep,
        ..PathOptions::default()
    }
}

/// Answers and redirects below paths, the last one for all: what Envoy says word for word.
fn answers() -> impl Strategy<Value = Vec<RouteConfig>> {
    let path = prop_oneof![
        "/[a-z]{1,6}".prop_map(PathMatch::Exact),
        "/[a-z]{1,6}/?".prop_map(PathMatch::RawPrefix),
        "/[a-z]{1,6}".prop_map(PathMatch::Prefix),
        "/[a-z]{1,3}(\\[0-9\\]\\+)?".prop_map(|text| PathMatch::Regex(text.replace("\\", ""))),
    ];
    let action = prop_oneof![
        (200_u16..599, "[a-z \"\\\\]{0,9}").prop_map(|(status, body)| Action::Respond(StaticResponse {
            body,
            ..StaticResponse::new(status)
        })),
        prop_oneof![Just(301_u16), Just(302), Just(308)].prop_map(|status| Action::Redirect(Redirect {
            location: "https://{host}{path}{query}".into(),
            status
        })),
    ];
    prop::collection::vec((path, action), 0..6).prop_map(|routes| {
        let mut all: Vec<RouteConfig> = routes
            .into_iter()
            .enumerate()
            .map(|(number, (path, action))| {
                let mut route = RouteConfig::new(format!("r{number}"), action);
                route.rule.paths.push(path);
                route
            })
            .collect();
        all.push(RouteConfig::new("rest", Action::Respond(StaticResponse::new(404))));
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn clusters_of_nginx(cluster in nginx_cluster()) {
        // A key of nothing but texts side by side would come back as one text.
        again(Dialect::Nginx, &setup(cluster))?;
    }

    #[test]
    fn clusters_of_haproxy(cluster in haproxy_cluster()) {
        again(Dialect::Haproxy, &setup(cluster))?;
    }

    #[test]
    fn clusters_of_envoy(cluster in envoy_cluster()) {
        // Keys are said by routes there.
        let (cluster, key) = cluster;
        let mut setup = setup((cluster, key.clone()));
        let mut route = RouteConfig::new("all", Action::Cluster("users".into()));
        if let Some(KeyRule::Envoy(hashes)) = &key {
            route.key = hashes.iter().map(|hash| match &hash.of {
                KeyPart::Header(name) => evenkeel::router::KeySource::Header(name.clone()),
                KeyPart::Query(name) => evenkeel::router::KeySource::Query(name.clone()),
                KeyPart::Cookie(name) => evenkeel::router::KeySource::Cookie(name.clone()),
                _ => evenkeel::router::KeySource::Source,
            }).collect();
        }
        let router = RouterConfig { routes: vec![route], path: raw(), ..RouterConfig::default() };
        let addresses = vec!["127.0.0.1:80".to_owned()];
        setup.listeners.push(Listener { name: "web".into(), addresses, tls: None, udp: false, serves: Serves::Http(router) });
        again(Dialect::Envoy, &setup)?;
    }

    #[test]
    fn routes_of_envoy(routes in answers()) {
        let router = RouterConfig { routes, path: raw(), ..RouterConfig::default() };
        let addresses = vec!["127.0.0.1:80".to_owned()];
        let listener = Listener { name: "web".into(), addresses, tls: None, udp: false, serves: Serves::Http(router) };
        again(Dialect::Envoy, &Setup { listeners: vec![listener], ..Setup::default() })?;
    }

    #[test]
    fn our_own_text_says_everything(cluster in prop_oneof![nginx_cluster(), haproxy_cluster(), envoy_cluster()], routes in answers()) {
        let router = RouterConfig { routes, path: raw(), ..RouterConfig::default() };
        let mut setup = setup(cluster);
        setup.listeners.push(Listener { name: "web".into(), addresses: Vec::new(), tls: Some(ListenerTls::default()), udp: false, serves: Serves::Http(router) });
        let text = setup.to_toml().unwrap();
        let read = Setup::from_toml(&text, "ours").map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(format!("{:?}", read), format!("{:?}", setup));
    }
}

/// What a file becomes and what that becomes again differ in names and places alone: after one round nothing changes any more.
#[test]
fn whole_files_settle_after_one_round() {
    for (dialect, file) in [
        (Dialect::Nginx, "nginx/shop.conf"),
        (Dialect::Haproxy, "haproxy/shop.cfg"),
        (Dialect::Envoy, "envoy/shop.yaml"),
    ] {
        let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
        let first = evenkeel_convert::read_file(dialect, path, &Options::default()).unwrap().setup;
        let once = read(dialect, &write(dialect, &first).text, "once", &Options::default()).unwrap().setup;
        let twice = read(dialect, &write(dialect, &once).text, "twice", &Options::default()).unwrap().setup;
        let plain = |setup: &Setup| {
            let text = setup.to_toml().unwrap();
            text.lines().filter(|line| !line.starts_with("name = ")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(plain(&once), plain(&twice), "{file}");
        assert_eq!(first.clusters.len(), once.clusters.len());
    }
}
