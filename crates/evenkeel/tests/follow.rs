//! A cluster that follows a service of the in-process registry.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use evenkeel::{
    ApplyError, Cluster, Endpoint, Freshness, ManualClock, PickError, PolicyConfig, Registry, Request,
    ServiceName, Timestamp,
};

fn users() -> ServiceName {
    ServiceName::new("users").expect("a valid name")
}

fn endpoint(name: &str) -> Endpoint {
    Endpoint::new(name.parse().expect("a valid id"), "10.0.0.1:80".parse().expect("an address"))
}

fn cluster() -> Cluster<usize> {
    let builder = Cluster::builder("users").policy(PolicyConfig::round_robin()).seed(1);
    builder.clock(ManualClock::default()).max_endpoints(3).build().expect("valid settings")
}

#[test]
fn the_set_follows_registrations_expiries_and_departures() {
    let (registry, cluster, made) = (Registry::default(), cluster(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&made);
    let following = cluster.follow(&registry, &users(), move |_| counter.fetch_add(1, Ordering::Relaxed));
    assert_eq!(
        cluster.pick(&Request::new()).unwrap_err(),
        PickError::NotKnown(Freshness::Pending),
        "nobody registered yet"
    );

    let now = Timestamp::ORIGIN;
    let ttl = Some(Duration::from_secs(10));
    let (lease, _) = registry.register(now, &users(), endpoint("a"), ttl).unwrap();
    let (other, _) = registry.register(now, &users(), endpoint("b"), None).unwrap();
    assert_eq!(cluster.len(), 2, "taken over before the registration returns");

    registry.renew(Timestamp::from_secs(5), &lease).unwrap();
    registry.tick(Timestamp::from_secs(14));
    assert_eq!(cluster.len(), 2);
    registry.tick(Timestamp::from_secs(15));
    assert_eq!(cluster.len(), 1, "the lease ran out");

    registry.deregister(Timestamp::from_secs(16), &other).unwrap();
    assert_eq!(
        cluster.pick(&Request::new()).unwrap_err(),
        PickError::Empty(Freshness::Absent),
        "the last one left: proof of absence"
    );
    assert_eq!(following.last_error(), None);
    assert_eq!(made.load(Ordering::Relaxed), 2, "one payload for each incarnation");
}

#[test]
fn a_process_that_registers_again_is_a_new_incarnation() {
    let (registry, cluster) = (Registry::default(), cluster());
    let _following = cluster.follow(&registry, &users(), |_| 0);
    let _lease = registry.register(Timestamp::ORIGIN, &users(), endpoint("a"), None).unwrap();
    let old = cluster.pick(&Request::new()).unwrap();
    let _lease = registry.register(Timestamp::ORIGIN, &users(), endpoint("a"), None).unwrap();
    let id = "a".parse().unwrap();
    assert_eq!((cluster.len(), cluster.in_flight(&id)), (1, Some(0)));
    drop(old);
    assert_eq!(cluster.in_flight(&id), Some(0));
}

#[test]
fn a_set_that_is_refused_leaves_the_old_one() {
    let (registry, cluster) = (Registry::default(), cluster());
    let following = cluster.follow(&registry, &users(), |_| 0);
    let leases: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| registry.register(Timestamp::ORIGIN, &users(), endpoint(name), None).unwrap().0)
        .into();
    assert_eq!(cluster.len(), 3);
    assert_eq!(following.last_error(), Some(ApplyError::TooMany { count: 4, max: 3 }));
    registry.deregister(Timestamp::ORIGIN, &leases[0]).unwrap();
    assert_eq!((cluster.len(), following.last_error()), (3, None));
}

#[test]
fn dropping_the_follower_ends_it_and_keeps_the_set() {
    let (registry, cluster) = (Registry::default(), cluster());
    let following = cluster.follow(&registry, &users(), |_| 0);
    let (lease, _) = registry.register(Timestamp::ORIGIN, &users(), endpoint("a"), None).unwrap();
    drop(following);
    registry.deregister(Timestamp::ORIGIN, &lease).unwrap();
    assert_eq!(cluster.len(), 1);
}

/// A set that another thread is just bringing when the following ends does not overwrite what the cluster is told next.
#[test]
fn what_is_under_way_when_the_follower_is_dropped_does_not_arrive() {
    type Slot = Arc<std::sync::Mutex<Option<evenkeel::Following<usize>>>>;
    let (registry, cluster) = (Registry::default(), cluster());
    let (slot, own) = (Slot::default(), cluster.clone());
    let held = Arc::clone(&slot);
    let following = cluster.follow(&registry, &users(), move |_| {
        drop(held.lock().expect("nobody panics").take());
        let list = endpoint("from-list").with_payload(7);
        own.apply([list]).expect("a valid set");
        0
    });
    *slot.lock().expect("nobody panics") = Some(following);
    let _lease = registry.register(Timestamp::ORIGIN, &users(), endpoint("a"), None).unwrap();
    let ids: Vec<_> = cluster.endpoints().iter().map(|handle| handle.id().to_string()).collect();
    assert_eq!(ids, ["from-list"]);
}

#[test]
fn making_a_payload_may_use_the_registry_and_the_cluster() {
    let (registry, cluster) = (Registry::default(), cluster());
    let (inner, own) = (registry.clone(), cluster.clone());
    let _following = cluster.follow(&registry, &users(), move |made| {
        if made.id().as_str() == "a" {
            let _lease = inner
                .register(Timestamp::ORIGIN, &users(), endpoint("b"), None)
                .expect("a valid registration");
        }
        own.len()
    });
    let _lease = registry.register(Timestamp::ORIGIN, &users(), endpoint("a"), None).unwrap();
    assert_eq!(cluster.len(), 2);
}

#[test]
fn registrations_from_many_threads_all_arrive() {
    let registry = Registry::default();
    let cluster = Cluster::<usize>::builder("users").seed(1).build().unwrap();
    let _following = cluster.follow(&registry, &users(), |_| 0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let registry = &registry;
            scope.spawn(move || {
                for n in 0..25 {
                    let name = format!("{thread}-{n}");
                    let _lease = registry
                        .register(Timestamp::ORIGIN, &users(), endpoint(&name), None)
                        .expect("room enough");
                }
            });
        }
    });
    assert_eq!(cluster.len(), 100);
}

#[test]
fn a_payload_that_cannot_be_made_is_told_and_tried_again() {
    let (registry, cluster, broken) = (Registry::default(), cluster(), Arc::new(AtomicUsize::new(1)));
    let switch = Arc::clone(&broken);
    let following = cluster.follow(&registry, &users(), move |_| {
        assert_eq!(switch.load(Ordering::Relaxed), 0, "broken");
        7
    });
    let _lease = registry.register(Timestamp::ORIGIN, &users(), endpoint("a"), None).unwrap();
    assert_eq!((cluster.len(), following.last_error()), (0, Some(ApplyError::Panicked)));
    assert_eq!(registry.waker_panics(), 0);
    assert_eq!(following.retry(), Err(ApplyError::Panicked));
    broken.store(0, Ordering::Relaxed);
    assert_eq!(following.retry(), Ok(()));
    assert_eq!((cluster.len(), following.last_error()), (1, None));
}

/// A source that drops most of its endpoints at once is doubted: they are kept, and used after all others.
#[test]
fn suspects_of_a_source_are_used_last_and_an_empty_answer_empties_nothing() {
    use evenkeel_registry::{Event, MirrorConfig};

    let registry = Registry::default();
    let builder = Cluster::builder("users").policy(PolicyConfig::round_robin()).seed(1);
    let cluster: Cluster<()> = builder.clock(ManualClock::default()).build().expect("valid settings");
    let _following = cluster.follow(&registry, &users(), |_| ());
    let source = "etcd".parse().expect("a valid name");
    let feed = registry.feed(&users(), &source, MirrorConfig::default(), || Timestamp::from_secs(1));
    let feed = feed.expect("a free name");
    assert_eq!(
        cluster.pick(&Request::new()).unwrap_err(),
        PickError::NotKnown(Freshness::Pending),
        "not asked yet is not none"
    );

    let at = |number| {
        endpoint(&format!("e{number}"))
            .with_address(std::net::SocketAddr::from(([10, 0, 0, number], 80)).into())
    };
    feed.send(Event::set((0..10).map(at).collect())).unwrap();
    feed.send(Event::set(vec![at(0)])).unwrap();
    registry.tick(Timestamp::from_secs(2));
    let suspects = registry.snapshot(&users()).suspects().len();
    assert_eq!((cluster.len(), suspects), (5, 4));
    let picked: BTreeSet<_> =
        (0..20).map(|_| cluster.pick(&Request::new()).unwrap().endpoint().id().to_string()).collect();
    assert_eq!(picked, BTreeSet::from(["e0".to_owned()]));

    feed.send(Event::set(vec![])).unwrap();
    registry.tick(Timestamp::from_secs(3));
    assert_eq!(cluster.len(), 5);
    assert!(cluster.pick(&Request::new()).is_ok());
}

/// What discovery dropped without proof is judged by the data plane: one that answers serves when nobody else does, one
/// that fails gets nothing, and neither empties the set. What went by proof is gone, however well it answers.
#[test]
fn discovery_drops_and_the_data_plane_judges() {
    use evenkeel::CheckState;
    use evenkeel_registry::{Cause, Event, MirrorConfig, Removal, Revision};

    let (registry, made) = (Registry::default(), Arc::new(AtomicUsize::new(0)));
    let builder = Cluster::builder("users").policy(PolicyConfig::round_robin()).seed(1);
    let cluster: Cluster<()> = builder.clock(ManualClock::default()).build().expect("valid settings");
    let counter = Arc::clone(&made);
    let _following =
        cluster.follow(&registry, &users(), move |_| _ = counter.fetch_add(1, Ordering::Relaxed));
    let source = "etcd".parse().expect("a valid name");
    let feed = registry.feed(&users(), &source, MirrorConfig::default(), || Timestamp::from_secs(1));
    let feed = feed.expect("a free name");
    let at = |number| {
        endpoint(&format!("e{number}"))
            .with_address(std::net::SocketAddr::from(([10, 0, 0, number], 80)).into())
    };
    feed.send(Event::set((0..10).map(at).collect())).unwrap();
    feed.send(Event::set(vec![at(0)])).unwrap();
    registry.tick(Timestamp::from_secs(2));
    let suspects: Vec<_> = registry.snapshot(&users()).suspects().to_vec();
    assert_eq!((cluster.len(), suspects.len()), (5, 4));

    let say = |id: &str, state| {
        let handles = cluster.endpoints();
        let handle = handles.iter().find(|handle| handle.id().as_str() == id).expect("it is in the set");
        handle.set_check(state);
    };
    let picked = || -> BTreeSet<String> {
        let picks = (0..40).filter_map(|_| cluster.pick(&Request::new()).ok());
        picks.map(|pick| pick.endpoint().id().to_string()).collect()
    };
    say("e0", CheckState::Down);
    assert_eq!(picked(), suspects.iter().map(ToString::to_string).collect(), "who still answers serves");
    say(suspects[0].as_str(), CheckState::Down);
    assert!(!picked().contains(suspects[0].as_str()), "who fails is out, at once");
    for suspect in &suspects {
        say(suspect.as_str(), CheckState::Down);
    }
    let refused = cluster.pick(&Request::new()).unwrap_err();
    assert!(matches!(refused, PickError::NoneUsable(_)), "none is usable, which is not none: {refused:?}");
    assert_eq!(cluster.len(), 5);

    // Discovery lists them again: what was learnt meanwhile still counts, and nothing is made anew.
    feed.send(Event::set((0..10).map(at).collect())).unwrap();
    registry.tick(Timestamp::from_secs(4));
    assert_eq!(
        (cluster.len(), made.load(Ordering::Relaxed)),
        (10, 15),
        "ten, and the five that had been let go"
    );
    say(suspects[1].as_str(), CheckState::Up);
    assert!(picked().contains(suspects[1].as_str()) && !picked().contains(suspects[0].as_str()));

    // By proof one goes at once, though it answers.
    let (from, to) = (Revision::new("1", "1").unwrap(), Revision::new("1", "2").unwrap());
    feed.send(Event::full(from.clone(), (0..10).map(at).collect())).unwrap();
    let removal = Removal { id: suspects[1].clone(), cause: Cause::Deregistered };
    feed.send(Event::Delta { from, to, upserts: Vec::new(), removals: vec![removal] }).unwrap();
    registry.tick(Timestamp::from_secs(6));
    assert_eq!(cluster.len(), 9);
    assert!(!picked().contains(suspects[1].as_str()));
}

/// Who is refused learns how fresh the set is; a source that went silent hours ago is another fault than endpoints that are
/// down.
#[test]
fn a_refused_pick_tells_how_fresh_the_set_is() {
    use evenkeel::AdminState;
    use evenkeel_registry::{Event, MirrorConfig, TroubleKind};

    let registry = Registry::default();
    let builder = Cluster::builder("users").policy(PolicyConfig::round_robin()).seed(1);
    let cluster: Cluster<()> = builder.clock(ManualClock::default()).build().expect("valid settings");
    assert_eq!((cluster.freshness(), cluster.report().sources.len()), (Freshness::Applied, 0));
    let following = cluster.follow(&registry, &users(), |_| ());
    let source = "etcd".parse().expect("a valid name");
    let feed = registry.feed(&users(), &source, MirrorConfig::default(), || Timestamp::from_secs(5));
    let feed = feed.expect("a free name");
    feed.send(Event::set(vec![endpoint("a")])).expect("taken");
    assert_eq!(cluster.freshness(), Freshness::Live { as_of: Some(Timestamp::from_secs(5)) });
    feed.send(Event::trouble(TroubleKind::Timeout, "no answer")).expect("taken");
    let stale = Freshness::Stale { since: Timestamp::from_secs(5) };
    assert_eq!(cluster.freshness(), stale);
    assert!(cluster.pick(&Request::new()).is_ok(), "the last set that is known stays");

    cluster.endpoints()[0].set_admin(AdminState::Drain);
    let error = cluster.pick(&Request::new()).expect_err("nobody is usable");
    let PickError::NoneUsable(shortage) = error else { unreachable!("{error}") };
    assert_eq!(shortage.freshness, stale);
    assert!(error.to_string().ends_with("no source has answered since 5s of the clock"), "{error}");
    assert_eq!(cluster.report().sources[0].name, source);
    drop(following);
    assert_eq!(cluster.freshness(), Freshness::Applied);
}
