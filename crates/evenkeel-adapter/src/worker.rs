use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use evenkeel_types::Timestamp;
use parking_lot::{Condvar, Mutex};

/// Tells a thread to stop, and lets it wait meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Stop {
    /// Not told yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells.
    pub fn set(&self) {
        let (told, waker) = &*self.shared;
        *told.lock() = true;
        waker.notify_all();
    }

    /// Whether it was told.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.shared.0.lock()
    }

    /// Waits, or until it is told; says whether it was.
    pub fn wait(&self, time: Duration) -> bool {
        let (told, waker) = &*self.shared;
        let mut told = told.lock();
        let until = far(Clock::instant(), time);
        while !*told {
            if waker.wait_until(&mut told, until).timed_out() {
                break;
            }
        }
        *told
    }
}

/// The one thread of an adapter: stopped and joined by [`stop`](Self::stop), also on drop.
///
/// To stop, it is told so, and then what it waits for is ended (`interrupt`). If it does not end within 0.9 s all the
/// same, because it looks up a name or connects to a host that is silent, it is left to end by itself, which these two
/// do at their own bounds; it says nothing any more.
pub struct Worker {
    stop: Stop,
    interrupt: Box<dyn Fn() + Send + Sync>,
    done: Mutex<Receiver<()>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Worker {
    /// Starts `run` on a thread of this name. `interrupt` ends what it waits for; it is called once or more.
    ///
    /// # Errors
    ///
    /// Those of the system, if it cannot make a thread.
    pub fn start(
        name: &str,
        stop: Stop,
        interrupt: impl Fn() + Send + Sync + 'static,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (ending, done) = channel();
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            // Dropped at the end, also of a panic.
            let _ending = ending;
            run();
        })?;
        let (done, thread) = (Mutex::new(done), Mutex::new(Some(thread)));
        Ok(Self { stop, interrupt: Box::new(interrupt), done, thread })
    }

    /// Whether the thread runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.lock().as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops and joins; see above for how long it may take.
    pub fn stop(&self) {
        self.stop.set();
        (self.interrupt)();
        let Some(thread) = self.thread.lock().take() else { return };
        if thread.thread().id() == std::thread::current().id() {
            // A waker of the registry that drops the handle runs on this thread: it cannot wait for itself.
            return;
        }
        match self.done.lock().recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Disconnected) | Ok(()) => _ = thread.join(),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("running", &self.is_running()).finish_non_exhaustive()
    }
}

/// A clock for what has no feed, and so none of its user's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that stands at [`Timestamp::ORIGIN`] now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Self::instant() }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::ORIGIN.saturating_add(Self::instant().saturating_duration_since(self.origin))
    }

    /// The time of the system. Adapters are where clocks are read.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place of the adapters that reads the clock")]
    pub fn instant() -> Instant {
        Instant::now()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// The moment so much later; a hundred years on if that is beyond what the system can say.
pub(crate) fn far(from: Instant, time: Duration) -> Instant {
    from.checked_add(time).unwrap_or_else(|| from + Duration::from_secs(100 * 365 * 86_400))
}

const PATIENCE: Duration = Duration::from_millis(900);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_stops_at_once() {
        let stop = Stop::new();
        let worker =
            Worker::start("test", stop.clone(), || {}, move || _ = stop.wait(Duration::MAX)).unwrap();
        worker.stop();
        assert!(!worker.is_running());
    }

    #[test]
    fn one_that_hangs_is_left_behind() {
        let (hold, held) = channel::<()>();
        let worker = Worker::start("test", Stop::new(), || {}, move || _ = held.recv()).unwrap();
        let clock = Clock::new();
        drop(worker);
        assert!(clock.now() < Timestamp::from_secs(10));
        drop(hold);
    }
}
