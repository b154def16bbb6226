//! Wakers run without the lock, whatever they do, and threads that race end at the same set.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use evenkeel_registry::{Cause, ChangeKind, Registry, ServiceName, Snapshot, Watch};
use evenkeel_types::{Endpoint, EndpointId, Timestamp};

const NOW: Timestamp = Timestamp::ORIGIN;

#[test]
fn a_waker_may_call_the_registry_and_its_watch() {
    let registry = Registry::default();
    let watch = Arc::new(registry.watch(&users()));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (weak, log, inner) = (Arc::downgrade(&watch), seen.clone(), registry.clone());
    watch.on_change(move || {
        let (snapshot, _) = weak.upgrade().unwrap().take().unwrap();
        log.lock().unwrap().push((snapshot.generation(), snapshot.endpoints().len()));
        if snapshot.endpoints().len() == 1 {
            // A change from within, which wakes this waker again before the outer operation has returned.
            let (_lease, _) = inner.register(NOW, &users(), endpoint("b"), None).unwrap();
            inner.tick(NOW);
        }
    });
    let (_lease, changes) = registry.register(NOW, &users(), endpoint("a"), None).unwrap();
    assert_eq!(changes.len(), 1, "the changes are those of this operation");
    assert_eq!(*seen.lock().unwrap(), [(1, 1), (2, 2)]);
}

#[test]
fn a_waker_is_called_for_visible_changes_only() {
    let registry = Registry::default();
    let (watch, calls) = counted(&registry);
    let ttl = Some(Duration::from_secs(10));
    let (lease, _) = registry.register(NOW, &users(), endpoint("a"), ttl).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    registry.renew(NOW, &lease).unwrap();
    registry.update(NOW, &lease, endpoint("a")).unwrap();
    registry.tick(NOW);
    let same = Endpoint::clone(&registry.snapshot(&users()).endpoints()[0]);
    let (_lease, _) = registry.register(NOW, &users(), same, ttl).unwrap();
    let (_other, _) = registry.register(NOW, &"orders".parse().unwrap(), endpoint("a"), None).unwrap();
    registry.deregister(NOW, &lease).unwrap_err();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    registry.tick(Timestamp::from_secs(10));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    drop(watch);
    let (_lease, _) = registry.register(NOW, &users(), endpoint("a"), None).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2, "dropped is over");
}

#[test]
fn a_waker_that_comes_late_is_called_at_once() {
    let registry = Registry::default();
    let (_lease, _) = registry.register(NOW, &users(), endpoint("a"), None).unwrap();
    let (_watch, calls) = counted(&registry);
    assert_eq!(calls.load(Ordering::Relaxed), 1);

    let names = registry.watch_services();
    let counter = calls.clone();
    names.on_change(move || _ = counter.fetch_add(10, Ordering::Relaxed));
    assert_eq!(calls.load(Ordering::Relaxed), 11);
    let (_lease, _) = registry.register(NOW, &"orders".parse().unwrap(), endpoint("a"), None).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 21);
    assert_eq!(names.take().unwrap().0.names().len(), 2);
    assert!(!names.has_changed());
}

#[test]
fn a_waker_that_panics_costs_nobody_anything() {
    let registry = Registry::default();
    let broken = registry.watch(&users());
    broken.on_change(|| panic!("a waker that is broken on purpose"));
    let (watch, calls) = counted(&registry);
    let (lease, _) = registry.register(NOW, &users(), endpoint("a"), None).unwrap();
    assert!(registry.renew(NOW, &lease).is_ok());
    assert_eq!((registry.waker_panics(), calls.load(Ordering::Relaxed)), (1, 1));
    assert!(watch.take().is_some() && broken.take().is_some());
}

#[test]
fn a_waker_may_drop_its_own_watch() {
    let registry = Registry::default();
    let own = Arc::new(Mutex::new(None));
    let watch = registry.watch(&users());
    let slot = own.clone();
    watch.on_change(move || drop(slot.lock().unwrap().take()));
    *own.lock().unwrap() = Some(watch);
    let (_lease, _) = registry.register(NOW, &users(), endpoint("a"), None).unwrap();
    assert!(own.lock().unwrap().is_none());
    let (_lease, _) = registry.register(NOW, &users(), endpoint("b"), None).unwrap();
}

/// A waker's captures may call the registry when they are dropped.
#[test]
fn a_waker_is_dropped_without_the_lock() {
    struct Farewell(Registry, Arc<AtomicU64>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            self.1.fetch_add(self.0.generation(&users()) + 1, Ordering::Relaxed);
        }
    }
    let registry = Registry::default();
    let farewells = Arc::new(AtomicU64::new(0));
    let watch = registry.watch(&users());
    for _ in 0..2 {
        let farewell = Farewell(registry.clone(), farewells.clone());
        watch.on_change(move || drop(farewell.0.snapshot(&users())));
    }
    assert_eq!(farewells.load(Ordering::Relaxed), 1, "replaced");
    drop(watch);
    assert_eq!(farewells.load(Ordering::Relaxed), 2);
}

#[test]
fn a_slow_reader_learns_why_each_one_left() {
    let registry = Registry::default();
    let watch = registry.watch(&users());
    let ttl = Some(Duration::from_secs(10));
    let (goodbye, _) = registry.register(NOW, &users(), endpoint("goodbye"), None).unwrap();
    let (_lease, _) = registry.register(NOW, &users(), endpoint("restarted"), None).unwrap();
    let (_lease, _) = registry.register(NOW, &users(), endpoint("silent"), ttl).unwrap();
    assert_eq!(watch.take().unwrap().1.len(), 3);

    registry.deregister(NOW, &goodbye).unwrap();
    let (_lease, _) = registry.register(NOW, &users(), endpoint("restarted"), None).unwrap();
    let (passing, _) = registry.register(NOW, &users(), endpoint("passing"), None).unwrap();
    registry.deregister(NOW, &passing).unwrap();
    registry.tick(Timestamp::from_secs(10));
    let told: Vec<_> = watch.take().unwrap().1.iter().map(|c| (c.id().to_string(), c.kind)).collect();
    let removed = |id: &str, cause| (id.to_owned(), ChangeKind::Removed { cause });
    assert_eq!(
        told,
        [
            removed("goodbye", Cause::Deregistered),
            removed("restarted", Cause::Replaced),
            ("restarted".to_owned(), ChangeKind::Added),
            removed("silent", Cause::Expired),
        ]
    );
}

/// Four writers and a reader that waits for its waker: whatever the order, the reader ends with the final set.
#[test]
fn racing_threads_end_with_the_same_set() {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 200;
    let registry = Registry::default();
    let watch = registry.watch(&users());
    let (wake, woken) = mpsc::channel();
    let waker = wake.clone();
    watch.on_change(move || _ = waker.send(true));
    let followed = std::thread::scope(|scope| {
        let watch = &watch;
        let reader = scope.spawn(move || {
            let mut set: BTreeMap<EndpointId, u64> = BTreeMap::new();
            let mut last = 0;
            while woken.recv().unwrap() {
                let Some((snapshot, changes)) = watch.take() else { continue };
                assert!(snapshot.generation() > last);
                last = snapshot.generation();
                for change in changes {
                    match change.kind {
                        ChangeKind::Removed { .. } => _ = set.remove(change.id()).unwrap(),
                        _ => _ = set.insert(change.id().clone(), change.endpoint.incarnation()),
                    }
                }
                assert_eq!(set, incarnations(&snapshot));
            }
            set
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let registry = &registry;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        // Each id is fought for by all writers.
                        let id = endpoint(&format!("e{}", (round + writer) % 7));
                        let now = Timestamp::from_millis((round * 7 % 50) as u64);
                        let (lease, _) = registry.register(now, &users(), id, None).unwrap();
                        if round % 3 == 0 {
                            let _ = registry.deregister(now, &lease);
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        // All wakers have been called by now, so this is the last message.
        wake.send(false).unwrap();
        reader.join().unwrap()
    });
    assert_eq!(followed, incarnations(&registry.snapshot(&users())));
}

#[test]
fn the_types_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Registry>();
    shared::<Watch>();
    shared::<evenkeel_registry::ServicesWatch>();
    shared::<evenkeel_registry::Catalog>();
}

fn counted(registry: &Registry) -> (Watch, Arc<AtomicU64>) {
    let watch = registry.watch(&users());
    let calls = Arc::new(AtomicU64::new(0));
    let counter = calls.clone();
    watch.on_change(move || _ = counter.fetch_add(1, Ordering::Relaxed));
    (watch, calls)
}

fn incarnations(snapshot: &Snapshot) -> BTreeMap<EndpointId, u64> {
    snapshot.endpoints().iter().map(|e| (e.id().clone(), e.incarnation())).collect()
}

fn users() -> ServiceName {
    "users".parse().unwrap()
}

fn endpoint(id: &str) -> Endpoint {
    Endpoint::new(id.parse().unwrap(), "10.0.0.1:80".parse().unwrap())
}
