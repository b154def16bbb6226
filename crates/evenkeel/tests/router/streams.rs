//! Routers of connections.

use evenkeel::route::matching::{Connection, Scratch};
use evenkeel::router::{NoStreamRoute, StreamRouted, StreamRouter, StreamRouterConfig};
use evenkeel::{PickError, Tried};

use crate::world::{cluster, with_budget};

const CONFIG: &str = r#"
[[routes]]
name = "office"
match = { listeners = ["tls"], sources = ["10.0.0.0/8"], sni = ["*.example.com"], alpn = ["h2"] }
action = { cluster = "v1" }

[[routes]]
name = "tls"
match = { listeners = ["tls"] }
action = { split = { stickiness = "keyed", arms = [{ cluster = "v1", weight = 1 }, { cluster = "v2", weight = 1 }] } }

[[routes]]
name = "spare"
match = { listeners = ["plain"], destination_ports = [{ first = 8000, last = 8999 }] }
action = { cluster = "empty" }

[fallbacks]
empty = "v2"
"#;

fn router() -> StreamRouter<()> {
    let config = StreamRouterConfig::from_toml(CONFIG).expect("TOML");
    StreamRouter::with_seed(&config, [cluster("v1", 2), cluster("v2", 2), cluster("empty", 0)], 1)
        .expect("valid")
}

fn connection<'a>(listener: &'a str, source: &str, sni: &'a str, alpn: &'a [&'a [u8]]) -> Connection<'a> {
    let destination = "192.0.2.1:8443".parse().expect("an address");
    Connection {
        listener,
        source: source.parse().expect("an address"),
        destination,
        sni: sni.as_bytes(),
        alpn,
    }
}

#[test]
fn connections_go_where_the_rules_say() {
    let (router, mut scratch) = (router(), Scratch::default());
    let mut check = |connection: &Connection<'_>| {
        // The draws are the same, so it says what is about to happen.
        let explained = router.explain(connection);
        let routed = router.route(connection, &mut scratch);
        let route = routed.as_ref().map_or("", StreamRouted::route);
        assert_eq!(explained.route.as_deref().unwrap_or_default(), route);
        let routed = routed?;
        let arm = explained.arm.expect("it goes somewhere");
        assert_eq!((arm.cluster.as_str(), arm.why), (routed.cluster().name(), routed.arm_reason()));
        let pick = routed.pick().expect("some cluster can serve");
        let cluster = pick.endpoint().id().as_str().split('-').next().unwrap_or_default().to_owned();
        Ok::<_, NoStreamRoute>((routed.route().to_owned(), cluster))
    };
    let h2: &[&[u8]] = &[b"h2"];
    let office = ("office".to_owned(), "v1".to_owned());
    assert_eq!(check(&connection("tls", "10.1.1.1:1", "a.example.com", h2)), Ok(office));
    assert_eq!(check(&connection("tls", "10.1.1.1:1", "a.example.com", &[])).unwrap().0, "tls");
    assert_eq!(check(&connection("plain", "10.1.1.1:1", "", &[])), Ok(("spare".into(), "v2".into())));
    assert_eq!(check(&connection("other", "10.1.1.1:1", "", &[])), Err(NoStreamRoute));
    let mut arms = [0, 0];
    for i in 0..=255 {
        let source = format!("192.0.2.{i}:{}", 1000 + i);
        let first = check(&connection("tls", &source, "", &[])).unwrap().1;
        let again = check(&connection("tls", &format!("192.0.2.{i}:7"), "", &[])).unwrap().1;
        assert_eq!(first, again, "an address stays in its arm, whatever its port");
        arms[usize::from(first == "v2")] += 1;
    }
    assert!(arms.iter().all(|&arm| (96..=160).contains(&arm)), "four standard deviations: {arms:?}");
}

#[test]
fn a_connection_is_explained() {
    let router = router();
    let why =
        |listener: &str, sni: &str| router.explain(&connection(listener, "10.1.1.1:1", sni, &[])).to_string();
    let text = why("tls", "a.example.com");
    let expected = "connection for a.example.com\n  not office: other protocols\nroute tls\ncluster v";
    assert!(text.starts_with(expected), "{text}");
    let text = why("plain", "");
    let expected = "connection without a server name\n  not office: another listener\n  not tls: another listener\n\
        route spare\ncluster empty: the only one\nempty: ";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("\nv2: "), "the fallback is told: {text}");
    let text = why("other", "b.org");
    assert!(text.ends_with("  not spare: another listener\nno route takes it"), "{text}");
}

#[test]
fn reloads_and_refusals() {
    let router = router();
    let mut config = StreamRouterConfig::from_toml(CONFIG).unwrap();
    config.routes.truncate(1);
    config.routes[0].rule = Default::default();
    router.apply(&config, []).unwrap();
    let routed = router.route(&connection("any", "10.1.1.1:1", "", &[]), &mut Scratch::default()).unwrap();
    assert_eq!((routed.route(), routed.cluster().name()), ("office", "v1"));
    config.fallbacks.insert("v1".into(), "v1".into());
    assert!(router.apply(&config, []).unwrap_err().to_string().contains("v1 → v1"));
    config.fallbacks.clear();
    config.routes[0].rule.destination_ports =
        vec![evenkeel::route::matching::PortRange { first: 2, last: 1 }];
    let error = router.apply(&config, []).unwrap_err().to_string();
    assert!(error.starts_with("routes[0].match.destination_ports[0]: ports 2 to 1"), "{error}");
}

/// No storm of connections is passed on: a budget that is spent is no reason to ask another cluster.
#[test]
fn a_spent_budget_has_no_fallback() {
    let config = "[[routes]]\nname = \"all\"\naction = { cluster = \"v1\" }\n[fallbacks]\nv1 = \"v2\"\n";
    let config = StreamRouterConfig::from_toml(config).expect("TOML");
    let (clock, v2) = (std::sync::Arc::new(evenkeel::ManualClock::default()), cluster("v2", 2));
    let clusters = [with_budget("v1", 3, &clock, 0), v2.clone()];
    let router = StreamRouter::with_seed(&config, clusters, 1).expect("valid");
    let routed =
        router.route(&connection("tls", "10.1.1.1:1", "", &[]), &mut Scratch::default()).expect("a route");
    let mut tried = Tried::default();
    tried.add(&routed.pick().expect("an endpoint"));
    let error = routed.pick_elsewhere(&tried).expect_err("there is no budget");
    assert!(matches!(error, PickError::BudgetSpent(_)), "{error}");
    assert!(v2.report().endpoints.iter().all(|endpoint| endpoint.in_flight == 0));
}

#[test]
fn clusters_that_are_replaced_are_forgotten() {
    let router = router();
    let mut config = StreamRouterConfig::from_toml(CONFIG).unwrap();
    config.routes.truncate(1);
    config.fallbacks.clear();
    router.replace(&config, [cluster("v1", 1)]).unwrap();
    let config = StreamRouterConfig::from_toml(CONFIG).unwrap();
    let error = router.apply(&config, []).unwrap_err().to_string();
    assert!(error.contains("no such cluster"), "{error}");
    router.apply(&config, [cluster("v2", 2), cluster("empty", 0)]).unwrap();
}

#[test]
fn a_connection_that_could_not_be_made_goes_elsewhere() {
    let (router, mut scratch) = (router(), Scratch::default());
    let connection = connection("tls", "10.1.1.1:1", "", &[]);
    let routed = router.route(&connection, &mut scratch).expect("a route");
    let mut tried = Tried::default();
    let first = routed.pick().expect("an endpoint");
    tried.add(&first);
    let second = routed.pick_elsewhere(&tried).expect("the other endpoint");
    assert_ne!(first.endpoint().id(), second.endpoint().id());
    tried.add(&second);
    assert!(matches!(routed.pick_elsewhere(&tried), Err(PickError::AllTried { tried: 2 })));
}
