//! Code of the user runs outside all locks: observers, policies, payloads and their drops may call the cluster.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use evenkeel::{
    Announced, BreakerConfig, Cluster, Endpoint, EndpointId, ManualClock, Notice, Outcome, Policy,
    PolicyConfig, Priority, Request, Rule, Weight,
};
use evenkeel_balance::{Caller, Event, View, Wants};

fn id(name: &str) -> EndpointId {
    name.parse().expect("a valid id")
}

fn endpoint(name: &str) -> Endpoint {
    Endpoint::new(id(name), "10.0.0.1:80".parse().expect("an address"))
}

#[test]
fn an_observer_may_call_the_cluster_from_every_notice() {
    let own: Arc<OnceLock<Cluster<()>>> = Arc::default();
    let clock = Arc::new(ManualClock::default());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (cell, log) = (Arc::clone(&own), Arc::clone(&heard));
    let observer = move |notice: &Notice| {
        if let Some(cluster) = cell.get() {
            let _ = cluster.report();
            cluster.tick();
            let _ = cluster.set_weight(&id("c"), Weight::new(3));
        }
        log.lock().expect("no panic").push(match notice {
            Notice::Standing { .. } => "standing",
            Notice::Breaker { .. } => "breaker",
            Notice::Applied(_) => "applied",
            _ => "other",
        });
    };
    let rules = vec![Rule::Consecutive { failures: 1 }];
    let cluster = Cluster::builder("test")
        .breaker(BreakerConfig { rules, ..BreakerConfig::default() })
        .clock(Arc::clone(&clock))
        .observer(observer)
        .build()
        .unwrap();
    assert!(own.set(cluster.clone()).is_ok());
    cluster.apply(["a", "b", "c"].map(endpoint)).unwrap();
    cluster.set_weight(&id("a"), Weight::DRAIN).unwrap();
    cluster.upsert(endpoint("a").with_announced(Announced::Down)).unwrap();
    cluster.drain(&id("b")).unwrap();
    cluster.pick(&Request::new()).unwrap().finish(Outcome::failure());
    clock.advance(Duration::from_secs(60));
    cluster.tick();
    cluster.set_policy(PolicyConfig::random()).unwrap();
    cluster.clear();
    let heard = heard.lock().unwrap();
    for what in ["standing", "breaker", "applied"] {
        assert!(heard.contains(&what), "{what} is missing in {heard:?}");
    }
}

#[test]
fn a_payload_that_is_dropped_may_call_the_cluster() {
    struct Talkative(Arc<OnceLock<Cluster<Talkative>>>);
    impl Drop for Talkative {
        fn drop(&mut self) {
            if let Some(cluster) = self.0.get() {
                let _ = cluster.report();
            }
        }
    }
    let own: Arc<OnceLock<Cluster<Talkative>>> = Arc::default();
    let cluster = Cluster::builder("test").max_endpoints(2).build().unwrap();
    assert!(own.set(cluster.clone()).is_ok());
    let with_payload = |name: &str| endpoint(name).with_payload(Talkative(Arc::clone(&own)));
    cluster.apply(["a", "b"].map(with_payload)).unwrap();
    cluster.apply(["a", "b"].map(with_payload)).unwrap();
    cluster.upsert(with_payload("a")).unwrap();
    assert!(cluster.upsert(with_payload("c")).is_err());
    cluster.remove(&id("a")).unwrap();
    cluster.clear();
}

#[test]
fn what_left_is_freed_by_the_update_that_removed_it() {
    let payload = Arc::new(());
    let cluster = Cluster::builder("test").build().unwrap();
    cluster
        .apply([endpoint("a").with_payload(Arc::clone(&payload)), endpoint("b").with_payload(Arc::new(()))])
        .unwrap();
    cluster.remove(&id("a")).unwrap();
    assert_eq!(Arc::strong_count(&payload), 1);
}

#[test]
fn counts_stay_exact_when_a_policy_that_reads_loads_comes_later() {
    let cluster = Cluster::<()>::builder("test").policy(PolicyConfig::round_robin()).seed(1).build().unwrap();
    cluster.apply(["a", "b"].map(endpoint)).unwrap();
    let held: Vec<_> = (0..4).map(|_| cluster.pick(&Request::new()).unwrap()).collect();
    let all = evenkeel::LeastRequestConfig { choices: evenkeel::Choices::All, ..Default::default() };
    cluster.set_policy(PolicyConfig::LeastRequest(all)).unwrap();
    cluster.upsert(endpoint("new")).unwrap();
    for _ in 0..2 {
        let first = cluster.pick(&Request::new()).unwrap();
        assert_eq!(first.endpoint().id(), id("new"), "the others have two requests each");
        std::mem::forget(first);
    }
    drop(held);
    let mut counts = [0; 3];
    for _ in 0..3000 {
        let pick = cluster.pick(&Request::new()).unwrap();
        counts[["a", "b", "new"].iter().position(|name| pick.endpoint().id() == id(name)).unwrap()] += 1;
    }
    assert!(counts[0] > 1300 && counts[1] > 1300 && counts[2] == 0, "two idle ones share: {counts:?}");
}

/// Writes down what it hears.
#[derive(Debug, Default)]
struct Listener(Arc<Mutex<Vec<Event>>>);

impl Policy for Listener {
    fn pick(&self, view: &dyn View, _: &mut dyn Caller) -> Option<usize> {
        view.mask().iter().find(|&position| view.admits(position))
    }

    fn wants(&self) -> Wants {
        Wants::EVENTS
    }

    fn on_event(&self, event: Event) {
        self.0.lock().expect("no panic").push(event);
    }
}

#[test]
fn a_policy_hears_each_event_once_and_only_the_first_verdict() {
    let heard = Arc::default();
    let policy = PolicyConfig::custom(Listener(Arc::clone(&heard)));
    let cluster = Cluster::<()>::builder("test").policy(policy).build().unwrap();
    let backup = Priority::new(1).unwrap();
    cluster.apply([endpoint("a"), endpoint("b").with_priority(backup)]).unwrap();
    heard.lock().unwrap().clear();

    let mut pick = cluster.pick(&Request::new()).unwrap();
    pick.record(Outcome::failure());
    pick.finish(Outcome::failure());
    let mut pick = cluster.pick(&Request::new()).unwrap();
    pick.record(Outcome::success());
    pick.finish(Outcome::failure());
    cluster.drain(&id("a")).unwrap();
    cluster.undrain(&id("a")).unwrap();

    use Event::{Down, Failed, Picked, Released, Up};
    let heard = heard.lock().unwrap().clone();
    let &[Picked(a), ..] = &heard[..] else { unreachable!("{heard:?}") };
    assert_eq!(heard, [Picked(a), Failed(a), Released(a), Picked(a), Released(a), Down(a), Up(a)]);
}

#[test]
fn a_policy_that_refuses_an_empty_set_is_not_asked() {
    #[derive(Debug)]
    struct Needy;
    impl Policy for Needy {
        fn pick(&self, view: &dyn View, _: &mut dyn Caller) -> Option<usize> {
            view.mask().iter().find(|&position| view.admits(position))
        }
        fn rebuild(
            &self,
            members: &dyn evenkeel_balance::Members,
        ) -> Result<Option<Arc<dyn Policy>>, evenkeel_balance::InvalidPolicy> {
            match members.weights().len() {
                0 => Err(evenkeel_balance::InvalidPolicy::Custom("nobody is there".into())),
                _ => Ok(None),
            }
        }
    }
    let cluster = Cluster::<()>::builder("test").build().unwrap();
    cluster.apply([endpoint("a")]).unwrap();
    cluster.set_policy(PolicyConfig::custom(Needy)).unwrap();
    assert_eq!(cluster.clear().removed, [id("a")]);
    assert_eq!(
        cluster.pick(&Request::new()).unwrap_err(),
        evenkeel::PickError::Empty(evenkeel::Freshness::Applied)
    );
    cluster.apply([endpoint("b")]).unwrap();
    assert_eq!(cluster.pick(&Request::new()).unwrap().endpoint().id(), id("b"));
}

#[test]
fn a_policy_that_is_dropped_may_call_the_cluster() {
    #[derive(Debug)]
    struct Talkative(Arc<OnceLock<Cluster<()>>>, bool);
    impl Policy for Talkative {
        fn pick(&self, view: &dyn View, _: &mut dyn Caller) -> Option<usize> {
            view.mask().iter().find(|&position| view.admits(position))
        }
        fn rebuild(
            &self,
            _: &dyn evenkeel_balance::Members,
        ) -> Result<Option<Arc<dyn Policy>>, evenkeel_balance::InvalidPolicy> {
            match self.1 {
                true => Err(evenkeel_balance::InvalidPolicy::Custom("never".into())),
                false => Ok(Some(Arc::new(Self(Arc::clone(&self.0), false)))),
            }
        }
    }
    impl Drop for Talkative {
        fn drop(&mut self) {
            if let Some(cluster) = self.0.get() {
                let _ = cluster.report();
            }
        }
    }
    let own: Arc<OnceLock<Cluster<()>>> = Arc::default();
    let cluster = Cluster::<()>::builder("test").build().unwrap();
    assert!(own.set(cluster.clone()).is_ok());
    cluster.apply(["a", "b"].map(endpoint)).unwrap();
    cluster.set_policy(PolicyConfig::custom(Talkative(Arc::clone(&own), false))).unwrap();
    cluster.upsert(endpoint("c")).unwrap();
    assert!(cluster.set_policy(PolicyConfig::custom(Talkative(Arc::clone(&own), true))).is_err());
    cluster.set_policy(PolicyConfig::random()).unwrap();
    assert_eq!(cluster.report().policy, "random");
}

#[test]
fn a_policy_that_panics_while_it_is_built_leaves_the_old_one() {
    #[derive(Debug)]
    struct Explosive;
    impl Policy for Explosive {
        fn pick(&self, view: &dyn View, _: &mut dyn Caller) -> Option<usize> {
            view.mask().iter().find(|&position| view.admits(position))
        }
        fn rebuild(
            &self,
            _: &dyn evenkeel_balance::Members,
        ) -> Result<Option<Arc<dyn Policy>>, evenkeel_balance::InvalidPolicy> {
            panic!("a fault of the policy")
        }
    }
    let cluster = Cluster::<()>::builder("test").build().unwrap();
    cluster.apply(["a", "b"].map(endpoint)).unwrap();
    let set = std::panic::AssertUnwindSafe(|| cluster.set_policy(PolicyConfig::custom(Explosive)));
    assert!(std::panic::catch_unwind(set).is_err());
    assert_eq!(cluster.report().policy, "least_request");
    cluster.upsert(endpoint("c")).unwrap();
    cluster.drain(&id("a")).unwrap();
    assert_ne!(cluster.pick(&Request::new()).unwrap().endpoint().id(), id("a"));
}

#[test]
fn a_driver_survives_an_observer_that_panics() {
    let clock = Arc::new(ManualClock::default());
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    let rules = vec![Rule::Consecutive { failures: 1 }];
    let cluster = Cluster::<()>::builder("test")
        .breaker(BreakerConfig { rules, ..BreakerConfig::default() })
        .clock(Arc::clone(&clock))
        .observer(move |notice: &Notice| {
            if let Notice::Breaker { transition, .. } = notice
                && transition.to == evenkeel::BreakerState::HalfOpen
            {
                counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                panic!("a fault of the observer");
            }
        })
        .build()
        .unwrap();
    cluster.apply([endpoint("a")]).unwrap();
    let _driver = cluster.drive(Duration::from_millis(1)).unwrap();
    for round in 1..=2 {
        cluster.pick(&Request::new()).unwrap().finish(Outcome::failure());
        clock.advance(Duration::from_secs(60));
        // The driver is a real thread: wait for what it does, and give up only after very many looks.
        let has_told = || told.load(std::sync::atomic::Ordering::SeqCst) >= round;
        assert!((0..100_000_000).any(|_| {
            std::thread::yield_now();
            has_told()
        }));
    }
}
