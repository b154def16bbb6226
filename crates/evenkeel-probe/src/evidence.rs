//! What requests met, on its way to the prober's thread.

use std::fmt;
use std::sync::Arc;

use evenkeel_health::ErrorRun;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Takes in how the requests to a target went, for [`observe`](evenkeel_health::CheckConfig::observe) of its check.
///
/// Cheap to clone, and made for the path of requests: a good one is a load as long as there were no errors, an error one
/// compare-and-swap. As soon as so many errors came in a row as [`error_limit`](evenkeel_health::ObserveConfig::error_limit) says,
/// the prober's thread is woken by way of a short lock, and does what `on_error` says. Without `observe` nothing is counted; it
/// follows [`Prober::update`](crate::Prober::update), and outlives its target without effect.
#[derive(Clone)]
pub struct Evidence(Arc<Counter>);

struct Counter {
    token: u64,
    run: ErrorRun,
    mailbox: Arc<Mailbox>,
}

impl Evidence {
    pub(crate) fn new(token: u64, limit: u32, mailbox: Arc<Mailbox>) -> Self {
        Self(Arc::new(Counter { token, run: ErrorRun::new(limit), mailbox }))
    }

    /// A request went well, or met an error. What that means is the caller's word; a request that says nothing about the
    /// endpoint is not told.
    #[inline]
    pub fn request(&self, good: bool) {
        if good {
            self.0.run.good();
        } else if self.0.run.error() {
            self.tell();
        }
    }

    /// Once for each run, so that an endpoint which fails every request costs no lock for each.
    #[cold]
    fn tell(&self) {
        self.0.mailbox.runs.lock().push(self.0.token);
        self.0.mailbox.wake.notify_one();
    }

    /// The errors before count no more.
    pub(crate) fn clear(&self) {
        self.0.run.clear();
    }

    /// The thread has looked: the next run begins.
    pub(crate) fn heard(&self) {
        self.0.run.heard();
    }

    pub(crate) fn set_limit(&self, limit: u32) {
        self.0.run.set_limit(limit);
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence").field("run", &self.0.run).finish_non_exhaustive()
    }
}

/// Where runs of errors wait for the prober's thread, which sleeps until it is woken.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    runs: Mutex<Vec<u64>>,
    pub(crate) wake: Notify,
}

impl Mailbox {
    pub(crate) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.runs.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_once_and_a_good_request_breaks_it() {
        let mailbox = Arc::new(Mailbox::default());
        let evidence = Evidence::new(7, 3, Arc::clone(&mailbox));
        let requests = |word: &str| word.chars().for_each(|letter| evidence.request(letter == 'S'));
        requests("FFSFF");
        assert!(mailbox.take().is_empty());
        requests("FFFFFFFF");
        assert_eq!(mailbox.take(), [7], "once, until somebody has looked");
        evidence.heard();
        requests("FF");
        assert!(mailbox.take().is_empty());
        requests("F");
        assert_eq!(mailbox.take(), [7]);
        evidence.heard();
        evidence.set_limit(0);
        requests("FFFFF");
        assert!(mailbox.take().is_empty(), "nobody observes");
    }
}
