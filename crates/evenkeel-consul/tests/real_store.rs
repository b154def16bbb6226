//! Against a real Consul; `tests/stores/consul.sh` runs it. `EVENKEEL_CONSUL_BIN` names the server's program.
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

use evenkeel_consul::{
    Consistency, Consul, ConsulConfig, ConsulHandle, ConsulRegistrar, ConsulRegistrarConfig, RegistrarHandle,
    Secret,
};
use evenkeel_first_pick::{FirstPick, compared};
use evenkeel_registry::conformance::{Done, Eyes, Limits, Refusal, StoreUnderTest, Verdict, run};
use evenkeel_registry::{
    Feed, MirrorConfig, RegistrarState, Registry, Saved, SourceState, TroubleKind, Watch,
};
use evenkeel_types::{Announced, Endpoint, EndpointId, Timestamp, Weight};
use server::Agent;

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
        let feed = registry.feed(&service, &"consul".parse().unwrap(), mirror, clock).unwrap();
        Self { registry, feed, watch, origin }
    }

    fn tick(&self) {
        self.registry.tick(since(self.origin));
    }

    fn until(&self, limit: Duration, what: &str, seen: impl Fn(&Watch) -> bool) -> Duration {
        let start = Instant::now();
        while !seen(&self.watch) {
            assert!(start.elapsed() < limit, "{what}: not within {limit:?}; {:?}", self.watch.sources());
            self.tick();
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

fn config(agent: &Agent) -> ConsulConfig {
    let mut config = ConsulConfig { service: "users".to_owned(), wait: WAIT, ..ConsulConfig::default() };
    config.connection = agent.connection();
    config.connection.request_timeout = WAIT;
    config
}

/// Silence is seen after 1.07 times this, and once this again.
const WAIT: Duration = Duration::from_secs(1);

fn registrar(agent: &Agent, endpoint: &Endpoint) -> RegistrarHandle {
    let mut config =
        ConsulRegistrarConfig { service: "users".to_owned(), ..ConsulRegistrarConfig::default() };
    config.connection = agent.connection();
    config.registrar.ttl = Duration::from_secs(2);
    config.registrar.propagation = Duration::from_secs(1);
    let registrar = ConsulRegistrar::start(endpoint.clone(), config).unwrap();
    registrar.ready(true);
    registrar
}

fn endpoint(number: u32) -> Endpoint {
    let [_, _, high, low] = number.to_be_bytes();
    let id = EndpointId::new(format!("e-{number:05}")).unwrap();
    Endpoint::new(id, evenkeel_types::Address::Socket(([10, 88, high, low], 80).into()))
}

fn announced(watch: &Watch) -> Vec<Announced> {
    watch.latest().endpoints().iter().map(|endpoint| endpoint.announced()).collect()
}

struct Store {
    agent: Agent,
    hub: Hub,
    adapter: Option<ConsulHandle>,
    registrants: BTreeMap<EndpointId, RegistrarHandle>,
}

impl StoreUnderTest for Store {
    fn wait(&mut self, time: Duration) {
        sleep(time);
        self.hub.tick();
    }

    fn put(&mut self, endpoint: &Endpoint) -> Done {
        self.agent.put(endpoint);
        Ok(())
    }

    fn remove(&mut self, id: &EndpointId) -> Done {
        self.agent.remove(id.as_str());
        Ok(())
    }

    fn put_malformed(&mut self) -> Done {
        self.agent.put_without_port("bad");
        Ok(())
    }

    fn register(&mut self, endpoint: &Endpoint) -> Done {
        self.registrants.insert(endpoint.id().clone(), registrar(&self.agent, endpoint));
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

    fn stop(&mut self) -> Done {
        self.agent.signal("STOP");
        Ok(())
    }

    fn go_on(&mut self) -> Done {
        self.agent.signal("CONT");
        Ok(())
    }

    fn checkpoint(&mut self) -> Done {
        self.agent.checkpoint();
        Ok(())
    }

    fn restart_older(&mut self) -> Done {
        self.agent.restart_older();
        Ok(())
    }

    fn restart_empty(&mut self) -> Done {
        self.agent.restart_empty();
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
        self.adapter = Some(Consul::start(self.hub.feed.clone(), config(&self.agent)).unwrap());
        Ok(self.hub.registry.watch(&"users".parse().unwrap()))
    }

    fn shown(&self, endpoint: &Endpoint) -> Endpoint {
        let id = EndpointId::new(format!("n1/{}", endpoint.id())).unwrap();
        Endpoint::new(id, endpoint.address().clone()).with_weight(endpoint.weight())
    }

    fn limits(&self) -> Limits {
        Limits {
            stale: WAIT * 2 + WAIT / 16 + Duration::from_millis(500),
            // Consul removes after a minute in a critical state at the earliest, and looks every 30 s.
            expiry: Duration::from_secs(110),
            ..Limits::default()
        }
    }
}

#[test]
fn conformance() {
    let agent = Agent::start("conformance", "");
    let hub = Hub::new(MirrorConfig::default());
    let adapter = Consul::start(hub.feed.clone(), config(&agent)).unwrap();
    let watch = hub.registry.watch(&"users".parse().unwrap());
    let mut store = Store { agent, hub, adapter: Some(adapter), registrants: BTreeMap::new() };
    let report = run(&mut store, watch);
    println!("{report}");
    assert!(report.is_ok(), "{report}");
    let skipped = report.cases.iter().filter(|(_, v)| matches!(v, Verdict::Skipped(_)));
    assert_eq!(skipped.map(|(name, _)| *name).collect::<Vec<_>>(), ["compaction"]);
}

#[test]
fn checks_and_maintenance_become_states() {
    let agent = Agent::start("states", "");
    let hub = Hub::new(MirrorConfig::default());
    let _adapter = Consul::start(hub.feed.clone(), config(&agent)).unwrap();
    let registrar = registrar(&agent, &endpoint(1).with_weight(Weight::new(3)));
    let limit = Duration::from_secs(10);
    let until = |state: Announced| hub.until(limit, "a state", |w| announced(w) == [state]);
    until(Announced::Up);
    assert_eq!(hub.watch.latest().endpoints()[0].weight(), Weight::new(3));
    registrar.update(endpoint(1).with_announced(Announced::Degraded)).unwrap();
    until(Announced::Degraded);
    registrar.update(endpoint(1).with_announced(Announced::Down)).unwrap();
    until(Announced::Down);
    registrar.update(endpoint(1).with_weight(Weight::new(0))).unwrap();
    until(Announced::Draining);
    registrar.update(endpoint(1)).unwrap();
    until(Announced::Up);
    drop(registrar);
    let took = until(Announced::Down);
    println!("a registrant with a TTL of 2 s is critical {took:?} after it crashed");
}

#[test]
fn a_forgotten_service_is_registered_again() {
    let agent = Agent::start("forgotten", "");
    let hub = Hub::new(MirrorConfig::default());
    let _adapter = Consul::start(hub.feed.clone(), config(&agent)).unwrap();
    let registrar = registrar(&agent, &endpoint(1));
    let limit = Duration::from_secs(10);
    hub.until(limit, "registered", |w| announced(w) == [Announced::Up]);
    agent.remove(endpoint(1).id().as_str());
    let lost = |registrar: &RegistrarHandle| {
        std::iter::from_fn(|| registrar.take_transition()).any(|t| t.to == RegistrarState::Lost)
    };
    let took = hub.until(limit, "the loss noticed", |_| lost(&registrar));
    println!("deregistered by hand: noticed after {took:?}");
    hub.until(limit, "kept again", |_| registrar.state() == RegistrarState::Kept);
    hub.until(limit, "there again", |w| announced(w) == [Announced::Up]);
    registrar.leave(limit).unwrap();
    assert!(!agent.knows(endpoint(1).id().as_str()));
}

#[test]
fn an_index_that_falls_costs_no_wait() {
    let mut agent = Agent::start("index", "");
    for number in 0..30 {
        agent.put(&endpoint(number));
    }
    let hub = Hub::new(MirrorConfig::default());
    let mut slow = config(&agent);
    slow.wait = Duration::from_secs(120);
    let _adapter = Consul::start(hub.feed.clone(), slow).unwrap();
    let limit = Duration::from_secs(20);
    hub.until(limit, "thirty", |w| w.latest().endpoints().len() == 30);
    let before = agent.index();
    agent.restart_empty();
    for number in 0..3 {
        agent.put(&endpoint(number));
    }
    let after = agent.index();
    assert!(after < before, "{before} → {after}");
    let fallen = |w: &Watch| w.sources()[0].revision.as_ref().is_some_and(|r| r.incarnation() != "0");
    let took = hub.until(limit, "another incarnation", fallen);
    println!("index {before} → {after}: seen {took:?} after the last write, waits of 120 s");
}

#[test]
fn a_service_that_is_missing_yet() {
    let agent = Agent::start("missing", "");
    let hub = Hub::new(MirrorConfig::default());
    let _adapter = Consul::start(hub.feed.clone(), config(&agent)).unwrap();
    let limit = Duration::from_secs(10);
    hub.until(limit, "an answer", |w| w.latest().state() != SourceState::Pending);
    assert!(hub.watch.latest().endpoints().is_empty());
    for number in 0..200 {
        agent.put_in("other", &endpoint(number));
    }
    agent.put(&endpoint(1));
    let took = hub.until(limit, "one", |w| w.latest().endpoints().len() == 1);
    println!("after 200 changes of another service: seen {took:?} after its first registration");
}

#[test]
fn a_thousand_and_a_slow_reader() {
    let agent = Agent::start("many", "");
    let hub = Hub::new(MirrorConfig::default());
    let mut slow = Eyes::new(hub.registry.watch(&"users".parse().unwrap()));
    let mut stale = config(&agent);
    stale.consistency = Consistency::Stale;
    let _adapter = Consul::start(hub.feed.clone(), stale).unwrap();
    let start = Instant::now();
    for number in 0..1000 {
        agent.put(&endpoint(number));
    }
    let written = start.elapsed();
    let more = hub.until(Duration::from_secs(60), "all", |w| w.latest().endpoints().len() == 1000);
    println!("1000 instances: written in {written:?}, all seen {more:?} later, by stale reads");
    slow.look().unwrap();
}

#[test]
fn stops_within_a_second_while_consul_hangs() {
    let agent = Agent::start("hang", "");
    let hub = Hub::new(MirrorConfig::default());
    let mut patient = config(&agent);
    patient.wait = Duration::from_secs(300);
    let adapter = Consul::start(hub.feed.clone(), patient).unwrap();
    hub.until(Duration::from_secs(5), "live", |w| w.latest().state() != SourceState::Pending);
    sleep(Duration::from_millis(200));
    agent.signal("STOP");
    let start = Instant::now();
    adapter.stop();
    println!("stopped within {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(1) && !adapter.is_running());
    agent.signal("CONT");
}

#[test]
fn tokens() {
    let master = "11111111-2222-3333-4444-555555555555";
    let acl = format!(r#"acl {{ enabled = true default_policy = "deny" tokens {{ master = "{master}" }} }}"#);
    let agent = Agent::start_with_token("acl", &acl, master);
    agent.put(&endpoint(1));
    let hub = Hub::new(MirrorConfig::default());
    let mut wrong = config(&agent);
    wrong.connection.token = Some(Secret::new("66666666-2222-3333-4444-555555555555"));
    let adapter = Consul::start(hub.feed.clone(), wrong).unwrap();
    hub.until(Duration::from_secs(10), "denied", |_| hub.trouble() == Some(TroubleKind::Denied));
    println!("wrong token: {:?}", hub.watch.sources()[0].error);
    drop(adapter);
    let _adapter = Consul::start(hub.feed.clone(), config(&agent)).unwrap();
    hub.until(Duration::from_secs(10), "one", |w| w.latest().endpoints().len() == 1);
    let registrar = registrar(&agent, &endpoint(2));
    hub.until(Duration::from_secs(10), "two", |w| w.latest().endpoints().len() == 2);
    drop(registrar);
}

#[cfg(feature = "tls")]
#[test]
fn certificates() {
    let agent = Agent::start_tls("tls");
    agent.put(&endpoint(1));
    let hub = Hub::new(MirrorConfig::default());
    let mut untrusting = config(&agent);
    untrusting.connection.tls = evenkeel_consul::TlsConfig::default();
    let untrusted = Consul::start(hub.feed.clone(), untrusting).unwrap();
    hub.until(Duration::from_secs(10), "trouble", |_| hub.trouble().is_some());
    println!("unknown authority: {:?}", hub.watch.sources()[0].error);
    assert_eq!(hub.trouble(), Some(TroubleKind::Denied));
    drop(untrusted);
    let _adapter = Consul::start(hub.feed.clone(), config(&agent)).unwrap();
    hub.until(Duration::from_secs(10), "one", |w| w.latest().endpoints().len() == 1);
}

#[test]
fn latency() {
    let agent = Agent::start("latency", "");
    let hub = Hub::new(MirrorConfig::default());
    let mut unpaced = config(&agent);
    (unpaced.burst, unpaced.wait) = (1000, Duration::from_secs(10));
    let _adapter = Consul::start(hub.feed.clone(), unpaced).unwrap();
    agent.put(&endpoint(0));
    hub.until(Duration::from_secs(10), "one", |w| w.latest().endpoints().len() == 1);
    // A raw blocking query of our own beside it.
    let raw_seen = Arc::new(parking::Marks::default());
    let over = Arc::new(AtomicBool::new(false));
    let (marks, done) = (raw_seen.clone(), over.clone());
    let poller = agent.poller();
    let raw = std::thread::spawn(move || {
        let mut index = 0;
        while !done.load(Ordering::Relaxed) {
            let next = poller.wait_beyond(index);
            if next != index {
                marks.mark();
            }
            index = next;
        }
    });
    let seen = Arc::new(parking::Marks::default());
    let marks = seen.clone();
    let watch = hub.registry.watch(&"users".parse().unwrap());
    watch.on_change(move || marks.mark());
    let first = FirstPick::follow(&hub.registry, &"users".parse().unwrap());
    let (mut ours, mut theirs, mut picks) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..120 {
        sleep(Duration::from_millis(120)); // longer than the quiet that bursts are gathered by
        hub.tick();
        let _ = watch.take();
        let weight = Weight::new(round + 2);
        first.wish(move |endpoint| endpoint.weight() == weight);
        let start = Instant::now();
        agent.put(&endpoint(0).with_weight(weight));
        theirs.push(raw_seen.after(start));
        ours.push(seen.after(start));
        picks.push(first.after(start));
    }
    over.store(true, Ordering::Relaxed);
    agent.put(&endpoint(0));
    raw.join().unwrap();
    println!(
        "from the start of a write, 120 changes: {} raw blocking query",
        parking::quantiles(&mut theirs)
    );
    println!("from the start of a write, 120 changes: {} registry snapshot", parking::quantiles(&mut ours));
    println!("{}", compared("Consul", &picks, &theirs));
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
