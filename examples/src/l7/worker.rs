//! A thread that serves: listeners, connections and pools of its own.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel::router::Router;
use evenkeel_config::Running;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::access_log::LogBuffer;
use super::connection::serve_tcp;
use super::counts::Counts;
use super::listener::Listener;
use super::live::Live;
use super::upstream::Upstream;
use super::waiting;

/// What all workers share.
pub struct Shared {
    /// Clusters, routes, checks.
    pub running: Arc<Running<Upstream>>,
    /// The settings that are in force.
    pub live: ArcSwap<Live>,
    /// Turns true when the proxy drains.
    pub stop: watch::Sender<bool>,
    /// The same, for those who only look.
    pub draining: AtomicBool,
    /// Whether the sockets are somebody else's now, and must be left as they are.
    pub handed_over: AtomicBool,
}

impl Shared {
    /// Whether the proxy drains.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// What one worker has for itself.
pub struct Worker {
    /// Its number.
    pub index: usize,
    /// What all share.
    pub shared: Arc<Shared>,
    /// Where requests go.
    pub router: Router<Upstream>,
    /// What it counts.
    pub counts: Counts,
    /// Its part of the access log.
    pub log: Option<LogBuffer>,
    /// Copies under way.
    pub copies: AtomicUsize,
}

/// A listener of all workers, by which a reload reaches those that accept.
pub type SharedListener = Arc<ArcSwap<Listener>>;

/// Serves until the proxy drains, and all has ended or the deadline is over. Gives the number of connections that were cut.
///
/// # Errors
///
/// If there is no runtime.
pub fn run(worker: &Arc<Worker>, sockets: Vec<(SharedListener, StdListener)>) -> std::io::Result<usize> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let cut = runtime.block_on(async {
        let mut accepting = JoinSet::new();
        for (listener, socket) in sockets {
            socket.set_nonblocking(true)?;
            accepting.spawn(accept_all(Arc::clone(worker), listener, TcpListener::from_std(socket)?));
        }
        let keeper = tokio::spawn(keep_house(Arc::clone(worker)));
        let mut cut = 0;
        while let Some(ended) = accepting.join_next().await {
            cut += ended.unwrap_or_default();
        }
        keeper.abort();
        Ok(cut)
    });
    // What is cut now writes its lines too.
    drop(runtime);
    if let Some(log) = &worker.log {
        log.flush();
    }
    cut
}

/// Closes connections that have waited too long, and sends lines of the log that have.
async fn keep_house(worker: Arc<Worker>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        if let Some(log) = &worker.log {
            log.flush();
        }
        let (live, now) = (worker.shared.live.load_full(), Instant::now());
        for cluster in worker.shared.running.clusters() {
            let number = live.speaking(cluster.name()).number;
            for endpoint in cluster.endpoints() {
                endpoint.payload().sweep(worker.index, &live.settings.pool, number, now);
            }
        }
    }
}

/// Accepts until the proxy drains; then waits for what is under way.
async fn accept_all(worker: Arc<Worker>, shared: SharedListener, socket: TcpListener) -> usize {
    let mut stop = worker.shared.stop.subscribe();
    let stopped = stop.clone();
    let mut connections: JoinSet<()> = JoinSet::new();
    let mut stop_now = std::pin::pin!(async move {
        let _ = stop.wait_for(|stop| *stop).await;
    });
    let mut in_hand = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop_now => break,
            accepted = socket.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = accepted else {
            // Out of file handles, as a rule: some will be free in a moment.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Room is asked for with the connection in hand: whoever took it first might wait at a socket to which nobody comes, while
        // others have clients and no room.
        let room = Arc::clone(&shared.load().room);
        let permit = match Arc::clone(&room).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) => tokio::select! {
                biased;
                () = &mut stop_now => {
                    in_hand = Some((stream, peer));
                    break;
                }
                permit = room.acquire_owned() => permit.ok(),
            },
        };
        let place = Place { _permit: permit, _count: Connected::new(&worker) };
        let (listener, stopped) = (shared.load_full(), stopped.clone());
        connections.spawn(serve_tcp(Arc::clone(&worker), listener, stream, peer, place, stopped));
    }
    let listener = shared.load_full();
    // Nobody accepts here any more, if no other process does: those that wait are served, instead of being reset.
    let is_last = !worker.shared.handed_over.load(Ordering::Acquire);
    let waiting = is_last.then(|| waiting::take(&socket)).into_iter().flatten();
    for (stream, peer) in in_hand.into_iter().chain(waiting) {
        let place = Place { _permit: None, _count: Connected::new(&worker) };
        let (listener, stopped) = (Arc::clone(&listener), stopped.clone());
        connections.spawn(serve_tcp(Arc::clone(&worker), listener, stream, peer, place, stopped));
    }
    drop(socket);
    let end = Instant::now() + listener.config.timeouts.drain;
    let all_ended = async {
        while connections.join_next().await.is_some() {}
        while worker.counts.tunnels.get() > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout_at(end, all_ended).await {
        Ok(()) => 0,
        Err(_) => connections.len() + usize::try_from(worker.counts.tunnels.get()).unwrap_or(usize::MAX),
    }
}

/// The place of a client among those that a listener has room for. Held until its connection ends, tunnels included.
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    _count: Connected,
}

struct Connected(Arc<Worker>);

impl Connected {
    fn new(worker: &Arc<Worker>) -> Self {
        worker.counts.accepted.add(1);
        worker.counts.clients.add(1);
        Self(Arc::clone(worker))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.counts.clients.less();
    }
}
