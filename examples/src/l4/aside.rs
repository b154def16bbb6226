use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::admin;
use super::gate::Gate;
use super::listener::Listener;
use super::metrics::Metrics;
use super::shared::Shared;

/// Listeners that take no more connections, and when those they have must end.
#[derive(Debug, Default)]
pub(crate) struct Closing(Mutex<Vec<(Arc<Listener>, Instant)>>);

impl Closing {
    /// Has a listener take no more connections, and end those it has when its time to drain is over.
    pub(crate) fn begin(&self, listener: &Arc<Listener>) {
        listener.accepting.close();
        let deadline = Instant::now() + listener.config.timeouts.drain;
        self.0.lock().push((Arc::clone(listener), deadline));
    }

    /// Ends what has had its time. Returns whether anything is left.
    pub(crate) fn sweep(&self, now: Instant) -> bool {
        let mut all = self.0.lock();
        all.retain(|(listener, deadline)| {
            let is_due = now >= *deadline;
            if is_due {
                listener.lasting.close();
            }
            !is_due
        });
        !all.is_empty()
    }
}

/// The thread beside those that carry connections.
pub(crate) struct Aside {
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) closing: Arc<Closing>,
    pub(crate) stop: Arc<Gate>,
}

impl Aside {
    /// Starts it; operators are answered at `admin`.
    pub(crate) fn start(self, admin: Option<SocketAddr>) -> io::Result<(JoinHandle<()>, Option<SocketAddr>)> {
        let socket = admin.map(TcpListener::bind).transpose()?;
        let address = socket.as_ref().map(TcpListener::local_addr).transpose()?;
        if let Some(socket) = &socket {
            socket.set_nonblocking(true)?;
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("l4-aside".to_owned());
        let thread = thread.spawn(move || LocalSet::new().block_on(&runtime, self.run(socket)))?;
        Ok((thread, address))
    }

    async fn run(self, admin: Option<TcpListener>) {
        if let Some(socket) = admin.and_then(|socket| tokio::net::TcpListener::from_std(socket).ok()) {
            let (shared, metrics) = (Arc::clone(&self.shared), Arc::clone(&self.metrics));
            tokio::task::spawn_local(admin::run(socket, shared, metrics));
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.closed() => return,
                now = ticks.tick() => {
                    let shared = &self.shared;
                    shared.backends.sweep(&shared.running.clusters(), shared.settings().endpoint_drain, now);
                    self.closing.sweep(now);
                }
            }
        }
    }
}

/// How late a drain may end.
const TICK: Duration = Duration::from_millis(100);
