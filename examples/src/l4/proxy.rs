use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use evenkeel_config::{
    Config, ConfigErrors, Diff, ListenerConfig, Loaded, Protocol, Running, Watching, watch_changes,
};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::time::Instant;

use super::aside::{Aside, Closing};
use super::backend::Backends;
use super::gate::Gate;
use super::listener::{ListenError, Listener, Sockets};
use super::metrics::Metrics;
use super::settings::{ListenerPart, Settings, SettingsError};
use super::shared::Shared;
use super::worker::{Order, Worker};

/// A layer 4 load balancer that runs on threads of its own, until it is stopped or dropped.
pub struct Proxy {
    core: Arc<Core>,
    aside: Option<JoinHandle<()>>,
    admin: Option<SocketAddr>,
}

/// What a reload needs too.
struct Core {
    shared: Arc<Shared>,
    workers: Mutex<Vec<Worker>>,
    threads: usize,
    reloading: Mutex<()>,
    listeners: Mutex<BTreeMap<String, Arc<Listener>>>,
    closing: Arc<Closing>,
    stop: Arc<Gate>,
}

/// Why the proxy does not start, or stays with the configuration that it has.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The part of this proxy is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A socket cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The socket for operators cannot be opened, or the system has no thread to give.
    #[error("cannot be started: {0}")]
    Start(#[from] io::Error),
}

/// How a proxy stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that were cut off since the time to drain was over.
    pub cut: u64,
}

impl Proxy {
    /// Starts what a configuration describes.
    ///
    /// # Errors
    ///
    /// [`ProxyError`], and nothing is left running.
    pub fn start(loaded: Loaded) -> Result<Self, ProxyError> {
        let settings = settings(&loaded)?;
        let threads = settings.threads();
        let admin = loaded.config().admin.as_ref().map(|admin| admin.address);
        let opened = open(&BTreeMap::new(), loaded.config(), &settings, threads)?;
        let (metrics, backends) = (Arc::new(Metrics::default()), Arc::new(Backends::default()));
        let (making, observing) = (Arc::clone(&backends), Arc::clone(&metrics));
        let running =
            Running::start_observed(loaded, move |_| making.make(), move |name| observing.observer(name))?;
        let (closing, stop) = (Arc::new(Closing::default()), Arc::new(Gate::default()));
        let core = Core {
            shared: Arc::new(Shared::new(running, backends, settings)),
            workers: Mutex::default(),
            threads,
            reloading: Mutex::default(),
            listeners: Mutex::default(),
            closing: Arc::clone(&closing),
            stop: Arc::clone(&stop),
        };
        let mut proxy = Self { core: Arc::new(core), aside: None, admin: None };
        let core = &proxy.core;
        for number in 0..threads {
            let worker = Worker::start(number, Arc::clone(&core.shared), Arc::clone(&stop))?;
            core.workers.lock().push(worker);
        }
        metrics.follow(&core.shared.running);
        let aside = Aside { shared: Arc::clone(&core.shared), metrics, closing, stop };
        let (thread, address) = aside.start(admin)?;
        core.take(opened);
        (proxy.aside, proxy.admin) = (Some(thread), address);
        Ok(proxy)
    }

    /// Whether this proxy could run what a configuration describes, as far as that can be told without opening anything.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn check(loaded: &Loaded) -> Result<(), ProxyError> {
        settings(loaded).map(drop)
    }

    /// Goes over to another configuration. Connections keep what they began with; listeners that stay as they are never close.
    /// `admin`, and the number of threads, are only read at the start.
    ///
    /// # Errors
    ///
    /// [`ProxyError`], and everything stays as it was.
    pub fn apply(&self, loaded: Loaded) -> Result<Diff, ProxyError> {
        self.core.apply(loaded)
    }

    /// Starts what a file describes, and follows it until the second result is dropped; `told` hears of each attempt. It is
    /// watched before it is read, so no change is missed.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn follow(
        path: &Path,
        every: Duration,
        told: impl Fn(Result<Diff, ProxyError>) + Send + 'static,
    ) -> Result<(Self, Watching), ProxyError> {
        let (started, starting) = mpsc::channel::<Weak<Core>>();
        let mut core = None;
        let watching = watch_changes(path, every, move |path| {
            if core.is_none() {
                core = starting.recv().ok();
            }
            let Some(core) = core.as_ref().and_then(Weak::upgrade) else { return ControlFlow::Break(()) };
            told(Loaded::load(path).map_err(ProxyError::from).and_then(|loaded| core.apply(loaded)));
            ControlFlow::Continue(())
        })?;
        let proxy = match Loaded::load(path).map_err(ProxyError::from).and_then(Self::start) {
            Ok(proxy) => proxy,
            Err(error) => {
                // Its thread may wait for the proxy that there is not, and dropping `watching` waits for its thread.
                drop(started);
                return Err(error);
            }
        };
        // Its thread waits for this at most; it is there as long as `watching`.
        let _ = started.send(Arc::downgrade(&proxy.core));
        Ok((proxy, watching))
    }

    /// The listeners, and where they listen.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        let listeners = self.core.listeners.lock();
        listeners.iter().map(|(name, listener)| (name.clone(), listener.address)).collect()
    }

    /// Where the listener of this name listens.
    #[must_use]
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.core.listeners.lock().get(listener).map(|listener| listener.address)
    }

    /// Where operators are answered.
    #[must_use]
    pub const fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What runs, to look at it or to drain an endpoint.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<evenkeel::ClusterReport> {
        self.core.shared.running.cluster(name).map(|cluster| cluster.report())
    }

    /// Takes an endpoint out: new connections go elsewhere, and those that it has end after `program.endpoint_drain`.
    /// Returns whether there is such an endpoint.
    pub fn drain(&self, cluster: &str, endpoint: &str) -> bool {
        self.say(cluster, endpoint, |cluster, id| cluster.drain(id).is_ok())
    }

    /// Ends a drain.
    pub fn undrain(&self, cluster: &str, endpoint: &str) -> bool {
        self.say(cluster, endpoint, |cluster, id| cluster.undrain(id).is_ok())
    }

    fn say(
        &self,
        cluster: &str,
        endpoint: &str,
        word: impl Fn(&evenkeel::Cluster<Arc<super::backend::Backend>>, &evenkeel::EndpointId) -> bool,
    ) -> bool {
        let cluster = self.core.shared.running.cluster(cluster);
        let id = evenkeel::EndpointId::new(endpoint).ok();
        cluster.zip(id).is_some_and(|(cluster, id)| word(&cluster, &id))
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.core.shared.counters.active()
    }

    /// Takes no more connections, lets those that there are end, each for as long as its listener allows
    /// (`timeouts.drain`), then ends. Sessions of datagrams end when they are idle. Waits for all of it.
    pub fn stop(mut self) -> Stopped {
        let listeners = std::mem::take(&mut *self.core.listeners.lock());
        for listener in listeners.values() {
            self.core.closing.begin(listener);
        }
        let counters = &self.core.shared.counters;
        let is_empty = || {
            let sessions = counters.sessions.value().saturating_sub(counters.sessions_ended.value());
            counters.active() == 0 && sessions == 0 && self.core.queues_are_served()
        };
        let before = counters.closed_by_drain.value();
        while self.core.closing.sweep(Instant::now()) && !is_empty() {
            thread::sleep(LOOK);
        }
        // Those that were told to end do so at once, but on their own threads.
        let told = Instant::now();
        while counters.active() > 0 && told.elapsed() < GRACE {
            thread::sleep(LOOK);
        }
        let cut = counters.closed_by_drain.value().saturating_sub(before) + counters.active();
        self.end();
        Stopped { cut }
    }

    fn end(&mut self) {
        self.core.stop.close();
        let workers = std::mem::take(&mut *self.core.workers.lock());
        workers.into_iter().for_each(Worker::join);
        if let Some(aside) = self.aside.take() {
            let _ = aside.join();
        }
    }
}

impl Drop for Proxy {
    /// Ends at once: connections are cut off. Use [`stop`](Self::stop).
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("threads", &self.core.threads).finish_non_exhaustive()
    }
}

impl Core {
    fn apply(&self, loaded: Loaded) -> Result<Diff, ProxyError> {
        let settings = settings(&loaded)?;
        let one_at_a_time = self.reloading.lock();
        let opened = open(&self.listeners.lock(), loaded.config(), &settings, self.threads)?;
        // While the rest changes, connections go to clusters of before and of after: both get what is theirs. An endpoint that
        // waits for a PROXY header and gets none would believe what the client writes in its place.
        let before = self.shared.settings();
        self.shared.set_settings(Arc::new(settings.with_clusters_of(&before)));
        let diff = self.shared.running.apply(loaded).inspect_err(|_| self.shared.set_settings(before))?;
        self.shared.set_settings(settings);
        self.take(opened);
        drop(one_at_a_time);
        Ok(diff)
    }

    /// Goes over to these listeners: new ones first, so that no port is ever closed that stays.
    fn take(&self, opened: Opened) {
        let mut known = self.listeners.lock();
        let workers = self.workers.lock();
        for (listener, sockets) in opened.new {
            let stays = sockets.is_none();
            match sockets {
                None => {}
                Some(Sockets::Tcp(sockets)) => workers.iter().zip(sockets).for_each(|(worker, socket)| {
                    worker.order(Order::Tcp(Arc::clone(&listener), socket));
                }),
                Some(Sockets::Udp(sockets)) => workers.iter().zip(sockets).for_each(|(worker, socket)| {
                    worker.order(Order::Udp(Arc::clone(&listener), socket));
                }),
            }
            if let Some(old) = known.insert(listener.config.name.clone(), Arc::clone(&listener)) {
                if stays {
                    let _ = old.successor.set(listener);
                    old.accepting.close();
                    continue;
                }
                self.closing.begin(&old);
                if old.config.protocol == Protocol::Udp {
                    // The kernel would go on giving it datagrams: sessions begin anew, at the same endpoints.
                    old.lasting.close();
                }
            }
        }
        let gone: Vec<String> = known.keys().filter(|name| !opened.names.contains(name)).cloned().collect();
        let gone: Vec<Arc<Listener>> = gone.iter().filter_map(|name| known.remove(name)).collect();
        for listener in gone {
            self.closing.begin(&listener);
            let is_same = |stays: &Arc<Listener>| {
                stays.config.protocol == Protocol::Udp && stays.address == listener.address
            };
            if listener.config.protocol == Protocol::Udp && known.values().any(is_same) {
                // Under another name: as above.
                listener.lasting.close();
            }
        }
    }

    /// Connections that the kernel has taken for us are served too: workers need a moment to take them.
    fn queues_are_served(&self) -> bool {
        thread::sleep(LOOK);
        self.shared.counters.active() == 0
    }
}

/// Listeners of a configuration: all names, and the sockets of those that are new.
struct Opened {
    names: Vec<String>,
    /// Without sockets, if it goes on at those of the one before.
    new: Vec<(Arc<Listener>, Option<Sockets>)>,
}

fn open(
    known: &BTreeMap<String, Arc<Listener>>,
    config: &Config,
    settings: &Settings,
    threads: usize,
) -> Result<Opened, ListenError> {
    let part = |name: &str| settings.listeners.get(name).cloned().unwrap_or_default();
    let is_known = |listener: &ListenerConfig, part: &ListenerPart| {
        known.get(&listener.name).is_some_and(|known| known.config == *listener && known.part == *part)
    };
    let mut new = Vec::new();
    for listener in &config.listeners {
        let part = part(&listener.name);
        if !is_known(listener, &part) {
            new.push(match known.get(&listener.name).filter(|known| known.can_become(listener)) {
                Some(known) => (known.become_other(listener, part), None),
                None => {
                    let (listener, sockets) = Listener::open(listener, part, threads)?;
                    (listener, Some(sockets))
                }
            });
        }
    }
    let names = config.listeners.iter().map(|listener| listener.name.clone()).collect();
    Ok(Opened { names, new })
}

fn settings(loaded: &Loaded) -> Result<Arc<Settings>, ProxyError> {
    loaded.check()?;
    let settings: Settings = loaded.program()?;
    settings.check(loaded.config())?;
    Ok(Arc::new(settings))
}

const LOOK: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(1);
