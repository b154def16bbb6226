//! Slow start in a cluster: who starts slowly, who does not, and what requests see of it.

use std::sync::Arc;
use std::time::Duration;

use evenkeel::{
    AdminState, BuildError, Cause, Cluster, Endpoint, ManualClock, Outcome, PolicyConfig, Request,
    SlowStartConfig, Warmth,
};

struct Scene {
    cluster: Cluster<()>,
    clock: Arc<ManualClock>,
}

fn endpoint(n: u32) -> Endpoint {
    Endpoint::at(format!("10.0.0.{n}:80").parse().expect("an address")).expect("an id")
}

fn scene(policy: &str, config: SlowStartConfig, count: u32) -> Scene {
    let clock = Arc::new(ManualClock::default());
    let cluster = Cluster::builder("slow start")
        .policy(policy.parse().expect("a policy"))
        .slow_start(config)
        .seed(5)
        .clock(Arc::clone(&clock))
        .build()
        .expect("valid settings");
    cluster.apply((1..=count).map(endpoint)).expect("a valid set");
    Scene { cluster, clock }
}

impl Scene {
    fn counts(&self, picks: u32) -> Vec<u32> {
        let ids: Vec<_> = self.cluster.endpoints().iter().map(|endpoint| endpoint.id()).collect();
        let mut counts = vec![0; ids.len()];
        for n in 0..picks {
            let key = n.to_string();
            let pick = self.cluster.pick(&Request::with_key(&key)).expect("somebody is usable");
            counts[ids.iter().position(|id| *id == pick.endpoint().id()).expect("one of them")] += 1;
            pick.finish(Outcome::success());
        }
        counts
    }

    fn factor(&self, index: usize) -> f64 {
        self.cluster.endpoints()[index].factor()
    }

    fn checks(&self, index: usize, passed: bool) {
        for _ in 0..3 {
            self.cluster.endpoints()[index].record_check(passed);
        }
    }

    fn after(&self, time: Duration) {
        self.clock.advance(time);
        self.cluster.tick();
    }
}

#[test]
fn one_that_returns_gets_its_share_bit_by_bit() {
    let scene = scene("round_robin", SlowStartConfig::default(), 5);
    scene.checks(1, false);
    scene.checks(1, true);
    assert_eq!(scene.cluster.endpoints()[1].status().cause(), Some(Cause::Warming));
    assert!(scene.cluster.endpoints()[1].status().usable());
    let mut last = 0;
    for (seconds, factor) in [(0, 0.1), (15, 0.5), (24, 0.8)] {
        scene.clock.set(evenkeel::Timestamp::from_secs(seconds));
        scene.cluster.tick();
        assert!((scene.factor(1) - factor).abs() < 0.01, "{seconds}: {}", scene.factor(1));
        let got = scene.counts(10_000)[1];
        let expected = 10_000.0 * factor / (4.0 + factor);
        assert!(
            (f64::from(got) - expected).abs() < 5.0 * expected.sqrt(),
            "{seconds}: {got}, expected {expected}"
        );
        assert!(got > last);
        last = got;
    }
    scene.clock.set(evenkeel::Timestamp::from_secs(30));
    scene.cluster.tick();
    assert_eq!((scene.factor(1), scene.cluster.endpoints()[1].warmth()), (1.0, Warmth::Warm));
    assert_eq!(scene.cluster.endpoints()[1].status().cause(), None);
    assert_eq!(scene.counts(10)[1], 2);
}

#[test]
fn picks_alone_carry_it_on() {
    let scene = scene("random", SlowStartConfig::default(), 3);
    scene.checks(0, false);
    scene.checks(0, true);
    scene.clock.advance(Duration::from_secs(31));
    scene.counts(3);
    assert_eq!(scene.factor(0), 1.0);
}

#[test]
fn a_cluster_never_starts_slowly_as_a_whole() {
    let scene = scene("random", SlowStartConfig::default(), 3);
    assert_eq!([scene.factor(0), scene.factor(1), scene.factor(2)], [1.0; 3]);
    (0..3).for_each(|index| scene.checks(index, false));
    scene.checks(0, true);
    assert_eq!(scene.factor(0), 1.0, "there is nobody else");
    scene.checks(1, true);
    assert!(scene.factor(1) < 1.0, "there is somebody now");
}

#[test]
fn a_newcomer_starts_slowly_unless_told_otherwise() {
    for new_endpoints in [true, false] {
        let scene = scene("random", SlowStartConfig { new_endpoints, ..SlowStartConfig::default() }, 3);
        scene.cluster.apply((1..=4).map(endpoint)).expect("a valid set");
        assert_eq!(scene.factor(3) < 1.0, new_endpoints);
        assert_eq!([scene.factor(0), scene.factor(1), scene.factor(2)], [1.0; 3]);
        scene.cluster.upsert(endpoint(5)).expect("a valid endpoint");
        assert_eq!(scene.factor(4) < 1.0, new_endpoints);
    }
}

#[test]
fn an_operators_maintenance_warms_and_a_drain_in_the_middle_ends_it() {
    let scene = scene("random", SlowStartConfig::default(), 3);
    let first = &scene.cluster.endpoints()[0];
    first.set_admin(AdminState::Maintenance);
    first.set_admin(AdminState::Ready);
    assert!(matches!(first.warmth(), Warmth::Warming { .. }));
    first.set_admin(AdminState::Maintenance);
    assert_eq!(first.warmth(), Warmth::Warm);
    assert!(!first.status().warming());
}

#[test]
fn the_others_do_not_get_more_than_they_can_carry() {
    let config = SlowStartConfig { max_boost: 1.25, ..SlowStartConfig::default() };
    let scene = scene("random", config, 4);
    scene.checks(2, false);
    scene.checks(3, false);
    scene.checks(2, true);
    scene.checks(3, true);
    scene.cluster.tick();
    let counts = scene.counts(20_000);
    for &count in &counts[..2] {
        assert!((f64::from(count) / 5_000.0 - 1.25).abs() < 0.06, "{counts:?}");
    }
}

#[test]
fn keys_come_home_one_after_the_other() {
    let scene = scene("maglev", SlowStartConfig::default(), 4);
    let home = scene.counts(4_000);
    scene.checks(1, false);
    scene.checks(1, true);
    let mut last = 0;
    for _ in 0..5 {
        let now = scene.counts(4_000)[1];
        assert!(now > last && now <= home[1], "{now}, {last}, {home:?}");
        last = now;
        scene.after(Duration::from_secs(6));
    }
    scene.after(Duration::from_secs(6));
    assert_eq!(scene.counts(4_000), home);
}

#[test]
fn settings_out_of_range_name_their_field() {
    let config = SlowStartConfig { window: Duration::ZERO, ..SlowStartConfig::default() };
    let error = Cluster::<()>::builder("x")
        .policy(PolicyConfig::random())
        .slow_start(config)
        .build()
        .expect_err("no window");
    assert!(matches!(error, BuildError::SlowStart(_)));
    assert!(error.to_string().starts_with("slow_start.window"), "{error}");
}
