use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use evenkeel_types::{Address, Endpoint, EndpointId, Timestamp};

use super::Mirror;

/// At most so many events a second, and as many at once: a leaky bucket (GCRA) with one word of state.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    interval: u64,
    burst: u64,
    /// When the bucket is empty again.
    empty_at: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Bucket {
    pub(super) fn new(per_second: u32) -> Self {
        Self { interval: SECOND / u64::from(per_second.max(1)), burst: SECOND, empty_at: 0 }
    }

    /// Room for one more, or when there will be.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let filled = self.empty_at.max(now.as_nanos()).saturating_add(self.interval);
        if filled > now.as_nanos().saturating_add(self.burst) {
            return Err(Timestamp::from_nanos(filled - self.burst));
        }
        self.empty_at = filled;
        Ok(())
    }
}

impl Mirror {
    /// What of an answer can be used: sorted by id, one entry for each, within the bounds.
    pub(super) fn vet(&mut self, now: Timestamp, endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
        let sorted = endpoints.is_sorted_by(|a, b| a.id() < b.id());
        let mut vetted = if sorted { endpoints } else { self.by_id(now, endpoints) };
        let max = self.config.max_weight;
        vetted.retain(|endpoint| {
            let fits = endpoint.weight() <= max;
            if !fits {
                let reason = format!("weight {} is above max_weight, {}", endpoint.weight().get(), max.get());
                self.rejects.note(now, Some(endpoint.id().as_str()), &reason);
            }
            fits
        });
        self.cut(now, vetted)
    }

    /// The same for those that a delta brings: what is known counts against the bound.
    pub(super) fn vet_upserts(&mut self, now: Timestamp, upserts: Vec<Endpoint>) -> Vec<Endpoint> {
        let mut vetted = self.vet(now, upserts);
        let mut room = self.config.max_endpoints.saturating_sub(self.members.said_len());
        vetted.retain(|endpoint| {
            if self.members.said_of(endpoint.id()).is_some() {
                return true;
            }
            if room == 0 {
                self.rejects.note(now, Some(endpoint.id().as_str()), TOO_MANY);
            }
            room.checked_sub(1).map(|left| room = left).is_some()
        });
        vetted
    }

    /// Of two entries with one id, the one that is known, else the one with the lower address: no order of the answer
    /// decides.
    pub(super) fn settle_twins(
        &mut self,
        now: Timestamp,
        all: &mut BTreeMap<EndpointId, Endpoint>,
        endpoint: Endpoint,
    ) {
        match all.entry(endpoint.id().clone()) {
            Entry::Vacant(place) => _ = place.insert(endpoint),
            Entry::Occupied(twin) if *twin.get() == endpoint => {}
            Entry::Occupied(mut twin) => {
                self.rejects.note(now, Some(endpoint.id().as_str()), "two entries with this id");
                let known = self.members.said_of(endpoint.id()).map(AsRef::as_ref);
                let rank = |e| rank(e, known == Some(e));
                if rank(&endpoint) < rank(twin.get()) {
                    twin.insert(endpoint);
                }
            }
        }
    }

    fn by_id(&mut self, now: Timestamp, endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
        let mut all = BTreeMap::new();
        for endpoint in endpoints {
            self.settle_twins(now, &mut all, endpoint);
        }
        all.into_values().collect()
    }

    fn cut(&mut self, now: Timestamp, vetted: Vec<Endpoint>) -> Vec<Endpoint> {
        let max = self.config.max_endpoints;
        if vetted.len() <= max {
            return vetted;
        }
        let known = vetted.iter().filter(|e| self.members.said_of(e.id()).is_some()).count();
        let (mut old, mut new) = (max, max.saturating_sub(known));
        vetted
            .into_iter()
            .filter(|endpoint| {
                let room = if self.members.said_of(endpoint.id()).is_some() { &mut old } else { &mut new };
                if *room == 0 {
                    self.rejects.note(now, Some(endpoint.id().as_str()), TOO_MANY);
                }
                room.checked_sub(1).map(|left| *room = left).is_some()
            })
            .collect()
    }
}

const TOO_MANY: &str = "more endpoints than max_endpoints";

fn rank(endpoint: &Endpoint, known: bool) -> (bool, Vec<Address>, u32) {
    (!known, endpoint.addresses().cloned().collect(), endpoint.weight().get())
}
