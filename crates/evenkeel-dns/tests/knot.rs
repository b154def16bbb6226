//! Against Knot DNS. Run `tests/stores/dns.sh`, which starts it.
#![cfg(feature = "real-store")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test of threads and a server"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use evenkeel_dns::wire::{self, Data, Kind, Name, Question};
use evenkeel_dns::{Dns, DnsConfig, Handle};
use evenkeel_first_pick::{FirstPick, compared};
use evenkeel_registry::conformance::{Done, Limits, Refusal, StoreUnderTest, run};
use evenkeel_registry::{
    EvictionLimit, Feed, HoldReason, MirrorConfig, Registry, Saved, ServiceName, Settle, SourceState,
    TroubleKind, Watch,
};
use evenkeel_types::{Address, Endpoint, EndpointId, Timestamp};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/stores/dns.sh"))
}

fn server() -> SocketAddr {
    variable("EVENKEEL_DNS_SERVER").parse().unwrap()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(variable("EVENKEEL_DNS_DIR")).join(name)
}

fn signal(name: &str) {
    let pid = fs::read_to_string(file("pid")).unwrap();
    assert!(Command::new("kill").args([name, pid.trim()]).status().unwrap().success());
}

/// Sends updates as an operator does.
fn update(lines: &str) {
    let mut tool = Command::new("knsupdate").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let text = format!("server {} {}\nzone t.\n{lines}\nsend\n", server().ip(), server().port());
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(tool.wait().unwrap().success(), "{text}");
}

fn kdig(words: &[&str]) -> String {
    let port = server().port().to_string();
    let out = Command::new("kdig")
        .args(["@127.0.0.1", "-p", &port, "+time=1", "+retry=0", "+tcp"])
        .args(words)
        .output();
    String::from_utf8(out.unwrap().stdout).unwrap()
}

/// Kills the server and starts it with these data.
#[allow(clippy::zombie_processes, reason = "the script ends it")]
fn restart(zone: &str) {
    signal("-KILL");
    fs::write(file("t.zone"), zone).unwrap();
    let _ = fs::remove_file(file("knot.pid"));
    let knotd = Command::new("knotd").arg("-c").arg(file("knot.conf")).spawn().unwrap();
    fs::write(file("pid"), knotd.id().to_string()).unwrap();
    let start = Instant::now();
    while !kdig(&["t", "SOA", "+short"]).contains("hostmaster") {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not start");
        thread::sleep(Duration::from_millis(20));
    }
}

struct World {
    registry: Registry,
    service: ServiceName,
    feed: Feed,
    handle: Option<Handle>,
}

impl World {
    fn new(config: DnsConfig, mirror: MirrorConfig, saved: Option<&Saved>) -> Self {
        let registry = Registry::default();
        let service: ServiceName = "users".parse().unwrap();
        let start = Instant::now();
        let clock = move || Timestamp::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap());
        let feed = registry.feed(&service, &"dns".parse().unwrap(), mirror, clock).unwrap();
        if let Some(saved) = saved {
            feed.load(saved, SystemTime::now()).unwrap();
        }
        let handle = Some(Dns::start(feed.clone(), config).unwrap());
        Self { registry, service, feed, handle }
    }

    fn ids(&self) -> BTreeSet<String> {
        self.registry.snapshot(&self.service).endpoints().iter().map(|e| e.id().to_string()).collect()
    }

    #[track_caller]
    fn until(&self, what: &str, seen: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !seen(self) {
            let sources = self.registry.sources(&self.service);
            assert!(start.elapsed() < Duration::from_secs(60), "{what}: {} {sources:?}", self.ids().len());
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn trouble(&self) -> Option<TroubleKind> {
        Some(self.registry.sources(&self.service).first()?.error.as_ref()?.kind)
    }

    fn held(&self) -> Option<HoldReason> {
        Some(self.registry.sources(&self.service).first()?.held.as_ref()?.reason)
    }
}

fn at_once() -> MirrorConfig {
    MirrorConfig {
        settle: Settle { quiet: Duration::ZERO, max: Duration::ZERO },
        shrink: EvictionLimit { always: usize::MAX, ..EvictionLimit::default() },
        ..MirrorConfig::default()
    }
}

fn quick(config: DnsConfig) -> DnsConfig {
    DnsConfig {
        servers: vec![server()],
        timeout: Duration::from_millis(500),
        max_retry: Duration::from_secs(2),
        min_ttl: Duration::from_millis(100),
        ..config
    }
}

/// The name server as the suite's store: SRV records with a time to live of 2 s.
struct Knot {
    world: World,
    entries: BTreeMap<EndpointId, Endpoint>,
    checkpoint: String,
}

fn config() -> DnsConfig {
    quick(DnsConfig::srv("_case._tcp.t"))
}

fn record(endpoint: &Endpoint) -> String {
    let (weight, port) = (endpoint.weight().get(), endpoint.address().port().unwrap());
    format!("SRV 1 {weight} {port} {}.t.", endpoint.id())
}

impl StoreUnderTest for Knot {
    fn wait(&mut self, time: Duration) {
        thread::sleep(time);
        self.world.registry.tick(self.world.feed.now());
    }

    fn put(&mut self, endpoint: &Endpoint) -> Done {
        self.put_many(std::slice::from_ref(endpoint))
    }

    fn put_many(&mut self, endpoints: &[Endpoint]) -> Done {
        for some in endpoints.chunks(200) {
            let mut lines = String::new();
            for endpoint in some {
                if let Some(old) = self.entries.insert(endpoint.id().clone(), endpoint.clone()) {
                    writeln!(lines, "update delete _case._tcp.t. {}", record(&old)).unwrap();
                }
                let ip = endpoint.address().socket_addr().unwrap().ip();
                writeln!(lines, "update add {}.t. 2 A {ip}", endpoint.id()).unwrap();
                writeln!(lines, "update add _case._tcp.t. 2 {}", record(endpoint)).unwrap();
            }
            update(&lines);
        }
        Ok(())
    }

    fn remove(&mut self, id: &EndpointId) -> Done {
        let old = self.entries.remove(id).unwrap();
        update(&format!("update delete _case._tcp.t. {}\nupdate delete {id}.t. A", record(&old)));
        Ok(())
    }

    fn put_malformed(&mut self) -> Done {
        update("update add _case._tcp.t. 2 SRV 1 1 8080 dangling.t.");
        Ok(())
    }

    fn stop(&mut self) -> Done {
        signal("-STOP");
        Ok(())
    }

    fn go_on(&mut self) -> Done {
        signal("-CONT");
        Ok(())
    }

    fn checkpoint(&mut self) -> Done {
        // The server writes its file a moment after the update.
        let newest = self.entries.keys().next_back().unwrap().to_string();
        let start = Instant::now();
        loop {
            self.checkpoint = fs::read_to_string(file("t.zone")).unwrap();
            if self.checkpoint.contains(&newest) {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(10) {
                return Err(Refusal::Failed("the zone file stays old".to_owned()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn restart_older(&mut self) -> Done {
        restart(&self.checkpoint);
        Ok(())
    }

    fn restart_empty(&mut self) -> Done {
        restart(&fs::read_to_string(file("empty.zone")).unwrap());
        self.entries.clear();
        Ok(())
    }

    fn save(&mut self) -> Result<Saved, Refusal> {
        self.world.feed.save(SystemTime::now()).ok_or_else(|| Refusal::Failed("nothing to save".to_owned()))
    }

    fn restart_adapter(&mut self, saved: &Saved) -> Result<Watch, Refusal> {
        self.world.handle.take().unwrap().stop();
        self.world = World::new(config(), MirrorConfig::default(), Some(saved));
        Ok(self.world.registry.watch(&self.world.service))
    }

    fn shown(&self, endpoint: &Endpoint) -> Endpoint {
        let port = endpoint.address().port().unwrap();
        let id = EndpointId::new(format!("{}.t:{port}", endpoint.id())).unwrap();
        Endpoint::new(id, endpoint.address().clone()).with_weight(endpoint.weight())
    }

    fn limits(&self) -> Limits {
        Limits { reconnect: Duration::from_secs(15), ..Limits::default() }
    }
}

#[test]
fn the_suite_for_adapters() {
    let world = World::new(config(), MirrorConfig::default(), None);
    let watch = world.registry.watch(&world.service);
    let mut knot = Knot { world, entries: BTreeMap::new(), checkpoint: String::new() };
    let report = run(&mut knot, watch);
    println!("{report}");
    assert!(report.is_ok(), "{report}");
    let told = kdig(&["_case._tcp.t", "SRV", "+short"]);
    assert_eq!(told.lines().count(), knot.world.ids().len(), "the set is that of the server");
}

#[test]
fn a_name_that_vanishes_is_believed_the_second_time() {
    update("update add pool.t. 2 A 10.5.0.1\nupdate add pool.t. 2 A 10.5.0.2");
    let world = World::new(quick(DnsConfig::host("pool.t", 80)), at_once(), None);
    world.until("two", |world| world.ids().len() == 2);
    update("update delete pool.t. A");
    let gone = Instant::now();
    world.until("held", |world| world.held() == Some(HoldReason::Unconfirmed));
    assert_eq!(world.ids().len(), 2);
    world.until("absent", |world| world.registry.snapshot(&world.service).state() == SourceState::Absent);
    println!("dns: NXDOMAIN believed after {:?} (time to live 2 s, negative 3 s)", gone.elapsed());
    assert!(gone.elapsed() > Duration::from_secs(3), "too early");
    update("update add pool.t. 2 A 10.5.0.3");
    world.until("one", |world| world.ids().len() == 1);
    update("update delete pool.t. A");
}

#[test]
fn servfail_and_refused_are_trouble() {
    let world = World::new(quick(DnsConfig::host("x.broken", 80)), at_once(), None);
    world.until("SERVFAIL", |world| world.trouble() == Some(TroubleKind::Server));
    let world = World::new(quick(DnsConfig::host("x.elsewhere", 80)), at_once(), None);
    world.until("REFUSED", |world| world.trouble() == Some(TroubleKind::Denied));
}

#[test]
fn aliases_and_tiers() {
    update(
        "update add alias.t. 2 CNAME real.t.\nupdate add real.t. 2 A 10.6.0.1\nupdate add loop.t. 2 CNAME loop2.t.\n\
         update add loop2.t. 2 CNAME loop.t.\nupdate add _tiers._tcp.t. 2 SRV 700 0 80 real.t.\n\
         update add _tiers._tcp.t. 2 SRV 9 3 81 alias.t.\nupdate add _none._tcp.t. 2 SRV 0 0 0 .",
    );
    let world = World::new(quick(DnsConfig::host("alias.t", 80)), at_once(), None);
    world.until("an alias", |world| world.ids().contains("10.6.0.1:80"));
    let world = World::new(quick(DnsConfig::host("loop.t", 80)), at_once(), None);
    world.until("a loop", |world| {
        matches!(world.trouble(), Some(TroubleKind::Malformed | TroubleKind::Server))
    });
    let world = World::new(quick(DnsConfig::srv("_none._tcp.t")), at_once(), None);
    world.until("absent", |world| world.registry.snapshot(&world.service).state() == SourceState::Absent);
    let world = World::new(quick(DnsConfig::srv("_tiers._tcp.t")), at_once(), None);
    world.until("two", |world| world.ids().len() == 2);
    let snapshot = world.registry.snapshot(&world.service);
    let seen: Vec<_> = snapshot
        .endpoints()
        .iter()
        .map(|e| (e.id().as_str(), e.priority().get(), e.weight().get()))
        .collect();
    assert_eq!(seen, [("alias.t:81", 0, 3), ("real.t:80", 1, 1)]);
}

#[test]
fn three_thousand_addresses() {
    let all: Vec<_> = (0..3000_u32).map(|n| format!("10.8.{}.{}", n / 250, n % 250 + 1)).collect();
    for some in all.chunks(500) {
        update(&some.iter().map(|ip| format!("update add big.t. 2 A {ip}\n")).collect::<String>());
    }
    let start = Instant::now();
    let world = World::new(quick(DnsConfig::host("big.t", 80)), at_once(), None);
    world.until("3000", |world| world.ids().len() == 3000);
    println!("dns: 3000 addresses over TCP in {:?}", start.elapsed());
    let theirs: BTreeSet<_> = kdig(&["big.t", "A", "+short"]).lines().map(|ip| format!("{ip}:80")).collect();
    assert_eq!(world.ids(), theirs);
}

/// Time from the update to the snapshot, beside that of a bare loop of questions over one socket.
#[test]
fn latency() {
    update("update add lat.t. 0 A 10.7.0.1");
    let world = World::new(quick(DnsConfig::host("lat.t", 80)), at_once(), None);
    world.until("one", |world| world.ids().len() == 1);
    let (seen_tx, seen) = channel();
    let watch = world.registry.watch(&world.service);
    watch.on_change(move || _ = seen_tx.send(Instant::now()));
    let first_pick = FirstPick::follow(&world.registry, &world.service);
    let (mut mine, mut raw, mut picks) = (Vec::new(), Vec::new(), Vec::new());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server()).unwrap();
    let question = Question { name: Name::new("lat.t").unwrap(), kind: Kind::A };
    let query = wire::encode(&question, 9, true).unwrap();
    for round in 0..120 {
        let ip = format!("10.7.1.{}", round + 1);
        let id = Address::Socket(format!("{ip}:80").parse().unwrap()).to_string();
        while seen.try_recv().is_ok() {}
        let wished = id.clone();
        first_pick.wish(move |endpoint| endpoint.address().to_string() == wished);
        update(&format!("update delete lat.t. A\nupdate add lat.t. 0 A {ip}"));
        // The tool returns when the server has said yes.
        let done = Instant::now();
        let mut buffer = [0; 1500];
        loop {
            socket.send(&query).unwrap();
            let length = socket.recv(&mut buffer).unwrap();
            let reply = wire::decode(&buffer[..length], &question, 9).unwrap();
            if reply.answer.iter().any(|record| record.data == Data::Ip(ip.parse().unwrap())) {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        raw.push(done.elapsed());
        world.until("the new one", |world| world.ids().contains(&id));
        // The snapshot is there a moment before those who watch it are woken.
        let first = seen.recv_timeout(Duration::from_secs(60)).unwrap();
        let at = seen.try_iter().last().unwrap_or(first);
        mine.push(at.saturating_duration_since(done));
        picks.push(first_pick.after(done));
    }
    println!("{} (a bare question, that is: DNS tells nobody)", compared("DNS", &picks, &raw));
    mine.sort();
    raw.sort();
    let at = |all: &[Duration], percent: usize| all[all.len() * percent / 100];
    println!(
        "dns: update to snapshot p50 {:?}, p99 {:?} (time to live 0, min_ttl 100 ms, 120 changes); first bare question \
         p50 {:?}, p99 {:?}",
        at(&mine, 50),
        at(&mine, 99),
        at(&raw, 50),
        at(&raw, 99)
    );
}
