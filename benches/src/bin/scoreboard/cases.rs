//! The list of cases, and ours.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use evenkeel::{
    BreakerConfig, CheckState, Clock, Cluster, Endpoint, EndpointId, MonotonicClock, Outcome, PolicyConfig,
    Ratio, Request, Rule, Timestamp, Weight, Window,
};
use evenkeel_benches::{POLICIES, Weights, cluster, endpoint, endpoints};
use evenkeel_breaker::{Breaker, Fading, Rules};

use crate::memory;
use crate::method::{Case, Runner};
use crate::row::Row;

/// What shall be measured, in the order in which it is.
pub(crate) struct Cases {
    pub(crate) list: Vec<Case>,
    threads: usize,
    only: Option<String>,
}

impl Cases {
    pub(crate) const fn new(threads: usize, only: Option<String>) -> Self {
        Self { list: Vec::new(), threads, only }
    }

    /// The same on one thread and on two; `make` is called for each thread.
    pub(crate) fn add(
        &mut self,
        area: &'static str,
        subject: &str,
        n: usize,
        usable: f64,
        mut make: impl FnMut() -> Runner,
    ) {
        if self.is_wanted(area, subject) {
            for threads in 1..=self.threads {
                let runners = (0..threads).map(|_| make()).collect();
                self.list.push(Case { area, subject: subject.to_owned(), n, usable, runners, events: 1 });
            }
        }
    }

    /// On one thread only; a call of `runner` counts as so many events.
    pub(crate) fn add_single(
        &mut self,
        area: &'static str,
        subject: &str,
        n: usize,
        events: u32,
        runner: Runner,
    ) {
        if self.is_wanted(area, subject) {
            let runners = vec![runner];
            self.list.push(Case { area, subject: subject.to_owned(), n, usable: 1.0, runners, events });
        }
    }

    #[cfg(feature = "peers")]
    /// On two threads only, if two are asked for.
    pub(crate) fn add_pair(
        &mut self,
        area: &'static str,
        subject: &str,
        n: usize,
        make: impl FnMut() -> Runner,
    ) {
        if self.threads >= 2 && self.is_wanted(area, subject) {
            let runners = std::iter::repeat_with(make).take(2).collect();
            self.list.push(Case { area, subject: subject.to_owned(), n, usable: 1.0, runners, events: 1 });
        }
    }

    /// Whether `--only` lets this one in. Worlds that take long to build ask first.
    pub(crate) fn is_wanted(&self, area: &str, subject: &str) -> bool {
        let case = format!("{area} {subject}");
        self.only.as_ref().is_none_or(|only| only.split(',').any(|part| case.contains(part)))
    }
}

/// Calls `act` as often as it is told. What it owns lies on cache lines of its own, as it would on a thread's stack.
pub(crate) fn repeat<R>(act: impl FnMut() -> R + Send + 'static) -> Runner {
    let mut act = CachePadded::new(act);
    Box::new(move |calls| {
        for _ in 0..calls {
            black_box(act());
        }
    })
}

/// Picks under each policy: guarded by the cluster, guarded by a picker, and choosing alone.
pub(crate) fn picks(cases: &mut Cases, n: usize, usable: f64) {
    for policy in POLICIES {
        let cluster = cluster(policy, n, usable, Weights::Equal);
        of_cluster(cases, "pick", policy, &cluster, n, usable);
    }
}

/// The same where weights are 1 to 10.
pub(crate) fn weighted_picks(cases: &mut Cases, n: usize, usable: f64) {
    for policy in ["smooth_weighted_round_robin", "weighted_random", "least_request"] {
        let cluster = cluster(policy, n, usable, Weights::OneToTen);
        of_cluster(cases, "weighted", policy, &cluster, n, usable);
    }
}

fn of_cluster(
    cases: &mut Cases,
    area: &'static str,
    policy: &str,
    cluster: &Cluster<()>,
    n: usize,
    usable: f64,
) {
    let guarded = |cluster: Cluster<()>| {
        move || cluster.pick(&Request::new()).map(|pick| pick.finish(Outcome::success()))
    };
    cases.add(area, &format!("evenkeel/{policy}"), n, usable, || repeat(guarded(cluster.clone())));
    cases.add(area, &format!("picker/{policy}"), n, usable, || {
        let mut picker = cluster.picker();
        repeat(move || picker.pick(&Request::new()).map(|pick| pick.finish(Outcome::success())))
    });
    let area = if area == "pick" { "choose" } else { area };
    cases.add(area, &format!("choose/{policy}"), n, usable, || {
        let mut picker = cluster.picker();
        repeat(move || picker.choose(&Request::new()).is_ok())
    });
}

/// A closed breaker that hears of a success, by rule; and an open one that refuses. The answer is a yes or no, as it is
/// with the crates beside it.
pub(crate) fn breakers(cases: &mut Cases) {
    let ratio = |window| Rule::Ratio { failures: Ratio::HALF, min_requests: 20, window };
    let second = Duration::from_secs(1);
    for (name, rule) in [
        ("consecutive", Rule::Consecutive { failures: 5 }),
        ("count-window", ratio(Window::Count { size: 100 })),
        ("time-window", ratio(Window::Time { span: second, buckets: 10 })),
    ] {
        let breaker = shared_breaker(rule);
        let clock = MonotonicClock::new();
        let call = |breaker: Arc<Breaker>| {
            move || {
                let recorded = |permit| breaker.record(permit, &Outcome::success(), || clock.now()).is_none();
                breaker.try_acquire(|| clock.now()).is_ok_and(|admission| recorded(admission.permit))
            }
        };
        let subject = format!("evenkeel/{name}");
        cases.add("breaker", &subject, 0, 1.0, || repeat(call(Arc::clone(&breaker))));
    }
    let breaker = shared_breaker(Rule::Consecutive { failures: 1 });
    let clock = MonotonicClock::new();
    let admission = breaker.try_acquire(Timestamp::ORIGIN).expect("a new breaker is closed");
    breaker.record(admission.permit, &Outcome::failure(), Timestamp::ORIGIN).expect("one failure trips it");
    cases.add("breaker", "evenkeel/rejected", 0, 1.0, || {
        let breaker = Arc::clone(&breaker);
        repeat(move || breaker.try_acquire(|| clock.now()).is_err())
    });
}

/// Further rules, and the windows with a time that is handed in, since a clock costs more than they do.
pub(crate) fn more_breakers(cases: &mut Cases) {
    for (name, config) in more_rules() {
        let breaker = Arc::new(Breaker::new(&config).expect("valid rules"));
        let subject = format!("evenkeel/{name}");
        cases.add("breaker", &subject, 0, 1.0, || {
            let breaker = Arc::clone(&breaker);
            let mut now = 0;
            repeat(move || {
                now += 50;
                let now = Timestamp::from_nanos(now);
                let recorded = |permit| breaker.record(permit, &Outcome::success(), || now).is_none();
                breaker.try_acquire(now).is_ok_and(|admission| recorded(admission.permit))
            })
        });
    }
}

/// By the names of their rows.
pub(crate) fn more_rules() -> Vec<(&'static str, BreakerConfig)> {
    let second = Duration::from_secs(1);
    let window = Window::Time { span: second, buckets: 10 };
    let ratio = Rule::Ratio { failures: Ratio::HALF, min_requests: 20, window };
    let slow = Rule::SlowRatio { slow: Ratio::HALF, min_requests: 20, window };
    let ewma = |over| Rule::Ewma { failures: Ratio::HALF, min_requests: 20, over };
    let tolerated = Ratio::percent(1).expect("one of a hundred");
    let of = |rules| BreakerConfig { rules, ..BreakerConfig::default() };
    vec![
        ("time-window, time told", of(vec![ratio])),
        ("time-window of 4 stripes, time told", BreakerConfig { stripes: 4, ..of(vec![ratio]) }),
        (
            "slow and failed, time told",
            BreakerConfig { slow_call_duration: Some(second), ..of(vec![ratio, slow]) },
        ),
        ("average over requests", of(vec![ewma(Fading::Requests { window: 100 })])),
        ("average over time, time told", of(vec![ewma(Fading::Time { window: second })])),
        ("statistical", of(vec![Rule::Statistical { tolerated, requests_per_false_trip: 1_000_000 }])),
        ("overdue, time told", of(vec![Rule::Overdue { requests: 3, after: second }])),
    ]
}

/// Bytes of one breaker, its heap included and its shared rules not.
pub(crate) fn breaker_bytes() -> Vec<Row> {
    let ratio = |window| Rule::Ratio { failures: Ratio::HALF, min_requests: 20, window };
    let of = |rule| BreakerConfig { rules: vec![rule], ..BreakerConfig::default() };
    let mut rows = vec![
        ("consecutive", of(Rule::Consecutive { failures: 5 })),
        ("count-window", of(ratio(Window::Count { size: 100 }))),
    ];
    rows.extend(more_rules());
    let row = |(name, config): (&str, BreakerConfig)| {
        let rules = Arc::new(Rules::new(&config).expect("valid rules"));
        let mut made = None;
        let heap = memory::live_bytes(|| made = Some(Breaker::with_rules(&rules)));
        drop(made);
        memory::row(&format!("breaker/{name}"), 1, heap + size_of::<Breaker>() as f64)
    };
    rows.into_iter().map(row).collect()
}

fn shared_breaker(rule: Rule) -> Arc<Breaker> {
    let open_for = Duration::from_secs(24 * 3600);
    let config = BreakerConfig { rules: vec![rule], open_for, ..BreakerConfig::default() };
    Arc::new(Breaker::new(&config).expect("valid rules"))
}

/// Picks in a cluster whose endpoints have breakers.
pub(crate) fn picks_with_breaker(cases: &mut Cases, n: usize) {
    let builder = Cluster::<()>::builder("bench").policy(PolicyConfig::least_request()).seed(42);
    let cluster = builder.breaker(BreakerConfig::default()).build().expect("a valid cluster");
    cluster.apply(endpoints(n, Weights::Equal)).expect("valid endpoints");
    cases.add("pick", "evenkeel/least_request+breaker", n, 1.0, || {
        let cluster = cluster.clone();
        repeat(move || cluster.pick(&Request::new()).map(|pick| pick.finish(Outcome::success())))
    });
}

/// One endpoint of `n` changes, from the call to the swapped snapshot.
pub(crate) fn updates(cases: &mut Cases, n: usize) {
    for policy in POLICIES {
        let subject = |act: &str| format!("evenkeel/{policy}:{act}");
        let ids: Vec<EndpointId> =
            endpoints(n, Weights::Equal).map(|endpoint| endpoint.id().clone()).collect();
        let mut turn = 1_usize;
        let known = cluster(policy, n, 1.0, Weights::Equal);
        let set_weight = move || {
            turn += 1;
            // Each twice: up, and down again.
            known.set_weight(&ids[(turn / 2).wrapping_mul(7919) % n], Weight::new(2 - turn as u32 % 2))
        };
        cases.add_single("update", &subject("set_weight"), n, 1, repeat(set_weight));
        let known = cluster(policy, n, 1.0, Weights::Equal);
        let newcomer = endpoint(n, Weights::Equal);
        let join_and_leave = move || (known.upsert(newcomer.clone()), known.remove(newcomer.id()));
        cases.add_single("update", &subject("upsert+remove"), n, 2, repeat(join_and_leave));
    }
    let known = cluster("least_request", n, 1.0, Weights::Equal);
    let mut even: Vec<Endpoint> = endpoints(n, Weights::Equal).collect();
    let mut turn = 0;
    let apply = move || {
        turn += 1;
        even[n / 2] = endpoint(n + turn % 2, Weights::Equal);
        known.apply(even.iter().cloned())
    };
    cases.add_single("update", "evenkeel/least_request:apply-whole-list", n, 1, repeat(apply));
    let known = cluster("least_request", n, 1.0, Weights::Equal);
    let flipped = known.endpoint(endpoint(n / 2, Weights::Equal).id()).expect("a known endpoint");
    let flip = move || (flipped.set_check(CheckState::Down), flipped.set_check(CheckState::Up));
    cases.add_single("update", "evenkeel/least_request:flip", n, 2, repeat(flip));
}
