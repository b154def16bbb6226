//! The proxy as a whole: it starts, takes over other settings, and ends without losing a request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_config::{Config, Loaded, Running, Warning, Watching, watch_file_with};
use evenkeel_metrics::Exporter;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::access_log::{AccessLog, LogBuffer, Writer};
use super::admin::{self, Admin};
use super::counts::Counts;
use super::error::StartError;
use super::handover::{Heir, Predecessor, Sockets};
use super::listener::{self, Listener};
use super::live::Live;
use super::metrics::Metrics;
use super::pending::{self, Started, Waiting};
use super::renewal::Renewal;
use super::settings::ProxySettings;
use super::upstream::Upstream;
use super::worker::{self, Shared, SharedListener, Worker};
use crate::admin::{AdminSettings, Serves};

/// A proxy that serves.
pub struct Proxy {
    shared: Arc<Shared>,
    listeners: Vec<(String, SocketAddr, SharedListener)>,
    workers: Vec<Arc<Worker>>,
    threads: Vec<JoinHandle<std::io::Result<usize>>>,
    admin: Option<SocketAddr>,
    admin_ends: Option<tokio::sync::oneshot::Sender<()>>,
    admin_thread: Option<JoinHandle<()>>,
    heir: Option<(JoinHandle<()>, PathBuf)>,
    ended: Arc<AtomicBool>,
    warnings: Vec<Warning>,
    log_lost: Option<AccessLog>,
    writer: Option<Writer>,
    watching: Option<Watching>,
    renewal: Option<Renewal>,
    started: Arc<Started>,
}

impl Proxy {
    /// Starts what a file describes, and follows the file, and the certificates that it names.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or with the system. Nothing is left running then.
    pub fn start_file(path: &Path, told: impl Fn(&str) + Send + 'static) -> Result<Self, StartError> {
        let mut proxy = Self::start(&Loaded::load(path)?)?;
        let told = Arc::new(Mutex::new(told));
        let tells = Arc::clone(&told);
        let (live, listeners) = (Arc::clone(&proxy.shared), proxy.listeners.clone());
        let started = Arc::clone(&proxy.started);
        // What was in force before, until the rest of the file is in force too, and what of the file is not in force then.
        let before: Arc<Mutex<Option<(InForce, Waiting)>>> = Arc::default();
        let kept = Arc::clone(&before);
        let agree = move |loaded: &Loaded| {
            let read = InForce::read(loaded, &live, &listeners, &started);
            let (next, waiting) = read.map_err(|error| error.to_string())?;
            *kept.lock() = Some((next.install(&live, &listeners), waiting));
            Ok(())
        };
        let (live, listeners) = (Arc::clone(&proxy.shared), proxy.listeners.clone());
        let told = move |reload: evenkeel_config::Reload| match (reload.result, before.lock().take()) {
            (Ok(mut diff), before) => {
                pending::tell(&mut diff, before.map(|(_, waiting)| waiting).unwrap_or_default());
                told.lock()(&format!("reloaded: {diff}"));
            }
            (Err(errors), before) => {
                if let Some((before, _)) = before {
                    let _ = before.install(&live, &listeners);
                }
                told.lock()(&format!("not reloaded: {errors}"));
            }
        };
        let every = Duration::from_secs(1);
        proxy.watching = Some(watch_file_with(&proxy.shared.running, path, every, agree, told)?);
        let listeners = proxy.listeners.iter().map(|(.., listener)| Arc::clone(listener)).collect();
        let tells = move |text: &str| tells.lock()(text);
        proxy.renewal = Some(Renewal::follow(Arc::clone(&proxy.shared), listeners, every, tells)?);
        Ok(proxy)
    }

    /// Starts what a configuration describes.
    ///
    /// # Errors
    ///
    /// As [`start_file`](Self::start_file).
    pub fn start(loaded: &Loaded) -> Result<Self, StartError> {
        let warnings = loaded.check()?;
        let settings: ProxySettings = loaded.program()?;
        let config = loaded.config();
        let live = Live::new(settings.clone(), config, None)?;
        let mut inherited = Inherited::default();
        if let Some(path) = &settings.handover {
            inherited =
                Inherited::ask(path).map_err(|error| StartError::Handover { path: path.clone(), error })?;
        }
        let control = Builder::new_current_thread().enable_all().build()?;
        let opened = Opened::open(config, settings.workers, &mut inherited, &control)?;
        let (log, writer) = match &settings.access_log {
            None => (None, None),
            Some(file) => {
                let opened = AccessLog::open(file);
                let (log, writer) =
                    opened.map_err(|error| StartError::AccessLog { file: file.clone(), error })?;
                (Some(log), Some(writer))
            }
        };
        let exporter = Exporter::default();
        let (observed, workers, is_metered) = (exporter.clone(), settings.workers, opened.admin.is_some());
        let running = Running::start_observed(
            loaded.clone(),
            move |endpoint| Upstream::new(endpoint, workers, is_metered),
            move |name| Box::new(observed.counters(name)),
        )?;
        let shared = Arc::new(Shared {
            running: Arc::new(running),
            live: ArcSwap::from_pointee(live),
            stop: watch::channel(false).0,
            draining: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
        });
        let mut proxy = Self {
            listeners: opened.listeners,
            workers: (0..settings.workers).map(|index| Self::worker(index, &shared, log.as_ref())).collect(),
            threads: Vec::new(),
            admin: opened.admin.as_ref().and_then(|socket| socket.local_addr().ok()),
            admin_ends: None,
            admin_thread: None,
            heir: None,
            ended: Arc::default(),
            warnings,
            log_lost: log,
            writer,
            watching: None,
            renewal: None,
            started: Arc::new(Started::new(config, &settings)),
            shared,
        };
        let given: Vec<Sockets> = if settings.handover.is_some() { opened.given } else { Vec::new() };
        // From here on, `proxy` ends what was started if something fails.
        for (worker, sockets) in proxy.workers.iter().zip(opened.sockets) {
            let worker = Arc::clone(worker);
            let thread = std::thread::Builder::new().name(format!("worker-{}", worker.index));
            proxy.threads.push(thread.spawn(move || worker::run(&worker, sockets))?);
        }
        if let Some(socket) = opened.admin {
            proxy.serve_admin(control, socket, settings.admin_open, exporter)?;
        }
        if let Some(path) = settings.handover {
            let listening = Heir::listen(&path);
            let heir = listening.map_err(|error| StartError::Handover { path: path.clone(), error })?;
            proxy.wait_for_heir(heir, given, path)?;
        }
        if let Some(predecessor) = inherited.from {
            // If it is gone, nobody has to be told.
            let _ = predecessor.ready();
        }
        Ok(proxy)
    }

    fn worker(index: usize, shared: &Arc<Shared>, log: Option<&AccessLog>) -> Arc<Worker> {
        Arc::new(Worker {
            index,
            router: shared.running.router().clone(),
            shared: Arc::clone(shared),
            counts: Counts::default(),
            log: log.map(|log| LogBuffer::new(log.clone())),
            copies: AtomicUsize::new(0),
        })
    }

    fn serve_admin(
        &mut self,
        control: Runtime,
        socket: std::net::TcpListener,
        is_open: bool,
        clusters: Exporter,
    ) -> Result<(), StartError> {
        let metrics = Metrics { clusters, workers: self.workers.clone(), log: self.log_lost.clone() };
        metrics.follow(&self.shared.running);
        let running = Arc::clone(&self.shared.running);
        let serves = self.admin.map_or(Serves::Monitoring, |address| Serves::at(address, is_open));
        let page = crate::admin::Admin::new(AdminSettings { serves, ..AdminSettings::default() })?;
        let page = page.with_running(running, |upstream: &Upstream| upstream.meter.as_deref());
        let admin = Arc::new(Admin { shared: Arc::clone(&self.shared), metrics, page });
        let (ends, ended) = tokio::sync::oneshot::channel();
        let run = move || {
            control.block_on(async {
                let serves = async {
                    let _ = admin.serve(socket).await;
                    // Connections that are open live on until the end.
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = serves => {}
                    _ = ended => {}
                }
            });
        };
        self.admin_thread = Some(std::thread::Builder::new().name("admin".into()).spawn(run)?);
        self.admin_ends = Some(ends);
        Ok(())
    }

    fn wait_for_heir(&mut self, heir: Heir, given: Vec<Sockets>, path: PathBuf) -> Result<(), StartError> {
        let (shared, ended) = (Arc::clone(&self.shared), Arc::clone(&self.ended));
        let run = move || {
            // Who drains has nothing to hand over: sockets that are kept open here would collect connections for nobody.
            if heir.wait(&given, || ended.load(Ordering::Acquire) || shared.is_draining()) {
                shared.handed_over.store(true, Ordering::Release);
                begin_drain(&shared);
            }
        };
        let thread = std::thread::Builder::new().name("handover".into()).spawn(run)?;
        self.heir = Some((thread, path));
        Ok(())
    }

    /// Where a listener listens, for those who asked for port 0.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.listeners.iter().find(|(name, ..)| name == listener).map(|(_, address, _)| *address)
    }

    /// Where operators are answered.
    pub const fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Clusters, routes and checks.
    pub fn running(&self) -> &Arc<Running<Upstream>> {
        &self.shared.running
    }

    /// What each worker counts.
    pub fn counts(&self) -> impl Iterator<Item = &Counts> {
        self.workers.iter().map(|worker| &worker.counts)
    }

    /// What is worth a second look in the configuration.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Goes over to another configuration, but for what only the next process can do, which the result names.
    ///
    /// # Errors
    ///
    /// What is wrong with it; then everything is as it was.
    pub fn reload(&self, loaded: &Loaded) -> Result<evenkeel_config::Diff, StartError> {
        let (next, waiting) = InForce::read(loaded, &self.shared, &self.listeners, &self.started)?;
        let before = next.install(&self.shared, &self.listeners);
        match self.shared.running.apply(loaded.clone()) {
            Ok(mut diff) => {
                pending::tell(&mut diff, waiting);
                Ok(diff)
            }
            Err(errors) => {
                let _ = before.install(&self.shared, &self.listeners);
                Err(errors.into())
            }
        }
    }

    /// Returns when the proxy drains: since it was told to, or since another process has its sockets.
    pub async fn draining(&self) {
        let _ = self.shared.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Accepts no more, lets what is under way end, and says how many connections had to be cut.
    pub fn drain(mut self) -> usize {
        begin_drain(&self.shared);
        self.end()
    }

    fn end(&mut self) -> usize {
        (self.watching, self.renewal) = (None, None);
        let cut =
            self.threads.drain(..).map(|thread| thread.join().ok().and_then(Result::ok).unwrap_or_default());
        let cut = cut.sum();
        self.ended.store(true, Ordering::Release);
        drop(self.admin_ends.take());
        if let Some(thread) = self.admin_thread.take() {
            let _ = thread.join();
        }
        if let Some((thread, path)) = self.heir.take() {
            let _ = thread.join();
            if !self.shared.handed_over.load(Ordering::Acquire) {
                let _ = std::fs::remove_file(path);
            }
        }
        // The thread of the log ends when nobody can write to it any more.
        self.workers.clear();
        self.log_lost = None;
        self.writer = None;
        cut
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        begin_drain(&self.shared);
        let _ = self.end();
    }
}

fn begin_drain(shared: &Shared) {
    shared.draining.store(true, Ordering::Release);
    let _ = shared.stop.send_replace(true);
}

/// The parts that a reload replaces, beside those of `Running`.
struct InForce {
    live: Arc<Live>,
    listeners: Vec<Arc<Listener>>,
}

impl InForce {
    /// What can be put in force, and what cannot before the next process.
    fn read(
        loaded: &Loaded,
        shared: &Shared,
        known: &[(String, SocketAddr, SharedListener)],
        started: &Started,
    ) -> Result<(Self, Waiting), StartError> {
        let (settings, config): (ProxySettings, &Config) = (loaded.program()?, loaded.config());
        let in_force: Vec<_> = known.iter().map(|(.., listener)| listener.load_full()).collect();
        let configs: Vec<_> = in_force.iter().map(|listener| &listener.config).collect();
        let waiting = started.waiting(config, &settings, &configs)?;
        let live = Live::new(settings, config, Some(&shared.live.load()))?;
        let renewed = in_force.iter().map(|before| {
            match config.listeners.iter().find(|listener| listener.name == before.config.name) {
                // Files may hold another certificate though the settings are the same.
                Some(config) => Listener::new(config, Some(Arc::clone(&before.room))).map(Arc::new),
                None => Ok(Arc::clone(before)),
            }
        });
        let listeners = renewed.collect::<Result<_, _>>()?;
        Ok((Self { live: Arc::new(live), listeners }, waiting))
    }

    /// Puts it in force, and gives what was.
    fn install(self, shared: &Shared, known: &[(String, SocketAddr, SharedListener)]) -> Self {
        let listeners = known.iter().zip(self.listeners).map(|((.., place), listener)| place.swap(listener));
        let listeners = listeners.collect();
        Self { live: shared.live.swap(self.live), listeners }
    }
}

/// What another process has given.
#[derive(Default)]
struct Inherited {
    from: Option<Predecessor>,
    sockets: Vec<Sockets>,
}

impl Inherited {
    fn ask(path: &Path) -> std::io::Result<Self> {
        Ok(match Predecessor::ask(path)? {
            Some((from, sockets)) => Self { from: Some(from), sockets },
            None => Self::default(),
        })
    }

    /// The sockets for a listener, if it was there and listened where this one does.
    fn take(&mut self, name: Option<&str>, address: SocketAddr) -> Option<Sockets> {
        let is_same = |one: &Sockets| one.name.as_deref() == name && one.address == address;
        let at = self.sockets.iter().position(is_same)?;
        Some(self.sockets.swap_remove(at))
    }
}

/// The sockets of all listeners.
struct Opened {
    listeners: Vec<(String, SocketAddr, SharedListener)>,
    /// For each worker.
    sockets: Vec<Vec<(SharedListener, std::net::TcpListener)>>,
    admin: Option<std::net::TcpListener>,
    /// For the next process.
    given: Vec<Sockets>,
}

impl Opened {
    fn open(
        config: &Config,
        workers: usize,
        inherited: &mut Inherited,
        runtime: &Runtime,
    ) -> Result<Self, StartError> {
        let _within = runtime.enter();
        let mut opened = Self {
            listeners: Vec::new(),
            sockets: (0..workers).map(|_| Vec::new()).collect(),
            admin: None,
            given: Vec::new(),
        };
        for listener in &config.listeners {
            let asked = Listener::address(listener)?;
            let shared = Arc::new(ArcSwap::from_pointee(Listener::new(listener, None)?));
            let sockets = sockets(Some(&listener.name), asked, workers, inherited)?;
            let address = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(asked);
            opened.listeners.push((listener.name.clone(), address, Arc::clone(&shared)));
            opened.give(Some(&listener.name), asked, &sockets)?;
            // Of a process with more workers there may be more sockets: none may be left alone.
            for (i, socket) in sockets.into_iter().enumerate() {
                if let Some(of) = opened.sockets.get_mut(i % workers) {
                    of.push((Arc::clone(&shared), socket));
                }
            }
        }
        if let Some(admin) = &config.admin {
            let sockets = match inherited.take(None, admin.address) {
                Some(inherited) => inherited.sockets,
                None => vec![
                    admin::open(admin.address)
                        .map_err(|error| StartError::Listen { address: admin.address, error })?,
                ],
            };
            opened.give(None, admin.address, &sockets)?;
            opened.admin = sockets.into_iter().next();
        }
        Ok(opened)
    }

    fn give(
        &mut self,
        name: Option<&str>,
        address: SocketAddr,
        sockets: &[std::net::TcpListener],
    ) -> Result<(), StartError> {
        let copies: Result<Vec<_>, _> = sockets.iter().map(std::net::TcpListener::try_clone).collect();
        self.given.push(Sockets { name: name.map(str::to_owned), address, sockets: copies? });
        Ok(())
    }
}

/// As many as there are workers, at least; those that were inherited first.
fn sockets(
    name: Option<&str>,
    address: SocketAddr,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<std::net::TcpListener>, StartError> {
    let mut sockets = inherited.take(name, address).map(|inherited| inherited.sockets).unwrap_or_default();
    let address = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(address);
    let more = workers.saturating_sub(sockets.len());
    let opened = listener::open(address, more).map_err(|error| StartError::Listen { address, error })?;
    sockets.extend(opened);
    Ok(sockets)
}
