use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use evenkeel_registry::{Event, Feed, FeedError};

use crate::exchange::Exchange;
use crate::{DnsConfig, DnsError, Tracker};

/// Follows a name into a feed, on a thread of its own.
#[derive(Debug)]
pub struct Dns;

impl Dns {
    /// Follows the name.
    ///
    /// # Errors
    ///
    /// [`DnsError`]. A name that does not exist, or servers that do not answer, are no errors here.
    pub fn start(feed: Feed, config: DnsConfig) -> Result<Handle, DnsError> {
        let tracker = Tracker::new(config)?;
        let stop = Arc::new(Stop::default());
        let seen = stop.clone();
        let thread = thread::Builder::new()
            .name("evenkeel-dns".to_owned())
            .spawn(move || run(&feed, tracker, &seen))
            .map_err(DnsError::Thread)?;
        Ok(Handle { stop, thread: Some(thread) })
    }
}

/// Stops following when it is dropped, and waits for the thread: 0.8 s at most, also when the servers hang.
#[must_use = "dropping it stops following the name"]
pub struct Handle {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Stops, and waits for the thread. The set stays in the registry, stale.
    pub fn stop(self) {
        drop(self);
    }

    /// Asks now, without waiting for the time to live; a round that is under way is followed by another one. For a
    /// caller who has reason to doubt the set, such as connections that fail. At most one round in
    /// [`min_ttl`](DnsConfig::min_ttl).
    pub fn ask_now(&self) {
        self.stop.change(|state| state.hurry = true);
    }

    /// Whether the thread has ended by itself, because the source was detached from the registry.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("finished", &self.is_finished()).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.change(|state| state.stopped = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Stop {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    hurry: bool,
}

impl Stop {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// Whether somebody is in a hurry.
    fn take_hurry(&self) -> bool {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).hurry)
    }

    fn wait(&self, time: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.stopped && !state.hurry {
            drop(self.changed.wait_timeout(state, time));
        }
    }
}

fn run(feed: &Feed, mut tracker: Tracker, stop: &Stop) {
    let mut exchange = Exchange::new(tracker.config());
    let mut earliest = feed.now();
    let mut hurry = false;
    while !stop.is_stopped() && feed.is_attached() {
        let now = feed.now();
        hurry |= stop.take_hurry();
        let due = if hurry { tracker.next_at().min(earliest) } else { tracker.next_at() };
        if now >= due {
            hurry = false;
            if !round(feed, &mut tracker, &mut exchange, stop) {
                return;
            }
            earliest = feed.now().saturating_add(tracker.config().min_ttl);
            continue;
        }
        let tick = feed.next_deadline();
        if tick.is_some_and(|at| now >= at) {
            feed.tick();
            continue;
        }
        let until = tick.map_or(due, |at| at.min(due));
        // The feed's clock need not be ours: it is looked at again after a second at the latest.
        stop.wait(until.saturating_since(now).clamp(Duration::from_millis(1), Duration::from_secs(1)));
    }
}

/// Whether to go on.
fn round(feed: &Feed, tracker: &mut Tracker, exchange: &mut Exchange, stop: &Stop) -> bool {
    let config = tracker.config().clone();
    let mut lookup = tracker.begin(feed.now());
    while let Some(question) = lookup.question().cloned() {
        let reply = exchange.ask(&question, &config, &|| stop.is_stopped());
        if stop.is_stopped() {
            return false;
        }
        lookup.hear(reply);
    }
    let now = feed.now();
    let events = tracker.conclude(now, &lookup);
    if events.iter().any(|event| matches!(event, Event::Trouble { .. })) {
        exchange.refresh(&config);
    }
    // At one set in 100 ms or more no rate is exceeded, and sets need no position.
    !events.into_iter().any(|event| feed.send_at(now, event) == Err(FeedError::Detached))
}
