use evenkeel_types::Timestamp;

use super::config::Settle;

/// When gathered changes are shown: the first at once, then in the quiet after a burst.
#[derive(Clone, Debug)]
pub(super) struct Settling {
    pub(super) config: Settle,
    /// Changes until then are gathered.
    quiet_until: Timestamp,
    /// Since when changes wait.
    waiting_since: Option<Timestamp>,
    /// How many were dirty when we looked last.
    seen: usize,
}

impl Settling {
    pub(super) fn new(config: Settle) -> Self {
        Self { config, quiet_until: Timestamp::ORIGIN, waiting_since: None, seen: 0 }
    }

    /// Whether to show what waits. `dirty` is the count of edits since the last showing.
    pub(super) fn is_due(&mut self, now: Timestamp, first: bool, dirty: usize) -> bool {
        if dirty == 0 {
            self.waiting_since = None;
            self.seen = 0;
            return false;
        }
        if dirty != self.seen && !first && now < self.quiet_until {
            let since = *self.waiting_since.get_or_insert(now);
            let quiet = now.saturating_add(self.config.quiet);
            self.quiet_until = quiet.min(since.saturating_add(self.config.max));
            self.seen = dirty;
        }
        if !first && now < self.quiet_until {
            return false;
        }
        self.waiting_since = None;
        self.seen = 0;
        self.quiet_until = now.saturating_add(self.config.quiet);
        true
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.waiting_since.map(|_| self.quiet_until)
    }
}
