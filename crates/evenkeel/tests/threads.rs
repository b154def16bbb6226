//! Picks, flips and updates from many threads at once: nothing is lost, nothing is left over. Counts decide, not time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, PolicyConfig, Request, Weight};

fn id(n: usize) -> EndpointId {
    format!("e{n}").parse().expect("a valid id")
}

fn endpoint(n: usize) -> Endpoint {
    Endpoint::new(id(n), format!("10.0.0.{n}:80").parse().expect("an address"))
}

/// Sets a flag when it is dropped.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Endpoint 0 is always there and always usable, so no pick may fail; the others come, go, drain and change weight.
#[test]
fn picks_never_fail_while_one_endpoint_is_usable() {
    for policy in PolicyConfig::all() {
        let cluster = Cluster::<()>::builder("test").policy(policy).seed(1).build().unwrap();
        cluster.apply((0..20).map(endpoint)).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            // Also if an update below panics: or the others would pick for ever.
            let _end = SetAtEnd(&done);
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut picker = cluster.picker();
                    while !done.load(Ordering::Relaxed) {
                        cluster
                            .pick(&Request::new())
                            .expect("endpoint 0 is usable")
                            .finish(Outcome::success());
                        drop(picker.pick(&Request::new()).expect("endpoint 0 is usable"));
                    }
                });
            }
            scope.spawn(|| {
                for round in 0..300 {
                    let n = 1 + round % 19;
                    // The endpoint may be gone at the moment: that is an answer too.
                    let _ = cluster.drain(&id(n));
                    let _ = cluster.undrain(&id(n));
                }
            });
            for round in 0..300 {
                match round % 4 {
                    0 => drop(cluster.apply((0..1 + round % 20).map(endpoint)).unwrap()),
                    1 => drop(cluster.upsert(endpoint(round % 20)).unwrap()),
                    // HAProxy knows weights up to 256.
                    2 => drop(cluster.set_weight(&id(0), Weight::new(1 + round as u32 % 256)).unwrap()),
                    _ => drop(cluster.tick()),
                }
            }
        });
        let report = cluster.report();
        assert!(report.endpoints.iter().all(|endpoint| endpoint.in_flight == 0), "{report:#?}");
    }
}

/// After concurrent flips every mask bit agrees with its own word: each endpoint is reached iff it is usable.
#[test]
fn no_flip_is_lost_in_an_update() {
    let cluster = Cluster::<()>::builder("test").policy(PolicyConfig::round_robin()).seed(1).build().unwrap();
    cluster.apply((0..10).map(endpoint)).unwrap();
    for round in 0..200 {
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..5 {
                    let _ = if round % 2 == 0 { cluster.drain(&id(n)) } else { cluster.undrain(&id(n)) };
                }
            });
            cluster.upsert(endpoint(10 + round % 3)).unwrap();
            cluster.remove(&id(10 + round % 3)).unwrap();
        });
        let mut reached: Vec<_> = (0..10)
            .map(|_| cluster.pick(&Request::new()).expect("one is usable").endpoint().id().to_string())
            .collect();
        reached.sort();
        reached.dedup();
        assert_eq!(reached.len(), if round % 2 == 0 { 5 } else { 10 }, "round {round}: {reached:?}");
    }
}

/// One endpoint that is always usable and changes between plainly healthy and degraded: every pick finds it.
#[test]
fn moving_between_healthy_and_degraded_hides_nobody() {
    let cluster = Cluster::<()>::builder("test").seed(1).build().unwrap();
    cluster.apply([endpoint(0)]).unwrap();
    let flipped = cluster.endpoint(&id(0)).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                flipped.set_check(evenkeel::CheckState::Degraded);
                flipped.set_check(evenkeel::CheckState::Up);
            }
        });
        let failed = (0..300_000).filter(|_| cluster.pick(&Request::new()).is_err()).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0);
    });
}
