use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use evenkeel_types::{Endpoint, EndpointId, Timestamp};

use crate::eviction::Window;
use crate::sources::{Local, Sources};
use crate::{Change, ChangeKind, Fed, Held, HoldReason, ServiceName, Snapshot, SourceState, SourceStatus};

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
    /// Whether anybody ever registered.
    registered: bool,
    /// Whether anybody was ever shown.
    ever: bool,
    /// What else the service is made of, if it ever had a feed.
    sources: Option<Box<Sources>>,
    /// What the sources knew with the present generation, so that it does not matter when the snapshot is made of it.
    told: Arc<[SourceStatus]>,
    /// The suspects of the present generation.
    suspects: Arc<[EndpointId]>,
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
            registered: false,
            ever: false,
            sources: None,
            told: Arc::default(),
            suspects: Arc::default(),
            snapshot: OnceLock::new(),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Numbers what has changed among the leases: one swap, one generation.
    pub(crate) fn publish(
        &mut self,
        now: Timestamp,
        changed: impl IntoIterator<Item = (Arc<Endpoint>, ChangeKind)>,
    ) -> Vec<Change> {
        let changed: Vec<_> = changed.into_iter().collect();
        self.registered |= !changed.is_empty();
        let changed = match self.parts() {
            (None, _) => changed,
            (Some(sources), local) => {
                let touched = changed.iter().map(|(endpoint, kind)| (endpoint.id().clone(), kind.cause()));
                sources.refresh(now, &local, touched.collect())
            }
        };
        self.number(now, changed, false)
    }

    /// Merges what a mirror showed, and numbers it.
    pub(crate) fn merge(&mut self, now: Timestamp, fed: Fed) -> Fed {
        if fed.is_empty() {
            return fed;
        }
        let (Some(sources), local) = self.parts() else { return fed };
        let touched = fed.changes.iter().map(|change| (change.id().clone(), change.kind.cause()));
        let changed = sources.refresh(now, &local, touched.collect());
        let changes = self.number(now, changed, !fed.notices.is_empty());
        Fed { changes, notices: fed.notices }
    }

    /// Merges everything anew, after sources or their rule changed.
    pub(crate) fn remerge(&mut self, now: Timestamp) -> Vec<Change> {
        let (Some(sources), local) = self.parts() else { return Vec::new() };
        let changed = sources.remerge(now, &local);
        self.number(now, changed, true)
    }

    pub(crate) fn sources(&self) -> Option<&Sources> {
        self.sources.as_deref()
    }

    pub(crate) fn sources_mut(&mut self) -> Option<&mut Sources> {
        self.sources.as_deref_mut()
    }

    /// The sources, made if there were none.
    pub(crate) fn open_sources(&mut self) -> &mut Sources {
        self.sources.get_or_insert_default()
    }

    pub(crate) fn statuses(&self, now: Timestamp) -> Vec<SourceStatus> {
        match &self.sources {
            Some(sources) => sources.statuses(now, &self.local()),
            None if self.registered => vec![self.local().status(now, true)],
            None => Vec::new(),
        }
    }

    /// The endpoints, sorted by id.
    pub(crate) fn endpoints(&self) -> Box<dyn Iterator<Item = &Arc<Endpoint>> + '_> {
        match &self.sources {
            Some(sources) => Box::new(sources.merged()),
            None => Box::new(self.records.values().map(|record| &record.endpoint)),
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let build = || {
            let state = match &self.sources {
                Some(sources) => sources.state(self.changed, &self.local(), self.ever),
                None => self.local().state,
            };
            let endpoints = self.endpoints().cloned().collect();
            let snapshot = Snapshot::new(self.name.clone(), self.generation, state, self.changed, endpoints);
            Arc::new(snapshot.with_sources(self.told.clone()).with_suspects(self.suspects.clone()))
        };
        self.snapshot.get_or_init(build).clone()
    }

    pub(crate) fn held(&self) -> Option<Held> {
        let until = self.window?.ends;
        (self.held > 0).then_some(Held { reason: HoldReason::MassExpiry, endpoints: self.held, until })
    }

    fn local(&self) -> Local<'_> {
        Local {
            records: &self.records,
            state: local_state(self.registered, &self.records),
            held: self.held(),
        }
    }

    /// The sources to change, and the leases to look at meanwhile.
    fn parts(&mut self) -> (Option<&mut Sources>, Local<'_>) {
        let held = self.held();
        let Self { records, sources, registered, .. } = self;
        let state = local_state(*registered, records);
        (sources.as_deref_mut(), Local { records, state, held })
    }

    /// One swap, one generation; also if only what is known about the endpoints has changed.
    fn number(
        &mut self,
        now: Timestamp,
        changed: Vec<(Arc<Endpoint>, ChangeKind)>,
        otherwise: bool,
    ) -> Vec<Change> {
        let generation = self.generation + 1;
        let changes: Vec<_> = changed
            .into_iter()
            .map(|(endpoint, kind)| Change { service: self.name.clone(), generation, endpoint, kind })
            .collect();
        if !changes.is_empty() || otherwise {
            self.generation = generation;
            self.changed = now;
            self.ever |= !changes.is_empty();
            self.snapshot = OnceLock::new();
            if let Some(sources) = &self.sources {
                self.suspects = sources.suspects().into();
                self.told = self.statuses(now).into();
            }
        }
        changes
    }
}

fn local_state(registered: bool, records: &BTreeMap<EndpointId, Record>) -> SourceState {
    match (registered, records.is_empty()) {
        (false, _) => SourceState::Pending,
        (true, true) => SourceState::Absent,
        (true, false) => SourceState::Live,
    }
}
