use std::time::Duration;

use evenkeel::router::{Action, RouteConfig, RouterConfig};
use evenkeel::{BreakerConfig, Endpoint, ManualClock, Outcome, Request, Verdict};
use evenkeel_config::{Loaded, Syntax};
use serde_json::Value;

use super::*;
use crate::admin::Meter;

struct Bench {
    admin: Admin,
    cluster: Cluster<Meter>,
    clock: Arc<ManualClock>,
}

fn bench() -> Bench {
    let clock = Arc::new(ManualClock::default());
    clock.advance(Duration::from_secs(1000));
    let cluster =
        Cluster::builder("users/<b>").seed(1).clock(Arc::clone(&clock)).breaker(BreakerConfig::default());
    let cluster: Cluster<Meter> = cluster.build().unwrap();
    let endpoint = |id: &str, port: u16| {
        Endpoint::new(id.parse().unwrap(), format!("10.0.0.1:{port}").parse().unwrap())
            .with_payload(Meter::new())
    };
    cluster.apply([endpoint("a", 1), endpoint("unix:/b", 2).with_weight(Weight::new(3))]).unwrap();
    let route = RouteConfig::new("all", Action::Cluster("users/<b>".into()));
    let router = RouterConfig { routes: vec![route], ..RouterConfig::default() };
    let router = Router::new(router, [cluster.clone()]).unwrap();
    let admin = Admin::new(AdminSettings::default()).unwrap();
    let admin = admin.with_metered(&cluster, |meter| Some(meter)).with_router("http", &router);
    Bench { admin, cluster, clock }
}

const HOST: (&str, &str) = ("host", "127.0.0.1:9901");
const JSON: (&str, &str) = ("content-type", "application/json");

impl Bench {
    fn get(&self, path: &str) -> Answer {
        self.admin.answer("GET", path, &[HOST], b"")
    }

    fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let answer = self.admin.answer("POST", path, &[HOST, JSON], body.as_bytes());
        (answer.status, read(&answer))
    }

    fn whole(&self) -> Value {
        read(&self.get("/api/clusters/users%2F%3Cb%3E"))
    }

    fn order(&self, id: &str, order: &str, body: &str) -> (u16, Value) {
        self.post(&format!("/api/clusters/users%2F%3Cb%3E/endpoints/{id}/{order}"), body)
    }
}

fn read(answer: &Answer) -> Value {
    assert_eq!(answer.content_type, "application/json");
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn the_page_comes_with_its_protection() {
    let answer = bench().get("/");
    assert_eq!((answer.status, answer.content_type), (200, "text/html; charset=utf-8"));
    let field = |name| answer.headers().find(|(field, _)| *field == name).map(|(_, value)| value);
    assert!(field("content-security-policy").unwrap().starts_with("default-src 'none'; script-src 'sha256-"));
    assert_eq!(field("x-content-type-options"), Some("nosniff"));
    assert_eq!(field("cache-control"), Some("no-store"));
}

#[test]
fn paths_and_methods_are_told_apart() {
    let bench = bench();
    for (path, status) in [
        ("/healthz", 200),
        ("/metrics", 200),
        ("/api/clusters?x=1", 200),
        ("/api", 404),
        ("/api/clusters/", 404),
    ] {
        assert_eq!(bench.get(path).status, status, "{path}");
    }
    for (method, path, allow) in [
        ("POST", "/api/clusters", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
        ("GET", "/api/explain", "POST"),
        ("GET", "/api/clusters/c/endpoints/a/drain", "POST"),
    ] {
        let answer = bench.admin.answer(method, path, &[HOST, JSON], b"");
        assert_eq!((answer.status, answer.allow), (405, Some(allow)), "{method} {path}");
    }
    assert_eq!(bench.admin.answer("GET", "/%zz", &[HOST], b"").status, 400);
    // Whoever checks may use any name; nobody else may.
    assert_eq!(bench.admin.answer("GET", "/healthz", &[("host", "evil.example")], b"").status, 200);
    for path in ["/", "/api/clusters", "/metrics", "/nothing"] {
        assert_eq!(bench.admin.answer("GET", path, &[("host", "evil.example")], b"").status, 421, "{path}");
    }
}

/// Orders are not authenticated: where others come in, there are none, unless somebody meant it.
#[test]
fn what_is_served_depends_on_who_comes_in() {
    let address = |text: &str| text.parse().unwrap();
    for (at, is_open, serves) in [
        ("127.0.0.1:1", false, Serves::Operators),
        ("[::1]:1", true, Serves::Operators),
        ("0.0.0.0:1", false, Serves::Monitoring),
        ("10.0.0.1:1", false, Serves::Monitoring),
        ("[::]:1", true, Serves::Everybody),
    ] {
        assert_eq!(Serves::at(address(at), is_open), serves, "{at}");
    }
    let cluster = Cluster::<()>::builder("users").build().unwrap();
    let (name, number) = (("host", "proxy.example:9901"), ("host", "10.0.0.1:9901"));
    for (serves, host, path, status) in [
        (Serves::Monitoring, name, "/healthz", 200),
        (Serves::Monitoring, name, "/metrics", 200),
        (Serves::Monitoring, HOST, "/", 403),
        (Serves::Monitoring, HOST, "/api/clusters", 403),
        (Serves::Monitoring, HOST, "/api/explain", 403),
        (Serves::Everybody, name, "/api/clusters", 421),
        (Serves::Everybody, number, "/api/clusters", 200),
        (Serves::Operators, number, "/api/clusters", 421),
    ] {
        let settings = AdminSettings { serves, ..AdminSettings::default() };
        let admin = Admin::new(settings).unwrap().with_cluster(&cluster);
        let method = if path == "/api/explain" { "POST" } else { "GET" };
        assert_eq!(admin.answer(method, path, &[host, JSON], b"{}").status, status, "{serves:?} {path}");
    }
}

#[test]
fn a_post_of_another_page_changes_nothing() {
    let bench = bench();
    let path = "/api/clusters/users%2F%3Cb%3E/endpoints/a/drain";
    for headers in [
        vec![HOST],
        vec![HOST, ("content-type", "text/plain")],
        vec![HOST, JSON, ("origin", "http://evil.example")],
        vec![("host", "evil.example"), JSON, ("origin", "http://evil.example")],
    ] {
        assert!(bench.admin.answer("POST", path, &headers, b"{}").status >= 400, "{headers:?}");
    }
    assert_eq!(bench.cluster.usable(), 2);
    let own = [HOST, JSON, ("origin", "http://127.0.0.1:9901"), ("sec-fetch-site", "same-origin")];
    assert_eq!(bench.admin.answer("POST", path, &own, b"{}").status, 200);
    assert_eq!(bench.cluster.usable(), 1);
}

#[test]
fn the_overview_lists_clusters() {
    let told = read(&bench().get("/api/clusters"));
    assert_eq!((&told["version"], &told["routers"][0]), (&1.into(), &"http".into()));
    let cluster = &told["clusters"][0];
    assert_eq!(cluster["name"], "users/<b>");
    assert_eq!((&cluster["usable"], &cluster["endpoints_total"]), (&2.into(), &2.into()));
    assert_eq!(cluster["discovery"]["state"], "applied");
    assert_eq!(read(&bench().get("/api/clusters/nobody"))["error"]["code"], "no_cluster");
}

#[test]
fn shares_and_quantiles_are_those_of_the_last_minute() {
    let bench = bench();
    let told = bench.whole();
    assert_eq!(told["endpoints"][0]["actual_share"], Value::Null);
    for (at, times) in [(0, 1), (1, 4)] {
        let endpoint = &bench.cluster.endpoints()[at];
        for _ in 0..times {
            endpoint.payload().picked(bench.cluster.now());
            endpoint.payload().ended(Duration::from_millis(10), Verdict::Success, bench.cluster.now());
        }
    }
    let pick = bench.cluster.pick(&Request::new()).unwrap();
    let told = bench.whole();
    let (first, second) = (&told["endpoints"][0], &told["endpoints"][1]);
    assert_eq!((&first["expected_share"], &second["expected_share"]), (&0.25.into(), &0.75.into()));
    assert_eq!((&first["actual_share"], &second["actual_share"]), (&0.2.into(), &0.8.into()));
    let p99 = second["p99_ms"].as_f64().unwrap();
    assert!((9.0..11.0).contains(&p99), "{p99}");
    assert_eq!(told["in_flight"], 1);
    pick.finish(Outcome::success());
    bench.clock.advance(Duration::from_secs(200));
    assert_eq!(bench.whole()["endpoints"][1]["actual_share"], Value::Null);
}

#[test]
fn a_drain_is_seen_with_its_reason_and_age_and_ends() {
    let bench = bench();
    let (status, told) =
        bench.order("unix:%2Fb", "drain", r#"{"by": "ann", "reason": "disk", "for": "10m"}"#);
    assert_eq!(status, 200, "{told}");
    bench.clock.advance(Duration::from_secs(60));
    let endpoint = &bench.whole()["endpoints"][1];
    assert_eq!((&endpoint["state"], &endpoint["usable"]), (&"admin_drain".into(), &false.into()));
    assert_eq!((&endpoint["by"], &endpoint["reason"]), (&"ann".into(), &"disk".into()));
    assert_eq!((&endpoint["age_s"], &endpoint["left_s"]), (&60.0.into(), &540.0.into()));
    assert_eq!(bench.order("unix:%2Fb", "undrain", "{}").1["endpoints"][1]["state"], "healthy");
    let (_, told) = bench.order("a", "drain", "");
    assert_eq!(
        (&told["endpoints"][0]["left_s"], &told["endpoints"][0]["by"]),
        (&Value::Null, &"the admin page".into())
    );
    bench.clock.advance(Duration::from_secs(1_000_000));
    let _ = bench.cluster.tick();
    assert_eq!(bench.whole()["endpoints"][0]["state"], "admin_drain");
    let told = read(&bench.get("/api/clusters"));
    let orders: Vec<_> = told["orders"].as_array().unwrap().iter().map(|order| &order["order"]).collect();
    assert_eq!(orders, ["drain", "undrain", "drain for 10m: disk"]);
}

#[test]
fn a_breaker_is_forced_for_a_while_by_somebody() {
    let bench = bench();
    let (status, told) = bench.order("a", "force-open", r#"{"for": "1m"}"#);
    assert_eq!((status, &told["error"]["code"]), (422, &"body".into()));
    let (status, told) = bench.order("a", "force-open", r#"{"for": "1m", "owner": "ann"}"#);
    assert_eq!(status, 200, "{told}");
    let breaker = &told["endpoints"][0]["breaker"];
    assert_eq!(
        (&breaker["state"], &breaker["by"], &breaker["left_s"]),
        (&"forced_open".into(), &"ann".into(), &60.0.into())
    );
    assert_eq!(told["endpoints"][0]["usable"], false);
    bench.clock.advance(Duration::from_secs(61));
    let _ = bench.cluster.tick();
    assert_ne!(bench.whole()["endpoints"][0]["breaker"]["state"], "forced_open");
    let _ = bench.order("unix:%2Fb", "force-open", r#"{"for": "1m", "owner": "ann"}"#);
    let (_, told) = bench.order("unix:%2Fb", "unforce", "{}");
    assert_ne!(told["endpoints"][1]["breaker"]["state"], "forced_open");
}

#[test]
fn a_weight_changes_within_its_bounds() {
    let bench = bench();
    assert_eq!(bench.order("unix:%2Fb", "weight", r#"{"weight": 31}"#).0, 422);
    assert_eq!(bench.order("unix:%2Fb", "weight", r#"{"weight": 0}"#).0, 422);
    let (status, told) = bench.order("unix:%2Fb", "weight", r#"{"weight": 9}"#);
    assert_eq!((status, &told["endpoints"][1]["expected_share"]), (200, &0.9.into()));
}

#[test]
fn bad_orders_are_named() {
    let bench = bench();
    assert_eq!(bench.order("a", "explode", "{}").0, 404);
    assert_eq!(bench.order("nobody", "drain", "{}").1["error"]["code"], "no_endpoint");
    assert_eq!(bench.order("%0A", "drain", "{}").1["error"]["code"], "no_endpoint");
    let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(300));
    assert_eq!(bench.order("a", "drain", &long).1["error"]["code"], "note");
    let long = " ".repeat(bench.admin.max_body() + 1);
    assert_eq!(bench.order("a", "drain", &long).0, 413);
    assert_eq!(bench.cluster.usable(), 2);
}

#[test]
fn a_request_that_is_typed_in_is_explained() {
    let bench = bench();
    let typed =
        r#"{"method": "GET", "host": "example.com", "path": "/a?b=c", "headers": [["x-user", "ann"]]}"#;
    let (status, told) = bench.post("/api/explain", typed);
    assert_eq!(status, 200, "{told}");
    assert_eq!((&told["route"], &told["cluster"]), (&"all".into(), &"users/<b>".into()));
    assert!(told["picked"].is_string());
    assert_eq!(told["trail"][0], "request for example.com /a");
    assert_eq!(told["explanation"]["route"], "all");
    let (_, told) =
        bench.post("/api/explain", r#"{"cluster": "users/<b>", "key": "ann", "source": "192.0.2.7"}"#);
    assert_eq!((&told["route"], &told["cluster"]), (&Value::Null, &"users/<b>".into()));
    for (body, code) in [
        ("", "body"),
        (r#"{"pat": "/"}"#, "body"),
        (r#"{"cluster": "x"}"#, "no_cluster"),
        (r#"{"router": "x"}"#, "no_router"),
        (r#"{"router": "http", "cluster": "x"}"#, "body"),
    ] {
        assert_eq!(bench.post("/api/explain", body).1["error"]["code"], code, "{body}");
    }
    assert_eq!(bench.cluster.in_flight(&"a".parse().unwrap()), Some(0));
}

#[test]
fn metrics_hold_what_was_counted() {
    let metrics = Metrics::default();
    let cluster = Cluster::<()>::builder("users").observer(metrics.counters("users")).build().unwrap();
    let _ = cluster.pick(&Request::new());
    let admin = Admin::new(AdminSettings::default()).unwrap().with_cluster(&cluster).with_metrics(metrics);
    let answer = admin.answer("GET", "/metrics", &[HOST], b"");
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        answer.content_type.starts_with("application/openmetrics-text") && text.ends_with("# EOF\n"),
        "{text}"
    );
    assert!(text.contains("reason=\"not_known\"} 1"), "{text}");
}

/// Ejections are counted by the cluster, and a cluster that a reload builds anew begins at zero.
#[test]
fn no_counter_falls_over_a_reload() {
    let text = r#"
        [[clusters]]
        name = "users"
        outlier = { consecutive_failures = 1, caps = { at_least_one = true } }
        endpoints = [{ id = "a", address = "10.0.0.1:80" }, { id = "b", address = "10.0.0.2:80" }]
    "#;
    let running = Arc::new(Running::<()>::start(Loaded::parse(text, Syntax::Toml).unwrap()).unwrap());
    let admin = Admin::new(AdminSettings::default()).unwrap().with_running(Arc::clone(&running), |()| None);
    let ejections = || {
        let page = String::from_utf8(admin.answer("GET", "/metrics", &[HOST], b"").body).unwrap();
        let line = page
            .lines()
            .find(|line| line.starts_with("evenkeel_cluster_outlier_detection_ejections_enforced_total{"));
        line.unwrap_or_else(|| panic!("{page}")).rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let fail = || running.cluster("users").unwrap().pick(&Request::new()).unwrap().finish(Outcome::failure());
    fail();
    assert_eq!(ejections(), 1.0);
    // Away and back: another cluster of the same name.
    for text in ["[[clusters]]\nname = \"others\"", text] {
        let _ = running.apply(Loaded::parse(text, Syntax::Toml).unwrap()).unwrap();
    }
    assert_eq!(running.cluster("users").unwrap().report().outliers.unwrap().ejections, 0, "built anew");
    assert_eq!(ejections(), 1.0);
    fail();
    assert_eq!(ejections(), 2.0);
}

#[test]
fn a_configuration_is_followed_over_reloads() {
    let text = r#"
        [[http.routes]]
        name = "everything"
        action = { cluster = "users" }
        [[clusters]]
        name = "users"
        endpoints = [{ id = "users-1", address = "10.0.0.1:8080" }]
    "#;
    let running = Arc::new(Running::<()>::start(Loaded::parse(text, Syntax::Toml).unwrap()).unwrap());
    let admin = Admin::new(AdminSettings::default()).unwrap().with_running(Arc::clone(&running), |()| None);
    let names = || {
        let told = read(&admin.answer("GET", "/api/clusters", &[HOST], b""));
        let names = told["clusters"].as_array().unwrap().iter().map(|cluster| cluster["name"].to_string());
        (names.collect::<Vec<_>>().join(" "), told["reloads"].as_u64())
    };
    assert_eq!(names(), ("\"users\"".to_owned(), Some(0)));
    let more = text.replace("\"users\"", "\"others\"");
    let _ = running.apply(Loaded::parse(&more, Syntax::Toml).unwrap()).unwrap();
    assert_eq!(names(), ("\"others\"".to_owned(), Some(1)));
    let answer = admin.answer("POST", "/api/explain", &[HOST, JSON], br#"{"path": "/a"}"#);
    assert_eq!(read(&answer)["cluster"], "others");
    // Rules may ask where a request came in.
    let inner = "name = \"everything\"\nmatch = { listeners = [\"inner\"] }";
    let listeners = [("inner", 8001), ("outer", 8002)].map(|(name, port)| {
        format!("[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\nprotocol = \"http\"\n")
    });
    let text = listeners.concat() + &text.replace("name = \"everything\"", inner);
    let _ = running.apply(Loaded::parse(&text, Syntax::Toml).unwrap()).unwrap();
    for (listener, route) in [("inner", Value::from("everything")), ("outer", Value::Null)] {
        let body = format!(r#"{{"path": "/a", "listener": "{listener}"}}"#);
        let answer = admin.answer("POST", "/api/explain", &[HOST, JSON], body.as_bytes());
        assert_eq!(read(&answer)["route"], route, "{listener}");
    }
}

#[test]
fn of_many_endpoints_those_in_trouble_are_listed() {
    let cluster = Cluster::<()>::builder("users").build().unwrap();
    let endpoint = |i: u32| Endpoint::new(format!("e{i:02}").parse().unwrap(), "10.0.0.1:1".parse().unwrap());
    cluster.apply((0..20).map(endpoint)).unwrap();
    let _ = cluster.drain(&"e17".parse().unwrap()).unwrap();
    let settings = AdminSettings { max_endpoints: 2, ..AdminSettings::default() };
    let admin = Admin::new(settings).unwrap().with_cluster(&cluster);
    let told = read(&admin.answer("GET", "/api/clusters/users", &[HOST], b""));
    let ids: Vec<_> = told["endpoints"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!((ids, &told["endpoints_unlisted"]), (vec![&Value::from("e00"), &"e17".into()], &18.into()));
}
