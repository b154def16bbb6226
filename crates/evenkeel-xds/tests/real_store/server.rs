//! The control plane as a process, and Envoy.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::Resources;
use serde_json::Value;

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn program(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/stores/xds.sh"))
}

/// One line of what the control plane heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub node: String,
    pub kind: String,
    pub what: String,
    pub version: String,
    pub error: String,
}

pub struct ControlPlane {
    process: Child,
    input: ChildStdin,
    pub port: u16,
    said: Arc<Mutex<Vec<Said>>>,
    /// What it was told to serve, so that another can be told.
    pub clusters: (String, Resources),
    pub endpoints: (String, Resources),
    pub manners: &'static str,
}

impl ControlPlane {
    pub fn start() -> Self {
        let port = free_port();
        let said = Arc::default();
        let (process, input) = Self::spawn(port, &said);
        let none = || ("0".to_owned(), Resources::new());
        Self { process, input, port, said, clusters: none(), endpoints: none(), manners: "" }
    }

    fn spawn(port: u16, said: &Arc<Mutex<Vec<Said>>>) -> (Child, ChildStdin) {
        let mut process = Command::new(program("EVENKEEL_XDS_PLANE"))
            .arg(format!("127.0.0.1:{port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().starts_with("ready"));
        let heard = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut parts = line.split('\t').skip(1).map(str::to_owned);
                let mut next = || parts.next().unwrap_or_default();
                let (node, kind, what, version, _, error) = (next(), next(), next(), next(), next(), next());
                heard.lock().unwrap().push(Said { node, kind, what, version, error });
            }
        });
        let input = process.stdin.take().unwrap();
        (process, input)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn set(&mut self, kind: &str, version: &str, resources: &Resources) {
        let mut text = format!("set {kind} {version}\n");
        for (name, bytes) in resources {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push_str(&format!("res {name} {hex}\n"));
        }
        text.push_str("end\n");
        self.input.write_all(text.as_bytes()).unwrap();
    }

    pub fn set_clusters(&mut self, version: &str, resources: Resources) {
        self.set("cds", version, &resources);
        self.clusters = (version.to_owned(), resources);
    }

    pub fn set_endpoints(&mut self, version: &str, resources: Resources) {
        self.set("eds", version, &resources);
        self.endpoints = (version.to_owned(), resources);
    }

    pub fn set_manners(&mut self, manners: &'static str) {
        self.input.write_all(format!("manners {manners}\n").as_bytes()).unwrap();
        self.manners = manners;
    }

    pub fn close_streams(&mut self) {
        self.input.write_all(b"close\n").unwrap();
    }

    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status();
        assert!(done.unwrap().success());
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Another process at the same port, with what this one was told.
    pub fn revive(&mut self) {
        self.kill();
        (self.process, self.input) = Self::spawn(self.port, &self.said);
        self.set_manners(self.manners);
        let ((version, clusters), (of_endpoints, endpoints)) =
            (self.clusters.clone(), self.endpoints.clone());
        self.set("cds", &version, &clusters);
        self.set("eds", &of_endpoints, &endpoints);
    }

    pub fn said(&self) -> Vec<Said> {
        self.said.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.said.lock().unwrap().clear();
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.kill();
    }
}

pub struct Envoy {
    process: Child,
    admin: u16,
    dir: PathBuf,
}

/// Address, weight, priority, and whether it may be used.
pub type Seen = (String, u64, u64, &'static str);

impl Envoy {
    pub fn start(plane: &ControlPlane, delta: bool) -> Self {
        let admin = free_port();
        let dir = std::env::temp_dir().join(format!("evenkeel-xds-{}-{admin}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let kind = if delta { "DELTA_GRPC" } else { "GRPC" };
        let port = plane.port;
        let bootstrap = format!(
            "node: {{id: envoy, cluster: test}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
dynamic_resources:
  ads_config:
    api_type: {kind}
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{envoy_grpc: {{cluster_name: plane}}}}]
  cds_config: {{ads: {{}}, resource_api_version: V3}}
static_resources:
  clusters:
  - name: plane
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: plane
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}]}}]
"
        );
        fs::write(dir.join("bootstrap.yaml"), bootstrap).unwrap();
        let process = Command::new(program("EVENKEEL_ENVOY"))
            .arg("-c")
            .arg(dir.join("bootstrap.yaml"))
            .args(["--concurrency", "1", "-l", "off", "--base-id", &admin.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let envoy = Self { process, admin, dir };
        let start = Instant::now();
        while envoy.get("/ready").is_none() {
            assert!(start.elapsed() < Duration::from_secs(30), "Envoy does not start");
            sleep(Duration::from_millis(20));
        }
        envoy
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The endpoints of a cluster, sorted; `None` if it does not know the cluster.
    pub fn set(&self, cluster: &str) -> Option<Vec<Seen>> {
        let text = self.get("/clusters?format=json").unwrap_or_default();
        // The body may come in chunks, whose sizes stand on lines of their own.
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let body = if text.contains("chunked") { unchunked(body) } else { body.to_owned() };
        let all: Value = serde_json::from_str(&body).ok()?;
        let found = all["cluster_statuses"].as_array()?.iter().find(|c| c["name"] == cluster)?;
        let host = |host: &Value| {
            let socket = &host["address"]["socket_address"];
            let ip = socket["address"].as_str().unwrap_or_default();
            let ip = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
            let health = match host["health_status"]["eds_health_status"].as_str() {
                Some("HEALTHY" | "UNKNOWN") | None => "usable",
                Some("DEGRADED") => "degraded",
                Some(_) => "unusable",
            };
            let number = |key: &str| host[key].as_u64();
            let (weight, priority) = (number("weight").unwrap_or(1), number("priority").unwrap_or(0));
            (format!("{ip}:{}", socket["port_value"].as_u64().unwrap_or(0)), weight, priority, health)
        };
        let hosts = found["host_statuses"].as_array().into_iter().flatten();
        let mut seen: Vec<_> = hosts.map(host).collect();
        seen.sort();
        Some(seen)
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
