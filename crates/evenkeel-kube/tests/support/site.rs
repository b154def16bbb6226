//! A registry with an adapter in front of a server by script.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::time::{Duration, Instant};

use evenkeel_kube::{Access, Bounds, Kube, KubeConfig, KubeHandle, PortChoice, Server};
use evenkeel_registry::{
    Backoff, Feed, MirrorConfig, Registry, Saved, ServiceName, SourceName, SourceState, SourceStatus,
    TroubleKind, Watch,
};
use evenkeel_types::{Endpoint, Timestamp};

pub const LONG: Duration = Duration::from_secs(30);

pub fn config(url: String) -> KubeConfig {
    KubeConfig {
        access: Access::Server(Server { url, ..Server::default() }),
        namespace: Some("shop".into()),
        bounds: Bounds {
            watch_for: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(1),
            linger: Duration::from_millis(100),
            backoff: Backoff { min: Duration::from_millis(50), max: Duration::from_millis(300) },
            ..Bounds::default()
        },
        ..port(KubeConfig::new("users"))
    }
}

fn port(mut config: KubeConfig) -> KubeConfig {
    config.endpoints.port = PortChoice::Named("http".into());
    config
}

pub struct Site {
    pub start: Instant,
    pub registry: Registry,
    pub service: ServiceName,
    pub feed: Feed,
    pub watch: Watch,
    pub handle: Option<KubeHandle>,
}

pub fn since(start: Instant) -> Timestamp {
    Timestamp::ORIGIN.saturating_add(start.elapsed())
}

impl Site {
    pub fn start(config: KubeConfig) -> Self {
        Self::with(config, MirrorConfig::default(), None)
    }

    pub fn with(config: KubeConfig, mirror: MirrorConfig, saved: Option<&Saved>) -> Self {
        let start = Instant::now();
        let (registry, service) = (Registry::default(), ServiceName::new("users").unwrap());
        let feed =
            registry.feed(&service, &SourceName::new("kube").unwrap(), mirror, move || since(start)).unwrap();
        if let Some(saved) = saved {
            feed.load(saved, std::time::SystemTime::now()).unwrap();
        }
        let watch = registry.watch(&service);
        let handle = Some(Kube::start(feed.clone(), config).unwrap());
        Self { start, registry, service, feed, watch, handle }
    }

    pub fn wait(&self, time: Duration) {
        std::thread::sleep(time);
        let _ = self.registry.tick(since(self.start));
    }

    /// Waits for something to be so; the set must not be seen empty meanwhile, once it was not.
    pub fn until(&self, what: &str, seen: impl Fn(&Self) -> bool) -> Duration {
        let (from, mut had) = (Instant::now(), false);
        while !seen(self) {
            let len = self.len();
            assert!(!(had && len == 0), "{what}: seen empty");
            had |= len > 0;
            assert!(from.elapsed() < LONG, "{what}: {len} endpoints, {:?}", self.status());
            self.wait(Duration::from_millis(5));
        }
        from.elapsed()
    }

    pub fn until_trouble(&self, kind: TroubleKind, part: &str) {
        self.until(part, |site| {
            site.status().error.is_some_and(|error| error.kind == kind && error.text.as_str().contains(part))
        });
    }

    pub fn len(&self) -> usize {
        self.registry.snapshot(&self.service).endpoints().len()
    }

    pub fn state(&self) -> SourceState {
        self.registry.snapshot(&self.service).state()
    }

    pub fn status(&self) -> SourceStatus {
        self.registry.sources(&self.service)[0].clone()
    }

    pub fn ids(&self) -> Vec<String> {
        self.registry.snapshot(&self.service).endpoints().iter().map(|e| e.id().to_string()).collect()
    }

    pub fn endpoint(&self, id: &str) -> Option<Endpoint> {
        let snapshot = self.registry.snapshot(&self.service);
        snapshot.endpoints().iter().find(|e| e.id().as_str() == id).map(|e| Endpoint::clone(e))
    }

    pub fn stop(mut self) {
        let before = Instant::now();
        self.handle.take().unwrap().stop();
        assert!(before.elapsed() < Duration::from_secs(1), "stopping took {:?}", before.elapsed());
    }
}
