//! The network between an adapter and its store goes away, and comes back: `tests/stores/partition.sh` makes two network
//! namespaces with a cable between them, starts the stores in one, and runs this in the other.
//!
//! Two ways for it to go: the cable is unplugged, or the store hears what is asked and its answers are lost. Neither tells
//! anybody; the connections stay open.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that needs the real world, and stops where it fails"
)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use evenkeel_consul::{Consul, ConsulConfig, ConsulRegistrar, ConsulRegistrarConfig};
use evenkeel_etcd::{Etcd, EtcdConfig, EtcdRegistrar, EtcdRegistrarConfig};
use evenkeel_registry::{
    Backoff, Feed, MirrorConfig, RegistrarConfig, Registry, SourceState, SourceStatus, Watch,
};
use evenkeel_types::{Endpoint, Timestamp};
use evenkeel_zookeeper::{
    Entries, Format, ZooKeeper, ZooKeeperConfig, ZooKeeperRegistrar, ZooKeeperRegistrarConfig,
};

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/stores/partition.sh"))
}

fn ctl(words: &[&str]) {
    let done = Command::new("bash").arg(env("EVENKEEL_PARTITION_CTL")).arg("ctl").args(words).status();
    assert!(done.unwrap().success(), "ctl {words:?}");
}

struct Hub {
    registry: Registry,
    feed: Feed,
    watch: Watch,
    /// The fewest usable endpoints that any snapshot had since this was last set.
    fewest: Arc<AtomicUsize>,
    start: Instant,
}

impl Hub {
    fn new() -> Self {
        let (registry, service) = (Registry::default(), "users".parse().unwrap());
        let start = Instant::now();
        let clock = move || Timestamp::ORIGIN.saturating_add(start.elapsed());
        let feed =
            registry.feed(&service, &"store".parse().unwrap(), MirrorConfig::default(), clock).unwrap();
        let (watch, looking) = (registry.watch(&service), Arc::new(registry.watch(&service)));
        let fewest = Arc::new(AtomicUsize::new(usize::MAX));
        let (noted, weak) = (fewest.clone(), Arc::downgrade(&looking));
        looking.on_change(move || {
            if let Some(snapshot) =
                weak.upgrade().and_then(|watch| watch.take()).map(|(snapshot, _)| snapshot)
            {
                let usable = snapshot.endpoints().iter().filter(|e| e.announced().is_usable()).count();
                noted.fetch_min(usable, Ordering::Relaxed);
            }
        });
        // It lives as long as the process.
        std::mem::forget(looking);
        Self { registry, feed, watch, fewest, start }
    }

    fn until(&self, what: &str, limit: Duration, seen: impl Fn(&Self) -> bool) -> Duration {
        let start = Instant::now();
        while !seen(self) {
            assert!(start.elapsed() < limit, "{what}: not within {limit:?}: {:?}", self.status());
            self.registry.tick(Timestamp::ORIGIN.saturating_add(self.start.elapsed()));
            sleep(Duration::from_millis(5));
        }
        start.elapsed()
    }

    fn usable(&self) -> usize {
        self.watch.latest().endpoints().iter().filter(|e| e.announced().is_usable()).count()
    }

    fn status(&self) -> SourceStatus {
        self.watch.sources().into_iter().next().unwrap()
    }

    fn is_live(&self) -> bool {
        self.status().state == SourceState::Live
    }

    fn is_stale(&self) -> bool {
        let status = self.status();
        matches!(status.state, SourceState::Stale { .. }) && status.error.is_some()
    }
}

/// Follows three entries of the store and one that is registered from this side; whatever is started lives meanwhile.
fn survives<A, R>(
    store: &str,
    silent_within: Duration,
    follow: impl FnOnce(Feed) -> A,
    register: impl FnOnce(Endpoint) -> R,
) {
    for number in 0..3 {
        ctl(&["put", store, &number.to_string()]);
    }
    let hub = Hub::new();
    let _adapter = follow(hub.feed.clone());
    let _registrar = register(Endpoint::new("own".parse().unwrap(), "10.9.9.9:80".parse().unwrap()));
    hub.until("three, and the one of this side", LONG, |hub| hub.usable() == 4 && hub.is_live());

    for (round, (how, cut)) in
        [("the cable is unplugged", "unplug"), ("answers are lost", "mute")].iter().enumerate()
    {
        let before = hub.usable();
        hub.fewest.store(usize::MAX, Ordering::Relaxed);
        ctl(&[cut]);
        let from = Instant::now();
        let noticed = hub.until("trouble", silent_within, Hub::is_stale);
        println!("{store}, {how}: stale, with the reason, after {noticed:.2?} (bound {silent_within:?})");
        // Meanwhile the store changes, and the lease of this side runs out.
        ctl(&["put", store, &(3 + round).to_string()]);
        sleep(APART.saturating_sub(from.elapsed()));
        assert_eq!(hub.usable(), before, "the set stays as long as nobody can be asked");
        assert!(hub.fewest.load(Ordering::Relaxed) >= before, "no snapshot on the way had fewer");

        ctl(&["heal"]);
        let wanted = before + 1;
        let took = hub.until("everything again", LONG, |hub| hub.usable() == wanted && hub.is_live());
        let fewest = hub.fewest.load(Ordering::Relaxed).min(wanted);
        println!(
            "{store}, {how}: whole again {took:.2?} after the network; never fewer than {fewest} of {before}"
        );
        // The one whose lease ran out may have been missing for a moment, nobody else.
        assert!(fewest + 1 >= before, "nobody left but the one whose lease ran out");
    }
}

fn keep() -> RegistrarConfig {
    RegistrarConfig {
        ttl: Duration::from_secs(2),
        request_timeout: Duration::from_secs(1),
        backoff: QUICK,
        ..RegistrarConfig::default()
    }
}

#[test]
fn etcd() {
    let url = format!("http://{}:2379", env("EVENKEEL_PARTITION_HOST"));
    let mut config = EtcdConfig { prefix: "users/".to_owned(), backoff: QUICK, ..EtcdConfig::default() };
    config.connection.endpoints = vec![url.clone()];
    (config.keepalive, config.connection.request_timeout) = (Duration::from_secs(1), Duration::from_secs(1));
    let bound = config.keepalive + config.connection.request_timeout + SLACK;
    let mut own = EtcdRegistrarConfig {
        prefix: "users/".to_owned(),
        registrar: keep(),
        ..EtcdRegistrarConfig::default()
    };
    own.connection.endpoints = vec![url];
    own.connection.request_timeout = Duration::from_secs(1);
    survives(
        "etcd",
        bound,
        |feed| Etcd::start(feed, config).unwrap(),
        |endpoint| {
            let registrar = EtcdRegistrar::start(endpoint, own).unwrap();
            registrar.ready(true);
            registrar
        },
    );
}

#[test]
fn consul() {
    let address = format!("http://{}:8500", env("EVENKEEL_PARTITION_HOST"));
    let mut config =
        ConsulConfig { service: "users".to_owned(), backoff: QUICK, burst: 1000, ..ConsulConfig::default() };
    config.connection.address.clone_from(&address);
    (config.wait, config.connection.request_timeout) = (Duration::from_secs(1), Duration::from_secs(1));
    let bound = config.wait.mul_f64(1.07) + config.connection.request_timeout + SLACK;
    let mut own = ConsulRegistrarConfig {
        service: "users".to_owned(),
        registrar: keep(),
        ..ConsulRegistrarConfig::default()
    };
    own.connection.address = address;
    own.connection.request_timeout = Duration::from_secs(1);
    survives(
        "consul",
        bound,
        |feed| Consul::start(feed, config).unwrap(),
        |endpoint| {
            let registrar = ConsulRegistrar::start(endpoint, own).unwrap();
            registrar.ready(true);
            registrar
        },
    );
}

#[test]
fn zookeeper() {
    let address = format!("{}:2181", env("EVENKEEL_PARTITION_HOST"));
    let session = Duration::from_secs(2);
    let entries = Entries { format: Format::Native, ..Entries::default() };
    let mut config = ZooKeeperConfig::new([address.clone()], "/users");
    config.entries = entries.clone();
    config.servers.session_timeout = session;
    (config.servers.request_timeout, config.bounds.probe_every) =
        (Duration::from_secs(1), Duration::from_secs(1));
    config.bounds.backoff = QUICK;
    let bound = config.bounds.probe_every + config.servers.request_timeout + SLACK;
    let mut own = ZooKeeperRegistrarConfig::new([address], "/users");
    own.entries = entries;
    own.registrar = keep();
    survives(
        "zookeeper",
        bound,
        |feed| ZooKeeper::start(feed, config).unwrap(),
        |endpoint| {
            let registrar = ZooKeeperRegistrar::start(endpoint, own).unwrap();
            registrar.ready(true);
            registrar
        },
    );
}

/// Longer than the leases of this side live.
const APART: Duration = Duration::from_secs(5);
const QUICK: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(1) };
const SLACK: Duration = Duration::from_millis(700);
const LONG: Duration = Duration::from_secs(30);
