//! A request that has no answer yet: if its client leaves first, that is counted and told too.

use tokio::time::Instant;

use super::access_log::Record;
use super::worker::Worker;

/// A request that has no answer yet.
pub struct Unanswered<'a> {
    worker: &'a Worker,
    /// When it came.
    pub started: Instant,
    /// Its line of the access log, as far as it is written.
    pub record: Option<Record>,
    is_answered: bool,
}

impl<'a> Unanswered<'a> {
    /// A request that has begun.
    pub const fn new(worker: &'a Worker, started: Instant, record: Option<Record>) -> Self {
        Self { worker, started, record, is_answered: false }
    }

    /// There is an answer, and whoever sends it writes the line.
    pub const fn answered(&mut self) -> Option<Record> {
        self.is_answered = true;
        self.record.take()
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        self.worker.counts.left.add(1);
        if let (Some(mut record), Some(log)) = (self.record.take(), &self.worker.log) {
            record.text("cause", b"client_left");
            log.add(&record.end(0, self.started.elapsed(), false));
        }
    }
}
