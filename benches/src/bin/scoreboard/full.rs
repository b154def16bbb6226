//! A pick with everything on, and what each part adds to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel::{Clock, MonotonicClock, Outcome, Request, Timestamp};
use evenkeel_benches::{PARTS, Parts, window_breaker};
use evenkeel_breaker::{Breaker, Rules};
use evenkeel_health::outlier::{OutlierConfig, OutlierCounters, OutlierRules};
use evenkeel_limit::{Ledger, LedgerConfig, LimitConfig, Limiter};

use crate::cases::{Cases, repeat};
use crate::row::{Figure, Row};

/// The sizes at which everything is on.
pub(crate) const SIZES: [usize; 3] = [10, 100, 10_000];

/// Picks with one part more, and with all.
pub(crate) fn picks(cases: &mut Cases, n: usize) {
    for parts in &PARTS {
        let subject = format!("evenkeel/{}", parts.name);
        if cases.is_wanted("full", &subject) {
            let cluster = parts.cluster(n, MonotonicClock::new());
            cases.add("full", &subject, n, 1.0, || {
                let cluster = cluster.clone();
                repeat(move || cluster.pick(&Request::new()).map(|pick| pick.finish(Outcome::success())))
            });
        }
    }
}

/// The parts by themselves, one for each of `n` endpoints that are met at random, as picks meet them: with so many of them,
/// a good deal of what a part costs is the way to it.
pub(crate) fn parts(cases: &mut Cases, n: usize) {
    let rules = Arc::new(Rules::new(&window_breaker()).expect("valid rules"));
    let breakers: Arc<[_]> = (0..n).map(|_| Box::new(Breaker::with_rules(&rules))).collect();
    one_of(cases, "part/breaker", n, &breakers, |breaker, now| {
        let admission = breaker.try_acquire(now).ok()?;
        breaker.record(admission.permit, &Outcome::success(), now)
    });
    let outlier_rules = OutlierRules::new(OutlierConfig::default()).expect("valid rules");
    let counters: Arc<[_]> = (0..n).map(|_| Arc::new(OutlierCounters::new())).collect();
    one_of(cases, "part/outlier", n, &counters, move |counters, _| {
        counters.record(&Outcome::success(), &outlier_rules)
    });
    let limiter = || Box::new(Limiter::new(&LimitConfig::fixed(1000), 1).expect("valid settings"));
    let limiters: Arc<[_]> = (0..n).map(|_| limiter()).collect();
    one_of(cases, "part/limit", n, &limiters, |limiter, now| {
        limiter.try_acquire(now).ok().and_then(|token| limiter.release(token, &Outcome::success(), now))
    });
    let ledger: Arc<[_]> = Arc::new([Ledger::new(&LedgerConfig::default()).expect("valid settings")]);
    one_of(cases, "part/budget", n, &ledger, Ledger::deposit);
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    cases.add("full", "part/clock", n, 1.0, || {
        let clock = Arc::clone(&clock);
        repeat(move || clock.now())
    });
}

/// Two choices and all the parts of one drawn endpoint, one after the other: what the parts take when they share the caches, as
/// in a pick with everything on, and lie each by itself. The clock is read as often as there.
pub(crate) fn one_walk(cases: &mut Cases, n: usize) {
    let subject = "part/one-walk";
    if !cases.is_wanted("full", subject) {
        return;
    }
    let rules = Arc::new(Rules::new(&window_breaker()).expect("valid rules"));
    let outlier_rules = Arc::new(OutlierRules::new(OutlierConfig::default()).expect("valid rules"));
    let each = |_| {
        let limiter = Limiter::new(&LimitConfig::fixed(1000), 1).expect("valid settings");
        (Box::new(Breaker::with_rules(&rules)), Arc::new(OutlierCounters::new()), Box::new(limiter))
    };
    let all: Arc<[_]> = (0..n).map(each).collect();
    let ledger = Arc::new(Ledger::new(&LedgerConfig::default()).expect("valid settings"));
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
    let cluster = PARTS[0].cluster(n, MonotonicClock::new());
    cases.add("full", subject, n, 1.0, || {
        let (all, rules, ledger) = (Arc::clone(&all), Arc::clone(&outlier_rules), Arc::clone(&ledger));
        let (clock, cluster) = (Arc::clone(&clock), cluster.clone());
        let mut draws = fastrand::Rng::with_seed(n as u64);
        repeat(move || {
            let (breaker, counters, limiter) = &all[draws.usize(..all.len())];
            let began = clock.now();
            ledger.deposit(began);
            let pick = cluster.pick(&Request::new()).ok()?;
            let token = limiter.try_acquire(began).ok()?;
            let permit = breaker.try_acquire(began).ok()?.permit;
            let (ended, outcome) = (clock.now(), Outcome::success());
            let tripped = breaker.record(permit, &outcome, ended);
            let suspicion = counters.record(&outcome, &rules);
            limiter.release(token, &outcome, ended);
            pick.finish(outcome);
            Some((tripped, suspicion))
        })
    });
}

fn one_of<P, R>(
    cases: &mut Cases,
    subject: &str,
    n: usize,
    all: &Arc<[P]>,
    act: impl Fn(&P, Timestamp) -> R + Clone + Send + 'static,
) where
    P: Send + Sync + 'static,
    R: 'static,
{
    cases.add("full", subject, n, 1.0, || {
        let (all, act, mut nanos) = (Arc::clone(all), act.clone(), 0);
        let mut draws = fastrand::Rng::with_seed(n as u64);
        repeat(move || {
            nanos += 100;
            act(&all[draws.usize(..all.len())], Timestamp::from_nanos(nanos))
        })
    });
}

/// How often the clock is read for one request, by what is on.
pub(crate) fn clock_reads() -> Vec<Row> {
    PARTS.iter().map(clock_reads_of).collect()
}

fn clock_reads_of(parts: &Parts) -> Row {
    let clock = Arc::new(Counting::default());
    let cluster = parts.cluster(10, Arc::clone(&clock));
    let read = || clock.reads.load(Ordering::Relaxed);
    let before = read();
    for _ in 0..REQUESTS {
        cluster.pick(&Request::new()).expect("all are usable").finish(Outcome::success());
    }
    let count = (read() - before) as f64 / REQUESTS as f64;
    let subject = format!("clock reads/{}", parts.name);
    Row { area: "full", subject, n: 0, usable: 1.0, threads: 1, figure: Figure::Count { count } }
}

/// A clock that stands still and counts who looks at it.
#[derive(Debug, Default)]
struct Counting {
    reads: AtomicU64,
}

impl Clock for Counting {
    fn now(&self) -> Timestamp {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Timestamp::from_secs(1)
    }
}

const REQUESTS: u32 = 100;
