//! nginx and HAProxy as processes of this test: a home each, ended by their number.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use crate::support::PATIENCE;

/// Ports that were free a moment ago.
pub(crate) fn ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// A directory that goes with the test.
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("evenkeel-real-{}-{number}", std::process::id()));
        std::fs::create_dir_all(path.join("www")).unwrap();
        // Workers of nginx run as another user.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, open).unwrap();
        Self(path)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that is killed and reaped when the test is over.
struct Process(Child);

impl Process {
    fn start(command: &mut Command, ready: SocketAddr) -> Self {
        let mut process = Self(command.stdin(Stdio::null()).spawn().unwrap());
        let begun = Instant::now();
        while TcpStream::connect(ready).is_err() {
            assert!(begun.elapsed() < PATIENCE, "it does not listen");
            assert_eq!(process.0.try_wait().unwrap(), None, "it ended at once");
            std::thread::sleep(Duration::from_millis(10));
        }
        process
    }

    fn signal(&self, signal: &str) {
        let number = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &number]).status().unwrap().success());
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("CONT");
        self.signal("TERM");
        let begun = Instant::now();
        while self.is_running() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    process: Option<Process>,
    home: Home,
    listen: String,
}

impl Nginx {
    pub(crate) fn start(port: u16, locations: &str) -> Self {
        Self::with(Home::new(), port, "", locations)
    }

    /// With further words for `listen`; `ssl` takes `certificate.pem` and `key.pem` of the home.
    pub(crate) fn with(home: Home, port: u16, words: &str, locations: &str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut nginx = Self { address, process: None, home, listen: format!("{address} {words}") };
        nginx.write(locations);
        nginx.again();
        nginx
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.home.0.join("www").join(name)
    }

    fn write(&self, locations: &str) {
        let home = self.home.0.display();
        // Without workers a stop would stop the one that only looks after them: one process, and it serves. A reload
        // needs a master.
        let certificate = self.home.0.join("certificate.pem");
        let tls = if certificate.exists() {
            format!("ssl_certificate {home}/certificate.pem; ssl_certificate_key {home}/key.pem;")
        } else {
            String::new()
        };
        let text = format!(
            "daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;
             events {{}}
             http {{
               access_log off; root {home}/www; {tls}
               client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
               uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
               server {{ listen {}; {locations} }}
             }}",
            self.listen
        );
        std::fs::write(self.home.0.join("nginx.conf"), text).unwrap();
    }

    /// Starts it, again if it was ended.
    pub(crate) fn again(&mut self) {
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&self.home.0).arg("-c").arg(self.home.0.join("nginx.conf"));
        let log = std::fs::File::create(self.home.0.join("stderr")).unwrap();
        self.process = Some(Process::start(command.stderr(log), self.address));
    }

    /// A signal to the master and its worker.
    pub(crate) fn signal(&self, signal: &str) {
        let process = self.process.as_ref().unwrap();
        for worker in children(process.0.id()) {
            assert!(Command::new("kill").args(["-s", signal, &worker]).status().unwrap().success());
        }
        process.signal(signal);
    }

    pub(crate) fn reload(&self, locations: &str) {
        self.write(locations);
        self.process.as_ref().unwrap().signal("HUP");
    }

    pub(crate) fn end(&mut self) {
        self.process = None;
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.signal("CONT");
        }
    }
}

fn children(parent: u32) -> Vec<String> {
    let listed =
        Path::new("/proc").join(parent.to_string()).join("task").join(parent.to_string()).join("children");
    std::fs::read_to_string(listed).unwrap().split_whitespace().map(str::to_owned).collect()
}

pub(crate) struct Haproxy {
    process: std::cell::RefCell<Process>,
    _home: Home,
}

impl Haproxy {
    /// With these sections; the port of the first `bind` tells when it is ready.
    pub(crate) fn start(sections: &str) -> Self {
        let home = Home::new();
        let file = home.0.join("haproxy.cfg");
        let head = "global\n  maxconn 1000\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n  retries 0\n";
        std::fs::write(&file, format!("{head}{sections}\n")).unwrap();
        let address = sections.split("bind ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
        let mut command = Command::new("haproxy");
        let log = std::fs::File::create(home.0.join("stderr")).unwrap();
        command.args(["-q", "-db", "-f"]).arg(&file).stderr(log);
        let process = Process::start(&mut command, address.parse().unwrap());
        Self { process: process.into(), _home: home }
    }

    pub(crate) fn is_running(&self) {
        assert!(self.process.borrow_mut().is_running());
    }
}

/// A certificate authority of this test's own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "the authority of this test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes a certificate and its key.
    pub(crate) fn issue(&self, name: &str, expired: bool, home: &Home) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(home.0.join("certificate.pem"), certificate.pem()).unwrap();
        std::fs::write(home.0.join("key.pem"), key.serialize_pem()).unwrap();
    }
}
