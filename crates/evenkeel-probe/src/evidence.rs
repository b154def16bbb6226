//! What requests met, on its way to the prober's thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Takes in how the requests to a target went, for [`observe`](evenkeel_health::CheckConfig::observe) of its check.
///
/// Cheap to clone, and made for the path of requests: a good one is a load as long as there were no errors, an error one
/// addition. As soon as so many errors came in a row as [`error_limit`](evenkeel_health::ObserveConfig::error_limit) says,
/// the prober's thread is woken by way of a short lock, and does what `on_error` says. Without `observe` nothing is counted; it
/// follows [`Prober::update`](crate::Prober::update), and outlives its target without effect.
#[derive(Clone)]
pub struct Evidence(Arc<Counter>);

struct Counter {
    token: u64,
    /// 0 while nobody observes.
    limit: AtomicU32,
    /// Errors in a row.
    errors: AtomicU32,
    /// Whether the thread has been told and has not looked yet.
    told: AtomicBool,
    mailbox: Arc<Mailbox>,
}

impl Evidence {
    pub(crate) fn new(token: u64, limit: u32, mailbox: Arc<Mailbox>) -> Self {
        let (limit, errors, told) = (AtomicU32::new(limit), AtomicU32::new(0), AtomicBool::new(false));
        Self(Arc::new(Counter { token, limit, errors, told, mailbox }))
    }

    /// A request went well, or met an error. What that means is the caller's word; a request that says nothing about the
    /// endpoint is not told.
    #[inline]
    pub fn request(&self, good: bool) {
        let counter = &*self.0;
        let limit = counter.limit.load(Ordering::Relaxed);
        if limit == 0 {
            return;
        }
        if good {
            self.clear();
        } else if !counter.told.load(Ordering::Relaxed)
            && counter.errors.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= limit
        {
            self.tell();
        }
    }

    /// Once for each run, so that an endpoint which fails every request costs no lock for each.
    #[cold]
    fn tell(&self) {
        if !self.0.told.swap(true, Ordering::AcqRel) {
            self.0.mailbox.runs.lock().push(self.0.token);
            self.0.mailbox.wake.notify_one();
        }
    }

    /// The errors before count no more.
    #[inline]
    pub(crate) fn clear(&self) {
        if self.0.errors.load(Ordering::Relaxed) != 0 {
            self.0.errors.store(0, Ordering::Relaxed);
        }
    }

    /// The thread has looked: the next run begins.
    pub(crate) fn heard(&self) {
        self.0.errors.store(0, Ordering::Relaxed);
        self.0.told.store(false, Ordering::Release);
    }

    pub(crate) fn set_limit(&self, limit: u32) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.0.errors.load(Ordering::Relaxed);
        f.debug_struct("Evidence").field("errors", &errors).finish_non_exhaustive()
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
