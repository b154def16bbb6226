use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_registry::{Event, Feed, FeedError, TroubleKind};
use evenkeel_types::{SplitMix64, Timestamp};
use futures_util::StreamExt;
use kube::api::Api;
use kube::client::ClientBuilder;
use kube::runtime::watcher;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::access;
use crate::gate::Gate;
use crate::keep_time::keep_time;
use crate::object::Object;
use crate::slices::{Relist, Slices};
use crate::trouble::Trouble;
use crate::{KubeConfig, KubeError};

/// Follows the EndpointSlices of one service.
///
/// | what happens | what the feed is told |
/// |---|---|
/// | the first list, and one after each failure | `Full`, under a new incarnation |
/// | slices come, change or go | `Delta` |
/// | a bookmark, the end and start of a watch | `Fresh`, once a second at most |
/// | 410, as status or in the stream; 504 "too large resource version"; a version that falls | `Trouble` (`Gap`), then a list |
/// | the connection breaks, or the server is silent for [`Bounds::silence`](crate::Bounds::silence) | `Trouble` (`Closed`, `Timeout`), then a list |
/// | 401, 403, a certificate that is not trusted | `Trouble` (`Denied`), tried again with backoff |
/// | answers that are no JSON, too large, or too many endpoints | `Trouble` (`Malformed`, `TooLarge`) |
/// | a slice or an entry that cannot be used | `Reject`, the others count |
///
/// The set stays whenever there is trouble. Between two watches nothing is lost, and the second goes on from the position
/// of the first; after everything else that ends a watch, everything is listed again.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Kube;

impl Kube {
    /// Starts the thread, and waits until it has read the files that [`Access`](crate::Access) names. What the server says
    /// is told to the feed.
    ///
    /// # Errors
    ///
    /// [`KubeError`]: settings, no access, or no thread.
    pub fn start(feed: Feed, config: KubeConfig) -> Result<KubeHandle, KubeError> {
        config.validate()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(KubeError::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let (tell, told) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        let work = move || {
            // Dropped at the end, also of a panic.
            let _ending: mpsc::Sender<()> = ending;
            runtime.block_on(async {
                let loaded = access::load(&config.access, &config.bounds).await;
                let failed = loaded.is_err();
                let _ = tell.send(loaded.map(drop));
                if !failed {
                    Follower::new(feed, config).run(stopped).await;
                }
            });
            // A lookup of a name that hangs is left to itself.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("evenkeel-kube".to_owned());
        let thread = thread.spawn(work).map_err(KubeError::Thread)?;
        match told.recv() {
            Ok(Ok(())) => Ok(KubeHandle { stop, ended: Mutex::new(ended), thread: Some(thread) }),
            Ok(Err(why)) => Err(KubeError::Access { why }),
            Err(_) => Err(KubeError::Access { why: "the thread ended at once".to_owned() }),
        }
    }
}

/// A follower that runs. Dropping it stops it too; the set stays and goes stale.
#[derive(Debug)]
pub struct KubeHandle {
    stop: watch::Sender<bool>,
    ended: Mutex<mpsc::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KubeHandle {
    /// Stops the thread and waits for it, which takes milliseconds whether the server answers or not. A command of a
    /// kubeconfig (`exec`) that runs meanwhile is waited for 0.9 s; then the thread is left to end by itself, and says
    /// nothing any more.
    pub fn stop(self) {
        drop(self);
    }

    /// Whether the thread has ended by itself, because its source was detached.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for KubeHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let Some(thread) = self.thread.take() else { return };
        if thread.thread().id() == std::thread::current().id() {
            // A waker of the registry that drops the handle runs on this thread: it cannot wait for itself.
            return;
        }
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Disconnected) {
            // A panic has shown itself on standard error, and the feed's end tells the registry.
            let _ = thread.join();
        }
    }
}

struct Follower {
    feed: Feed,
    /// Something was sent.
    news: Arc<Notify>,
    config: KubeConfig,
    slices: Slices,
    draws: SplitMix64,
    /// Failures in a row, and since when there has been none.
    failures: u32,
    good_since: Option<Timestamp>,
    /// When the feed was last told that the source is there.
    told: Option<Timestamp>,
}

/// Why a connection is over.
enum End {
    /// The source was detached.
    Stop,
    /// Everything is to be listed again, without a reason.
    Resync,
    Failed(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Failed(trouble)
    }
}

impl From<Relist> for End {
    fn from(relist: Relist) -> Self {
        let kind = match relist {
            Relist::TooMany { .. } => TroubleKind::TooLarge,
            Relist::WentBack { .. } => TroubleKind::Gap,
        };
        Self::Failed(Trouble::new(kind, relist.to_string()))
    }
}

impl Follower {
    fn new(feed: Feed, config: KubeConfig) -> Self {
        let bounds = &config.bounds;
        let slices =
            Slices::new(&*config.service, config.endpoints.clone(), bounds.max_endpoints, bounds.linger);
        let draws = SplitMix64::new(bounds.seed);
        Self { feed, news: Arc::default(), config, slices, draws, failures: 0, good_since: None, told: None }
    }

    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        // An error says that the handle is gone, which means the same.
        let stop = async move { _ = stopped.wait_for(|stop| *stop).await };
        let (feed, news) = (self.feed.clone(), Arc::clone(&self.news));
        tokio::select! {
            biased;
            () = stop => {}
            () = self.follow() => {}
            () = keep_time(&feed, &news) => {}
        }
    }

    async fn follow(&mut self) {
        loop {
            let end = self.connection().await;
            self.slices.failed();
            match end {
                End::Stop => return,
                End::Resync => {}
                End::Failed(trouble) => {
                    let lasted = self.good_since.take().map(|since| self.feed.now().saturating_since(since));
                    // A list that worked and a watch that did not are no success.
                    let held = lasted.is_some_and(|lasted| lasted >= LASTED);
                    self.failures = if held { 1 } else { self.failures.saturating_add(1) };
                    let delay = self.config.bounds.backoff.delay(self.failures, &mut self.draws);
                    let retry_at = Some(self.feed.now().saturating_add(delay));
                    let Trouble { kind, text } = trouble;
                    if self.send(Event::Trouble { kind, text, retry_at }).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    /// Lists and watches until something is wrong.
    async fn connection(&mut self) -> End {
        let Err(end) = self.list_and_watch().await else { return End::Resync };
        end
    }

    async fn list_and_watch(&mut self) -> Result<(), End> {
        let bounds = self.config.bounds.clone();
        let gate = Gate::new(&bounds);
        let building = tokio::time::timeout(bounds.list_timeout, api(&self.config, &gate));
        let api = building.await.map_err(|_| Trouble::silent("credentials", bounds.list_timeout))??;
        let settings = watcher::Config::default()
            .labels(&format!("kubernetes.io/service-name={}", self.config.service))
            .timeout(u32::try_from(bounds.watch_for.as_secs()).unwrap_or(u32::MAX))
            .page_size(bounds.page_size);
        let mut heard = pin!(watcher(api, settings));
        let mut signs = gate.signs();
        let started = Instant::now();
        let resync_at = bounds.resync_every.and_then(|every| started.checked_add(every));
        let mut listing = true;
        let mut turns = 0_u32;
        loop {
            self.tell().await?;
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS) {
                // A server that floods us does not keep us from being stopped.
                tokio::task::yield_now().await;
            }
            let (silent_at, bound, what) = if listing {
                (started + bounds.list_timeout, bounds.list_timeout, "list")
            } else {
                (signs.borrow().heard + bounds.silence(), bounds.silence(), "watch")
            };
            let wake = self.slices.next_deadline().map(|at| at.saturating_since(self.feed.now()));
            tokio::select! {
                biased;
                event = heard.next() => match event {
                    Some(Ok(event)) => self.hear(event, &mut listing)?,
                    Some(Err(error)) => return Err(Trouble::of_watcher(&error, &gate).into()),
                    None => return Err(Trouble::new(TroubleKind::Closed, "the watcher ended").into()),
                },
                Ok(()) = signs.changed() => {
                    // Of a list the library itself tells.
                    if let Some(fault) = gate.fault().filter(|_| !listing) {
                        return Err(Trouble::of_fault(fault).into());
                    }
                    self.alive();
                }
                () = tokio::time::sleep_until(silent_at) => return Err(Trouble::silent(what, bound).into()),
                () = after(wake) => self.slices.tick(self.feed.now()),
                // A list is finished first, however long it takes.
                () = until(resync_at), if !listing => return Ok(()),
            }
        }
    }

    fn hear(&mut self, event: watcher::Event<Object>, listing: &mut bool) -> Result<(), Relist> {
        let now = self.feed.now();
        match event {
            watcher::Event::Init => self.slices.began(),
            watcher::Event::InitApply(object) => self.slices.listed(object.slice)?,
            watcher::Event::InitDone => {
                *listing = false;
                self.good_since = Some(now);
                self.slices.complete();
            }
            watcher::Event::Apply(object) => self.slices.changed(now, object.slice)?,
            watcher::Event::Delete(object) => self.slices.deleted(now, &object.slice)?,
        }
        Ok(())
    }

    fn alive(&mut self) {
        let now = self.feed.now();
        if self.told.is_none_or(|told| now.saturating_since(told) >= FRESH_EVERY) {
            self.slices.alive();
        }
    }

    /// Says to the feed what there is to say.
    async fn tell(&mut self) -> Result<(), End> {
        while let Some(event) = self.slices.next_event() {
            let good = matches!(event, Event::Full { .. } | Event::Delta { .. } | Event::Fresh { .. });
            match self.send(event).await {
                Ok(()) if good => self.told = Some(self.feed.now()),
                Ok(()) => {}
                Err(FeedError::Detached) => return Err(End::Stop),
                Err(_) => self.slices.resend(),
            }
        }
        Ok(())
    }

    async fn send(&self, event: Event) -> Result<(), FeedError> {
        loop {
            // Kept for the case that the registry wants it later.
            match self.feed.send(event.clone()) {
                Err(FeedError::TooFast { retry_at }) => {
                    let wait = retry_at.saturating_since(self.feed.now());
                    tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
                }
                other => {
                    self.news.notify_one();
                    return other.map(drop);
                }
            }
        }
    }
}

/// A client with no connection yet.
async fn api(config: &KubeConfig, gate: &Gate) -> Result<Api<Object>, Trouble> {
    let loaded = access::load(&config.access, &config.bounds).await;
    let loaded = loaded.map_err(|why| Trouble::new(TroubleKind::Denied, format!("access: {why}")))?;
    // A process whose dependencies bring several providers of cryptography, and that chose none, gets this one.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let namespace = config.namespace.clone().unwrap_or_else(|| loaded.default_namespace.clone());
    // May run a command of the kubeconfig and wait for it.
    let building = tokio::task::spawn_blocking(move || ClientBuilder::try_from(loaded));
    let builder = building.await.map_err(|error| Trouble::new(TroubleKind::Denied, error.to_string()))?;
    let builder = builder.map_err(|error| Trouble::of_client("client", &error, gate))?;
    Ok(Api::namespaced(builder.with_layer(gate).build(), &namespace))
}

async fn after(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// How long the thread is waited for.
const PATIENCE: Duration = Duration::from_millis(900);
/// How long a watch must have lasted for its end to be the first failure, and not one more.
const LASTED: Duration = Duration::from_secs(10);
/// A stream of events is no stream of `Fresh`.
const FRESH_EVERY: Duration = Duration::from_secs(1);
/// After so many events in a row others have a turn.
const TURNS: u32 = 64;
