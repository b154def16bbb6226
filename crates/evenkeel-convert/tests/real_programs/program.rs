use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use evenkeel_convert::Dialect;

/// A process, ended with the test.
pub(crate) struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // What it has started is of its group: nginx would leave its workers behind.
        let group = format!("-{}", self.0.id());
        let ended = Command::new("kill").args(["-KILL", "--", &group]).status();
        if !ended.is_ok_and(|status| status.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

impl Program {
    /// Starts it with this configuration, and waits until the port is open.
    pub(crate) fn start(dialect: Dialect, name: &str, source: &str, port: u16) -> Self {
        let folder = folder(name);
        let path = folder.join(format!("{name}.conf"));
        std::fs::write(&path, source).unwrap();
        let mut command = match dialect {
            Dialect::Nginx => {
                let mut command = Command::new("nginx");
                // One process: a worker would outlive its master, and keep the port.
                command.arg("-p").arg(&folder).arg("-c").arg(&path);
                command.args(["-g", "daemon off; master_process off; pid nginx.pid;"]);
                command
            }
            Dialect::Haproxy => {
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-q").arg("-f").arg(&path);
                command
            }
            _ => {
                let path_yaml = folder.join("envoy.yaml");
                std::fs::write(&path_yaml, source).unwrap();
                let mut command = Command::new(envoy());
                command.arg("--config-path").arg(path_yaml).args([
                    "--disable-hot-restart",
                    "--concurrency",
                    "1",
                    "-l",
                    "error",
                ]);
                command
            }
        };
        let child = command
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut program = Self(child);
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = program.0.try_wait().unwrap() {
                panic!("{name} ended with {status}: {}", path.display());
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{name} does not open port {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        // Not somebody else who has the port.
        assert_eq!(program.0.try_wait().unwrap(), None, "{name} has ended: {}", path.display());
        program
    }
}

/// The program's own check of a file.
pub(crate) fn check(dialect: Dialect, path: &Path) {
    let mut command = match dialect {
        Dialect::Nginx => {
            let mut command = Command::new("nginx");
            command.arg("-t").arg("-c").arg(path);
            command
        }
        Dialect::Haproxy => {
            let mut command = Command::new("haproxy");
            command.arg("-c").arg("-q").arg("-f").arg(path);
            command
        }
        _ => {
            let json = path.with_extension("json");
            std::fs::copy(path, &json).unwrap();
            let mut command = Command::new(envoy());
            command.args(["--mode", "validate", "-l", "error", "--config-path"]).arg(json);
            command
        }
    };
    let output = command.output().unwrap();
    if String::from_utf8_lossy(&output.stderr).contains("unknown directive \"stream\"") {
        let text = std::fs::read_to_string(path).unwrap();
        if Path::new(STREAMS).exists() && !text.starts_with("load_module") {
            std::fs::write(path, format!("load_module {STREAMS};\n{text}")).unwrap();
            return check(dialect, path);
        }
        // The small packages of nginx have no such module: the rest is checked without it.
        println!("this nginx has no stream module: {} is checked without that block", path.display());
        let rest = text.split("\nstream {").next().unwrap();
        std::fs::write(path, rest).unwrap();
        return check(dialect, path);
    }
    assert!(
        output.status.success(),
        "{dialect} refuses {}: {}{}",
        path.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Where Debian's nginx has its module for streams.
const STREAMS: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

fn envoy() -> String {
    std::env::var("EVENKEEL_ENVOY").unwrap_or_else(|_| "envoy".to_owned())
}

pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("evenkeel-convert-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Ports that nobody uses at the moment.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Servers that answer with their own address, by an nginx of their own.
pub(crate) fn backends(name: &str, count: usize) -> (Program, Vec<String>) {
    let ports = free_ports(count);
    let servers: String = ports
        .iter()
        .map(|port| {
            format!(
                "server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"127.0.0.1:{port}\"; }} }}\n"
            )
        })
        .collect();
    let source = format!(
        "worker_processes 1; error_log stderr crit;
        events {{ worker_connections 1024; }}
        http {{ access_log off; keepalive_requests 1000000; {servers} }}"
    );
    let program = Program::start(Dialect::Nginx, name, &source, ports[count - 1]);
    (program, ports.iter().map(|port| format!("127.0.0.1:{port}")).collect())
}
