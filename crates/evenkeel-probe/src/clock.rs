use std::time::Duration;

use evenkeel_types::Timestamp;
use tokio::time::Instant;

/// The prober's clock: monotonic time since its start, in the words of the machines that it feeds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::ORIGIN.saturating_add(self.origin.elapsed())
    }

    /// How long to sleep until `deadline`; an hour at most, since nobody counts on a timer for longer.
    pub(crate) fn until(&self, deadline: Timestamp) -> Duration {
        deadline.saturating_since(self.now()).min(LONGEST_SLEEP)
    }
}

const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);
