use std::time::Duration;

use evenkeel_types::Timestamp;

use super::Catalog;
use crate::service::Term;

impl Catalog {
    /// Takes the time in, and forgives the leases a pause of the registry.
    pub(super) fn advance(&mut self, now: Timestamp) -> Timestamp {
        let last = self.now;
        self.now = last.max(now);
        if let (Some(asked), Some(shortest)) = (self.deadlines.first(), self.deadlines.shortest_ttl()) {
            let late = self.now.saturating_since(asked.max(last));
            if late > shortest / 2 {
                self.forgive(last, late);
            }
        }
        self.now
    }

    /// Gives back what a pause took; see [pauses](Catalog#pauses).
    fn forgive(&mut self, last: Timestamp, late: Duration) {
        let silence = self.now.saturating_since(last);
        for record in self.services.values_mut().flat_map(|service| service.records.values_mut()) {
            let Some(term) = &mut record.term else { continue };
            if term.forgiven || term.deadline <= last {
                continue;
            }
            let wanted = term.deadline.saturating_add(late).max(self.now.saturating_add(term.ttl / 2));
            let moved = wanted.min(term.deadline.saturating_add(silence));
            self.deadlines.postpone(term.wake, moved, record.epoch);
            *term = Term { deadline: moved, wake: moved, forgiven: true, ..*term };
        }
    }
}
