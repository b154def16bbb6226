use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::inner::Inner;

/// The one thread that lets deadlines pass in all clusters and registries, however many there are.
pub(crate) struct Ticker {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    #[expect(clippy::disallowed_methods, reason = "it owns a thread, and says so")]
    pub(crate) fn start<T: Send + Sync + 'static>(inner: &Arc<Inner<T>>) -> io::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        let (flag, inner) = (Arc::clone(&stopped), Arc::downgrade(inner));
        let run = move || {
            while !flag.load(Ordering::Acquire) {
                let Some(inner) = inner.upgrade() else { return };
                // An observer that panics has been printed by now, and must not end the ticking.
                let wait = catch_unwind(AssertUnwindSafe(|| inner.tick())).unwrap_or(AFTER_A_PANIC);
                drop(inner);
                thread::park_timeout(wait.max(SHORTEST));
            }
        };
        let thread = thread::Builder::new().name("evenkeel-config".to_owned()).spawn(run)?;
        Ok(Self { stopped, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Dropped by code that runs on that very thread, it must not wait for itself.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const AFTER_A_PANIC: Duration = Duration::from_millis(100);
