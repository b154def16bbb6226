//! Configurations that make no sense: each is refused with the setting, the value and what is allowed.

use evenkeel::router::{Action, RouteConfig, Router, RouterConfig};

use crate::world::{build, build_of, cluster};

fn refused(text: &str) -> String {
    let clusters = vec![cluster("v1", 1), cluster("v2", 1)];
    build(text, clusters).err().unwrap_or_else(|| unreachable!("accepted:\n{text}")).to_string()
}

/// One route with these settings.
fn route(settings: &str) -> String {
    format!("[[routes]]\nname = \"a\"\n{settings}\n")
}

#[test]
fn settings_are_refused_by_name() {
    let to_v1 = "action = { cluster = \"v1\" }";
    let keyed = "stickiness = \"keyed\", arms = [{ cluster = \"v1\", weight = 1 }]";
    for (settings, expected) in [
        ("action = { cluster = \"v3\" }", "routes[0].action.cluster = \"v3\": no such cluster; did you mean"),
        ("action = { cluster = \"zzz\" }", "routes[0].action.cluster = \"zzz\": no such cluster"),
        (
            "action = { split = { arms = [{ cluster = \"v1\", weight = 1 }, { cluster = \"v9\", weight = 1 }] } }",
            "routes[0].action.split.arms[1].cluster = \"v9\": no such cluster; did you mean",
        ),
        (
            "action = { split = { arms = [{ cluster = \"v1\", weight = 0 }] } }",
            "routes[0].action.split.the weights of arms add up to 0",
        ),
        ("action = { split = { arms = [] } }", "routes[0].action.split.arms is empty"),
        (&format!("action = {{ split = {{ {keyed} }} }}"), "routes[0].action.split.stickiness: keyed"),
        ("action = { ramp = { old = \"v1\", new = \"v1\" } }", "routes[0].action.ramp.new is \"v1\""),
        (
            "action = { ramp = { old = \"v1\", new = \"v2\", plan = { steps = [] } } }",
            "routes[0].action.ramp.plan.steps",
        ),
        (
            "action = { blue_green = { blue = \"v1\", green = \"v2\", cookie = \"a b\" } }",
            "routes[0].action.blue_green.cookie is \"a b\"",
        ),
        ("action = { respond = { status = 99 } }", "routes[0].action.respond.status is out of range"),
        ("action = { redirect = { location = \"/{x}\" } }", "routes[0].action.redirect.location: {x}"),
        ("action = { respond = { status = 200 } }\ntimeout = \"1s\"", "routes[0].timeout: the requests"),
        ("action = { respond = { status = 200 } }\nretry = {}", "routes[0].retry: the requests"),
        (&format!("{to_v1}\ntimeout = \"0s\""), "routes[0].timeout is 0"),
        (&format!("{to_v1}\nretry = {{}}\nhedge = {{}}"), "routes[0].retry: a hedge"),
        (&format!("{to_v1}\nretry = {{ attempts = 0 }}"), "routes[0].retry.attempts is 0"),
        (&format!("{to_v1}\nhedge = {{ attempts = 9 }}"), "routes[0].hedge.attempts is 9"),
        (&format!("{to_v1}\nretry_same_endpoint = true"), "routes[0].retry_same_endpoint: there are neither"),
        (&format!("{to_v1}\nmirror = {{ cluster = \"v12\" }}"), "routes[0].mirror.cluster = \"v12\""),
        (&format!("{to_v1}\naffinity = {{}}"), "routes[0].affinity is empty"),
        (&format!("{to_v1}\naffinity = {{ cookie = {{}} }}"), "routes[0].affinity.cookie.keys is empty"),
        (
            &format!("{to_v1}\naffinity = {{ learned = {{ by = [] }} }}"),
            "routes[0].affinity.learned.by is empty",
        ),
        (
            "action = { split = { arms = [{ cluster = \"v1\", weight = 1 }] } }\n\
             affinity = { learned = { by = [\"source\"] } }",
            "routes[0].action.split.stickiness: drawn",
        ),
        (&format!("{to_v1}\nkey = [{{ header = \"\" }}]"), "routes[0].key[0] is \"\": not a name"),
        (&format!("{to_v1}\nrate_limits = [{{ requests = 0 }}]"), "routes[0].rate_limits[0].requests is 0"),
        (
            &format!("{to_v1}\nheaders = {{ request = [{{ remove = {{ name = \"content-length\" }} }}] }}"),
            "routes[0].headers.request[0]",
        ),
        (&format!("{to_v1}\nmatch = {{ name = \"b\" }}"), "routes[0].match.name is \"b\""),
        (
            &format!("{to_v1}\nmatch = {{ paths = [{{ exact = \"/a/../b\" }}] }}"),
            "routes[0].match.paths[0]: \"/a/../b\" never matches",
        ),
        (
            &format!("{to_v1}\nmatch = {{ paths = [{{ regex = \"(a{{1,500}}){{1,500}}\" }}] }}"),
            "routes[0].match.paths[0]: regular expression",
        ),
    ] {
        let error = refused(&route(settings));
        assert!(error.starts_with(expected), "{error}\ninstead of\n{expected}");
    }
}

#[test]
fn names_and_fallbacks_are_checked() {
    let to = |name: &str| format!("[[routes]]\nname = \"{name}\"\naction = {{ cluster = \"v1\" }}\n");
    assert!(refused(&to("")).starts_with("routes[0].name is empty"));
    let twice = refused(&(to("a") + &to("a")));
    assert_eq!(twice, "routes[1].name is \"a\", as that of routes[0]; names must be unique");
    let circle = refused("fallbacks = { v1 = \"v2\", v2 = \"v1\" }");
    assert_eq!(circle, "fallbacks: they go in a circle: v1 → v2 → v1");
    assert_eq!(refused("fallbacks = { v1 = \"v1\" }"), "fallbacks: they go in a circle: v1 → v1");
    assert!(refused("fallbacks = { v1 = \"v7\" }").starts_with("fallbacks.v1 = \"v7\": no such cluster"));
    assert!(refused("fallbacks = { v7 = \"v1\" }").contains("\"v7\": no such cluster"));
    let two = Router::new(RouterConfig::default(), [cluster("v1", 1), cluster("v1", 1)]);
    assert_eq!(
        two.unwrap_err().to_string(),
        "clusters: two clusters are called \"v1\"; names must be unique"
    );
}

#[test]
fn misspelt_and_doubled_settings_are_errors_with_their_place() {
    for text in [
        &route("acton = { cluster = \"v1\" }"),
        &route("action = { cluster = \"v1\", respond = { status = 200 } }"),
        &route("action = { clutser = \"v1\" }"),
        &route("action = { cluster = \"v1\" }\nrate_limits = [{ requests = 1, per = \"1 fortnight\" }]"),
        &route(""),
        "routs = []",
    ] {
        let error = RouterConfig::from_toml(text).expect_err(text).to_string();
        assert!(error.contains("line "), "{error}");
    }
}

/// As many as the table's own limit says; one more is refused, and nothing is half built.
#[test]
fn the_number_of_rules_is_bounded() {
    let with = |count: usize, limit: usize| {
        let route = |i: usize| {
            let mut route = RouteConfig::new(format!("r{i}"), Action::Cluster("v1".into()));
            route.rule.paths = vec![evenkeel::route::matching::PathMatch::Exact(format!("/{i}"))];
            route
        };
        let mut config = RouterConfig { routes: (0..count).map(route).collect(), ..RouterConfig::default() };
        config.limits.rules = limit;
        build_of(config, vec![cluster("v1", 1)])
    };
    let mut world = with(100_000, 100_000).expect("as many as are allowed");
    assert_eq!(world.send("/99999", &[]).expect("it matches").route(), "r99999");
    let error = with(1001, 1000).err().expect("too many").to_string();
    assert_eq!(error, "routes[1000].match: 1001 rules, more than the limit of 1000");
}
