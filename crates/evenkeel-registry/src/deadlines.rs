use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_types::{EndpointId, Timestamp};

use crate::ServiceName;

/// When to look at which lease, earliest first; leases that never expire are not in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadlines {
    // The epoch makes the key unique, and the order of equal deadlines that of registration.
    queue: BTreeMap<(Timestamp, u64), (ServiceName, EndpointId)>,
    ttls: BTreeMap<Duration, usize>,
}

impl Deadlines {
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// The shortest time to live of all leases.
    pub(crate) fn shortest_ttl(&self) -> Option<Duration> {
        self.ttls.first_key_value().map(|(ttl, _)| *ttl)
    }

    pub(crate) fn add(&mut self, at: Timestamp, epoch: u64, ttl: Duration, who: (ServiceName, EndpointId)) {
        self.queue.insert((at, epoch), who);
        *self.ttls.entry(ttl).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, at: Timestamp, epoch: u64, ttl: Duration) {
        self.queue.remove(&(at, epoch));
        if let Some(count) = self.ttls.get_mut(&ttl) {
            *count -= 1;
            if *count == 0 {
                self.ttls.remove(&ttl);
            }
        }
    }

    pub(crate) fn postpone(&mut self, from: Timestamp, to: Timestamp, epoch: u64) {
        if let Some(who) = self.queue.remove(&(from, epoch)) {
            self.queue.insert((to, epoch), who);
        }
    }

    /// Everybody whose time has come; they stay until removed or postponed.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = &(ServiceName, EndpointId)> {
        self.queue.range(..=(now, u64::MAX)).map(|(_, who)| who)
    }
}
