//! Several feeds and leases of one service: whatever happens, the merged set is that of the rule, and a watch can follow.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_registry::{
    Cause, Change, ChangeKind, Event, Feed, Lease, Merge, MirrorConfig, Proof, Registry, ServiceName, Settle,
    SourceState, TroubleKind, Watch,
};
use evenkeel_types::{Endpoint, EndpointId, Timestamp, Weight};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Set { source: usize, ids: Vec<u8>, weight: u32 },
    Absent { source: usize },
    Trouble { source: usize },
    Register { id: u8 },
    Deregister,
    Merge(Merge),
    Tick(u64),
    Reopen { source: usize },
    Take,
}

fn op() -> impl Strategy<Value = Op> {
    let merges = prop_oneof![Just(Merge::Union), Just(Merge::Prefer), Just(Merge::FallBack)];
    prop_oneof![
        5 => (0..3_usize, vec(0..9_u8, 0..6), 1..4_u32)
            .prop_map(|(source, ids, weight)| Op::Set { source, ids, weight }),
        1 => (0..3_usize).prop_map(|source| Op::Absent { source }),
        1 => (0..3_usize).prop_map(|source| Op::Trouble { source }),
        2 => (0..9_u8).prop_map(|id| Op::Register { id }),
        1 => Just(Op::Deregister),
        1 => merges.prop_map(Op::Merge),
        3 => (0..70_u64).prop_map(Op::Tick),
        1 => (0..3_usize).prop_map(|source| Op::Reopen { source }),
        2 => Just(Op::Take),
    ]
}

fn endpoint(id: u8) -> Endpoint {
    Endpoint::new(format!("e{id}").parse().unwrap(), format!("10.0.0.{id}:80").parse().unwrap())
}

fn open(registry: &Registry, service: &ServiceName, source: usize, now: Timestamp) -> Feed {
    let settle = Settle { quiet: Duration::from_millis(100), max: Duration::from_secs(1) };
    let preference = 3 - u16::try_from(source).unwrap();
    let config = MirrorConfig { settle, preference, ..MirrorConfig::default() };
    registry.feed(service, &format!("source-{source}").parse().unwrap(), config, move || now).unwrap()
}

fn take(watch: &Watch, told: &mut BTreeMap<EndpointId, Endpoint>) -> Result<(), TestCaseError> {
    let Some((snapshot, changes)) = watch.take() else { return Ok(()) };
    follow(told, &changes);
    prop_assert!(snapshot.endpoints().iter().map(AsRef::as_ref).eq(told.values()));
    prop_assert!(snapshot.suspects().iter().all(|id| told.contains_key(id)));
    let sum: usize = snapshot.sources().iter().filter(|s| s.used).map(|s| s.endpoints).sum();
    prop_assert!(sum >= told.len(), "every endpoint is some source's");
    match snapshot.state() {
        SourceState::Pending | SourceState::Absent => prop_assert!(told.is_empty()),
        SourceState::Live => prop_assert!(!told.is_empty()),
        _ => {}
    }
    Ok(())
}

fn follow(told: &mut BTreeMap<EndpointId, Endpoint>, changes: &[Change]) {
    for change in changes {
        let endpoint = Endpoint::clone(&change.endpoint);
        let known = match change.kind {
            ChangeKind::Removed { .. } => told.remove(change.id()).is_some(),
            ChangeKind::Added => told.insert(change.id().clone(), endpoint).is_none(),
            _ => told.insert(change.id().clone(), endpoint).is_some(),
        };
        assert!(known, "{change:?}");
    }
}

proptest! {
    #[test]
    fn the_merged_set_is_that_of_the_sources(ops in vec(op(), 0..60), last in vec(vec(0..9_u8, 1..6), 3)) {
        let (registry, service) = (Registry::default(), "users".parse().unwrap());
        let mut now = Timestamp::from_secs(1);
        let mut feeds: Vec<_> = (0..3).map(|source| open(&registry, &service, source, now)).collect();
        let (watch, mut told) = (registry.watch(&service), BTreeMap::new());
        let mut eager = BTreeMap::new();
        let eager_watch = registry.watch(&service);
        let mut leases: Vec<Lease> = Vec::new();
        for op in ops {
            match op {
                Op::Set { source, ids, weight } => {
                    let set = ids.into_iter().map(|id| endpoint(id).with_weight(Weight::new(weight)));
                    feeds[source].send_at(now, Event::set(set.collect())).unwrap();
                }
                Op::Absent { source } => {
                    feeds[source].send_at(now, Event::Absent { proof: Proof::Deleted }).unwrap();
                }
                Op::Trouble { source } => {
                    feeds[source].send_at(now, Event::trouble(TroubleKind::Timeout, "")).unwrap();
                }
                Op::Register { id } => {
                    let ttl = (id % 2 == 0).then_some(Duration::from_secs(20));
                    leases.push(registry.register(now, &service, endpoint(id), ttl).unwrap().0);
                }
                Op::Deregister => {
                    if let Some(lease) = leases.pop() {
                        let _ = registry.deregister(now, &lease);
                    }
                }
                Op::Merge(merge) => _ = registry.set_merge(now, &service, merge).unwrap(),
                Op::Tick(secs) => {
                    now = now.saturating_add(Duration::from_secs(secs));
                    registry.tick(now);
                }
                Op::Reopen { source } => {
                    let old = feeds.remove(source);
                    drop(old);
                    feeds.insert(source, open(&registry, &service, source, now));
                }
                Op::Take => take(&watch, &mut told)?,
            }
            take(&eager_watch, &mut eager)?;
            prop_assert!(registry.next_deadline().is_none_or(|next| next > now));
        }
        take(&watch, &mut told)?;
        prop_assert_eq!(&told, &eager, "the slow reader ends where the eager one is");

        // In the end, with all said and all holds over, the union is what the sources and leases say.
        let _ = registry.set_merge(now, &service, Merge::Union).unwrap();
        let mut expected: BTreeMap<EndpointId, Endpoint> = BTreeMap::new();
        for (feed, ids) in feeds.iter().zip(&last) {
            feed.send_at(now, Event::set(ids.iter().map(|id| endpoint(*id)).collect())).unwrap();
            // The later the source, the lower its preference number: it describes.
            expected.extend(ids.iter().map(|id| (endpoint(*id).id().clone(), endpoint(*id))));
        }
        leases.iter().for_each(|lease| _ = registry.deregister(now, lease));
        for _ in 0..60 {
            let Some(next) = registry.next_deadline() else { break };
            registry.tick(next);
        }
        prop_assert_eq!(registry.next_deadline(), None);
        take(&watch, &mut told)?;
        prop_assert_eq!(told, expected);
    }
}

#[test]
fn causes_reach_the_watch_through_the_merge() {
    let (registry, service) = (Registry::default(), "users".parse().unwrap());
    let now = Timestamp::from_secs(1);
    let feed = open(&registry, &service, 0, now);
    let watch = registry.watch(&service);
    feed.send(Event::set(vec![endpoint(1)])).unwrap();
    let _ = watch.take();
    feed.send_at(Timestamp::from_secs(3), Event::Absent { proof: Proof::Deleted }).unwrap();
    let (_, changes) = watch.take().unwrap();
    assert_eq!(changes[0].kind, ChangeKind::Removed { cause: Cause::Absent });
}
