//! Whatever happens in whatever order, the catalog does what a naive model does that follows the documentation.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_registry::{
    Catalog, CatalogConfig, Change, ChangeKind, EvictionLimit, Lease, LeaseLost, RegisterError, ServiceName,
    SourceState,
};
use evenkeel_types::{Endpoint, EndpointId, Ratio, Timestamp, Weight};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Register { service: u8, id: u8, ttl: Option<u64>, incarnation: u64, weight: u32 },
    Renew { lease: usize },
    Update { lease: usize, weight: u32 },
    Deregister { lease: usize },
    Tick,
    Forget { service: u8 },
}

/// An operation, and by how many milliseconds the caller's clock moves before it: sometimes back.
fn step() -> impl Strategy<Value = (i64, Op)> {
    let ttl = prop_oneof![1 => Just(None), 4 => (1_000..12_000_u64).prop_map(Some)];
    let incarnation = prop_oneof![4 => Just(0), 1 => 0..20_u64];
    let op = prop_oneof![
        4 => (0..2_u8, 0..6_u8, ttl, incarnation, 0..3_u32).prop_map(|(service, id, ttl, incarnation, weight)| {
            Op::Register { service, id, ttl, incarnation, weight }
        }),
        4 => any::<usize>().prop_map(|lease| Op::Renew { lease }),
        2 => (any::<usize>(), 0..3_u32).prop_map(|(lease, weight)| Op::Update { lease, weight }),
        1 => any::<usize>().prop_map(|lease| Op::Deregister { lease }),
        4 => Just(Op::Tick),
        1 => (0..2_u8).prop_map(|service| Op::Forget { service }),
    ];
    (prop_oneof![6 => 0..2_000_i64, 2 => -5_000..0_i64, 1 => 0..60_000_i64], op)
}

proptest! {
    #[test]
    fn the_catalog_is_the_naive_model(steps in vec(step(), 1..120)) {
        let (mut catalog, mut model) = (Catalog::new(config()).unwrap(), Model::default());
        let mut leases = Vec::new();
        let mut clock = 0_i64;
        for (moved, op) in steps {
            clock = (clock + moved).max(0);
            let now = Timestamp::from_millis(clock.unsigned_abs());
            let before = [view(&catalog, 0), view(&catalog, 1)];
            let changes = act(&mut catalog, &mut model, &mut leases, now, &op)?;
            for number in 0..2 {
                let (old, new) = (&before[usize::from(number)], view(&catalog, number));
                prop_assert_eq!(&new, &model.view(number), "after {:?}", &op);
                if matches!(op, Op::Forget { .. }) { continue }
                let visible = (old.state, &old.endpoints) != (new.state, &new.endpoints);
                // The first generation may be more than 1, above those of services that are forgotten.
                let start = if old.state == SourceState::Pending { model.forgotten } else { old.generation };
                let expected = if visible { start + 1 } else { old.generation };
                prop_assert_eq!(new.generation, expected, "after {:?}", &op);
                let applied = apply(old.endpoints.clone(), &changes, &name(number));
                prop_assert_eq!(applied, new.endpoints, "changes of {:?} lead from old to new", &op);
            }
            prop_assert_eq!(catalog.next_deadline(), model.next_wake());
        }
    }

    #[test]
    fn a_replay_gives_the_same_bytes(steps in vec(step(), 1..60)) {
        let run = || {
            let (mut catalog, mut model) = (Catalog::new(config()).unwrap(), Model::default());
            let (mut leases, mut clock, mut log) = (Vec::new(), 0_i64, String::new());
            for (moved, op) in &steps {
                clock = (clock + moved).max(0);
                let now = Timestamp::from_millis(clock.unsigned_abs());
                let changes = act(&mut catalog, &mut model, &mut leases, now, op)?;
                log += &format!("{changes:?}{:?}{:?}", catalog.snapshot(&name(0)), catalog.snapshot(&name(1)));
            }
            Ok::<_, TestCaseError>(log)
        };
        prop_assert_eq!(run()?, run()?);
    }

    /// The driver ticks at each deadline, so nothing pauses: a lease holds until its deadline and not longer.
    #[test]
    fn a_driven_lease_ends_at_its_deadline(ttl in 1_000..20_000_u64, renewals in vec(0..30_000_u64, 0..10)) {
        let mut catalog = Catalog::default();
        let ttl = Duration::from_millis(ttl);
        let (lease, _) = catalog.register(Timestamp::ORIGIN, &name(0), endpoint(0, 0, 1), Some(ttl)).unwrap();
        let (mut now, mut deadline) = (Timestamp::ORIGIN, Timestamp::ORIGIN.saturating_add(ttl));
        for wait in renewals {
            now = now.saturating_add(Duration::from_millis(wait));
            while let Some(asked) = catalog.next_deadline().filter(|asked| *asked <= now) {
                catalog.tick(asked);
            }
            if now < deadline {
                deadline = now.saturating_add(ttl);
                prop_assert_eq!(catalog.renew(now, &lease), Ok(deadline));
            } else {
                prop_assert_eq!(catalog.renew(now, &lease), Err(LeaseLost::Gone));
            }
        }
    }
}

/// Does the operation on both, and compares the answers.
fn act(
    catalog: &mut Catalog,
    model: &mut Model,
    leases: &mut Vec<Lease>,
    now: Timestamp,
    op: &Op,
) -> Result<Vec<Change>, TestCaseError> {
    let pick = |lease: usize| (!leases.is_empty()).then(|| leases[lease % leases.len()].clone());
    let mut changes = Vec::new();
    match *op {
        Op::Register { service, id, ttl, incarnation, weight } => {
            let ttl = ttl.map(Duration::from_millis);
            let endpoint = endpoint(id, incarnation, weight);
            let expected = model.register(now, &name(service), endpoint.clone(), ttl);
            let got = catalog.register(now, &name(service), endpoint, ttl);
            prop_assert_eq!(got.as_ref().map(|(lease, _)| lease.epoch()).map_err(Clone::clone), expected);
            if let Ok((lease, made)) = got {
                leases.push(lease);
                changes = made;
            }
        }
        Op::Renew { lease } => {
            if let Some(lease) = pick(lease) {
                prop_assert_eq!(catalog.renew(now, &lease), model.renew(now, &lease));
            }
        }
        Op::Update { lease, weight } => {
            if let Some(lease) = pick(lease) {
                let endpoint = Endpoint::new(lease.id().clone(), "10.0.0.1:80".parse().unwrap());
                let endpoint = endpoint.with_weight(Weight::new(weight));
                let expected = model.update(now, &lease, endpoint.clone());
                let got = catalog.update(now, &lease, endpoint);
                prop_assert_eq!(got.is_ok(), expected);
                changes = got.unwrap_or_default();
            }
        }
        Op::Deregister { lease } => {
            if let Some(lease) = pick(lease) {
                let expected = model.deregister(now, &lease);
                let got = catalog.deregister(now, &lease);
                prop_assert_eq!(got.is_ok(), expected);
                changes = got.unwrap_or_default();
            }
        }
        Op::Tick => {
            model.tick(now);
            changes = catalog.tick(now);
        }
        Op::Forget { service } => {
            prop_assert_eq!(catalog.forget(&name(service)).is_ok(), model.forget(&name(service)));
        }
    }
    Ok(changes)
}

/// What a reader sees.
#[derive(Clone, Debug, PartialEq)]
struct View {
    generation: u64,
    state: SourceState,
    endpoints: BTreeMap<EndpointId, Endpoint>,
}

fn view(catalog: &Catalog, service: u8) -> View {
    let snapshot = catalog.snapshot(&name(service));
    assert!(snapshot.endpoints().is_sorted_by(|a, b| a.id() < b.id()));
    let endpoints = snapshot.endpoints().iter().map(|e| (e.id().clone(), Endpoint::clone(e))).collect();
    View { generation: snapshot.generation(), state: snapshot.state(), endpoints }
}

fn apply(
    mut endpoints: BTreeMap<EndpointId, Endpoint>,
    changes: &[Change],
    service: &ServiceName,
) -> BTreeMap<EndpointId, Endpoint> {
    for change in changes.iter().filter(|change| change.service == *service) {
        match change.kind {
            ChangeKind::Removed { .. } => assert!(endpoints.remove(change.id()).is_some()),
            _ => drop(endpoints.insert(change.id().clone(), Endpoint::clone(&change.endpoint))),
        }
    }
    endpoints
}

/// The rules of the documentation over plain lists: everything is found by looking at everything.
#[derive(Default)]
struct Model {
    now: Timestamp,
    epoch: u64,
    incarnation: u64,
    forgotten: u64,
    services: BTreeMap<ServiceName, ModelService>,
}

#[derive(Default)]
struct ModelService {
    generation: u64,
    records: Vec<ModelRecord>,
    /// When it ends, how many may still go, and of how many.
    window: Option<(Timestamp, usize, usize)>,
}

struct ModelRecord {
    endpoint: Endpoint,
    epoch: u64,
    ttl: Option<Duration>,
    deadline: Timestamp,
    forgiven: bool,
    held_until: Option<Timestamp>,
}

impl ModelRecord {
    fn wake(&self) -> Option<Timestamp> {
        self.ttl.map(|_| self.held_until.unwrap_or(self.deadline))
    }
}

impl Model {
    fn records(&mut self) -> impl Iterator<Item = &mut ModelRecord> {
        self.services.values_mut().flat_map(|service| &mut service.records)
    }

    fn next_wake(&self) -> Option<Timestamp> {
        self.services.values().flat_map(|s| &s.records).filter_map(ModelRecord::wake).min()
    }

    fn advance(&mut self, now: Timestamp) {
        let last = self.now;
        self.now = last.max(now);
        let now = self.now;
        let Some(asked) = self.next_wake() else { return };
        let Some(shortest) = self.records().filter_map(|record| record.ttl).min() else { return };
        let late = now.saturating_since(asked).min(now.saturating_since(last));
        if late <= shortest / 2 {
            return;
        }
        for record in self.records().filter(|r| !r.forgiven && r.deadline > last) {
            let Some(ttl) = record.ttl else { continue };
            let grace = now.saturating_add(ttl / 2);
            let most = record.deadline.saturating_add(now.saturating_since(last));
            record.deadline = record.deadline.saturating_add(late).max(grace).min(most);
            record.forgiven = true;
        }
    }

    fn register(
        &mut self,
        now: Timestamp,
        service: &ServiceName,
        endpoint: Endpoint,
        ttl: Option<Duration>,
    ) -> Result<u64, RegisterError> {
        self.advance(now);
        let (now, given, forgotten) = (self.now, endpoint.incarnation(), self.forgotten);
        let entry = self.services.get(service);
        let present = entry.and_then(|s| s.records.iter().find(|r| r.endpoint.id() == endpoint.id()));
        if entry.is_some_and(|s| s.records.len() == MAX_ENDPOINTS) && present.is_none() {
            return Err(RegisterError::TooManyEndpoints { max_endpoints: MAX_ENDPOINTS });
        }
        if let Some(present) = present.map(|r| r.endpoint.incarnation()).filter(|p| given != 0 && given < *p)
        {
            return Err(RegisterError::OlderIncarnation { given, present });
        }
        self.incarnation = if given == 0 { self.incarnation + 1 } else { self.incarnation.max(given) };
        let endpoint = if given == 0 { endpoint.with_incarnation(self.incarnation) } else { endpoint };
        self.epoch += 1;
        let entry = self.services.entry(service.clone());
        let entry = entry.or_insert_with(|| ModelService { generation: forgotten, ..Default::default() });
        let identical = entry.records.iter().any(|r| r.endpoint == endpoint);
        entry.generation += u64::from(!identical);
        entry.records.retain(|r| r.endpoint.id() != endpoint.id());
        let deadline = ttl.map_or(Timestamp::MAX, |ttl| now.saturating_add(ttl));
        let epoch = self.epoch;
        entry.records.push(ModelRecord { endpoint, epoch, ttl, deadline, forgiven: false, held_until: None });
        Ok(epoch)
    }

    fn find(&mut self, lease: &Lease) -> Result<&mut ModelRecord, LeaseLost> {
        let entry = self.services.get_mut(lease.service()).ok_or(LeaseLost::Gone)?;
        let record =
            entry.records.iter_mut().find(|r| r.endpoint.id() == lease.id()).ok_or(LeaseLost::Gone)?;
        if record.epoch == lease.epoch() { Ok(record) } else { Err(LeaseLost::Replaced) }
    }

    fn renew(&mut self, now: Timestamp, lease: &Lease) -> Result<Timestamp, LeaseLost> {
        self.advance(now);
        let now = self.now;
        let record = self.find(lease)?;
        let Some(ttl) = record.ttl else { return Ok(Timestamp::MAX) };
        if record.deadline <= now {
            return Err(LeaseLost::Expired);
        }
        record.forgiven = false;
        record.deadline = now.saturating_add(ttl);
        Ok(record.deadline)
    }

    fn update(&mut self, now: Timestamp, lease: &Lease, endpoint: Endpoint) -> bool {
        self.advance(now);
        let now = self.now;
        let Ok(record) = self.find(lease) else { return false };
        if record.deadline <= now {
            return false;
        }
        let endpoint = endpoint.with_incarnation(record.endpoint.incarnation());
        if endpoint != record.endpoint {
            record.endpoint = endpoint;
            self.services.get_mut(lease.service()).unwrap().generation += 1;
        }
        true
    }

    fn deregister(&mut self, now: Timestamp, lease: &Lease) -> bool {
        self.advance(now);
        if self.find(lease).is_err() {
            return false;
        }
        let entry = self.services.get_mut(lease.service()).unwrap();
        entry.records.retain(|record| record.epoch != lease.epoch());
        entry.generation += 1;
        true
    }

    fn tick(&mut self, now: Timestamp) {
        self.advance(now);
        let now = self.now;
        for entry in self.services.values_mut() {
            let due = |record: &ModelRecord| record.wake().is_some_and(|wake| wake <= now);
            let mut order: Vec<_> =
                entry.records.iter().filter(|r| due(r)).map(|r| (r.deadline, r.epoch)).collect();
            order.sort_unstable();
            if order.is_empty() {
                continue;
            }
            let backlog = entry.records.iter().any(|r| r.held_until.is_some());
            let ends = now.saturating_add(WINDOW);
            let (ends, left, of) = match entry.window {
                Some((ends, left, of)) if now < ends => (ends, left, of),
                Some((.., of)) if backlog => (ends, (of * 15 / 100).max(1), of),
                _ => (ends, (entry.records.len() / 2).max(ALWAYS), entry.records.len()),
            };
            let gone = left.min(order.len());
            entry.window = Some((ends, left - gone, of));
            for (_, epoch) in &order[gone..] {
                let record = entry.records.iter_mut().find(|r| r.epoch == *epoch).unwrap();
                record.held_until = Some(ends);
            }
            entry.records.retain(|r| !order[..gone].iter().any(|(_, epoch)| *epoch == r.epoch));
            entry.generation += u64::from(gone > 0);
        }
    }

    fn forget(&mut self, service: &ServiceName) -> bool {
        let Some(entry) = self.services.get(service).filter(|s| s.records.is_empty()) else { return false };
        self.forgotten = self.forgotten.max(entry.generation);
        self.services.remove(service);
        true
    }

    fn view(&self, service: u8) -> View {
        let Some(entry) = self.services.get(&name(service)) else {
            return View { generation: 0, state: SourceState::Pending, endpoints: BTreeMap::new() };
        };
        let state = if entry.records.is_empty() { SourceState::Absent } else { SourceState::Live };
        let endpoints = entry.records.iter().map(|r| (r.endpoint.id().clone(), r.endpoint.clone())).collect();
        View { generation: entry.generation, state, endpoints }
    }
}

const MAX_ENDPOINTS: usize = 5;
const ALWAYS: usize = 1;
const WINDOW: Duration = Duration::from_secs(3);

fn config() -> CatalogConfig {
    let later = Ratio::percent(15).unwrap();
    CatalogConfig {
        max_endpoints: MAX_ENDPOINTS,
        eviction: EvictionLimit { at_once: Ratio::HALF, always: ALWAYS, later, window: WINDOW },
        ..Default::default()
    }
}

fn name(service: u8) -> ServiceName {
    format!("service-{service}").parse().unwrap()
}

fn endpoint(id: u8, incarnation: u64, weight: u32) -> Endpoint {
    Endpoint::new(format!("e{id}").parse().unwrap(), "10.0.0.1:80".parse().unwrap())
        .with_incarnation(incarnation)
        .with_weight(Weight::new(weight))
}
