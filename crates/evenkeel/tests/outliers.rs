//! Outlier detection in a cluster: who goes out, who stays, who comes back, and who is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel::{
    BuildError, Cause, Cluster, ClusterConfig, Endpoint, ManualClock, Notice, Outcome, OutlierConfig,
    OutlierNotice, OutlierState, PickError, PolicyConfig, Request, Timestamp,
};

struct Scene {
    cluster: Cluster<()>,
    clock: Arc<ManualClock>,
    heard: Arc<Mutex<Vec<Notice>>>,
}

fn scene(outlier: OutlierConfig, count: u32) -> Scene {
    let clock = Arc::new(ManualClock::default());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notices = Arc::clone(&heard);
    let cluster = Cluster::builder("outliers")
        .policy(PolicyConfig::round_robin())
        .outlier(outlier)
        .seed(3)
        .clock(Arc::clone(&clock))
        .observer(move |notice: &Notice| notices.lock().expect("nobody panics").push(notice.clone()))
        .build()
        .expect("valid settings");
    cluster.apply(endpoints(count)).expect("a valid set");
    Scene { cluster, clock, heard }
}

fn endpoints(count: u32) -> Vec<Endpoint> {
    let at = |n: u32| Endpoint::at(format!("10.0.0.{n}:80").parse().expect("an address")).expect("an id");
    (1..=count).map(at).collect()
}

impl Scene {
    /// So many requests, of which those to the endpoints of `bad` (from 1) fail. Returns how many those got.
    fn requests(&self, count: u32, bad: &[u32]) -> u32 {
        let bad: Vec<String> = bad.iter().map(|n| format!("10.0.0.{n}:80")).collect();
        let mut failed = 0;
        for _ in 0..count {
            let pick = self.cluster.pick(&Request::new()).expect("somebody is left");
            let fails = bad.iter().any(|id| pick.endpoint().id().as_str() == id);
            failed += u32::from(fails);
            pick.finish(if fails { Outcome::failure() } else { Outcome::success() });
        }
        failed
    }

    fn cause(&self, index: usize) -> Option<Cause> {
        self.cluster.endpoints()[index].status().cause()
    }

    fn after(&self, time: Duration) {
        self.clock.advance(time);
        self.cluster.tick();
    }

    fn notices(&self) -> Vec<OutlierNotice> {
        let heard = self.heard.lock().expect("nobody panics");
        let outlier = |notice: &Notice| match notice {
            Notice::Outlier(notice) => Some(notice.clone()),
            _ => None,
        };
        heard.iter().filter_map(outlier).collect()
    }
}

#[test]
fn five_failures_in_a_row_eject_at_once_and_time_brings_back() {
    let scene = scene(OutlierConfig::default(), 5);
    assert_eq!(scene.requests(100, &[2]), 5, "the sixth goes elsewhere");
    assert_eq!(scene.cause(1), Some(Cause::Ejected));
    let report = scene.cluster.report();
    let outlier = report.endpoints[1].outlier.expect("it is watched");
    assert_eq!(outlier.state, OutlierState::Ejected);
    let ejection = outlier.ejection.expect("it is out");
    assert_eq!(report.endpoints[1].expected_share, 0.0);
    assert_eq!(report.outliers.expect("outliers are looked for").ejections, 1);
    assert!(
        matches!(&scene.notices()[..], [OutlierNotice::Ejected { id, .. }] if id.as_str() == "10.0.0.2:80")
    );

    scene.after(ejection.duration());
    assert_eq!(scene.cause(1).filter(|cause| cause.is_blocking()), None);
    let report = scene.cluster.report();
    assert_eq!(report.endpoints[1].outlier.expect("watched").state, OutlierState::Probation);
    assert!(report.endpoints[1].factor < 0.5, "a trickle: {}", report.endpoints[1].factor);

    // It passes with what it gets, its share grows, and is full again.
    scene.requests(2_000, &[]);
    for _ in 0..400 {
        scene.after(Duration::from_millis(500));
        scene.requests(20, &[]);
    }
    let report = scene.cluster.report();
    assert_eq!(
        (report.endpoints[1].outlier.expect("watched").state, report.endpoints[1].factor),
        (OutlierState::In, 1.0)
    );
    let told = scene.notices();
    assert!(told.iter().any(|notice| matches!(notice, OutlierNotice::Probation { .. })), "{told:?}");
    assert!(told.iter().any(|notice| matches!(notice, OutlierNotice::Returned { .. })), "{told:?}");
}

#[test]
fn picks_bring_back_without_a_driver() {
    let scene = scene(OutlierConfig::default(), 3);
    scene.requests(30, &[1]);
    assert_eq!(scene.cause(0), Some(Cause::Ejected));
    scene.clock.advance(Duration::from_secs(600));
    scene.requests(2, &[]);
    assert_eq!(scene.cause(0).filter(|cause| cause.is_blocking()), None);
}

#[test]
fn the_last_one_is_never_ejected() {
    for count in 1..=9 {
        let scene = scene(OutlierConfig::default(), count);
        let all: Vec<u32> = (1..=count).collect();
        for _ in 0..20 {
            scene.requests(50, &all);
            scene.after(Duration::from_secs(10));
        }
        assert!(scene.cluster.report().usable >= 1, "{count}");
    }
}

#[test]
fn a_sweep_finds_who_fails_more_than_its_peers() {
    let scene = scene(OutlierConfig::default(), 3);
    for n in 0..600_u32 {
        let pick = scene.cluster.pick(&Request::new()).expect("usable");
        let bad = pick.endpoint().id().as_str() == "10.0.0.3:80" && n % 2 == 0;
        pick.finish(if bad { Outcome::failure() } else { Outcome::success() });
    }
    assert_eq!(scene.cause(2), None, "no run of five");
    scene.after(Duration::from_secs(10));
    assert_eq!(scene.cause(2), Some(Cause::Ejected));
    assert_eq!(scene.cluster.report().usable, 2);
}

#[test]
fn an_ejection_survives_updates_and_ends_with_the_endpoint() {
    let scene = scene(OutlierConfig::default(), 4);
    scene.requests(60, &[2]);
    let heavier = endpoints(4).into_iter().map(|endpoint| endpoint.with_weight(evenkeel::Weight::new(7)));
    scene.cluster.apply(heavier).expect("a valid set");
    assert_eq!(scene.cause(1), Some(Cause::Ejected));
    scene.cluster.apply(endpoints(1)).expect("a valid set");
    scene.cluster.apply(endpoints(4)).expect("a valid set");
    assert_eq!(scene.cause(1), None, "another incarnation starts afresh");
    assert_eq!(scene.requests(4, &[]), 0);
}

#[test]
fn one_that_comes_to_be_alone_comes_back() {
    let scene = scene(OutlierConfig::default(), 3);
    scene.requests(60, &[1]);
    assert_eq!(scene.cause(0), Some(Cause::Ejected));
    scene.cluster.apply(endpoints(1)).expect("a valid set");
    scene.cluster.tick();
    assert_eq!(scene.requests(1, &[]), 0);
}

#[test]
fn a_refused_pick_tells_when_the_first_is_back() {
    let scene = scene(OutlierConfig::default(), 2);
    scene.requests(40, &[1]);
    let until =
        scene.cluster.report().endpoints[0].outlier.and_then(|outlier| outlier.until).expect("it is out");
    scene.cluster.endpoints()[1].set_admin(evenkeel::AdminState::Drain);
    let Err(PickError::NoneUsable(shortage)) = scene.cluster.pick(&Request::new()) else {
        unreachable!("nobody is usable")
    };
    assert_eq!((shortage.ejected, shortage.withdrawn, shortage.retry_at), (1, 1, Some(until)));
}

#[test]
fn neutral_outcomes_and_dropped_picks_eject_nobody() {
    let scene = scene(OutlierConfig::default(), 2);
    for n in 0..200 {
        let pick = scene.cluster.pick(&Request::new()).expect("usable");
        if n % 2 == 0 {
            pick.finish(Outcome::neutral());
        }
    }
    scene.after(Duration::from_secs(10));
    assert_eq!(scene.cluster.report().usable, 2);
}

#[test]
fn settings_out_of_range_name_their_field() {
    let outlier = OutlierConfig { interval: Duration::ZERO, ..OutlierConfig::default() };
    let error = Cluster::<()>::builder("outliers").outlier(outlier).build().expect_err("no interval");
    assert!(matches!(error, BuildError::Outlier(_)));
    assert!(error.to_string().starts_with("outlier.interval"), "{error}");
}

#[test]
#[cfg(feature = "config")]
fn a_configuration_can_ask_for_it() {
    let config =
        ClusterConfig::from_toml("name = \"users\"\n[outlier]\nconsecutive_failures = 3\nbrake = \"off\"\n")
            .expect("reads");
    assert_eq!(config.outlier.expect("is there").consecutive_failures, Some(3));
    assert!(ClusterConfig::from_toml("name = \"users\"\n[outlier]\nconsecutive = 3\n").is_err());
}

#[test]
fn a_clock_that_goes_back_ejects_and_frees_nobody() {
    let scene = scene(OutlierConfig::default(), 3);
    scene.clock.set(Timestamp::from_secs(1000));
    scene.requests(30, &[1]);
    scene.clock.set(Timestamp::from_secs(1));
    scene.cluster.tick();
    scene.requests(30, &[]);
    assert_eq!(scene.cause(0), Some(Cause::Ejected));
}

/// A rolling update replaces endpoints and leaves the number as it is: whoever is out stays out.
#[test]
fn a_replacement_brings_nobody_back() {
    for (count, bad) in [(2, vec![1]), (4, vec![1])] {
        let scene = scene(OutlierConfig::default(), count);
        scene.requests(20 * count, &bad);
        assert_eq!(scene.cause(0), Some(Cause::Ejected));
        let replaced = endpoints(2 * count);
        let next = replaced.into_iter().enumerate().filter(|(n, _)| *n == 0 || *n > count as usize);
        let next: Vec<Endpoint> = next.map(|(_, endpoint)| endpoint).take(count as usize).collect();
        let applied = scene.cluster.apply(next).expect("a valid set");
        assert_eq!(applied.removed.len(), count as usize - 1);
        scene.cluster.tick();
        assert_eq!(scene.cause(0), Some(Cause::Ejected), "{count}: as many as before");
    }
}

/// A check machine that runs elsewhere tells verdicts and results apart: results bring back.
#[test]
fn results_of_checks_bring_back_where_rules_ask_for_them() {
    let return_by = evenkeel::ReturnBy::Checks(2);
    let scene = scene(OutlierConfig { return_by, ..OutlierConfig::default() }, 3);
    scene.requests(30, &[1]);
    assert_eq!(scene.cause(0), Some(Cause::Ejected));
    let bad = &scene.cluster.endpoints()[0];
    bad.set_check(evenkeel::CheckState::Up);
    bad.heard_check(evenkeel::CheckResult::Pass);
    bad.heard_check(evenkeel::CheckResult::Fail);
    bad.heard_check(evenkeel::CheckResult::Pass);
    assert_eq!(scene.cause(0), Some(Cause::Ejected), "one in a row");
    bad.heard_check(evenkeel::CheckResult::Pass);
    assert_eq!(scene.cause(0).filter(|cause| cause.is_blocking()), None);
    assert_eq!(bad.status().check(), evenkeel::CheckState::Up);
}
