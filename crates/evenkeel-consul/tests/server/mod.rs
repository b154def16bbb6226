//! Agents of our own: started on free ports of the loopback in a directory of their own, ended by their pid.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use evenkeel_adapter::{Answer, BaseUrl, Client, ClientSettings};
use evenkeel_consul::{Call, ConsulConnection, Method, Secret, TlsConfig};
use evenkeel_types::{Address, Endpoint};
use serde_json::json;

pub(crate) struct Agent {
    dir: PathBuf,
    arguments: Vec<String>,
    connection: ConsulConnection,
    child: Option<Child>,
    poller: Poller,
}

#[derive(Clone)]
pub(crate) struct Poller {
    client: Client,
    base: BaseUrl,
    token: Option<Secret>,
}

impl Agent {
    pub(crate) fn start(name: &str, hcl: &str) -> Self {
        Self::launch(directory(name), hcl, TlsConfig::default(), None)
    }

    pub(crate) fn start_with_token(name: &str, hcl: &str, token: &str) -> Self {
        Self::launch(directory(name), hcl, TlsConfig::default(), Some(token))
    }

    #[allow(dead_code, reason = "used by the test of TLS")]
    pub(crate) fn start_tls(name: &str) -> Self {
        let dir = directory(name);
        let tls = certificates(&dir);
        let path = |name: &str| dir.join(name).display().to_string();
        let hcl = format!(
            "ca_file = {:?}\ncert_file = {:?}\nkey_file = {:?}\nverify_incoming_https = true\n",
            path("ca.pem"),
            path("server.pem"),
            path("server.key"),
        );
        Self::launch(dir, &hcl, tls, None)
    }

    fn launch(dir: PathBuf, hcl: &str, tls: TlsConfig, token: Option<&str>) -> Self {
        let ports: [u16; 4] = free_ports();
        let secure = tls != TlsConfig::default();
        let (http, https) = if secure { (-1, i32::from(ports[0])) } else { (i32::from(ports[0]), -1) };
        let hcl = format!(
            "{hcl}\nports {{ http = {http} https = {https} dns = -1 grpc = -1 server = {} serf_lan = {} serf_wan = {} }}\n",
            ports[1], ports[2], ports[3]
        );
        std::fs::write(dir.join("agent.hcl"), hcl).unwrap();
        let scheme = if secure { "https" } else { "http" };
        let address = format!("{scheme}://127.0.0.1:{}", ports[0]);
        let settings = ClientSettings {
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(20),
            max_answer_bytes: 64 << 20,
            tls: &tls,
        };
        let client = Client::new(&settings).unwrap();
        let token = token.map(Secret::new);
        let poller = Poller { client, base: address.parse().unwrap(), token: token.clone() };
        let connection = ConsulConnection { address, token, tls, ..ConsulConnection::default() };
        let flags =
            ["agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-disable-host-node-id", "-node=n1"];
        let mut arguments: Vec<_> = flags.map(str::to_owned).into();
        arguments.push(format!("-config-file={}", dir.join("agent.hcl").display()));
        arguments.push(format!("-data-dir={}", dir.join("data").display()));
        let mut agent = Self { dir, arguments, connection, child: None, poller };
        agent.run();
        agent
    }

    fn run(&mut self) {
        let program =
            std::env::var_os("EVENKEEL_CONSUL_BIN").expect("EVENKEEL_CONSUL_BIN: run tests/stores/consul.sh");
        let log = std::fs::File::create(self.dir.join("log")).unwrap();
        let child =
            Command::new(program).args(&self.arguments).stdout(log).stderr(Stdio::null()).spawn().unwrap();
        std::fs::write(self.dir.join("pid"), child.id().to_string()).unwrap();
        self.child = Some(child);
        let start = Instant::now();
        // Ready when the agent itself is in the catalogue.
        while self.poller.get("/v1/health/node/n1").is_none_or(|answer| answer.body.len() <= 10) {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "consul does not start: {}",
                self.dir.display()
            );
            sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn connection(&self) -> ConsulConnection {
        self.connection.clone()
    }

    pub(crate) fn poller(&self) -> Poller {
        self.poller.clone()
    }

    pub(crate) fn put(&self, endpoint: &Endpoint) {
        self.put_in("users", endpoint);
    }

    pub(crate) fn put_in(&self, service: &str, endpoint: &Endpoint) {
        let Address::Socket(address) = endpoint.address() else { panic!("a socket address") };
        let weight = endpoint.weight().get();
        self.register(&json!({
            "ID": endpoint.id().as_str(), "Name": service, "Address": address.ip().to_string(),
            "Port": address.port(), "Weights": { "Passing": weight, "Warning": weight },
        }));
    }

    pub(crate) fn put_without_port(&self, id: &str) {
        self.register(&json!({ "ID": id, "Name": "users" }));
    }

    pub(crate) fn remove(&self, id: &str) {
        self.poller.put(&format!("/v1/agent/service/deregister/{id}"), "");
    }

    pub(crate) fn knows(&self, id: &str) -> bool {
        let path = format!("/v1/agent/service/{id}");
        self.poller.get(&path).is_some_and(|answer| answer.status == 200)
    }

    pub(crate) fn index(&self) -> u64 {
        let answer = self.poller.get("/v1/health/service/users").unwrap();
        answer.header("x-consul-index").unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    pub(crate) fn checkpoint(&self) {
        self.signal("STOP");
        let copied =
            Command::new("cp").arg("-r").args([self.dir.join("data"), self.dir.join("older")]).status();
        assert!(copied.unwrap().success());
        self.signal("CONT");
    }

    pub(crate) fn restart_older(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.dir.join("data")).unwrap();
        std::fs::rename(self.dir.join("older"), self.dir.join("data")).unwrap();
        self.run();
    }

    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.dir.join("data")).unwrap();
        self.run();
    }

    fn register(&self, body: &serde_json::Value) {
        self.poller.put("/v1/agent/service/register", &body.to_string());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Poller {
    /// The index after a blocking query beyond this one.
    pub(crate) fn wait_beyond(&self, index: u64) -> u64 {
        let path = format!("/v1/health/service/users?wait=10s&index={index}");
        let answer = self.get(&path).unwrap();
        answer.header("x-consul-index").unwrap().parse().unwrap()
    }

    fn get(&self, path: &str) -> Option<Answer> {
        self.call(Method::Get, path, "")
    }

    fn put(&self, path: &str, body: &str) {
        let answer = self.call(Method::Put, path, body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    }

    fn call(&self, method: Method, path: &str, body: &str) -> Option<Answer> {
        let call = Call { method, path: path.to_owned(), body: body.to_owned() };
        let headers: Vec<_> = self.token.iter().map(|token| ("x-consul-token", token.reveal())).collect();
        self.client.call(&self.base, &call, &headers, Duration::ZERO).ok()
    }
}

fn directory(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let root = std::env::var_os("EVENKEEL_STORE_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = root.join(format!("consul-{}-{number}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn free_ports() -> [u16; 4] {
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// An authority, a certificate for 127.0.0.1 and one for the client.
fn certificates(dir: &Path) -> TlsConfig {
    let script = r#"set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
for who in server client; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$who -keyout $who.key -out $who.csr
  printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > $who.ext
  openssl x509 -req -days 2 -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile $who.ext -out $who.pem
done"#;
    let made = Command::new("bash").args(["-c", script]).current_dir(dir).stderr(Stdio::null()).status();
    assert!(made.unwrap().success(), "openssl");
    TlsConfig {
        ca_file: Some(dir.join("ca.pem")),
        cert_file: Some(dir.join("client.pem")),
        key_file: Some(dir.join("client.key")),
    }
}
