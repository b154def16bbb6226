//! Servers of our own: started on free ports of the loopback in a directory of their own, ended by their pid.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use evenkeel_adapter::{BaseUrl, Client, ClientSettings, Lines};
use evenkeel_etcd::{Call, Method, TlsConfig, entry, request};
use evenkeel_types::Endpoint;

pub(crate) struct Etcd3 {
    dir: PathBuf,
    arguments: Vec<String>,
    url: BaseUrl,
    tls: TlsConfig,
    token: String,
    child: Option<Child>,
    client: Client,
}

impl Etcd3 {
    pub(crate) fn start(name: &str) -> Self {
        Self::configure(name, false)
    }

    pub(crate) fn start_tls(name: &str) -> Self {
        Self::configure(name, true)
    }

    fn configure(name: &str, secure: bool) -> Self {
        let dir = directory(name);
        let (mut arguments, mut tls) = (Vec::new(), TlsConfig::default());
        if secure {
            tls = certificates(&dir);
            let path = |name: &str| dir.join(name).display().to_string();
            arguments.extend(["--cert-file".to_owned(), path("server.pem")]);
            arguments.extend(["--key-file".to_owned(), path("server.key")]);
            arguments.extend([
                "--trusted-ca-file".to_owned(),
                path("ca.pem"),
                "--client-cert-auth".to_owned(),
            ]);
        }
        let [client, peer] = free_ports();
        let scheme = if secure { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        for (flag, value) in [
            ("--name", "n1"),
            ("--listen-client-urls", &url),
            ("--advertise-client-urls", &url),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("n1={peer}")),
        ] {
            arguments.extend([flag.to_owned(), value.to_owned()]);
        }
        Self::launch(dir, arguments, &url, tls)
    }

    fn launch(dir: PathBuf, arguments: Vec<String>, url: &str, tls: TlsConfig) -> Self {
        let settings = ClientSettings {
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            max_answer_bytes: 64 << 20,
            tls: &tls,
        };
        let client = Client::new(&settings).unwrap();
        let (url, token) = (url.parse().unwrap(), "one".to_owned());
        let mut server = Self { dir, arguments, url, tls, token, child: None, client };
        server.run();
        server
    }

    fn run(&mut self) {
        let program =
            std::env::var_os("EVENKEEL_ETCD_BIN").expect("EVENKEEL_ETCD_BIN: run tests/stores/etcd.sh");
        let log = std::fs::File::create(self.dir.join("log")).unwrap();
        let child = Command::new(program)
            .args(&self.arguments)
            .arg("--data-dir")
            .arg(self.dir.join("data"))
            .args(["--initial-cluster-token", &self.token])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        std::fs::write(self.dir.join("pid"), child.id().to_string()).unwrap();
        self.child = Some(child);
        if self.arguments.iter().any(|argument| argument.contains(',')) {
            return;
        }
        let start = Instant::now();
        while !matches!(self.client.call(&self.url, &request::count("x"), &[], Duration::ZERO), Ok(a) if a.status == 200 || a.status == 400)
        {
            assert!(start.elapsed() < Duration::from_secs(30), "etcd does not start: {}", self.dir.display());
            sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn url(&self) -> String {
        self.url.to_string()
    }

    #[allow(dead_code, reason = "used by the test of TLS")]
    pub(crate) fn tls(&self) -> TlsConfig {
        self.tls.clone()
    }

    pub(crate) fn call(&self, call: &Call) -> Vec<u8> {
        let answer = self.client.call(&self.url, call, &[], Duration::ZERO).unwrap();
        assert_eq!(answer.status, 200, "{call:?}: {}", String::from_utf8_lossy(&answer.body));
        answer.body
    }

    pub(crate) fn try_call(&self, call: &Call) -> bool {
        self.client.call(&self.url, call, &[], Duration::ZERO).is_ok_and(|answer| answer.status == 200)
    }

    pub(crate) fn open(&self, call: &Call, silence: Duration) -> Lines {
        self.client.open(&self.url, call, &[], silence).unwrap()
    }

    pub(crate) fn put_many(&self, prefix: &str, endpoints: &[Endpoint]) {
        for part in endpoints.chunks(100) {
            let puts: Vec<_> = part
                .iter()
                .map(|endpoint| {
                    let key = format!("{prefix}{}", endpoint.id());
                    let put = request::put(&key, &entry::write(entry::Format::Own, endpoint), 0);
                    format!("{{\"request_put\":{}}}", put.body)
                })
                .collect();
            let body = format!("{{\"success\":[{}]}}", puts.join(","));
            self.call(&Call { method: Method::Post, path: "/v3/kv/txn".to_owned(), body });
        }
    }

    pub(crate) fn compact(&self) {
        let answer: serde_json::Value = serde_json::from_slice(&self.call(&request::count("x"))).unwrap();
        let revision = answer["header"]["revision"].as_str().unwrap();
        let body = format!("{{\"revision\":\"{revision}\",\"physical\":true}}");
        self.call(&Call { method: Method::Post, path: "/v3/kv/compaction".to_owned(), body });
    }

    pub(crate) fn enable_auth(&self, user: &str, password: &str) {
        let post = |path: &str, body: String| {
            self.call(&Call { method: Method::Post, path: path.to_owned(), body });
        };
        post("/v3/auth/user/add", format!("{{\"name\":\"{user}\",\"password\":\"{password}\"}}"));
        post("/v3/auth/role/add", "{\"name\":\"root\"}".to_owned());
        post("/v3/auth/user/grant", format!("{{\"user\":\"{user}\",\"role\":\"root\"}}"));
        post("/v3/auth/enable", "{}".to_owned());
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn checkpoint(&self) {
        self.signal("STOP");
        copy(&self.dir.join("data"), &self.dir.join("older"));
        self.signal("CONT");
    }

    pub(crate) fn restart_older(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.dir.join("data")).unwrap();
        std::fs::rename(self.dir.join("older"), self.dir.join("data")).unwrap();
        self.run();
    }

    pub(crate) fn restart_empty(&mut self, token: &str) {
        self.kill();
        std::fs::remove_dir_all(self.dir.join("data")).unwrap();
        token.clone_into(&mut self.token);
        self.run();
    }
}

impl Drop for Etcd3 {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub(crate) struct Cluster {
    members: Vec<Etcd3>,
}

impl Cluster {
    pub(crate) fn start(count: usize) -> Self {
        let ports: Vec<[u16; 2]> = (0..count).map(|_| free_ports()).collect();
        let all: Vec<_> =
            ports.iter().enumerate().map(|(i, [_, peer])| format!("n{i}=http://127.0.0.1:{peer}")).collect();
        let member = |(i, [client, peer]): (usize, &[u16; 2])| {
            let (url, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let mut arguments = Vec::new();
            for (flag, value) in [
                ("--name", format!("n{i}")),
                ("--listen-client-urls", url.clone()),
                ("--advertise-client-urls", url.clone()),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", all.join(",")),
            ] {
                arguments.extend([flag.to_owned(), value]);
            }
            Etcd3::launch(directory(&format!("member{i}")), arguments, &url, TlsConfig::default())
        };
        let cluster = Self { members: ports.iter().enumerate().map(member).collect() };
        let start = Instant::now();
        while !cluster.members.iter().all(|member| member.try_call(&request::count("x"))) {
            assert!(start.elapsed() < Duration::from_secs(60), "the cluster does not start");
            sleep(Duration::from_millis(100));
        }
        cluster
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(Etcd3::url).collect()
    }

    pub(crate) fn any(&self) -> &Etcd3 {
        &self.members[0]
    }

    /// Kills the leader.
    pub(crate) fn kill_leader(&mut self) {
        let status =
            Call { method: Method::Post, path: "/v3/maintenance/status".to_owned(), body: "{}".to_owned() };
        let leads = |member: &Etcd3| {
            let status: serde_json::Value = serde_json::from_slice(&member.call(&status)).unwrap();
            status["leader"] == status["header"]["member_id"]
        };
        let at = self.members.iter().position(leads).expect("a leader");
        println!("member {at} leads, and is killed");
        drop(self.members.remove(at));
    }

    pub(crate) fn put_somehow(&self, prefix: &str, endpoint: &Endpoint) {
        let key = format!("{prefix}{}", endpoint.id());
        let call = request::put(&key, &entry::write(entry::Format::Own, endpoint), 0);
        let start = Instant::now();
        while !self.members.iter().any(|member| member.try_call(&call)) {
            assert!(start.elapsed() < Duration::from_secs(60), "no member takes a write");
            sleep(Duration::from_millis(50));
        }
    }
}

fn directory(name: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let root = std::env::var_os("EVENKEEL_STORE_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = root.join(format!("etcd-{}-{number}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
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
