use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use evenkeel_types::{Endpoint, EndpointId, Timestamp};

use crate::eviction::Window;
use crate::{Change, ChangeKind, ServiceName, Snapshot, SourceState};

/// All that the catalog keeps about one service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    name: ServiceName,
    generation: u64,
    changed: Timestamp,
    pub(crate) records: BTreeMap<EndpointId, Record>,
    /// How many records are held.
    pub(crate) held: usize,
    pub(crate) window: Option<Window>,
    // Built when somebody looks, so that a burst of registrations costs one list and not one each.
    snapshot: OnceLock<Arc<Snapshot>>,
}

/// One registration.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) epoch: u64,
    pub(crate) term: Option<Term>,
}

/// The time of a lease that expires.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub(crate) ttl: Duration,
    pub(crate) deadline: Timestamp,
    /// When the catalog looks at it: at the deadline, or later if it is held.
    pub(crate) wake: Timestamp,
    /// The deadline was moved since the last renewal, because the registry itself had paused.
    pub(crate) forgiven: bool,
    /// It has expired, and the eviction limit keeps the endpoint listed.
    pub(crate) held: bool,
}

impl Service {
    pub(crate) fn new(name: ServiceName, generation: u64) -> Self {
        Self {
            name,
            generation,
            changed: Timestamp::ORIGIN,
            records: BTreeMap::new(),
            held: 0,
            window: None,
            snapshot: OnceLock::new(),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Numbers what has changed: one swap, one generation.
    pub(crate) fn publish(
        &mut self,
        now: Timestamp,
        changed: impl IntoIterator<Item = (Arc<Endpoint>, ChangeKind)>,
    ) -> Vec<Change> {
        let generation = self.generation + 1;
        let changes: Vec<_> = changed
            .into_iter()
            .map(|(endpoint, kind)| Change { service: self.name.clone(), generation, endpoint, kind })
            .collect();
        if !changes.is_empty() {
            self.generation = generation;
            self.changed = now;
            self.snapshot = OnceLock::new();
        }
        changes
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let build = || {
            let state = if self.records.is_empty() { SourceState::Absent } else { SourceState::Live };
            let endpoints = self.records.values().map(|record| record.endpoint.clone()).collect();
            Arc::new(Snapshot::new(self.name.clone(), self.generation, state, self.changed, endpoints))
        };
        self.snapshot.get_or_init(build).clone()
    }
}
