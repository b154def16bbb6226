mod config;
mod error;
mod feeds;
mod pause;
mod queries;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use evenkeel_types::{Endpoint, EndpointId, Timestamp};

pub use config::{CatalogConfig, InvalidCatalogConfig};
pub use error::{AttachError, ForgetError, RegisterError, UnknownSource, UpdateError};

use crate::deadlines::Deadlines;
use crate::service::{Record, Service, Term};
use crate::source::SourceName;
use crate::{Cause, Change, ChangeKind, Lease, LeaseLost, ServiceName, ServiceNames};

/// Who exists, as a plain machine: it owns the data, and knows neither locks nor clocks.
///
/// [`Registry`](crate::Registry) is the same behind a lock, with watches. Take the catalog itself inside a machine of
/// your own, in a simulator, or to replay a log: the same calls give the same snapshots.
///
/// # Time
///
/// Times may arrive out of order; one that is earlier than an earlier call's counts as that one. Deadlines are
/// inclusive: a lease of 10 s renewed at 5 s holds until just before 15 s. Call [`tick`](Self::tick) at
/// [`next_deadline`](Self::next_deadline). If you forget, nothing breaks: an overdue lease can no longer be renewed,
/// and only its endpoint stays listed.
///
/// # Pauses
///
/// If the registry itself stood still (a suspended machine, a starved thread), renewals could not arrive, and silence
/// proves nothing. Such a pause is noticed by the first call of any kind that comes more than half the shortest time to
/// live after [`next_deadline`](Self::next_deadline), with no call in between. Every lease that had not expired before
/// is then given back time:
///
/// - at least the lateness of that call (as Eureka adds the lateness of its timer to every lease);
/// - as much as it needs to hold for half its own time to live from now, so that a registrant who renews at a third of
///   it is heard in time (etcd grants the full time again after a restart);
/// - at most the whole silence since the call before, for no renewal can have been missed for longer.
///
/// A lease is given this once between two renewals: a driver that is always late cannot keep the dead alive. And any
/// call will do, not only a tick, because after a wake-up the driver and the renewals race.
///
/// # Incarnations
///
/// A registration counts as a new process. It gets an incarnation that was never given before in the life of the
/// catalog, unless the caller set one (anything but 0), vouching for it: with the incarnation of the endpoint that is
/// registered now, the same process has come back, after a lost lease for example, and what is known about it stays.
/// A lower one is refused as that of an older process.
///
/// # Cost
///
/// A change is O(log n) in leases and services, and the first look after it builds the service's list anew, in O(n)
/// pointer copies. A pause costs O(n log n).
#[derive(Clone, Debug)]
pub struct Catalog {
    config: CatalogConfig,
    now: Timestamp,
    epoch: u64,
    incarnation: u64,
    /// The highest generation that a forgotten service had.
    forgotten: u64,
    services: BTreeMap<ServiceName, Service>,
    deadlines: Deadlines,
    /// When to look at which source.
    wakes: BTreeSet<(Timestamp, ServiceName, SourceName)>,
    /// How many feeds were opened.
    openings: u64,
    /// Services whose generation moved without a change of an endpoint, since somebody asked.
    moved: BTreeSet<ServiceName>,
    names_generation: u64,
    names: OnceLock<Arc<ServiceNames>>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new(CatalogConfig::default()).expect("the default bounds are valid")
    }
}

impl Catalog {
    /// The highest incarnation that a caller may set, so that higher ones are left to give: 2^63 − 1, enough for
    /// nanoseconds since 1970 until the year 2262.
    pub const MAX_INCARNATION: u64 = u64::MAX / 2;

    /// An empty catalog.
    ///
    /// # Errors
    ///
    /// [`InvalidCatalogConfig`] if a bound lets nothing in.
    pub fn new(config: CatalogConfig) -> Result<Self, InvalidCatalogConfig> {
        config.validate()?;
        Ok(Self {
            config,
            now: Timestamp::ORIGIN,
            epoch: config.epoch_floor,
            incarnation: config.epoch_floor,
            forgotten: 0,
            services: BTreeMap::new(),
            deadlines: Deadlines::default(),
            wakes: BTreeSet::new(),
            openings: 0,
            moved: BTreeSet::new(),
            names_generation: 0,
            names: OnceLock::new(),
        })
    }

    /// Lists an endpoint under a service until its lease expires `ttl` after the last renewal, or with `None` until it
    /// is deregistered.
    ///
    /// If the id is registered already, this registration takes it over and the older lease is lost; see
    /// [incarnations](Self#incarnations) for what that means to readers. The endpoint's own
    /// [`expires`](Endpoint::expires) is passed on as given: writing each new deadline there would be a visible change
    /// per renewal.
    ///
    /// # Errors
    ///
    /// [`RegisterError`]; the catalog is then as before.
    pub fn register(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        endpoint: Endpoint,
        ttl: Option<Duration>,
    ) -> Result<(Lease, Vec<Change>), RegisterError> {
        let now = self.advance(now);
        self.config.check_ttl(ttl)?;
        self.check_room(service, endpoint.id())?;
        let endpoint = Arc::new(self.incarnate(service, endpoint)?);
        let previous = self.take_record(service, endpoint.id());
        let lease = self.insert(now, service, endpoint.clone(), ttl);
        Ok((lease, self.entry(service).publish(now, replacement(previous, endpoint))))
    }

    /// Makes these the registrations of a service, in one swap: for somebody who registers a fleet for it (third-party
    /// registration). Who is not among them is deregistered, whoever had registered it.
    ///
    /// An incarnation of 0 stands for the present one of a registered endpoint, since a list that is read again is no
    /// restart of everybody in it. Of two entries with one id the later counts. The leases are in order of id.
    ///
    /// O(n log n).
    ///
    /// # Errors
    ///
    /// [`RegisterError`]; nothing is changed then.
    pub fn replace_all(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        endpoints: Vec<Endpoint>,
        ttl: Option<Duration>,
    ) -> Result<(Vec<Lease>, Vec<Change>), RegisterError> {
        let now = self.advance(now);
        self.config.check_ttl(ttl)?;
        let wanted: BTreeMap<_, _> = endpoints.into_iter().map(|e| (e.id().clone(), e)).collect();
        let CatalogConfig { max_services, max_endpoints, .. } = self.config;
        if wanted.len() > max_endpoints {
            return Err(RegisterError::TooManyEndpoints { max_endpoints });
        }
        if !self.services.contains_key(service) && self.services.len() >= max_services {
            return Err(RegisterError::TooManyServices { max_services });
        }
        let mut incarnated = Vec::with_capacity(wanted.len());
        for endpoint in wanted.values().cloned() {
            let present = self.services.get(service).and_then(|s| s.records.get(endpoint.id()));
            let present = present.map_or(0, |record| record.endpoint.incarnation());
            let kept = endpoint.incarnation().max(if endpoint.incarnation() == 0 { present } else { 0 });
            incarnated.push(Arc::new(self.incarnate(service, endpoint.with_incarnation(kept))?));
        }
        let records = self.services.get(service).into_iter().flat_map(|entry| entry.records.keys());
        let gone: Vec<_> = records.filter(|id| !wanted.contains_key(*id)).cloned().collect();
        let goodbye = ChangeKind::Removed { cause: Cause::Deregistered };
        let removed = gone.iter().filter_map(|id| self.take_record(service, id));
        let mut changed: Vec<_> = removed.map(|endpoint| (endpoint, goodbye)).collect();
        let mut leases = Vec::with_capacity(incarnated.len());
        for endpoint in incarnated {
            let previous = self.take_record(service, endpoint.id());
            leases.push(self.insert(now, service, endpoint.clone(), ttl));
            changed.extend(replacement(previous, endpoint));
        }
        Ok((leases, self.entry(service).publish(now, changed)))
    }

    /// Moves the deadline of a lease to `now` plus its time to live, and returns it; [`Timestamp::MAX`] means never.
    /// Readers see nothing of it.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`]: register again.
    pub fn renew(&mut self, now: Timestamp, lease: &Lease) -> Result<Timestamp, LeaseLost> {
        let now = self.advance(now);
        let record = kept(&mut self.services, lease, now)?;
        let Some(term) = &mut record.term else { return Ok(Timestamp::MAX) };
        let renewed = Term::new(now, term.ttl);
        self.deadlines.postpone(term.wake, renewed.wake, record.epoch);
        *term = renewed;
        Ok(renewed.deadline)
    }

    /// Describes the endpoint of a lease anew: weight, labels, what it announces. The deadline does not move: only
    /// [`renew`](Self::renew) proves that the registrant lives, and a change by an operator's tool must not.
    ///
    /// An incarnation of 0 stands for the present one.
    ///
    /// # Errors
    ///
    /// [`UpdateError`]; nothing is changed then.
    pub fn update(
        &mut self,
        now: Timestamp,
        lease: &Lease,
        endpoint: Endpoint,
    ) -> Result<Vec<Change>, UpdateError> {
        let now = self.advance(now);
        let record = kept(&mut self.services, lease, now)?;
        if endpoint.id() != lease.id() {
            return Err(UpdateError::OtherId);
        }
        let present = record.endpoint.incarnation();
        if ![0, present].contains(&endpoint.incarnation()) {
            return Err(UpdateError::OtherIncarnation { given: endpoint.incarnation(), present });
        }
        let endpoint = Arc::new(endpoint.with_incarnation(present));
        let previous = std::mem::replace(&mut record.endpoint, endpoint.clone());
        Ok(self.publish(now, lease.service(), replacement(Some(previous), endpoint)))
    }

    /// Ends a registration. A goodbye is proof, so it also counts after the deadline, as long as the endpoint is
    /// still listed.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`]: there is nothing to end.
    pub fn deregister(&mut self, now: Timestamp, lease: &Lease) -> Result<Vec<Change>, LeaseLost> {
        let now = self.advance(now);
        listed(&mut self.services, lease)?;
        let removed = self.take_record(lease.service(), lease.id());
        let kind = ChangeKind::Removed { cause: Cause::Deregistered };
        Ok(self.publish(now, lease.service(), removed.map(|endpoint| (endpoint, kind))))
    }

    /// Removes what has expired, within the [`EvictionLimit`](crate::EvictionLimit), and returns it: by service, the
    /// longest overdue first. Ticks the sources whose time has come.
    ///
    /// O(due · log n).
    pub fn tick(&mut self, now: Timestamp) -> Vec<Change> {
        let now = self.advance(now);
        let mut due: BTreeMap<ServiceName, Vec<(Timestamp, u64, EndpointId)>> = BTreeMap::new();
        for (service, id) in self.deadlines.due(now) {
            let Some(record) = self.services.get(service).and_then(|s| s.records.get(id)) else { continue };
            let Some(term) = record.term else { continue };
            due.entry(service.clone()).or_default().push((term.deadline, record.epoch, id.clone()));
        }
        let mut changes = self.tick_sources(now);
        for (service, mut expired) in due {
            expired.sort_unstable();
            let allowed = self.admit_evictions(now, &service, expired.into_iter().map(|(.., id)| id));
            let removed: Vec<_> = allowed.iter().filter_map(|id| self.take_record(&service, id)).collect();
            let kind = ChangeKind::Removed { cause: Cause::Expired };
            changes.extend(self.publish(now, &service, removed.into_iter().map(|endpoint| (endpoint, kind))));
        }
        changes
    }

    /// Drops a service that has no endpoint left, to make room for another.
    ///
    /// It is [`Pending`](crate::SourceState::Pending) again. Should the name come back, its generations start above
    /// all earlier ones.
    ///
    /// # Errors
    ///
    /// [`ForgetError`] if it has endpoints, or is not known.
    pub fn forget(&mut self, service: &ServiceName) -> Result<(), ForgetError> {
        let entry = self.services.get(service).ok_or(ForgetError::Unknown)?;
        if !entry.records.is_empty() {
            return Err(ForgetError::InUse { endpoints: entry.records.len() });
        }
        let sources = entry.sources().map_or(0, |sources| sources.feeds.len());
        if sources > 0 {
            return Err(ForgetError::Fed { sources });
        }
        self.forgotten = self.forgotten.max(entry.generation());
        self.services.remove(service);
        self.names_generation += 1;
        self.names = OnceLock::new();
        Ok(())
    }

    /// The generation of the names, without building their list.
    pub(crate) fn names_generation(&self) -> u64 {
        self.names_generation
    }

    /// Enters a registration in all tables; the change has still to be published.
    fn insert(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        endpoint: Arc<Endpoint>,
        ttl: Option<Duration>,
    ) -> Lease {
        self.epoch += 1;
        let (epoch, id) = (self.epoch, endpoint.id().clone());
        let term = ttl.map(|ttl| Term::new(now, ttl));
        if let Some(term) = term {
            self.deadlines.add(term.wake, epoch, term.ttl, (service.clone(), id.clone()));
        }
        self.entry(service).records.insert(id.clone(), Record { endpoint, epoch, term });
        Lease::new(service.clone(), id, epoch)
    }

    /// The entry of a service, made if there was none.
    fn entry(&mut self, service: &ServiceName) -> &mut Service {
        if !self.services.contains_key(service) {
            self.names_generation += 1;
            self.names = OnceLock::new();
        }
        let start = self.forgotten;
        self.services.entry(service.clone()).or_insert_with(|| Service::new(service.clone(), start))
    }

    fn check_room(&self, service: &ServiceName, id: &EndpointId) -> Result<(), RegisterError> {
        let CatalogConfig { max_services, max_endpoints, .. } = self.config;
        match self.services.get(service) {
            None if self.services.len() >= max_services => {
                Err(RegisterError::TooManyServices { max_services })
            }
            Some(entry) if entry.records.len() >= max_endpoints && !entry.records.contains_key(id) => {
                Err(RegisterError::TooManyEndpoints { max_endpoints })
            }
            _ => Ok(()),
        }
    }

    /// Gives the endpoint an incarnation, unless it has one that can stand.
    fn incarnate(&mut self, service: &ServiceName, endpoint: Endpoint) -> Result<Endpoint, RegisterError> {
        let given = endpoint.incarnation();
        let present = self.services.get(service).and_then(|s| s.records.get(endpoint.id()));
        let present = present.map_or(0, |record| record.endpoint.incarnation());
        if given == 0 {
            self.incarnation += 1;
            return Ok(endpoint.with_incarnation(self.incarnation));
        }
        if given < present {
            return Err(RegisterError::OlderIncarnation { given, present });
        }
        if given > Self::MAX_INCARNATION && given != present {
            return Err(RegisterError::IncarnationTooHigh { given });
        }
        self.incarnation = self.incarnation.max(given);
        Ok(endpoint)
    }

    fn publish(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        changed: impl IntoIterator<Item = (Arc<Endpoint>, ChangeKind)>,
    ) -> Vec<Change> {
        self.services.get_mut(service).map(|entry| entry.publish(now, changed)).unwrap_or_default()
    }

    /// Which of the expired may go now; the others are held.
    fn admit_evictions(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        expired: impl Iterator<Item = EndpointId>,
    ) -> Vec<EndpointId> {
        let Some(entry) = self.services.get_mut(service) else { return Vec::new() };
        let mut window = match entry.window {
            Some(window) if window.is_open(now) => window,
            earlier => {
                let backlog = earlier.filter(|_| entry.held > 0);
                self.config.eviction.open(now, entry.records.len(), backlog)
            }
        };
        let mut allowed = Vec::new();
        for id in expired {
            if window.take() {
                allowed.push(id);
                continue;
            }
            let Some(record) = entry.records.get_mut(&id) else { continue };
            let Some(term) = &mut record.term else { continue };
            self.deadlines.postpone(term.wake, window.ends, record.epoch);
            entry.held += usize::from(!term.held);
            *term = Term { wake: window.ends, held: true, ..*term };
        }
        entry.window = Some(window);
        allowed
    }

    /// Takes a registration out of all tables; the change has still to be published.
    fn take_record(&mut self, service: &ServiceName, id: &EndpointId) -> Option<Arc<Endpoint>> {
        let entry = self.services.get_mut(service)?;
        let record = entry.records.remove(id)?;
        if let Some(term) = record.term {
            self.deadlines.remove(term.wake, record.epoch, term.ttl);
            entry.held -= usize::from(term.held);
        }
        Some(record.endpoint)
    }
}

impl Term {
    fn new(now: Timestamp, ttl: Duration) -> Self {
        let deadline = now.saturating_add(ttl);
        Self { ttl, deadline, wake: deadline, forgiven: false, held: false }
    }
}

/// The registration of a lease, also if it is overdue.
fn listed<'a>(
    services: &'a mut BTreeMap<ServiceName, Service>,
    lease: &Lease,
) -> Result<&'a mut Record, LeaseLost> {
    let entry = services.get_mut(lease.service()).ok_or(LeaseLost::Gone)?;
    let record = entry.records.get_mut(lease.id()).ok_or(LeaseLost::Gone)?;
    match record.epoch.cmp(&lease.epoch()) {
        std::cmp::Ordering::Equal => Ok(record),
        std::cmp::Ordering::Greater => Err(LeaseLost::Replaced),
        std::cmp::Ordering::Less => Err(LeaseLost::Gone),
    }
}

/// The registration of a lease that holds.
fn kept<'a>(
    services: &'a mut BTreeMap<ServiceName, Service>,
    lease: &Lease,
    now: Timestamp,
) -> Result<&'a mut Record, LeaseLost> {
    let record = listed(services, lease)?;
    if record.term.is_some_and(|term| term.deadline <= now) { Err(LeaseLost::Expired) } else { Ok(record) }
}

/// What readers see when one description takes the place of another.
pub(crate) fn replacement(
    previous: Option<Arc<Endpoint>>,
    endpoint: Arc<Endpoint>,
) -> impl Iterator<Item = (Arc<Endpoint>, ChangeKind)> {
    let (first, second) = match previous {
        None => (None, Some((endpoint, ChangeKind::Added))),
        Some(previous) if previous.incarnation() != endpoint.incarnation() => {
            let removed = ChangeKind::Removed { cause: Cause::Replaced };
            (Some((previous, removed)), Some((endpoint, ChangeKind::Added)))
        }
        Some(previous) => {
            let what = previous.difference(&endpoint);
            (None, (!what.is_empty()).then_some((endpoint, ChangeKind::Updated { what })))
        }
    };
    first.into_iter().chain(second)
}
