//! A registry with feeds, as a program has it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use evenkeel_registry::{
    EvictionLimit, Feed, Hold, MirrorConfig, Registry, ServiceName, Settle, TroubleKind, Watch,
};
use evenkeel_types::{Announced, Timestamp};
use evenkeel_xds::{Backoff, Variant, XdsConfig};

use crate::server::{ControlPlane, Seen};

pub struct Hub {
    pub registry: Registry,
    pub origin: Instant,
}

impl Hub {
    pub fn new() -> Self {
        Self { registry: Registry::default(), origin: Instant::now() }
    }

    pub fn clock(&self) -> impl Fn() -> Timestamp + Send + Sync + 'static {
        let origin = self.origin;
        move || Timestamp::ORIGIN.saturating_add(origin.elapsed())
    }

    pub fn feed(&self, service: &str, mirror: MirrorConfig) -> Feed {
        let name: ServiceName = service.parse().unwrap();
        self.registry.feed(&name, &"xds".parse().unwrap(), mirror, self.clock()).unwrap()
    }

    pub fn watch(&self, service: &str) -> Watch {
        self.registry.watch(&service.parse().unwrap())
    }

    pub fn tick(&self) {
        self.registry.tick(self.clock()());
    }

    pub fn trouble(&self, service: &str) -> Option<TroubleKind> {
        let sources = self.registry.sources(&service.parse().unwrap());
        sources.iter().find_map(|source| source.error.as_ref().map(|error| error.kind))
    }

    pub fn until(&self, limit: Duration, what: &str, seen: impl Fn(&Self) -> bool) -> Duration {
        let start = Instant::now();
        while !seen(self) {
            let services = self.registry.services();
            let sources: Vec<_> = services.names().iter().map(|name| self.registry.sources(name)).collect();
            assert!(start.elapsed() < limit, "{what}: not within {limit:?}; {sources:?}");
            self.tick();
            sleep(Duration::from_millis(3));
        }
        start.elapsed()
    }

    pub fn len(&self, service: &str) -> usize {
        self.registry.snapshot(&service.parse().unwrap()).endpoints().len()
    }

    /// As Envoy's administration shows it.
    pub fn set(&self, service: &str) -> Vec<Seen> {
        let health = |announced: Announced| match announced {
            Announced::Unknown | Announced::Up => "usable",
            Announced::Degraded => "degraded",
            _ => "unusable",
        };
        let snapshot = self.registry.snapshot(&service.parse().unwrap());
        let all = snapshot.endpoints().iter().map(|e| {
            let (weight, priority) = (e.weight().get().into(), e.priority().get().into());
            (e.address().to_string(), weight, priority, health(e.announced()))
        });
        let mut all: Vec<_> = all.collect();
        all.sort();
        all
    }
}

/// One that shows at once and in full what the store says, since Envoy has no guards.
pub fn trusting() -> MirrorConfig {
    let mut mirror = MirrorConfig {
        settle: Settle { quiet: Duration::ZERO, max: Duration::ZERO },
        shrink: EvictionLimit { always: usize::MAX, ..EvictionLimit::default() },
        ..MirrorConfig::default()
    };
    mirror.empty.hold = Hold::Never;
    mirror
}

pub const KEEPALIVE: Duration = Duration::from_secs(1);

pub fn config(plane: &ControlPlane, variant: Variant) -> XdsConfig {
    let mut config = XdsConfig::new([plane.url()], "ours");
    config.variant = variant;
    config.connection.keepalive = KEEPALIVE;
    config.connection.keepalive_timeout = KEEPALIVE;
    config.connection.connect_timeout = KEEPALIVE;
    config.backoff = Backoff { min: Duration::from_millis(50), max: Duration::from_secs(1) };
    config
}
