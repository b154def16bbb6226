use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use evenkeel_registry::Feed;
use evenkeel_types::Timestamp;
use parking_lot::{Condvar, Mutex};

/// Tells a thread to stop, and lets it wait meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<(Mutex<Told>, Condvar)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    stop: bool,
    /// How often something was delivered, so that what waits for time looks again.
    news: u64,
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
        told.lock().stop = true;
        waker.notify_all();
    }

    /// Something was delivered.
    pub(crate) fn tell_news(&self) {
        let (told, waker) = &*self.shared;
        let mut told = told.lock();
        told.news = told.news.wrapping_add(1);
        drop(told);
        waker.notify_all();
    }

    pub(crate) fn news(&self) -> u64 {
        self.shared.0.lock().news
    }

    /// Waits until there is news beyond `seen`, or it is told to stop, or the time is over; says whether it was told.
    pub(crate) fn wait_for_news(&self, seen: u64, time: Duration) -> bool {
        let (told, waker) = &*self.shared;
        let mut told = told.lock();
        let until = far(Clock::instant(), time);
        while !told.stop && told.news == seen && !waker.wait_until(&mut told, until).timed_out() {}
        told.stop
    }

    /// Whether it was told.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.shared.0.lock().stop
    }

    /// Waits, or until it is told; says whether it was.
    pub fn wait(&self, time: Duration) -> bool {
        let (told, waker) = &*self.shared;
        let mut told = told.lock();
        let until = far(Clock::instant(), time);
        while !told.stop && !waker.wait_until(&mut told, until).timed_out() {}
        told.stop
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
    /// Sees to what waits for time while the other one waits for the store.
    ticker: Mutex<Option<JoinHandle<()>>>,
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
        Ok(Self { stop, interrupt: Box::new(interrupt), done, thread, ticker: Mutex::new(None) })
    }

    /// As [`start`](Self::start), for what feeds a registry and waits for its store in calls that cannot be cut short: a second
    /// thread ticks `feed` when it is due, so that gathered changes and holds do not wait for the next word of the store.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(
        name: &str,
        stop: Stop,
        feed: &Feed,
        interrupt: impl Fn() + Send + Sync + 'static,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (ending, over) = (Ended(stop.clone()), stop.clone());
        let worker = Self::start(name, stop, interrupt, move || {
            // However it ends, also by a panic: a source whose ticker lived on would not be known to be dead.
            let _ending = ending;
            run();
        })?;
        let feed = feed.clone();
        let ticker = Builder::new().name(format!("{name}-time")).spawn(move || keep_time(&feed, &over))?;
        *worker.ticker.lock() = Some(ticker);
        Ok(worker)
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
        let ticker = self.ticker.lock().take();
        if let Some(ticker) = ticker.filter(|ticker| ticker.thread().id() != std::thread::current().id()) {
            let _ = ticker.join();
        }
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

/// Ticks a feed when it is due, until it is told to stop.
fn keep_time(feed: &Feed, stop: &Stop) {
    loop {
        let seen = stop.news();
        let now = feed.now();
        let next = feed.next_deadline();
        if next.is_some_and(|at| now >= at) {
            feed.tick();
        }
        // The feed's clock need not be ours: it is looked at again after a second at the latest.
        let wait = next.map_or(LOOK, |at| at.saturating_since(now)).clamp(LEAST, LOOK);
        if stop.wait_for_news(seen, wait) || !feed.is_attached() {
            return;
        }
    }
}

/// Says that it is over when it goes.
struct Ended(Stop);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.set();
    }
}

const LEAST: Duration = Duration::from_millis(1);
const LOOK: Duration = Duration::from_secs(1);

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

    /// Adapters are where clocks are read.
    #[expect(clippy::disallowed_methods, reason = "the one place of the adapters that reads the clock")]
    pub(crate) fn instant() -> Instant {
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
    use std::sync::atomic::{AtomicU64, Ordering};

    use evenkeel_registry::{Event, MirrorConfig, Registry, Revision};
    use evenkeel_types::Endpoint;

    use super::*;
    use crate::deliver;

    #[test]
    fn a_thread_that_waits_stops_at_once() {
        let stop = Stop::new();
        let worker =
            Worker::start("test", stop.clone(), || {}, move || _ = stop.wait(Duration::MAX)).unwrap();
        worker.stop();
        assert!(!worker.is_running());
    }

    #[test]
    fn gathered_changes_do_not_wait_for_the_next_word_of_the_store() {
        let now = Arc::new(AtomicU64::new(1));
        let clock = {
            let now = Arc::clone(&now);
            move || Timestamp::from_secs(now.load(Ordering::Relaxed))
        };
        let registry = Registry::default();
        let service = "users".parse().unwrap();
        let feed =
            registry.feed(&service, &"store".parse().unwrap(), MirrorConfig::default(), clock).unwrap();
        let stop = Stop::new();
        let (of_thread, waiting) = (feed.clone(), stop.clone());
        let worker = Worker::start_with(
            "test",
            stop,
            &feed,
            || {},
            move || {
                let revision = |token| Revision::new("a", token).unwrap();
                for count in 1..=3 {
                    let set = (0..count)
                        .map(|i| {
                            let address = format!("10.0.0.{i}:80").parse().unwrap();
                            Endpoint::new(format!("e{i}").parse().unwrap(), address)
                        })
                        .collect();
                    deliver(&of_thread, &waiting, &Event::full(revision(count), set)).unwrap();
                }
                waiting.wait(Duration::MAX);
            },
        )
        .unwrap();
        drop(feed);
        let shown = || registry.snapshot(&service).endpoints().len();
        while shown() < 3 {
            // Time goes on only here, and however long the other threads take, it is enough in the end.
            now.fetch_add(1, Ordering::Relaxed);
            std::thread::yield_now();
        }
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
