//! A watch is a level: whenever it looks, it gets the newest set and what leads there from the set it holds.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_registry::{Change, ChangeKind, NameChange, Registry, ServiceName, Snapshot, Watch};
use evenkeel_types::{Endpoint, EndpointId, Timestamp, Weight};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Register { service: u8, id: u8, expires: bool, incarnation: u64 },
    Update { lease: usize, weight: u32 },
    Deregister { lease: usize },
    Tick { secs: u64 },
    Take { reader: usize },
    TakeNames,
    Forget { service: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3_u8, 0..5_u8, any::<bool>(), 0..9_u64).prop_map(|(service, id, expires, incarnation)| {
            Op::Register { service, id, expires, incarnation: incarnation.saturating_sub(5) }
        }),
        2 => (any::<usize>(), 0..3_u32).prop_map(|(lease, weight)| Op::Update { lease, weight }),
        2 => any::<usize>().prop_map(|lease| Op::Deregister { lease }),
        2 => (0..20_u64).prop_map(|secs| Op::Tick { secs }),
        2 => any::<usize>().prop_map(|reader| Op::Take { reader }),
        1 => Just(Op::TakeNames),
        1 => (0..3_u8).prop_map(|service| Op::Forget { service }),
    ]
}

proptest! {
    #[test]
    fn differences_compose_and_wakers_are_called_exactly_for_changes(ops in vec(op(), 1..100)) {
        let registry = Registry::default();
        // Service 2 is not watched, so it can be forgotten.
        let mut readers: Vec<_> = [0, 0, 1].map(|service| Reader::new(&registry, service)).into();
        let names = registry.watch_services();
        let mut known = Vec::new();
        let (mut leases, mut now) = (Vec::new(), Timestamp::ORIGIN);
        for op in ops {
            let before: Vec<_> = readers.iter().map(|r| (registry.generation(r.watch.service()), r.woken())).collect();
            let pick = |lease: usize| (!leases.is_empty()).then(|| &leases[lease % leases.len()]);
            match op {
                Op::Register { service, id, expires, incarnation } => {
                    let ttl = expires.then_some(Duration::from_secs(10));
                    let endpoint = endpoint(id).with_incarnation(incarnation);
                    if let Ok((lease, _)) = registry.register(now, &name(service), endpoint, ttl) {
                        leases.push(lease);
                    }
                }
                Op::Update { lease, weight } => {
                    if let Some(lease) = pick(lease) {
                        let endpoint = Endpoint::new(lease.id().clone(), "10.0.0.1:80".parse().unwrap());
                        let _ = registry.update(now, lease, endpoint.with_weight(Weight::new(weight)));
                    }
                }
                Op::Deregister { lease } => {
                    if let Some(lease) = pick(lease) {
                        let _ = registry.deregister(now, lease);
                    }
                }
                Op::Tick { secs } => {
                    now = now.saturating_add(Duration::from_secs(secs));
                    registry.tick(now);
                }
                Op::Take { reader } => {
                    let count = readers.len();
                    readers[reader % count].take()?;
                }
                Op::TakeNames => follow(&mut known, names.take().map(|(_, changes)| changes)),
                Op::Forget { service } => {
                    let forgotten = registry.forget(&name(service)).is_ok();
                    prop_assert!(!forgotten || service == 2, "a watched service stays");
                }
            }
            for (reader, (generation, woken)) in readers.iter().zip(before) {
                let moved = registry.generation(reader.watch.service()) != generation;
                prop_assert_eq!(reader.woken() - woken, u64::from(moved), "one call per generation");
                let behind = reader.watch.generation() != registry.generation(reader.watch.service());
                prop_assert_eq!(reader.watch.has_changed(), behind);
            }
        }
        for reader in &mut readers {
            reader.take()?;
            prop_assert!(!reader.watch.has_changed());
            let last = registry.snapshot(reader.watch.service());
            prop_assert_eq!(&reader.endpoints, &set(&last));
        }
        follow(&mut known, names.take().map(|(_, changes)| changes));
        known.sort();
        prop_assert_eq!(known, registry.services().names().to_vec());
    }
}

/// Somebody who knows only what a watch told.
struct Reader {
    watch: Watch,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    woken: Arc<AtomicU64>,
}

impl Reader {
    fn new(registry: &Registry, service: u8) -> Self {
        let watch = registry.watch(&name(service));
        let woken = Arc::new(AtomicU64::new(0));
        let counter = woken.clone();
        watch.on_change(move || _ = counter.fetch_add(1, Ordering::Relaxed));
        Self { watch, endpoints: BTreeMap::new(), woken }
    }

    fn woken(&self) -> u64 {
        self.woken.load(Ordering::Relaxed)
    }

    fn take(&mut self) -> Result<(), TestCaseError> {
        let Some((snapshot, changes)) = self.watch.take() else { return Ok(()) };
        apply(&mut self.endpoints, &changes);
        prop_assert_eq!(&self.endpoints, &set(&snapshot), "by {:?}", changes);
        prop_assert_eq!(self.watch.generation(), snapshot.generation());
        prop_assert!(self.watch.take().is_none());
        Ok(())
    }
}

fn apply(endpoints: &mut BTreeMap<EndpointId, Endpoint>, changes: &[Change]) {
    for change in changes {
        match change.kind {
            ChangeKind::Removed { cause } => {
                assert_ne!(cause, evenkeel_registry::Cause::Unknown, "a watch knows why");
                assert!(endpoints.remove(change.id()).is_some());
            }
            ChangeKind::Added => {
                assert!(endpoints.insert(change.id().clone(), Endpoint::clone(&change.endpoint)).is_none());
            }
            _ => assert!(endpoints.insert(change.id().clone(), Endpoint::clone(&change.endpoint)).is_some()),
        }
    }
}

fn follow(known: &mut Vec<ServiceName>, changes: Option<Vec<NameChange>>) {
    for change in changes.into_iter().flatten() {
        match change {
            NameChange::Appeared(name) => known.push(name),
            NameChange::Forgotten(name) => known.retain(|known| *known != name),
            _ => {}
        }
    }
}

fn set(snapshot: &Snapshot) -> BTreeMap<EndpointId, Endpoint> {
    snapshot.endpoints().iter().map(|e| (e.id().clone(), Endpoint::clone(e))).collect()
}

fn name(service: u8) -> ServiceName {
    format!("service-{service}").parse().unwrap()
}

fn endpoint(id: u8) -> Endpoint {
    Endpoint::new(format!("e{id}").parse().unwrap(), "10.0.0.1:80".parse().unwrap())
}
