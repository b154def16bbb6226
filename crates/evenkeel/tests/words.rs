//! Reports tell who is out, why, since when and until when.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::{
    AdminState, BreakerConfig, Cause, CauseReport, Cluster, Endpoint, ManualClock, Outcome, OutlierConfig,
    PolicyConfig, Request, Timestamp,
};

fn cluster() -> (Cluster<()>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let builder = Cluster::builder("words").policy(PolicyConfig::round_robin()).clock(Arc::clone(&clock));
    let outlier = OutlierConfig { consecutive_failures: Some(7), ..OutlierConfig::default() };
    let cluster = builder.breaker(BreakerConfig::default()).outlier(outlier).build().expect("valid settings");
    let at = |n: u32| Endpoint::at(format!("10.0.0.{n}:80").parse().expect("an address")).expect("an id");
    cluster.apply((1..=3).map(at)).expect("a valid set");
    (cluster, clock)
}

fn causes(cluster: &Cluster<()>, index: usize) -> Vec<CauseReport> {
    cluster.report().endpoints.swap_remove(index).causes
}

fn fail(cluster: &Cluster<()>, index: usize, times: u32) {
    let id = cluster.endpoints()[index].id();
    let mut failed = 0;
    while failed < times {
        let pick = cluster.pick(&Request::new()).expect("usable");
        let is_it = pick.endpoint().id() == id;
        failed += u32::from(is_it);
        pick.finish(if is_it { Outcome::failure() } else { Outcome::success() });
    }
}

#[test]
fn nothing_said_is_nothing_told() {
    let (cluster, _) = cluster();
    assert_eq!(causes(&cluster, 0), []);
}

#[test]
fn an_operators_word_for_a_while_has_an_owner_a_reason_and_an_end() {
    let (cluster, clock) = cluster();
    clock.set(Timestamp::from_secs(100));
    let first = &cluster.endpoints()[0];
    let limit = Duration::from_secs(600);
    let status =
        first.set_admin_for(AdminState::Drain, limit, "alice", "kernel update").expect("short texts");
    assert!(!status.usable());
    let told = causes(&cluster, 0);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].cause, told[0].since, told[0].until),
        (Cause::AdminDrain, Timestamp::from_secs(100), Some(Timestamp::from_secs(700)))
    );
    assert_eq!((told[0].by.as_deref(), told[0].reason.as_deref()), (Some("alice"), Some("kernel update")));

    clock.set(Timestamp::from_secs(699));
    cluster.tick();
    assert!(!first.status().usable());
    clock.set(Timestamp::from_secs(700));
    let picked: Vec<_> =
        (0..3).map(|_| cluster.pick(&Request::new()).expect("usable").endpoint().id()).collect();
    assert!(first.status().usable(), "the first pick ends it");
    assert_eq!(picked.len(), 3);
    assert_eq!(causes(&cluster, 0), []);
}

#[test]
fn an_override_ends_alone() {
    let (cluster, clock) = cluster();
    let first = &cluster.endpoints()[0];
    first.set_admin_for(AdminState::Maintenance, Duration::from_secs(5), "bob", "").expect("short texts");
    (0..3).for_each(|_| {
        first.record_check(false);
    });
    clock.advance(Duration::from_secs(5));
    cluster.tick();
    let told = causes(&cluster, 0);
    assert_eq!(told.iter().map(|told| told.cause).collect::<Vec<_>>(), [Cause::CheckDown]);
}

#[test]
fn machines_tell_until_when_and_why() {
    let (cluster, clock) = cluster();
    clock.set(Timestamp::from_secs(10));
    fail(&cluster, 1, 5);
    let told = causes(&cluster, 1);
    assert_eq!((told[0].cause, told[0].since), (Cause::BreakerOpen, Timestamp::from_secs(10)));
    assert_eq!(told[0].until, Some(Timestamp::from_secs(15)));
    let ejecting = Cluster::<()>::builder("words")
        .policy(PolicyConfig::round_robin())
        .outlier(OutlierConfig::default())
        .clock(ManualClock::default())
        .build()
        .expect("valid settings");
    ejecting
        .apply(
            (1..=3)
                .map(|n| Endpoint::at(format!("10.0.0.{n}:80").parse().expect("an address")).expect("an id")),
        )
        .expect("a set");
    fail(&ejecting, 2, 5);
    let told = causes(&ejecting, 2);
    assert_eq!((told[0].cause, told[0].reason.as_deref()), (Cause::Ejected, Some("consecutive_failures")));
    assert!(told[0].until > Some(told[0].since));
}

#[test]
fn a_text_that_would_garble_a_log_is_refused_and_changes_nothing() {
    let (cluster, _) = cluster();
    let first = &cluster.endpoints()[0];
    assert!(first.set_admin_for(AdminState::Drain, Duration::from_secs(5), "a\nb", "").is_err());
    assert!(first.status().usable());
}
