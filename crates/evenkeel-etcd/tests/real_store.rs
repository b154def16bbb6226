//! Against a real etcd; `tests/stores/etcd.sh` runs it. `EVENKEEL_ETCD_BIN` names the server's program.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that needs the real world, and stops where it fails"
)]

mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use evenkeel_etcd::{
    Ask, Etcd, EtcdConfig, EtcdHandle, EtcdRegistrar, EtcdRegistrarConfig, Follower, FollowerConfig,
    RegistrarHandle, Secret, Seen, entry, request,
};
use evenkeel_first_pick::{FirstPick, compared};
use evenkeel_registry::conformance::{Done, Eyes, Limits, Refusal, StoreUnderTest, run};
use evenkeel_registry::{
    Event, Feed, MirrorConfig, RegistrarState, Registry, Saved, SourceState, TroubleKind, Watch,
};
use evenkeel_types::{Endpoint, EndpointId, Timestamp, Weight};
use server::{Cluster, Etcd3};

const PREFIX: &str = "svc/";

struct Hub {
    registry: Registry,
    feed: Feed,
    watch: Watch,
    origin: Instant,
}

impl Hub {
    fn new(mirror: MirrorConfig) -> Self {
        let registry = Registry::default();
        let service = "users".parse().unwrap();
        let watch = registry.watch(&service);
        let origin = Instant::now();
        let clock = move || since(origin);
        let feed = registry.feed(&service, &"etcd".parse().unwrap(), mirror, clock).unwrap();
        Self { registry, feed, watch, origin }
    }

    fn tick(&self) {
        self.registry.tick(since(self.origin));
    }

    fn until(&self, limit: Duration, what: &str, seen: impl Fn(&Watch) -> bool) -> Duration {
        let start = Instant::now();
        while !seen(&self.watch) {
            assert!(start.elapsed() < limit, "{what}: not within {limit:?}; {:?}", self.watch.sources());
            sleep(Duration::from_millis(5));
        }
        start.elapsed()
    }

    fn trouble(&self) -> Option<TroubleKind> {
        self.watch.sources().iter().find_map(|source| source.error.as_ref().map(|error| error.kind))
    }
}

fn since(origin: Instant) -> Timestamp {
    Timestamp::ORIGIN.saturating_add(origin.elapsed())
}

fn config(urls: Vec<String>) -> EtcdConfig {
    let mut config = EtcdConfig { prefix: PREFIX.to_owned(), keepalive: KEEPALIVE, ..EtcdConfig::default() };
    config.connection.endpoints = urls;
    config.connection.request_timeout = KEEPALIVE;
    config
}

/// Silence is seen after twice this.
const KEEPALIVE: Duration = Duration::from_secs(1);

fn registrar(url: String, endpoint: &Endpoint) -> RegistrarHandle {
    let mut config = EtcdRegistrarConfig { prefix: PREFIX.to_owned(), ..EtcdRegistrarConfig::default() };
    config.connection.endpoints = vec![url];
    config.registrar.ttl = Duration::from_secs(2);
    config.registrar.propagation = Duration::from_secs(1);
    let registrar = EtcdRegistrar::start(endpoint.clone(), config).unwrap();
    registrar.ready(true);
    registrar
}

fn endpoint(number: u32) -> Endpoint {
    let [_, _, high, low] = number.to_be_bytes();
    let id = EndpointId::new(format!("e-{number:05}")).unwrap();
    Endpoint::new(id, evenkeel_types::Address::Socket(([10, 88, high, low], 80).into()))
}

fn put(server: &Etcd3, endpoint: &Endpoint) {
    let key = format!("{PREFIX}{}", endpoint.id());
    server.call(&request::put(&key, &entry::write(entry::Format::Own, endpoint), 0));
}

struct Store {
    server: Etcd3,
    hub: Hub,
    adapter: Option<EtcdHandle>,
    registrants: BTreeMap<EndpointId, RegistrarHandle>,
}

impl StoreUnderTest for Store {
    fn wait(&mut self, time: Duration) {
        // Nobody ticks the registry here: the adapter does.
        sleep(time);
    }

    fn put(&mut self, endpoint: &Endpoint) -> Done {
        put(&self.server, endpoint);
        Ok(())
    }

    fn remove(&mut self, id: &EndpointId) -> Done {
        self.server.call(&request::delete(&format!("{PREFIX}{id}")));
        Ok(())
    }

    fn put_many(&mut self, endpoints: &[Endpoint]) -> Done {
        self.server.put_many(PREFIX, endpoints);
        Ok(())
    }

    fn put_malformed(&mut self) -> Done {
        self.server.call(&request::put(&format!("{PREFIX}bad"), "{\"Addr\":17}", 0));
        Ok(())
    }

    fn register(&mut self, endpoint: &Endpoint) -> Done {
        self.registrants.insert(endpoint.id().clone(), registrar(self.server.url(), endpoint));
        Ok(())
    }

    fn crash(&mut self, id: &EndpointId) -> Done {
        drop(self.registrants.remove(id).unwrap());
        Ok(())
    }

    fn drain(&mut self, id: &EndpointId) -> Done {
        self.registrants.get(id).unwrap().drain();
        Ok(())
    }

    fn compact(&mut self) -> Done {
        self.server.compact();
        Ok(())
    }

    fn stop(&mut self) -> Done {
        self.server.signal("STOP");
        Ok(())
    }

    fn go_on(&mut self) -> Done {
        self.server.signal("CONT");
        Ok(())
    }

    fn checkpoint(&mut self) -> Done {
        self.server.checkpoint();
        Ok(())
    }

    fn restart_older(&mut self) -> Done {
        self.server.restart_older();
        Ok(())
    }

    fn restart_empty(&mut self) -> Done {
        self.server.restart_empty("another");
        Ok(())
    }

    fn save(&mut self) -> Result<Saved, Refusal> {
        let saved = self.hub.feed.save(SystemTime::now());
        saved.ok_or(Refusal::Failed("nothing to save".to_owned()))
    }

    fn restart_adapter(&mut self, saved: &Saved) -> Result<Watch, Refusal> {
        self.adapter = None;
        self.hub = Hub::new(MirrorConfig::default());
        self.hub.feed.load(saved, SystemTime::now()).unwrap();
        self.adapter = Some(Etcd::start(self.hub.feed.clone(), config(vec![self.server.url()])).unwrap());
        Ok(self.hub.registry.watch(&"users".parse().unwrap()))
    }

    fn limits(&self) -> Limits {
        Limits {
            stale: KEEPALIVE * 2 + Duration::from_millis(500),
            expiry: Duration::from_secs(8),
            ..Limits::default()
        }
    }
}

#[test]
fn conformance() {
    let server = Etcd3::start("conformance");
    let hub = Hub::new(MirrorConfig::default());
    let adapter = Etcd::start(hub.feed.clone(), config(vec![server.url()])).unwrap();
    let watch = hub.registry.watch(&"users".parse().unwrap());
    let mut store = Store { server, hub, adapter: Some(adapter), registrants: BTreeMap::new() };
    let report = run(&mut store, watch);
    println!("{report}");
    assert!(report.is_ok(), "{report}");
    assert!(
        report.cases.iter().all(|(_, v)| *v == evenkeel_registry::conformance::Verdict::Passed),
        "{report}"
    );
}

#[test]
fn compaction_between_list_and_watch_lists_again() {
    let server = Etcd3::start("compaction");
    put(&server, &endpoint(1));
    let mut follower =
        Follower::new(FollowerConfig { prefix: PREFIX.to_owned(), page_size: 10, max_entries: 100 });
    let Ask::List(list) = follower.ask() else { panic!("a list first") };
    follower.listed(&server.call(&list)).unwrap();
    put(&server, &endpoint(2));
    put(&server, &endpoint(2).with_weight(Weight::new(2)));
    server.compact();
    let Ask::Watch(watch) = follower.ask() else { panic!("then the watch") };
    let mut lines = server.open(&watch, Duration::from_secs(5));
    let seen = loop {
        let line = lines.read().unwrap().expect("a word").to_vec();
        match follower.watched(&line).unwrap() {
            Seen::Created => {}
            other => break other,
        }
    };
    assert_eq!(seen, Seen::Compacted);
    let Ask::List(list) = follower.ask() else { panic!("a list again") };
    let events = follower.listed(&server.call(&list)).unwrap();
    assert!(matches!(&events[..], [Event::Full { endpoints, .. }] if endpoints.len() == 2), "{events:?}");
}

#[test]
fn stops_within_a_second_while_etcd_hangs() {
    let server = Etcd3::start("hang");
    let hub = Hub::new(MirrorConfig::default());
    let mut patient = config(vec![server.url()]);
    patient.keepalive = Duration::from_secs(60);
    patient.connection.request_timeout = Duration::from_secs(60);
    let adapter = Etcd::start(hub.feed.clone(), patient.clone()).unwrap();
    hub.until(Duration::from_secs(5), "live", |w| w.latest().state() != SourceState::Pending);
    server.signal("STOP");
    let start = Instant::now();
    adapter.stop();
    println!("stopped in the middle of a watch within {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(1) && !adapter.is_running());
    let adapter = Etcd::start(hub.feed.clone(), patient).unwrap();
    sleep(Duration::from_millis(300));
    let start = Instant::now();
    drop(adapter);
    println!("stopped in the middle of a request within {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(1));
    server.signal("CONT");
}

#[test]
fn a_lost_lease_is_replaced_and_a_deleted_key_written_again() {
    let server = Etcd3::start("lease");
    let hub = Hub::new(MirrorConfig::default());
    let _adapter = Etcd::start(hub.feed.clone(), config(vec![server.url()])).unwrap();
    let registrar = registrar(server.url(), &endpoint(1));
    let limit = Duration::from_secs(10);
    hub.until(limit, "registered", |w| w.latest().endpoints().len() == 1);
    let first = registrar.lease().unwrap();
    server.call(&request::revoke(first.as_str().parse().unwrap()));
    let took = hub.until(limit, "another lease", |_| registrar.lease().is_some_and(|lease| lease != first));
    println!("lease revoked by hand: another after {took:?}");
    hub.until(limit, "kept", |_| registrar.state() == RegistrarState::Kept);
    hub.until(limit, "there again", |w| w.latest().endpoints().len() == 1);
    let second = registrar.lease().unwrap();
    server.call(&request::delete(&format!("{PREFIX}{}", endpoint(1).id())));
    hub.until(limit, "a third lease", |_| registrar.lease().is_some_and(|lease| lease != second));
    hub.until(limit, "there again", |w| w.latest().endpoints().len() == 1);
    // A second process of the same id takes over; when the first leaves, the entry stays.
    let newer = self::registrar(server.url(), &endpoint(1).with_weight(Weight::new(9)));
    hub.until(limit, "taken over", |w| w.latest().endpoints().iter().any(|e| e.weight() == Weight::new(9)));
    drop(registrar);
    sleep(Duration::from_secs(4));
    hub.tick();
    assert_eq!(hub.watch.latest().endpoints().len(), 1, "the lease of the first took nothing with it");
    newer.leave(limit).unwrap();
    hub.until(limit, "gone", |w| w.latest().endpoints().is_empty());
}

#[test]
fn three_members_and_the_leader_killed() {
    let mut cluster = Cluster::start(3);
    let hub = Hub::new(MirrorConfig::default());
    let mut eyes = Eyes::new(hub.registry.watch(&"users".parse().unwrap()));
    let _adapter = Etcd::start(hub.feed.clone(), config(cluster.urls())).unwrap();
    for number in 0..20 {
        put(cluster.any(), &endpoint(number));
    }
    hub.until(Duration::from_secs(10), "twenty", |w| w.latest().endpoints().len() == 20);
    cluster.kill_leader();
    let killed = Instant::now();
    for number in 20..40 {
        cluster.put_somehow(PREFIX, &endpoint(number));
    }
    println!("twenty writes after the leader was killed: {:?}", killed.elapsed());
    let start = Instant::now();
    while hub.watch.latest().endpoints().len() < 40 {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", hub.watch.sources());
        eyes.look().unwrap();
        hub.tick();
        sleep(Duration::from_millis(10));
    }
    println!("all forty seen {:?} after the last write", start.elapsed());
    eyes.look().unwrap();
    assert!(matches!(hub.watch.latest().state(), SourceState::Live));
}

#[test]
fn ten_thousand_and_a_slow_reader() {
    let server = Etcd3::start("many");
    let hub = Hub::new(MirrorConfig::default());
    let mut slow = Eyes::new(hub.registry.watch(&"users".parse().unwrap()));
    let _adapter = Etcd::start(hub.feed.clone(), config(vec![server.url()])).unwrap();
    let mut all: Vec<_> = (0..10_000).map(endpoint).collect();
    let start = Instant::now();
    server.put_many(PREFIX, &all);
    let written = start.elapsed();
    let more = hub.until(Duration::from_secs(60), "all", |w| w.latest().endpoints().len() == 10_000);
    println!("10 000 entries: written in {written:?}, all seen {more:?} later");
    for endpoint in all.iter_mut().step_by(3) {
        *endpoint = endpoint.clone().with_weight(Weight::new(5));
    }
    server.put_many(PREFIX, &all);
    let heavy = all.iter().filter(|e| e.weight() == Weight::new(5)).count();
    hub.until(Duration::from_secs(60), "weights", |w| {
        w.latest().endpoints().iter().filter(|e| e.weight() == Weight::new(5)).count() == heavy
    });
    // The reader looks only now: one difference, nothing missed.
    slow.look().unwrap();
    let snapshot = hub.watch.latest();
    let fresh = Hub::new(MirrorConfig::default());
    let start = Instant::now();
    let _second = Etcd::start(fresh.feed.clone(), config(vec![server.url()])).unwrap();
    fresh.until(Duration::from_secs(60), "listed", |w| w.latest().endpoints().len() == 10_000);
    println!("10 000 entries listed from nothing in {:?} (20 pages)", start.elapsed());
    assert_eq!(snapshot.endpoints(), fresh.watch.latest().endpoints());
}

#[test]
fn users_and_passwords() {
    let server = Etcd3::start("auth");
    put(&server, &endpoint(1));
    server.enable_auth("root", "secret");
    let hub = Hub::new(MirrorConfig::default());
    let mut good = config(vec![server.url()]);
    good.connection.user = Some("root".to_owned());
    good.connection.password = Some(Secret::new("wrong"));
    let wrong = Etcd::start(hub.feed.clone(), good.clone()).unwrap();
    hub.until(Duration::from_secs(10), "denied", |_| hub.trouble() == Some(TroubleKind::Denied));
    drop(wrong);
    good.connection.password = Some(Secret::new("secret"));
    let _adapter = Etcd::start(hub.feed.clone(), good).unwrap();
    hub.until(Duration::from_secs(10), "one", |w| w.latest().endpoints().len() == 1);
    let nobody = Hub::new(MirrorConfig::default());
    let _other = Etcd::start(nobody.feed.clone(), config(vec![server.url()])).unwrap();
    nobody.until(Duration::from_secs(10), "refused", |_| nobody.trouble().is_some());
    println!("without a user: {:?}", nobody.watch.sources()[0].error);
    assert_eq!(nobody.trouble(), Some(TroubleKind::Denied));
}

#[cfg(feature = "tls")]
#[test]
fn certificates() {
    let server = Etcd3::start_tls("tls");
    server.call(&request::put("svc/a", "10.0.0.1:80", 0));
    let hub = Hub::new(MirrorConfig::default());
    let untrusted = Etcd::start(hub.feed.clone(), config(vec![server.url()])).unwrap();
    hub.until(Duration::from_secs(10), "trouble", |_| hub.trouble().is_some());
    println!("unknown authority: {:?}", hub.watch.sources()[0].error);
    assert_eq!(hub.trouble(), Some(TroubleKind::Denied));
    drop(untrusted);
    let mut trusted = config(vec![server.url()]);
    trusted.connection.tls = server.tls();
    let _adapter = Etcd::start(hub.feed.clone(), trusted).unwrap();
    hub.until(Duration::from_secs(10), "one", |w| w.latest().endpoints().len() == 1);
}

#[test]
fn latency() {
    let server = Etcd3::start("latency");
    let hub = Hub::new(MirrorConfig::default());
    let _adapter = Etcd::start(hub.feed.clone(), config(vec![server.url()])).unwrap();
    put(&server, &endpoint(0));
    hub.until(Duration::from_secs(10), "one", |w| w.latest().endpoints().len() == 1);
    // A raw watch of our own, on another connection of the same kind.
    let raw_seen = Arc::new(parking::Marks::default());
    let over = Arc::new(AtomicBool::new(false));
    let (marks, done) = (raw_seen.clone(), over.clone());
    let mut lines = server.open(&request::watch(PREFIX, 1), Duration::from_millis(200));
    let raw = std::thread::spawn(move || {
        while !done.load(Ordering::Relaxed) {
            if let Ok(Some(line)) = lines.read()
                && line.windows(8).any(|part| part == b"\"events\"")
            {
                marks.mark();
            }
        }
    });
    let seen = Arc::new(parking::Marks::default());
    let marks = seen.clone();
    let watch = hub.registry.watch(&"users".parse().unwrap());
    watch.on_change(move || marks.mark());
    let first = FirstPick::follow(&hub.registry, &"users".parse().unwrap());
    let (mut ours, mut theirs, mut picks) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..150 {
        sleep(Duration::from_millis(120)); // longer than the quiet that bursts are gathered by
        hub.tick();
        let _ = watch.take();
        let weight = Weight::new(round + 2);
        first.wish(move |endpoint| endpoint.weight() == weight);
        let start = Instant::now();
        put(&server, &endpoint(0).with_weight(weight));
        theirs.push(raw_seen.after(start));
        ours.push(seen.after(start));
        picks.push(first.after(start));
    }
    over.store(true, Ordering::Relaxed);
    raw.join().unwrap();
    println!("from the start of a write, 150 changes: {} raw watch", parking::quantiles(&mut theirs));
    println!("from the start of a write, 150 changes: {} registry snapshot", parking::quantiles(&mut ours));
    println!("{}", compared("etcd", &picks, &theirs));
}

mod parking {
    use std::sync::{Condvar, Mutex};
    use std::time::{Duration, Instant};

    /// When something was last seen.
    #[derive(Default)]
    pub(crate) struct Marks(Mutex<Option<Instant>>, Condvar);

    impl Marks {
        pub(crate) fn mark(&self) {
            *self.0.lock().unwrap() = Some(Instant::now());
            self.1.notify_all();
        }

        pub(crate) fn after(&self, start: Instant) -> Duration {
            let mut seen = self.0.lock().unwrap();
            loop {
                if let Some(at) = seen.filter(|at| *at > start) {
                    return at - start;
                }
                let (again, wait) = self.1.wait_timeout(seen, Duration::from_secs(10)).unwrap();
                assert!(!wait.timed_out(), "a change was not seen within 10 s");
                seen = again;
            }
        }
    }

    pub(crate) fn quantiles(times: &mut [Duration]) -> String {
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        format!("p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0))
    }
}
