//! A real Prometheus server scrapes a cluster in trouble, and everything that the dashboard and the alerts ask has an answer.
//!
//! Run by `tests/prometheus/run`, which installs the server.
#![expect(clippy::disallowed_methods, reason = "a test with a real server waits for it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel::router::{Action, RouteConfig, Router, RouterConfig};
use evenkeel::{
    BreakerConfig, CheckState, Cluster, Endpoint, FailoverConfig, FailoverMode, LatencyConfig, LedgerConfig,
    LimitConfig, Locality, LocalityConfig, Outcome, OutlierConfig, Registry, Request, Rule, ZoneAwareConfig,
};
use evenkeel_metrics::{Counters, Exporter, Metric};
use serde_json::Value;

/// Ends the server by its own handle, whatever happens.
struct Server(Child, PathBuf);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `GET path`; the body of an answer with 200.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split(' ').nth(1).filter(|&status| status == "200").map(|_| body.to_owned())
}

/// Answers every request with the exporter's text.
fn serve(exporter: Exporter) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let text = exporter.to_openmetrics();
            let _ = write!(
                stream,
                "HTTP/1.0 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{text}",
                Exporter::CONTENT_TYPE,
                text.len(),
            );
        }
    });
    port
}

fn start(scraped: u16) -> (Server, u16) {
    let port = free_port();
    let folder = std::env::temp_dir().join(format!("evenkeel-prometheus-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/alerts.yml");
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{alerts}]\n\
         scrape_configs: [{{ job_name: evenkeel, static_configs: [{{ targets: ['127.0.0.1:{scraped}'] }}] }}]\n"
    );
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus is installed; see tests/prometheus/run");
    (Server(child, folder), port)
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "no {what} after a minute");
        thread::sleep(Duration::from_millis(200));
    }
}

/// What a query gives; panics if the server cannot read it.
fn query(port: u16, expression: &str) -> Vec<Value> {
    let encoded: String =
        expression
            .bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect();
    let answer = get(port, &format!("/api/v1/query?query={encoded}"));
    let answer: Value =
        serde_json::from_str(&answer.unwrap_or_else(|| panic!("refused: {expression}"))).unwrap();
    assert_eq!(answer["status"], "success", "{expression}: {answer}");
    answer["data"]["result"].as_array().unwrap().clone()
}

/// Two clusters: one has everything that can be exported, and trouble; the other was never told anything.
fn clusters() -> (Exporter, Vec<Box<dyn std::any::Any>>) {
    let exporter = Exporter::default();
    let counters = Counters::new();
    let breaker =
        BreakerConfig { rules: vec![Rule::Consecutive { failures: 1 }], ..BreakerConfig::default() };
    let users = Cluster::<()>::builder("users")
        .breaker(breaker)
        .outlier(OutlierConfig::default())
        .latency(LatencyConfig::default())
        .limit(LimitConfig::fixed(1000))
        .failover(FailoverMode::Spill(FailoverConfig::default()))
        .locality(LocalityConfig::ZoneAware(ZoneAwareConfig::new(Locality::new("r", "here", ""))))
        .budget(LedgerConfig::default())
        .endpoint_limit(LimitConfig::fixed(100))
        .observer(counters.observer())
        .build()
        .unwrap();
    exporter.add(&users, &counters);
    let routes = vec![RouteConfig::new("all", Action::Cluster("users".to_owned()))];
    let router = Router::new(RouterConfig { routes, ..RouterConfig::default() }, [users.clone()]).unwrap();
    exporter.add_router("front", &router);
    let registry = Registry::new(evenkeel::CatalogConfig::default()).unwrap();
    let service = "users".parse().unwrap();
    let leases: Vec<_> = (1..=4)
        .map(|n| {
            let endpoint =
                Endpoint::new(format!("u{n}").parse().unwrap(), format!("10.0.0.{n}:80").parse().unwrap())
                    .with_locality(Locality::new("r", if n < 4 { "here" } else { "there" }, ""));
            registry.register(evenkeel::Timestamp::ORIGIN, &service, endpoint, None).unwrap().0
        })
        .collect();
    let following = users.follow(&registry, &service, |_| ());
    wait_for("endpoints", || (users.report().endpoints.len() == 4).then_some(()));
    users.endpoint(&"u1".parse().unwrap()).unwrap().set_check(CheckState::Down);
    let picks: Vec<_> = (0..90).map(|_| users.pick(&Request::new()).unwrap()).collect();
    users.pick(&Request::new()).unwrap().finish(Outcome::failure().with_latency(Duration::from_millis(7)));
    let unknown = Cluster::<()>::builder("unknown").build().unwrap();
    let unknown_counters = Counters::new();
    exporter.add(&unknown, &unknown_counters);
    (
        exporter,
        vec![Box::new(users), Box::new(picks), Box::new(leases), Box::new(following), Box::new(registry)],
    )
}

#[test]
fn dashboard_and_alerts_have_answers() {
    let (exporter, _kept) = clusters();
    let (_server, port) = start(serve(exporter.clone()));
    wait_for("server", || get(port, "/-/ready"));
    wait_for("scrape", || (query(port, "evenkeel_cluster_membership").len() == 2).then_some(()));
    // Rates need two scrapes.
    wait_for("rates", || {
        (!query(port, "rate(evenkeel_cluster_update_success_total[1m])").is_empty()).then_some(())
    });

    // Every sample that is exported was stored, with its value.
    let mut samples = 0;
    for family in exporter.families().iter() {
        let suffix = if family.metric.kind() == evenkeel_metrics::Kind::Counter { "_total" } else { "" };
        let stored = query(port, &format!("{}{suffix}", family.metric.prometheus()));
        assert_eq!(stored.len(), family.samples.len(), "{:?}", family.metric);
        samples += stored.len();
    }
    let healthy = query(port, "evenkeel_cluster_membership_healthy{cluster=\"users\"}");
    assert_eq!(healthy[0]["value"][1], "2", "one is down, one has an open breaker");

    let dashboard: Value = serde_json::from_str(include_str!("../dashboards/grafana.json")).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$cluster", ".*").replace("$__rate_interval", "1m");
            assert!(!query(port, &expression).is_empty(), "{}: no series: {expression}", panel["title"]);
            asked += 1;
        }
    }

    let rules = get(port, "/api/v1/rules").unwrap();
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    let healths = wait_for("evaluation", || {
        let healths: Vec<_> =
            rules.iter().map(|rule| query(port, rule["query"].as_str().unwrap()).len()).collect();
        Some(healths)
    });
    let firing = rules.iter().zip(&healths).filter(|(_, series)| **series > 0).map(|(rule, _)| &rule["name"]);
    println!(
        "{samples} samples stored, {asked} panels answered, {} alerts read; true now: {:?}",
        rules.len(),
        firing.collect::<Vec<_>>()
    );
    assert_eq!(query(port, "evenkeel_cluster_known == 0").len(), 1);
    assert!(Metric::ALL.len() > 30);
}
