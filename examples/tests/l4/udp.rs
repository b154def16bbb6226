//! Datagrams.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::child::Child;
use crate::client::{Setup, load, metric};
use crate::wait::until;

/// A server that answers each datagram with its name and the datagram, until it is dropped.
struct Server {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(name: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (address, stopped) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&stopped);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while !stop.load(Ordering::Acquire) {
                if let Ok((count, client)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&[name.as_bytes(), &buffer[..count]].concat(), client);
                }
            }
        });
        Self { address, stopped, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn setup(servers: &[&Server], cluster: &str, listener: &str) -> Setup {
    Setup {
        protocol: "udp",
        listener: listener.to_owned(),
        cluster: cluster.to_owned(),
        ..Setup::of(servers.iter().map(|server| server.address))
    }
}

/// A client at 127.0.0.`last`.
fn client(last: u8, front: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(front).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket
}

/// The answer; datagrams may be lost when an endpoint is, so it is asked again.
fn ask(socket: &UdpSocket, what: &str) -> String {
    let mut buffer = [0; 2_000];
    for _ in 0..50 {
        socket.send(what.as_bytes()).unwrap();
        if let Ok(count) = socket.recv(&mut buffer) {
            return String::from_utf8(buffer[..count].to_vec()).unwrap();
        }
    }
    panic!("no answer to {what} at {:?}", socket.local_addr());
}

/// The first datagram of a client is answered too: nothing is lost on an idle machine but by those who are refused.
#[test]
fn nothing_is_lost_at_the_beginning() {
    let server = Server::start("a");
    let proxy = setup(&[&server], "", "").start();
    let front = proxy.address("front").unwrap();
    for _ in 0..20 {
        let client = client(1, front);
        client.set_read_timeout(Some(crate::wait::LIMIT)).unwrap();
        client.send(b"1").unwrap();
        assert_eq!(client.recv(&mut [0; 10]).unwrap(), 2);
    }
}

#[test]
fn a_session_stays_and_replies_come_from_the_listener() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let proxy = setup(&[&a, &b], "policy = \"round_robin\"", "").start();
    let front = proxy.address("front").unwrap();
    let clients: Vec<_> = (0..8).map(|_| client(1, front)).collect();
    let mut names = BTreeMap::<char, u32>::new();
    for client in &clients {
        // Connected sockets hear nobody else.
        let first = ask(client, "1");
        for number in 2..6 {
            assert_eq!(ask(client, &number.to_string()), format!("{}{number}", &first[..1]));
        }
        *names.entry(first.chars().next().unwrap()).or_default() += 1;
    }
    assert_eq!(names.len(), 2, "{names:?}");
}

/// The same client comes to the same endpoint behind a proxy that knows nothing of its past.
#[test]
fn a_restart_changes_nobodys_endpoint() {
    let servers = [Server::start("a"), Server::start("b"), Server::start("c"), Server::start("d")];
    let servers: Vec<&Server> = servers.iter().collect();
    let text = setup(&servers, "policy = \"maglev\"", "timeouts = { drain = \"100ms\" }").text();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let mut child = Child::start(&text);
        let names: Vec<String> =
            (1..60).map(|last| ask(&client(last, child.front), "")[..1].to_owned()).collect();
        runs.push(names);
        child.terminate();
        assert_eq!(child.wait(), Some(0));
    }
    assert_eq!(runs[0], runs[1]);
    let mut kinds = runs[0].clone();
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), 4, "all of them serve somebody");
}

#[test]
fn the_sessions_of_a_drained_endpoint_move() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let proxy = setup(&[&a, &b], "policy = \"round_robin\"", "").start();
    let front = proxy.address("front").unwrap();
    let clients: Vec<_> = (0..8).map(|_| client(1, front)).collect();
    for client in &clients {
        ask(client, "1");
    }
    assert!(proxy.drain("backs", "b0"));
    for client in &clients {
        assert_eq!(ask(client, "2"), "b2");
    }
    assert!(metric(proxy.admin().unwrap(), "l4_udp_sessions_moved_total") >= 1);
    assert_eq!(metric(proxy.admin().unwrap(), "l4_udp_sessions_active"), 8);
}

/// Nobody listens there: the kernel says so by ICMP, the session moves, and the endpoint is judged.
#[test]
fn a_refusal_is_a_failure_and_moves_the_session() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let cluster =
        "policy = \"maglev\"\nbreaker = { rules = [{ consecutive = { failures = 2 } }], open_for = \"1h\" }";
    let proxy = setup(&[&a, &b], cluster, "").start();
    let front = proxy.address("front").unwrap();
    let clients: Vec<_> = (1..40).map(|last| client(last, front)).collect();
    let mine: Vec<_> = clients.iter().filter(|client| ask(client, "1") == "a1").collect();
    assert!(mine.len() >= 3, "{}", mine.len());
    drop(a);
    for client in &mine {
        assert_eq!(ask(client, "2"), "b2");
    }
    let report = proxy.cluster("backs").unwrap();
    assert!(format!("{:?}", report.endpoints[0].breaker).contains("Open"), "{:?}", report.endpoints[0]);
}

#[test]
fn sessions_are_bounded_and_end_when_idle() {
    let server = Server::start("a");
    let listener = "limits = { max_connections = 4 }\ntimeouts = { idle = \"300ms\" }";
    let proxy = setup(&[&server], "", listener).start();
    let (front, admin) = (proxy.address("front").unwrap(), proxy.admin().unwrap());
    let clients: Vec<_> = (0..4).map(|_| client(1, front)).collect();
    let beyond = client(1, front);
    let mut dropped = false;
    until("the bound holds", || {
        clients.iter().for_each(|client| drop(ask(client, "x")));
        beyond.send(b"x").unwrap();
        assert!(metric(admin, "l4_udp_sessions_active") <= 4);
        dropped |= metric(admin, "l4_udp_dropped_total") > 0;
        dropped
    });
    until("all are forgotten", || metric(admin, "l4_udp_sessions_active") == 0);
    assert_eq!(ask(&beyond, "now"), "anow");
}

#[test]
fn a_reload_keeps_sessions_where_they_are() {
    let (a, b) = (Server::start("a"), Server::start("b"));
    let with = setup(&[&a, &b], "policy = \"maglev\"", "");
    let proxy = with.start();
    let front = proxy.address("front").unwrap();
    let clients: Vec<_> = (1..20).map(|last| client(last, front)).collect();
    let before: Vec<String> = clients.iter().map(|client| ask(client, "")).collect();
    proxy.apply(load(&with.text().replace("[program]", "[program]\nattempts = 2"))).unwrap();
    let after: Vec<String> = clients.iter().map(|client| ask(client, "")).collect();
    assert_eq!(before, after);
}

/// A listener of another name at the same address: the kernel must not give the old one what it does not take any more.
#[test]
fn a_renamed_listener_loses_nobody() {
    let server = Server::start("a");
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = setup(&[&server], "", "").text().replace(
        "name = \"front\"\naddress = \"127.0.0.1:0\"",
        &format!("name = \"front\"\naddress = \"{port}\""),
    );
    let proxy = crate::client::start(&text).unwrap();
    // Sessions on every thread keep the old one there.
    let clients: Vec<_> = (0..16).map(|_| client(1, port)).collect();
    clients.iter().for_each(|client| drop(ask(client, "1")));
    proxy.apply(load(&text.replace("\"front\"", "\"other\""))).unwrap();
    let more: Vec<_> = (0..16).map(|_| client(1, port)).collect();
    for client in clients.iter().chain(&more) {
        assert_eq!(ask(client, "2"), "a2");
    }
}

/// IPv6 carries a few bytes more than IPv4: such a datagram cannot be sent on, which says nothing about the endpoint.
#[test]
fn what_cannot_be_sent_is_dropped_and_moves_nobody() {
    let Ok(client) = UdpSocket::bind("[::1]:0") else { return };
    let server = Server::start("a");
    let cluster = "breaker = { rules = [{ consecutive = { failures = 1 } }], open_for = \"1h\" }";
    let text = setup(&[&server], cluster, "")
        .text()
        .replace("name = \"front\"\naddress = \"127.0.0.1:0\"", "name = \"front\"\naddress = \"[::1]:0\"");
    let proxy = crate::client::start(&text).unwrap();
    let admin = proxy.admin().unwrap();
    client.connect(proxy.address("front").unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(ask(&client, "1"), "a1");
    client.send(&[b'x'; 65_520]).unwrap();
    until("it is dropped", || metric(admin, "l4_udp_dropped_total") == 1);
    assert_eq!(ask(&client, "2"), "a2");
    assert_eq!(metric(admin, "l4_udp_sessions_moved_total"), 0);
    let report = proxy.cluster("backs").unwrap();
    assert!(format!("{:?}", report.endpoints[0].breaker).contains("Closed"), "{:?}", report.endpoints[0]);
}
