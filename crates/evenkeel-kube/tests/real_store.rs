//! Against an API server that is a process of its own, which can be stopped and killed: see `tests/stores/kube.sh`.
#![cfg(feature = "real-store")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]
#![allow(clippy::disallowed_methods, reason = "real time, real processes")]

#[path = "support/site.rs"]
mod site;
mod support;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_first_pick::{FirstPick, compared};
use evenkeel_kube::KubeConfig;
use evenkeel_registry::conformance::{Done, Eyes, Limits, Refusal, StoreUnderTest, run};
use evenkeel_registry::{MirrorConfig, Saved, SourceState, TroubleKind, Watch};
use evenkeel_types::{Announced, Endpoint, EndpointId};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use site::{LONG, Site, config};
use support::{Remote, numbered, pod, slice, terminating};

/// The server: this program once more, as a test that is only run by name.
#[test]
#[ignore = "the API server itself"]
fn api_server() {
    let address = std::env::var("EVENKEEL_KUBE_SERVER").expect("an address to listen at");
    let load = std::env::var("EVENKEEL_KUBE_LOAD").expect("what it holds");
    support::serve(&TcpListener::bind(address).unwrap(), None, &serde_json::from_str(&load).unwrap());
}

struct Process {
    child: Child,
    remote: Remote,
}

impl Process {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::at(free, &Value::Null)
    }

    /// One that holds something from the first moment on.
    fn at(address: SocketAddr, load: &Value) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "api_server", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env("EVENKEEL_KUBE_SERVER", address.to_string()).env("EVENKEEL_KUBE_LOAD", load.to_string());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (child, remote) = (command.spawn().unwrap(), Remote { address });
        let from = Instant::now();
        while remote.try_control(&json!({})).is_err() {
            assert!(from.elapsed() < LONG, "the server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, remote }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn restart(&mut self, load: &Value) {
        self.kill();
        *self = Self::at(self.remote.address, load);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The store as the conformance suite handles it, with a controller that packs pods into slices.
struct Suite {
    server: Process,
    config: KubeConfig,
    site: Site,
    /// Name and address, by slice.
    slices: Vec<BTreeMap<EndpointId, Value>>,
    copy: Value,
}

const PER_SLICE: usize = 100;

impl Suite {
    fn write(&self, at: usize) {
        let entries: Vec<_> = self.slices[at].values().cloned().collect();
        self.server.remote.put(&[slice(&format!("users-{at}"), &entries)]);
    }

    fn take(&mut self, endpoint: &Endpoint) -> usize {
        let known = self.slices.iter().position(|slice| slice.contains_key(endpoint.id()));
        let at = known.or_else(|| self.slices.iter().position(|slice| slice.len() < PER_SLICE));
        let at = at.unwrap_or_else(|| {
            self.slices.push(BTreeMap::new());
            self.slices.len() - 1
        });
        let mut pod =
            pod(endpoint.id().as_str(), &endpoint.address().socket_addr().unwrap().ip().to_string());
        pod["targetRef"]["uid"] = endpoint.id().as_str().into();
        self.slices[at].insert(endpoint.id().clone(), pod);
        at
    }
}

impl StoreUnderTest for Suite {
    fn wait(&mut self, time: Duration) {
        self.site.wait(time);
    }

    fn put(&mut self, endpoint: &Endpoint) -> Done {
        let at = self.take(endpoint);
        self.write(at);
        Ok(())
    }

    fn put_many(&mut self, endpoints: &[Endpoint]) -> Done {
        let mut touched: Vec<_> = endpoints.iter().map(|endpoint| self.take(endpoint)).collect();
        touched.dedup();
        touched.into_iter().for_each(|at| self.write(at));
        Ok(())
    }

    fn change_weight(&mut self, _: &Endpoint) -> Done {
        Err(Refusal::Unsupported("EndpointSlices have no weights"))
    }

    fn remove(&mut self, id: &EndpointId) -> Done {
        let at = self.slices.iter().position(|slice| slice.contains_key(id)).unwrap();
        self.slices[at].remove(id);
        self.write(at);
        Ok(())
    }

    fn put_malformed(&mut self) -> Done {
        self.server.remote.put(&[slice("users-bad", &[json!({"addresses": ["nowhere"]})])]);
        Ok(())
    }

    fn register(&mut self, _: &Endpoint) -> Done {
        Err(Refusal::Unsupported("Kubernetes registers pods itself"))
    }

    fn compact(&mut self) -> Done {
        self.server.remote.control(&json!({"compact": true, "cut": true}));
        Ok(())
    }

    fn stop(&mut self) -> Done {
        self.server.signal(Signal::STOP);
        Ok(())
    }

    fn go_on(&mut self) -> Done {
        self.server.signal(Signal::CONT);
        Ok(())
    }

    fn checkpoint(&mut self) -> Done {
        self.copy = self.server.remote.control(&json!({"dump": true}));
        Ok(())
    }

    fn restart_older(&mut self) -> Done {
        self.server.restart(&json!({"load": self.copy}));
        for (at, slice) in self.slices.iter_mut().enumerate() {
            let listed = &self.copy["slices"][format!("users-{at}")]["endpoints"];
            let listed: Vec<_> =
                listed.as_array().unwrap().iter().map(|entry| &entry["targetRef"]["uid"]).collect();
            slice.retain(|id, _| listed.iter().any(|uid| *uid == id.as_str()));
        }
        Ok(())
    }

    fn restart_empty(&mut self) -> Done {
        self.server.restart(&Value::Null);
        self.slices.clear();
        Ok(())
    }

    fn save(&mut self) -> Result<Saved, Refusal> {
        Ok(self.site.feed.save(std::time::SystemTime::now()).unwrap())
    }

    fn restart_adapter(&mut self, saved: &Saved) -> Result<Watch, Refusal> {
        self.site = Site::with(self.config.clone(), MirrorConfig::default(), Some(saved));
        Ok(self.site.registry.watch(&self.site.service))
    }

    fn limits(&self) -> Limits {
        // Two seconds: a watch of one, and one more for an answer. The rest is for a machine that is busy.
        Limits { stale: Duration::from_secs(5), reconnect: Duration::from_secs(5), ..Limits::default() }
    }
}

#[test]
fn conformance() {
    let server = Process::start();
    let config = config(server.remote.url());
    let site = Site::start(config.clone());
    let watch = site.registry.watch(&site.service);
    let mut suite = Suite { server, config, site, slices: Vec::new(), copy: Value::Null };
    let report = run(&mut suite, watch);
    println!("{report}");
    assert!(report.is_ok());
    suite.site.stop();
}

#[test]
fn a_silent_server_is_noticed_within_the_bound() {
    let server = Process::start();
    server.remote.put(&[slice("a", &[numbered(1), numbered(2), numbered(3)])]);
    let config = config(server.remote.url());
    let bound = config.bounds.silence();
    for round in 0..5_u64 {
        let site = Site::start(config.clone());
        site.until("three", |site| site.len() == 3);
        site.wait(Duration::from_millis(170 * round));
        server.signal(Signal::STOP);
        let stale = site.until("stale", |site| matches!(site.state(), SourceState::Stale { .. }));
        assert!(stale < bound + Duration::from_secs(3), "{stale:?}");
        let error = site.status().error.unwrap();
        assert_eq!(error.kind, TroubleKind::Timeout, "{error:?}");
        site.wait(Duration::from_secs(1));
        assert_eq!(site.len(), 3, "the set is kept");
        server.signal(Signal::CONT);
        let live = site.until("live", |site| site.state() == SourceState::Live);
        println!("SIGSTOP, bound {bound:?}: stale after {stale:.2?}; SIGCONT: live after {live:.2?}");
        site.stop();
    }
}

#[test]
fn a_server_that_is_killed() {
    let mut server = Process::start();
    let entries: Vec<_> = (1..=10).map(numbered).collect();
    server.remote.put(&[slice("a", &entries)]);
    let site = Site::start(config(server.remote.url()));
    site.until("ten", |site| site.len() == 10);
    let mut eyes = Eyes::new(site.registry.watch(&site.service));
    eyes.look().unwrap();
    server.kill();
    let stale = site.until("stale", |site| matches!(site.state(), SourceState::Stale { .. }));
    site.until_trouble(TroubleKind::Unreachable, "");
    // It comes back with versions that start anew, and one pod less.
    let mut less = slice("a", &entries[..9]);
    less["metadata"]["resourceVersion"] = "2".into();
    server.restart(&json!({"load": {"version": 2, "slices": {"a": less}}}));
    let live = site.until("live", |site| site.state() == SourceState::Live && site.len() == 9);
    eyes.look().unwrap();
    println!("kill -9: stale after {stale:.2?}; back with lower versions: live and equal after {live:.2?}");
    site.stop();
}

#[test]
fn the_end_of_pods_is_no_mass_removal() {
    let server = Process::start();
    let all: Vec<_> = (0..20).map(numbered).collect();
    server.remote.put(&[slice("a", &all)]);
    let site = Site::start(config(server.remote.url()));
    site.until("all", |site| site.len() == 20);
    let ending: Vec<_> = all.iter().cloned().map(terminating).collect();
    server.remote.put(&[slice("a", &ending)]);
    site.until("draining", |site| {
        let snapshot = site.registry.snapshot(&site.service);
        snapshot.endpoints().iter().all(|endpoint| endpoint.announced() == Announced::Draining)
    });
    server.remote.put(&[slice("a", &[])]);
    let from = Instant::now();
    while site.len() > 0 {
        assert!(from.elapsed() < Duration::from_secs(5), "{:?}", site.status());
        site.wait(Duration::from_millis(5));
    }
    println!(
        "20 pods terminate: gone {:.2?} after the controller took them out, past all guards",
        from.elapsed()
    );
    site.stop();
}

#[test]
fn a_thousand_and_ten_thousand() {
    for (count, page) in [(1_000_u32, 3), (10_000, 7), (10_000, 100)] {
        let server = Process::start();
        let all: Vec<_> = (0..count).map(numbered).collect();
        let named = |at: usize, chunk: &[Value]| slice(&format!("users-{at:03}"), chunk);
        let slices: Vec<_> = all.chunks(100).enumerate().map(|(at, chunk)| named(at, chunk)).collect();
        let mut settings = config(server.remote.url());
        settings.bounds.page_size = page;
        let site = Site::start(settings.clone());
        let from = Instant::now();
        for slice in &slices {
            server.remote.put(std::slice::from_ref(slice));
        }
        let written = from.elapsed();
        site.until("all", |site| site.len() == count as usize);
        let seen = from.elapsed();
        let fresh = Site::start(settings);
        let listed = fresh.until("all", |site| site.len() == count as usize);
        fresh.stop();
        let mut changed = all[100..200].to_vec();
        changed[50] = terminating(changed[50].clone());
        server.remote.put(&[named(1, &changed)]);
        let one = site.until("the change", |site| {
            site.endpoint("uid-p00150").unwrap().announced() == Announced::Draining
        });
        println!(
            "{count} endpoints: written in {written:.2?}, all seen after {seen:.2?}; a new adapter has all, by pages of \
             {page} slices, after {listed:.2?}; one change seen after {one:.2?}"
        );
        assert!(site.status().error.is_none() && site.status().rejected == 0, "{:?}", site.status());
        let snapshot = site.registry.snapshot(&site.service);
        assert!(
            snapshot
                .endpoints()
                .iter()
                .map(|e| e.id().to_string())
                .eq((0..count).map(|n| format!("uid-p{n:05}")))
        );
        site.stop();
    }
}

/// How long a change takes, beside a client that only watches, in the same run.
#[test]
fn latency_beside_a_raw_watch() {
    const CHANGES: u32 = 500;
    let server = Process::start();
    let all: Vec<_> = (0..100).map(numbered).collect();
    server.remote.put(&[slice("a", &all)]);
    let mut mirror = MirrorConfig::default();
    mirror.settle.quiet = Duration::ZERO; // what gathering adds is a setting, not a cost
    let site = Site::with(config(server.remote.url()), mirror, None);
    site.until("all", |site| site.len() == 100);

    let (sender, notified) = std::sync::mpsc::channel();
    let address = server.remote.address;
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let path = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?watch=true&resourceVersion=101&timeoutSeconds=290";
        stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if line.contains("\"type\":") && sender.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    let seen = Arc::new(parking_lot::Mutex::new(VecDeque::new()));
    let _ = site.watch.take();
    site.watch.on_change({
        let seen = seen.clone();
        move || seen.lock().push_back(Instant::now())
    });
    std::thread::sleep(Duration::from_millis(100));
    let first = FirstPick::follow(&site.registry, site.watch.service());
    let (mut own, mut watch, mut write) = (Vec::new(), Vec::new(), Vec::new());
    // Of every second change: that somebody is back shows in a pick, that somebody is gone in none.
    let (mut picks, mut notices) = (Vec::new(), Vec::new());
    for change in 0..CHANGES {
        let mut all = all.clone();
        all[7]["conditions"]["ready"] = (change % 2 == 1).into();
        let order = json!({"put": [slice("a", &all)]});
        first.wish(|endpoint| endpoint.id().as_str() == "uid-p00007");
        let from = Instant::now();
        server.remote.control(&order);
        write.push(from.elapsed());
        watch.push(notified.recv_timeout(LONG).unwrap() - from);
        let at = loop {
            if let Some(at) = seen.lock().pop_front() {
                break at;
            }
            assert!(from.elapsed() < LONG);
            std::thread::sleep(Duration::from_micros(50));
        };
        own.push(at - from);
        if change % 2 == 1 {
            picks.push(first.after(from));
            notices.extend(watch.last().copied());
        }
        let (snapshot, _) = site.watch.take().unwrap();
        let wanted = if change % 2 == 1 { Announced::Up } else { Announced::Starting };
        assert_eq!(snapshot.endpoints()[7].announced(), wanted, "seen is what was written");
    }
    println!("{}", compared("kubernetes", &picks, &notices));
    for (what, mut times) in
        [("write acknowledged", write), ("raw watch notified", watch), ("registry snapshot", own)]
    {
        times.sort_unstable();
        let at = |share: usize| times[times.len() * share / 100];
        println!("{CHANGES} changes, {what}: p50 {:.2?}, p99 {:.2?}", at(50), at(99));
    }
    site.stop();
}
