use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Open until somebody closes it, once and for good; whoever waits for that hears of it, on whatever thread.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_closed: AtomicBool,
    closing: Notify,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.closing.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Ends when it is closed.
    pub(crate) async fn closed(&self) {
        let mut closing = std::pin::pin!(self.closing.notified());
        // In the queue first: whoever closes it after this look wakes us.
        closing.as_mut().enable();
        if !self.is_closed() {
            closing.await;
        }
    }
}
