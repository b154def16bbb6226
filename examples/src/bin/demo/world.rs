//! The parts that both modes share: registry, cluster, checks and proxy, wired together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::{
    BreakerConfig, Cluster, Driver, Following, MonotonicClock, Notice, PolicyConfig, Ratio, Registry, Rule,
    ServiceName, Window,
};
use evenkeel_examples::admin::{self, Admin, AdminSettings, Exposure, Listener, Metrics};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::checker::{self, Check};
use crate::journal::Journal;
use crate::meter::Meters;
use crate::phases::Ledger;
use crate::pool::{Pool, Upstream};
use crate::proxy::Proxy;

/// Everything between the clients and the backends.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) clock: MonotonicClock,
    pub(crate) registry: Registry,
    pub(crate) service: ServiceName,
    pub(crate) cluster: Cluster<Upstream>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) proxy: Arc<Proxy>,
    metrics: Metrics,
    _following: Following<Upstream>,
    _driver: Driver,
}

/// What differs between the modes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) policy: PolicyConfig,
    pub(crate) seed: u64,
    /// How long a breaker stays open before the first probe.
    pub(crate) open_for: Duration,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Result<Self, Box<dyn std::error::Error>> {
        let clock = MonotonicClock::new();
        let (meters, ledger) = (Arc::new(Meters::default()), Arc::new(Ledger::new()));
        let journal = Arc::new(Journal::new(clock));
        let metrics = Metrics::default();
        let cluster = Cluster::builder("demo")
            .policy(settings.policy)
            .breaker(breaker(settings.open_for))
            .seed(settings.seed)
            .clock(clock)
            .observer(metrics.counters("demo").and(observer(&ledger, &journal)))
            .build()?;
        let (registry, service) = (Registry::default(), "demo".parse::<ServiceName>()?);
        let known = Arc::clone(&meters);
        let following = cluster.follow(&registry, &service, move |endpoint| Upstream {
            pool: Pool::new(endpoint.address().clone()),
            meter: known.of(endpoint.id()),
            watched: admin::Meter::new(),
        });
        let proxy = Arc::new(Proxy::new(cluster.clone(), clock, Arc::clone(&ledger)));
        let driver = cluster.drive(Duration::from_millis(100))?;
        Ok(Self {
            clock,
            registry,
            service,
            cluster,
            meters,
            ledger,
            journal,
            proxy,
            metrics,
            _following: following,
            _driver: driver,
        })
    }

    /// Starts checking whoever registers.
    pub(crate) fn check(&self, check: Check) -> JoinHandle<()> {
        let (cluster, registry, service) =
            (self.cluster.clone(), self.registry.clone(), self.service.clone());
        tokio::spawn(checker::check_all(cluster, registry, service, check))
    }

    /// Serves the status page for as long as the listener is kept.
    pub(crate) fn administer(&self, at: SocketAddr) -> Result<Listener, Box<dyn std::error::Error>> {
        let admin = Admin::new(AdminSettings::default())?
            .with_metered(&self.cluster, |upstream: &Upstream| Some(&upstream.watched))
            .with_metrics(self.metrics.clone());
        let listener = Listener::start(at, Exposure::Loopback, Arc::new(admin));
        Ok(listener.map_err(|error| format!("--admin: {error}"))?)
    }

    /// Starts the proxy; it ends soon after `true` is sent.
    pub(crate) fn serve(&self, listener: TcpListener) -> (watch::Sender<bool>, JoinHandle<()>) {
        let (stop, stopped) = watch::channel(false);
        (stop, tokio::spawn(Arc::clone(&self.proxy).serve(listener, stopped)))
    }
}

/// A run of failures finds the dead, a ratio the half dead.
fn breaker(open_for: Duration) -> BreakerConfig {
    BreakerConfig {
        rules: vec![
            Rule::Consecutive { failures: 5 },
            Rule::Ratio {
                failures: Ratio::HALF,
                min_requests: 20,
                window: Window::Time { span: Duration::from_secs(2), buckets: 10 },
            },
        ],
        open_for,
        ..BreakerConfig::default()
    }
}

fn observer(ledger: &Arc<Ledger>, journal: &Arc<Journal>) -> impl Fn(&Notice) + Send + Sync + use<> {
    let (ledger, journal) = (Arc::clone(ledger), Arc::clone(journal));
    move |notice| {
        ledger.turn();
        journal.notice(notice);
    }
}
