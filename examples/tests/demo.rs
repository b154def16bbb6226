//! The demo as a newcomer runs it: as a process.

#![expect(clippy::unwrap_used, reason = "a test helper that cannot go on fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_short_story_keeps_every_promise() {
    for policy in ["least_request", "smooth_weighted_round_robin"] {
        let output = demo(&["--seconds", "4", "--rate", "200", "--policy", policy]);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{policy}: {told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.contains("800 of 800 answered with 2xx"), "{told}");
        assert!(!told.contains('\x1b'), "no escape codes where nobody can see them: {told}");
    }
}

#[test]
fn a_bad_argument_is_named() {
    let output = demo(&["--policy", "fastest"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(told.contains("--policy") && told.contains("least_request"), "{told}");

    let output = demo(&["--listen", "127.0.0.1:0", "--backend", "127.0.0.1:1", "127.0.0.1:1"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--backend 127.0.0.1:1: given twice"), "{told}");
}

/// At first the connections are refused, then the checks know and nothing is tried any more; both say why.
#[test]
fn dead_backends_are_answered_for_with_a_reason() {
    let proxy = Proxy::start(&[dead_port(), dead_port()]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut answers = Vec::new();
    loop {
        let answer = proxy.get("/");
        let known = answer.starts_with("HTTP/1.1 503") && answer.contains("2 failing checks");
        let found_out = answer.starts_with("HTTP/1.1 502") && answer.contains("no connection");
        assert!(
            known || found_out || answer.contains("none of 2 endpoints is usable"),
            "neither 502 nor 503 with a reason: {answer}"
        );
        answers.push(answer);
        if known {
            return;
        }
        assert!(Instant::now() < deadline, "the checks never noticed: {answers:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_status_page_knows_what_was_sent() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || server.incoming().flatten().for_each(echo_head));
    let proxy = Proxy::start(&[address]);
    let tell = |path: &str| {
        Proxy::ask(
            proxy.admin,
            &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
        )
    };
    assert!(proxy.get("/").starts_with("HTTP/1.1 200"));
    let told = tell("/api/clusters/demo");
    assert!(
        told.contains("\"actual_share\":1.0") && told.contains(&format!("\"id\":\"{address}\"")),
        "{told}"
    );
    assert!(tell("/").contains("<title>evenkeel status</title>"));
    assert!(tell("/metrics").contains("evenkeel_cluster_membership_healthy{cluster=\"demo\"}"));

    let output = demo(&["--seconds", "3", "--admin", "0.0.0.0:0"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("--admin: 0.0.0.0:0 is open to others"), "{told}");
}

#[test]
fn your_own_server_is_served() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let proxy = Proxy::start(&[server.local_addr().unwrap()]);
    thread::spawn(move || server.incoming().for_each(|stream| echo_head(stream.unwrap())));
    let answer = proxy.get("/cart?item=7");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("GET /cart?item=7 HTTP/1.1"), "{answer}");
    assert!(answer.contains("x-forwarded-for: 127.0.0.1"), "{answer}");
    assert!(!answer.contains("x-private"), "what Connection names is not passed on: {answer}");
}

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_demo")).args(arguments).output().unwrap()
}

/// A port that nobody listens on.
fn dead_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Answers each request on a connection with its head.
fn echo_head(stream: TcpStream) {
    thread::spawn(move || {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let (mut stream, mut head) = (stream, String::new());
        while let Some(Ok(line)) = lines.next() {
            head.push_str(&line);
            head.push('\n');
            if line.is_empty() {
                let length = head.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
                head.clear();
            }
        }
    });
}

/// The demo in front of servers of one's own; it ends with this.
struct Proxy {
    process: Child,
    address: SocketAddr,
    admin: SocketAddr,
    /// Kept open, or the proxy could not print.
    _output: BufReader<ChildStdout>,
}

impl Proxy {
    fn start(backends: &[SocketAddr]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--backend"]);
        command.args(backends.iter().map(ToString::to_string));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut told = |start: &str| {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            line.trim_end().strip_prefix(start).unwrap().parse().unwrap()
        };
        let (address, admin) = (told("listening on http://"), told("status page on http://"));
        Self { process, address, admin, _output: output }
    }

    fn get(&self, path: &str) -> String {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close, x-private\r\nx-private: 1\r\n\r\n"
        );
        Self::ask(self.address, &head)
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
