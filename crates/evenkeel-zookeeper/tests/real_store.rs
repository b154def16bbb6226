//! Against a real server: see `tests/stores/zookeeper.sh`, which starts it and runs this.
#![cfg(feature = "real-store")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]
#![allow(clippy::disallowed_methods, reason = "real time, real processes")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_first_pick::{FirstPick, compared};
use evenkeel_registry::conformance::{Done, Eyes, Limits, Refusal, StoreUnderTest, run};
use evenkeel_registry::{
    Feed, MirrorConfig, RegistrarConfig, RegistrarError, RegistrarState, Registry, Saved, ServiceName,
    SourceName, SourceState, Watch,
};
use evenkeel_types::{Announced, Endpoint, EndpointId, Timestamp, Weight};
use evenkeel_zookeeper::{
    Acl, Credentials, Entries, Format, Password, Servers, Tls, Writing, ZooKeeper, ZooKeeperConfig,
    ZooKeeperHandle, ZooKeeperRegistrar, ZooKeeperRegistrarConfig,
};
use zookeeper_client::{Acls, AddWatchMode, Client, CreateMode, Error};

const SESSION: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(30);

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/stores/zookeeper.sh"))
}

fn ctl(verb: &str) {
    let done = Command::new("bash").arg(env("EVENKEEL_ZOOKEEPER_CTL")).args(["ctl", verb]).status().unwrap();
    assert!(done.success(), "ctl {verb}");
}

fn since(start: Instant) -> Timestamp {
    Timestamp::ORIGIN.saturating_add(start.elapsed())
}

/// An operator's tool: a client of its own, opened anew when it has lost its session.
struct Operator {
    runtime: tokio::runtime::Runtime,
    client: Option<Client>,
}

impl Operator {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, client: None }
    }

    fn client(&mut self) -> Client {
        if self.client.as_ref().is_none_or(|client| client.state().is_terminated()) {
            let connector = Client::connector().with_session_timeout(Duration::from_secs(10));
            let address = env("EVENKEEL_ZOOKEEPER");
            self.client = Some(self.runtime.block_on(connector.connect(&address)).unwrap());
        }
        self.client.clone().unwrap()
    }

    /// After the server was killed: the old session is of no use.
    fn forget(&mut self) {
        self.client = None;
    }

    fn put(&mut self, path: &str, data: &[u8]) {
        let client = self.client();
        self.runtime.block_on(async {
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            match client.set_data(path, data, None).await {
                Err(Error::NoNode) => {
                    let parent = path.rsplit_once('/').unwrap().0;
                    client.mkdir(parent, &options).await.unwrap();
                    _ = client.create(path, data, &options).await.unwrap();
                }
                other => _ = other.unwrap(),
            }
        });
    }

    fn create_many(&mut self, parent: &str, nodes: &[(String, Vec<u8>)]) {
        let client = self.client();
        self.runtime.block_on(async {
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            client.mkdir(parent, &options).await.unwrap();
            for chunk in nodes.chunks(500) {
                let mut writer = client.new_multi_writer();
                for (name, data) in chunk {
                    writer.add_create(&format!("{parent}/{name}"), data, &options).unwrap();
                }
                writer.commit().await.unwrap();
            }
        });
    }

    fn delete(&mut self, path: &str) {
        let client = self.client();
        self.runtime.block_on(client.delete(path, None)).unwrap();
    }

    fn get(&mut self, path: &str) -> Option<(String, i64)> {
        let client = self.client();
        let (data, stat) = self.runtime.block_on(client.get_data(path)).ok()?;
        Some((String::from_utf8(data).unwrap(), stat.ephemeral_owner))
    }
}

/// A registry with an adapter.
struct Site {
    start: Instant,
    registry: Registry,
    service: ServiceName,
    feed: Feed,
    watch: Watch,
    handle: Option<ZooKeeperHandle>,
}

fn config(path: &str, format: Format) -> ZooKeeperConfig {
    let mut config = ZooKeeperConfig::new([env("EVENKEEL_ZOOKEEPER")], path);
    config.entries.format = format;
    config.servers.session_timeout = SESSION;
    config.bounds.probe_every = Duration::from_millis(500);
    config.bounds.backoff.max = Duration::from_secs(2);
    config
}

impl Site {
    fn start(config: &ZooKeeperConfig, mirror: MirrorConfig, saved: Option<&Saved>) -> Self {
        let start = Instant::now();
        let (registry, service) = (Registry::default(), ServiceName::new("users").unwrap());
        let source = SourceName::new("zk").unwrap();
        let feed = registry.feed(&service, &source, mirror, move || since(start)).unwrap();
        if let Some(saved) = saved {
            feed.load(saved, std::time::SystemTime::now()).unwrap();
        }
        let watch = registry.watch(&service);
        let handle = Some(ZooKeeper::start(feed.clone(), config.clone()).unwrap());
        Self { start, registry, service, feed, watch, handle }
    }

    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
        let _ = self.registry.tick(since(self.start));
    }

    /// Waits for something to be so; the set must not be seen empty meanwhile, once it was not.
    fn until(&self, what: &str, seen: impl Fn(&Self) -> bool) -> Duration {
        let (from, mut had) = (Instant::now(), false);
        while !seen(self) {
            let len = self.len();
            assert!(!(had && len == 0), "{what}: seen empty");
            had |= len > 0;
            let sources = self.registry.sources(&self.service);
            assert!(from.elapsed() < LONG, "{what}: {len} endpoints, {sources:?}");
            self.wait(Duration::from_millis(5));
        }
        from.elapsed()
    }

    fn len(&self) -> usize {
        self.registry.snapshot(&self.service).endpoints().len()
    }

    fn state(&self) -> SourceState {
        self.registry.snapshot(&self.service).state()
    }

    fn endpoint(&self, id: &str) -> Option<Endpoint> {
        let snapshot = self.registry.snapshot(&self.service);
        snapshot.endpoints().iter().find(|e| e.id().as_str() == id).map(|e| Endpoint::clone(e))
    }

    fn stop(mut self) {
        let before = Instant::now();
        self.handle.take().unwrap().stop();
        assert!(before.elapsed() < Duration::from_secs(1), "stopping took {:?}", before.elapsed());
    }
}

fn endpoint(id: &str, number: u16) -> Endpoint {
    Endpoint::new(id.parse().unwrap(), format!("10.0.0.1:{number}").parse().unwrap())
}

fn entries(format: Format) -> Entries {
    Entries { format, ..Entries::default() }
}

fn data(format: Format, endpoint: &Endpoint) -> Vec<u8> {
    entries(format).write(endpoint, &Writing { service: "users", registered_ms: 0 }).unwrap()
}

fn registrar_config(path: &str, format: Format) -> ZooKeeperRegistrarConfig {
    let mut config = ZooKeeperRegistrarConfig::new([env("EVENKEEL_ZOOKEEPER")], path);
    config.entries.format = format;
    config.registrar = RegistrarConfig {
        ttl: SESSION,
        propagation: Duration::from_millis(500),
        request_timeout: Duration::from_secs(1),
        ..RegistrarConfig::default()
    };
    config.registrar.backoff.max = Duration::from_secs(1);
    config
}

/// The store as the conformance suite handles it.
struct Suite {
    format: Format,
    config: ZooKeeperConfig,
    site: Site,
    operator: Operator,
    registrants: BTreeMap<EndpointId, Child>,
}

impl Suite {
    fn path(&self, id: &EndpointId) -> String {
        format!("{}/{}", self.config.path, entries(self.format).name(id))
    }
}

impl StoreUnderTest for Suite {
    fn wait(&mut self, time: Duration) {
        self.site.wait(time);
    }

    fn put(&mut self, endpoint: &Endpoint) -> Done {
        self.operator.put(&self.path(endpoint.id()), &data(self.format, endpoint));
        Ok(())
    }

    fn put_many(&mut self, endpoints: &[Endpoint]) -> Done {
        let node = |e: &Endpoint| (entries(self.format).name(e.id()), data(self.format, e));
        let nodes: Vec<_> = endpoints.iter().map(node).collect();
        self.operator.create_many(&self.config.path, &nodes);
        Ok(())
    }

    fn remove(&mut self, id: &EndpointId) -> Done {
        self.operator.delete(&self.path(id));
        Ok(())
    }

    fn put_malformed(&mut self) -> Done {
        let id = EndpointId::new("bad").unwrap();
        self.operator.put(&self.path(&id), b"{\"address\":");
        self.operator.delete(&self.path(&id));
        self.operator.put(&self.path(&id), b"{\"address\":");
        Ok(())
    }

    fn register(&mut self, endpoint: &Endpoint) -> Done {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "registrant", "--ignored", "--nocapture", "--test-threads=1"]);
        command
            .env("REGISTRANT_ID", endpoint.id().as_str())
            .env("REGISTRANT_AT", endpoint.address().to_string());
        command.env("REGISTRANT_PATH", &self.config.path);
        command.env("REGISTRANT_FORMAT", serde_json::to_string(&self.format).unwrap());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        self.registrants.insert(endpoint.id().clone(), child);
        Ok(())
    }

    fn crash(&mut self, id: &EndpointId) -> Done {
        let mut child = self.registrants.remove(id).unwrap();
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        Ok(())
    }

    fn drain(&mut self, id: &EndpointId) -> Done {
        self.registrants.get_mut(id).unwrap().stdin.take().unwrap().write_all(b"drain\n").unwrap();
        Ok(())
    }

    fn stop(&mut self) -> Done {
        ctl("stop");
        Ok(())
    }

    fn go_on(&mut self) -> Done {
        ctl("cont");
        self.operator.forget();
        Ok(())
    }

    fn checkpoint(&mut self) -> Done {
        ctl("keep");
        Ok(())
    }

    fn restart_older(&mut self) -> Done {
        for verb in ["kill", "restore", "start"] {
            ctl(verb);
        }
        self.operator.forget();
        Ok(())
    }

    fn restart_empty(&mut self) -> Done {
        for verb in ["kill", "wipe", "start"] {
            ctl(verb);
        }
        self.operator.forget();
        Ok(())
    }

    fn save(&mut self) -> Result<Saved, Refusal> {
        let saved = self.site.feed.save(std::time::SystemTime::now());
        saved.ok_or_else(|| Refusal::Failed("nothing to save".to_owned()))
    }

    fn restart_adapter(&mut self, saved: &Saved) -> Result<Watch, Refusal> {
        let site = Site::start(&self.config, MirrorConfig::default(), Some(saved));
        let watch = site.registry.watch(&site.service);
        std::mem::replace(&mut self.site, site).stop();
        Ok(watch)
    }

    fn limits(&self) -> Limits {
        Limits { expiry: Duration::from_secs(15), ..Limits::default() }
    }
}

/// Not a test: the process that the suite registers, drains and kills.
#[test]
#[ignore = "started by the suite"]
fn registrant() {
    let endpoint =
        Endpoint::new(env("REGISTRANT_ID").parse().unwrap(), env("REGISTRANT_AT").parse().unwrap());
    let format = serde_json::from_str(&env("REGISTRANT_FORMAT")).unwrap();
    let handle =
        ZooKeeperRegistrar::start(endpoint, registrar_config(&env("REGISTRANT_PATH"), format)).unwrap();
    handle.ready(true);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    if line == "drain\n" {
        handle.leave(LONG).unwrap();
    }
}

fn conforms(format: Format, path: &str) {
    let config = config(path, format);
    let site = Site::start(&config, MirrorConfig::default(), None);
    let watch = site.registry.watch(&site.service);
    let mut suite = Suite { format, config, site, operator: Operator::new(), registrants: BTreeMap::new() };
    let from = Instant::now();
    let report = run(&mut suite, watch);
    println!("conformance, {format:?}, {:.1?}:\n{report}", from.elapsed());
    for (_, mut child) in std::mem::take(&mut suite.registrants) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    suite.site.stop();
    assert!(report.is_ok());
}

#[test]
fn a_conformance_with_entries_of_curator() {
    conforms(Format::Curator, "/conformance/curator/users");
}

#[test]
fn a_conformance_with_native_entries() {
    conforms(Format::Native, "/conformance/native");
}

#[test]
fn a_path_that_nobody_has_made_is_awaited() {
    let site = Site::start(&config("/late/users", Format::Native), MirrorConfig::default(), None);
    site.until("told", |site| site.registry.sources(&site.service)[0].error.is_some());
    assert_eq!(site.state(), SourceState::Pending, "unknown, not absent");
    let mut operator = Operator::new();
    operator.put("/late/users/a", &data(Format::Native, &endpoint("a", 1)));
    site.until("the first", |site| site.len() == 1 && site.state() == SourceState::Live);
    site.stop();
}

#[test]
fn a_pause_longer_than_the_session() {
    let path = "/pause";
    let mut operator = Operator::new();
    for number in 1..=3 {
        operator.put(
            &format!("{path}/p{number}"),
            &data(Format::Native, &endpoint(&format!("p{number}"), number)),
        );
    }
    let site = Site::start(&config(path, Format::Native), MirrorConfig::default(), None);
    let registrar =
        ZooKeeperRegistrar::start(endpoint("r", 9), registrar_config(path, Format::Native)).unwrap();
    registrar.ready(true);
    site.until("all", |site| site.len() == 4);
    let mut eyes = Eyes::new(site.registry.watch(&site.service));
    eyes.look().unwrap();
    let before = operator.get("/pause/r").unwrap();
    let session = registrar.status().session;

    ctl("stop");
    let stopped = Instant::now();
    let stale = site.until("stale", |site| matches!(site.state(), SourceState::Stale { .. }));
    assert!(registrar.wait_for(RegistrarState::Lost, LONG), "{:?}", registrar.status());
    let lost = stopped.elapsed();
    // Described anew while nobody can be told: what comes back must be this.
    registrar.update(endpoint("r", 9).with_weight(Weight::new(5))).unwrap();
    site.until("four sessions over", |site| {
        assert_eq!(site.len(), 4, "the set is kept");
        stopped.elapsed() > SESSION * 4
    });
    assert_eq!(site.len(), 4, "the set is kept");
    ctl("cont");
    operator.forget();
    let live = site.until("live", |site| site.state() == SourceState::Live);
    assert!(registrar.wait_for(RegistrarState::Kept, LONG), "{:?}", registrar.status());
    let new_weight = |site: &Site| site.endpoint("r").is_some_and(|r| r.weight() == Weight::new(5));
    site.until("registered again, as it is now", new_weight);
    let after = operator.get("/pause/r").unwrap();
    assert!(before.1 != after.1 && session != registrar.status().session, "a new session owns it");
    eyes.look().unwrap();
    println!(
        "SIGSTOP, session 2 s: stale after {stale:.2?}, lease lost after {lost:.2?}; SIGCONT: live after {live:.2?}"
    );
    registrar.leave(LONG).unwrap();
    site.until("left", |site| site.len() == 3);
    site.stop();
}

#[test]
fn an_entry_of_an_older_session_goes_first() {
    let path = "/older";
    let (mut operator, mut old) = (Operator::new(), Operator::new());
    let ours = endpoint("a", 1);
    operator.put(&format!("{path}/other"), b"");
    let ephemeral = |old: &mut Operator, data: Vec<u8>| {
        let client = old.client();
        let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        old.runtime.block_on(client.create("/older/a", &data, &options)).unwrap();
        client.session_id().0
    };
    // The process before its restart: its session lives on, its address is ours.
    let session = ephemeral(&mut old, data(Format::Native, &ours.clone().with_weight(Weight::new(9))));
    let registrar = ZooKeeperRegistrar::start(ours.clone(), registrar_config(path, Format::Native)).unwrap();
    registrar.ready(true);
    assert!(registrar.wait_for(RegistrarState::Kept, LONG), "{:?}", registrar.status());
    let (text, owner) = operator.get("/older/a").unwrap();
    assert_ne!(owner, session);
    assert_eq!(text.as_bytes(), data(Format::Native, &ours), "not the old data");
    // When the old session ends at last, the new entry stays.
    old.forget();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(operator.get("/older/a").map(|(_, owner)| owner), Some(owner));

    // Deleted by hand: registered again.
    operator.delete("/older/a");
    let from = Instant::now();
    while operator.get("/older/a").is_none() {
        assert!(from.elapsed() < LONG, "{:?}", registrar.status());
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("entry deleted by hand: there again after {:.2?} (time to live 2 s)", from.elapsed());
    drop(registrar);
    assert_eq!(operator.get("/older/a"), None, "a handle that is dropped takes its entry along");

    // Another process under our id is left alone.
    let session = ephemeral(&mut old, data(Format::Native, &endpoint("a", 2)));
    let registrar = ZooKeeperRegistrar::start(ours, registrar_config(path, Format::Native)).unwrap();
    registrar.ready(true);
    let from = Instant::now();
    while registrar.status().error != Some(RegistrarError::Conflict) {
        assert!(from.elapsed() < LONG, "{:?}", registrar.status());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(operator.get("/older/a").map(|(_, owner)| owner), Some(session));
    old.forget();
    assert!(registrar.wait_for(RegistrarState::Kept, LONG), "{:?}", registrar.status());
}

/// What Curator registers is read, and what is registered here Curator reads.
#[test]
fn beside_curator_itself() {
    let path = "/curator/users";
    let site = Site::start(&config(path, Format::Curator), MirrorConfig::default(), None);
    let ours = endpoint("ours", 9).with_weight(Weight::new(3));
    let mut config = registrar_config(path, Format::Curator);
    config.registrar.propagation = Duration::from_secs(5);
    let registrar = ZooKeeperRegistrar::start(ours, config).unwrap();
    registrar.ready(true);
    assert!(registrar.wait_for(RegistrarState::Kept, LONG), "{:?}", registrar.status());
    let command = env("EVENKEEL_CURATOR");
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut curator = command.spawn().unwrap();
    let (mut ask, mut told) =
        (curator.stdin.take().unwrap(), BufReader::new(curator.stdout.take().unwrap()).lines());
    let mut sees = || {
        ask.write_all(b"\n").unwrap();
        let mut seen: Vec<_> = (&mut told).map(Result::unwrap).take_while(|line| line != "end").collect();
        seen.sort();
        seen
    };
    let theirs = "by-curator 10.0.0.9:99 enabled=true {weight=4, stage=canary}";
    assert_eq!(sees(), [theirs, "ours 10.0.0.1:9 enabled=true {metadata={}, weight=3}"]);
    site.until("Curator's", |site| site.len() == 2);
    let by_curator = site.endpoint("by-curator").unwrap();
    assert_eq!(by_curator.address().to_string(), "10.0.0.9:99");
    assert_eq!((by_curator.weight(), by_curator.label("stage")), (Weight::new(4), Some("canary")));
    assert_eq!(by_curator.label("uri"), Some("http://10.0.0.9:99"));

    registrar.drain();
    assert!(registrar.wait_for(RegistrarState::Draining, LONG));
    let from = Instant::now();
    while !sees().iter().any(|line| line.starts_with("ours 10.0.0.1:9 enabled=false")) {
        assert!(from.elapsed() < Duration::from_secs(4), "Curator is not told of the drain");
    }
    registrar.leave(LONG).unwrap();
    assert_eq!(sees(), [theirs]);
    drop(ask);
    curator.wait().unwrap();
    site.until("its goodbye", |site| {
        site.registry.sources(&site.service)[0].held.is_some() || site.len() == 0
    });
    site.stop();
}

#[test]
fn members_of_a_server_set() {
    let path = "/discovery/sets/users";
    let mut operator = Operator::new();
    operator.put(&format!("{path}/vector_0000000001"), br#"{"weight":1.0}"#);
    let member = br#"{"serviceEndpoint":{"host":"10.0.0.7","port":70},"additionalEndpoints":{},"status":"ALIVE","shard":0}"#;
    operator.put(&format!("{path}/member_0000000002"), member);
    let mut config = config(path, Format::ServerSets);
    // Times without end are no reason to panic.
    (config.bounds.probe_every, config.bounds.resync_every) = (Duration::MAX, Some(Duration::MAX));
    (config.bounds.backoff.max, config.servers.request_timeout) = (Duration::MAX, Duration::MAX);
    let site = Site::start(&config, MirrorConfig::default(), None);
    let registrar =
        ZooKeeperRegistrar::start(endpoint("r", 9), registrar_config(path, Format::ServerSets)).unwrap();
    registrar.ready(true);
    site.until("both", |site| site.len() == 2);
    assert_eq!(site.endpoint("0000000002").unwrap().label("shard"), Some("0"));
    registrar.drain();
    site.until("draining", |site| site.endpoint("r").is_some_and(|r| r.announced() == Announced::Draining));
    site.until("gone", |site| site.len() == 1);
    assert_eq!(site.registry.sources(&site.service)[0].rejected, 0, "vectors are no bad entries");
    site.stop();
}

#[test]
fn protected_entries_need_their_user() {
    let path = "/protected";
    let credentials = |password| Some(Credentials { user: "u".into(), password: Password::new(password) });
    let mut registrar = registrar_config(path, Format::Native);
    (registrar.acl, registrar.servers.credentials) = (Acl::Private, credentials("right"));
    let registrar = ZooKeeperRegistrar::start(endpoint("r", 9), registrar).unwrap();
    registrar.ready(true);
    assert!(registrar.wait_for(RegistrarState::Kept, LONG), "{:?}", registrar.status());
    let mut config = config(path, Format::Native);
    config.servers.credentials = credentials("right");
    let site = Site::start(&config, MirrorConfig::default(), None);
    site.until("seen", |site| site.len() == 1);
    site.stop();
    config.servers.credentials = credentials("wrong");
    let site = Site::start(&config, MirrorConfig::default(), None);
    site.until("rejected", |site| site.registry.sources(&site.service)[0].rejected == 1);
    let rejects = site.registry.rejects(&site.service, site.feed.source());
    assert!(format!("{rejects:?}").contains("does not let"), "{rejects:?}");
    site.stop();
}

#[test]
fn encrypted_connections() {
    let path = "/encrypted";
    let mut operator = Operator::new();
    operator.put(&format!("{path}/a"), &data(Format::Native, &endpoint("a", 1)));
    let mut config = config(path, Format::Native);
    let tls = |ca: &str| Some(Tls { ca_file: ca.into(), cert_file: None, key_file: None });
    config.servers = Servers {
        addresses: vec![env("EVENKEEL_ZOOKEEPER_TLS")],
        tls: tls(&env("EVENKEEL_ZOOKEEPER_CA")),
        ..config.servers
    };
    let site = Site::start(&config, MirrorConfig::default(), None);
    site.until("seen", |site| site.len() == 1);
    site.stop();
    // A name that is not in the certificate, and a file that is not there.
    config.servers.addresses = vec![env("EVENKEEL_ZOOKEEPER_TLS").replace("localhost", "127.0.0.1")];
    let site = Site::start(&config, MirrorConfig::default(), None);
    site.until("refused", |site| site.registry.sources(&site.service)[0].error.is_some());
    assert_eq!(site.state(), SourceState::Pending);
    site.stop();
    config.servers.tls = tls("/nonexistent/ca.pem");
    let site = Site::start(&config, MirrorConfig::default(), None);
    site.until("refused", |site| site.registry.sources(&site.service)[0].error.is_some());
    let error = site.registry.sources(&site.service)[0].error.clone().unwrap();
    assert!(error.text.as_str().contains("servers.tls.ca_file"), "{error:?}");
    site.stop();
}

#[test]
fn ten_thousand_instances() {
    let path = "/many";
    let mut operator = Operator::new();
    let many: Vec<_> = (0..10_000).map(|n| endpoint(&format!("m{n:05}"), n + 1)).collect();
    let nodes: Vec<_> = many.iter().map(|e| (e.id().to_string(), data(Format::Native, e))).collect();
    let site = Site::start(&config(path, Format::Native), MirrorConfig::default(), None);
    let from = Instant::now();
    operator.create_many(path, &nodes);
    let written = from.elapsed();
    site.until("all of them", |site| site.len() == 10_000);
    println!(
        "10 000 instances: written in {written:.2?}, all seen {:.2?} after the first write",
        from.elapsed()
    );
    operator.put(
        &format!("{path}/m05000"),
        &data(Format::Native, &many[5_000].clone().with_weight(Weight::new(3))),
    );
    let changed = |site: &Site| site.endpoint("m05000").is_some_and(|e| e.weight() == Weight::new(3));
    println!("10 000 instances: one change seen after {:.2?}", site.until("the change", changed));
    let fresh = Site::start(&config(path, Format::Native), MirrorConfig::default(), None);
    println!(
        "10 000 instances: a new adapter has all after {:.2?}",
        fresh.until("all", |site| site.len() == 10_000)
    );
    fresh.stop();
    let mut expected: Vec<_> = many;
    expected[5_000] = expected[5_000].clone().with_weight(Weight::new(3));
    let snapshot = site.registry.snapshot(&site.service);
    assert!(
        snapshot.endpoints().iter().map(|e| Endpoint::clone(e)).eq(expected),
        "the set is that of the store"
    );
    site.stop();
}

/// How long a change takes, beside a client that only watches, in the same run.
#[test]
fn latency_beside_a_raw_watch() {
    const CHANGES: u32 = 500;
    let path = "/latency";
    let mut operator = Operator::new();
    for number in 1..=10 {
        let id = format!("l{number}");
        operator.put(&format!("{path}/{id}"), &data(Format::Native, &endpoint(&id, number)));
    }
    let mut mirror = MirrorConfig::default();
    mirror.settle.quiet = Duration::ZERO; // what gathering adds is a setting, not a cost
    let site = Site::start(&config(path, Format::Native), mirror, None);
    site.until("all", |site| site.len() == 10);

    let (sender, notified) = std::sync::mpsc::channel();
    let raw = Operator::new();
    let address = env("EVENKEEL_ZOOKEEPER");
    raw.runtime.spawn(async move {
        let client = Client::connect(&address).await.unwrap();
        let mut watcher = client.watch("/latency", AddWatchMode::PersistentRecursive).await.unwrap();
        sender.send(Instant::now()).unwrap();
        loop {
            watcher.changed().await;
            if sender.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    notified.recv().unwrap();
    let seen = Arc::new(parking_lot::Mutex::new(VecDeque::new()));
    let _ = site.watch.take();
    site.watch.on_change({
        let seen = seen.clone();
        move || seen.lock().push_back(Instant::now())
    });
    let first = FirstPick::follow(&site.registry, site.watch.service());
    let (mut own, mut watch, mut write, mut picks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let client = operator.client();
    for change in 0..CHANGES {
        let changed = endpoint("l1", 1).with_weight(Weight::new(change + 2));
        let data = data(Format::Native, &changed);
        let weight = changed.weight();
        first.wish(move |endpoint| endpoint.weight() == weight);
        let from = Instant::now();
        operator.runtime.block_on(client.set_data("/latency/l1", &data, None)).unwrap();
        write.push(from.elapsed());
        watch.push(notified.recv_timeout(LONG).unwrap() - from);
        // Sleeps until then; whoever polls takes the processor from what is measured.
        picks.push(first.after(from));
        let at = loop {
            if let Some(at) = seen.lock().pop_front() {
                break at;
            }
            assert!(from.elapsed() < LONG);
            std::thread::sleep(Duration::from_micros(50));
        };
        own.push(at - from);
        let (snapshot, _) = site.watch.take().unwrap();
        let l1 = snapshot.endpoints().iter().find(|e| e.id().as_str() == "l1").unwrap().weight();
        assert_eq!(l1, changed.weight(), "seen is what was written");
    }
    println!("{}", compared("ZooKeeper", &picks, &watch));
    for (what, mut times) in
        [("write acknowledged", write), ("raw watch notified", watch), ("registry snapshot", own)]
    {
        times.sort_unstable();
        let at = |share: usize| times[times.len() * share / 100];
        println!("{CHANGES} changes, {what}: p50 {:.2?}, p99 {:.2?}", at(50), at(99));
    }
    site.stop();
}
