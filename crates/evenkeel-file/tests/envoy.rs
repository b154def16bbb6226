//! The same EDS file, read by Envoy and by us. Run `tests/stores/file.sh`, which fetches it.
#![cfg(feature = "real-store")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test of a program")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use evenkeel_file::{File, FileConfig};
use evenkeel_registry::{EvictionLimit, MirrorConfig, Registry, ServiceName, Settle};
use evenkeel_types::{Announced, Timestamp};
use serde_json::Value;

struct Envoy {
    process: Child,
    admin: u16,
    dir: PathBuf,
}

impl Envoy {
    fn start(dir: PathBuf) -> Self {
        let binary =
            std::env::var("EVENKEEL_ENVOY").expect("EVENKEEL_ENVOY is not set: run tests/stores/file.sh");
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = dir.display();
        let bootstrap = format!(
            "node: {{id: node, cluster: cluster}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  clusters:
  - name: users
    type: EDS
    connect_timeout: 1s
    eds_cluster_config:
      eds_config:
        resource_api_version: V3
        path_config_source: {{path: {path}/eds.yaml, watched_directory: {{path: {path}}}}}
"
        );
        fs::write(dir.join("bootstrap.yaml"), bootstrap).unwrap();
        let process = Command::new(binary)
            .arg("-c")
            .arg(dir.join("bootstrap.yaml"))
            .args(["--concurrency", "1", "-l", "off", "--base-id", &admin.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, admin, dir }
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Address, weight, priority and health of every endpoint.
    fn set(&self) -> BTreeSet<(String, u64, u64, &'static str)> {
        let text = self.get("/clusters?format=json").unwrap_or_default();
        // The body may come in chunks, whose sizes stand on lines of their own.
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let body = if text.contains("chunked") { unchunked(body) } else { body.to_owned() };
        let Ok(all) = serde_json::from_str::<Value>(&body) else { return BTreeSet::new() };
        let users = all["cluster_statuses"].as_array().into_iter().flatten().find(|c| c["name"] == "users");
        let hosts = users.and_then(|users| users["host_statuses"].as_array()).into_iter().flatten();
        let host = |host: &Value| {
            let socket = &host["address"]["socket_address"];
            let ip = socket["address"].as_str().unwrap();
            let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            let health = match host["health_status"]["eds_health_status"].as_str() {
                Some("HEALTHY" | "UNKNOWN") | None => "usable",
                Some("DEGRADED") => "degraded",
                Some(_) => "unusable",
            };
            let number = |key: &str| host[key].as_u64();
            (
                format!("{ip}:{}", socket["port_value"]),
                number("weight").unwrap_or(1),
                number("priority").unwrap_or(0),
                health,
            )
        };
        hosts.map(host).collect()
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        let Some(chunk) = rest.get(..size).filter(|_| size > 0) else { break };
        whole.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

fn assignment(groups: &str) -> String {
    format!(
        "resources:\n- \"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n  \
         cluster_name: users\n  endpoints:\n{groups}"
    )
}

fn endpoint(ip: &str, more: &str) -> String {
    format!(
        "    - {{endpoint: {{address: {{socket_address: {{address: \"{ip}\", port_value: 8080}}}}}}{more}}}\n"
    )
}

#[test]
fn envoy_reads_the_same_set() {
    let dir = std::env::temp_dir().join(format!("evenkeel-envoy-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("eds.yaml");
    let one = format!("  - lb_endpoints:\n{}", endpoint("10.0.0.1", ""));
    replace(&path, &assignment(&one));
    let envoy = Envoy::start(dir);

    let registry = Registry::default();
    let service: ServiceName = "users".parse().unwrap();
    let start = Instant::now();
    let clock = move || Timestamp::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap());
    let mirror = MirrorConfig {
        settle: Settle { quiet: Duration::ZERO, max: Duration::ZERO },
        shrink: EvictionLimit { always: usize::MAX, ..EvictionLimit::default() },
        ..MirrorConfig::default()
    };
    let feed = registry.feed(&service, &"file".parse().unwrap(), mirror, clock).unwrap();
    let _handle = File::start(feed, FileConfig::at(&path)).unwrap();
    let ours = || -> BTreeSet<_> {
        let health = |announced: Announced| match announced {
            Announced::Unknown | Announced::Up => "usable",
            Announced::Degraded => "degraded",
            _ => "unusable",
        };
        let snapshot = registry.snapshot(&service);
        let all = snapshot.endpoints().iter();
        all.map(|e| {
            (
                e.address().to_string(),
                e.weight().get().into(),
                e.priority().get().into(),
                health(e.announced()),
            )
        })
        .collect()
    };

    let rich = format!(
        "  - locality: {{region: eu, zone: a}}\n    lb_endpoints:\n{}{}{}  - priority: 1\n    lb_endpoints:\n{}{}{}",
        endpoint("10.0.0.1", ", load_balancing_weight: 5"),
        endpoint("10.0.0.2", ", health_status: DRAINING"),
        endpoint("10.0.0.3", ", health_status: UNHEALTHY"),
        endpoint("10.0.0.4", ", health_status: DEGRADED"),
        endpoint("fd00::1", ", health_status: HEALTHY, load_balancing_weight: 128"),
        endpoint("10.0.0.5", ", health_status: TIMEOUT"),
    );
    let json = r#"{"resources": [{"@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "clusterName": "users", "endpoints": [{"lbEndpoints": [{"healthStatus": "HEALTHY", "loadBalancingWeight": 3,
        "endpoint": {"address": {"socketAddress": {"address": "10.0.1.1", "portValue": 80}}}}]}]}]}"#;
    let many: String = (0..500).map(|n| endpoint(&format!("10.1.{}.{}", n / 250, n % 250), "")).collect();
    let files = [
        ("one", assignment(&one), 1),
        ("priorities and health", assignment(&rich), 6),
        ("JSON", json.to_owned(), 1),
        ("500", assignment(&format!("  - lb_endpoints:\n{many}")), 500),
    ];
    for (name, text, count) in files {
        let start = Instant::now();
        replace(&path, &text);
        while ours().len() != count || envoy.set().len() != count {
            assert!(start.elapsed() < Duration::from_secs(60), "{name}: {:?} and {:?}", ours(), envoy.set());
            thread::sleep(Duration::from_millis(2));
        }
        // The numbers agree at once, what they number within a moment.
        while ours() != envoy.set() {
            assert!(start.elapsed() < Duration::from_secs(60), "{name}: {:?} and {:?}", ours(), envoy.set());
            thread::sleep(Duration::from_millis(2));
        }
        println!("file: {name}: the same {count} as Envoy, seen in both after {:?}", start.elapsed());
    }
    replace(&path, "resources: [");
    let failed = |text: &str| !text.contains("update_failure: 0") && text.contains("update_failure: ");
    let start = Instant::now();
    while !envoy.get("/stats?filter=cluster.users.update_failure").is_some_and(|text| failed(&text)) {
        assert!(start.elapsed() < Duration::from_secs(60), "Envoy does not mind a broken file");
        thread::sleep(Duration::from_millis(5));
    }
    while registry.sources(&service)[0].error.is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "we do not mind a broken file");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((ours().len(), envoy.set().len()), (500, 500), "both keep the set");
    println!("file: a broken file: both keep the 500");
}
