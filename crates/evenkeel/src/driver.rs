use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::cluster::Cluster;

impl<T: Send + Sync + 'static> Cluster<T> {
    /// Starts a thread that calls [`tick`](Self::tick) every `interval`, and earlier for the deadlines known by then.
    ///
    /// Opt-in: picks let deadlines pass by themselves, so a cluster under traffic needs no driver. Without traffic it
    /// brings endpoints back and frees old snapshots. 100 ms is plenty; below 1 ms it is taken as 1 ms.
    ///
    /// # Errors
    ///
    /// If the operating system has no thread to give.
    #[expect(clippy::disallowed_methods, reason = "the one thread of the façade, started on request")]
    pub fn drive(&self, interval: Duration) -> io::Result<Driver> {
        let cluster = self.clone();
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        let interval = interval.max(Duration::from_millis(1));
        let run = move || {
            while !flag.load(Ordering::Acquire) {
                let now = cluster.shared.control.now();
                // An observer that panics has been printed by now, and must not end the driving.
                let next = catch_unwind(AssertUnwindSafe(|| cluster.tick())).unwrap_or_default();
                let wait = next.map_or(interval, |deadline| deadline.saturating_since(now).min(interval));
                thread::park_timeout(wait.max(Duration::from_micros(100)));
            }
        };
        let thread = thread::Builder::new().name(format!("evenkeel {}", self.name())).spawn(run)?;
        Ok(Driver { stopped, thread: Some(thread) })
    }
}

/// A running driver thread: dropping it stops and joins the thread.
#[must_use = "the driver stops when this is dropped"]
pub struct Driver {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in an observer has been printed by its thread already.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
