//! A request on its way through a router, beside what its parts cost alone; and what a reload costs, and whom.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::router::{Incoming, Scratch};
use evenkeel::{Outcome, Request};
use evenkeel_benches::router::{cluster, config, router, split};
use evenkeel_benches::routes::{self, ASKED};
use evenkeel_route::matching::{self, HttpRules};
use evenkeel_route::retry::Ending;
use evenkeel_route::split::Split;

use crate::cases::{Cases, repeat};
use crate::gates::{Bound, Gate, MILLISECOND, Rows, ratio};
use crate::row::Row;
use crate::tails;

const GOOD: Ending = Ending::Http { status: 200, retry_after: None };

pub(crate) fn cases(cases: &mut Cases) {
    if !cases.is_wanted("router", "") && !cases.is_wanted("router", "evenkeel") {
        return;
    }
    for n in [1000, 10_000] {
        let requests = Arc::new(routes::by_host_requests(n));
        let router = router(n);
        cases.add("router", "evenkeel/whole", n, 1.0, || {
            let (router, requests) = (router.clone(), requests.clone());
            let (mut scratch, mut next) = (Scratch::default(), 0);
            repeat(move || {
                next = (next + 1) % ASKED;
                let incoming = Incoming::new(requests[next].request());
                let mut exchange = router.route(&incoming, &mut scratch).ok()?.into_exchange()?;
                let mut pick = exchange.pick().ok()?;
                Some(exchange.after(&mut pick, &GOOD))
            })
        });
        let rules = Arc::new(HttpRules::new(&routes::by_host(n)).expect("valid rules"));
        cases.add("router", "part/match", n, 1.0, || {
            let (rules, requests) = (rules.clone(), requests.clone());
            let (mut scratch, mut next) = (matching::Scratch::default(), 0);
            repeat(move || {
                next = (next + 1) % ASKED;
                rules.find(&requests[next].request(), &mut scratch).ok().flatten().map(|found| found.rule())
            })
        });
        let mut generation = 0;
        let reload = repeat(move || {
            generation += 1;
            router.apply(black_box(config(n, generation)), []).is_ok()
        });
        cases.add_single("router", "evenkeel/reload", n, 1, reload);
        let mut generation = 0;
        let write = repeat(move || {
            generation += 1;
            config(n, generation)
        });
        cases.add_single("router", "part/config", n, 1, write);
    }
    let requests = Arc::new(routes::by_host_requests(1000));
    let split = Arc::new(Split::new(&split()).expect("a valid split"));
    cases.add("router", "part/split", 1000, 1.0, || {
        let (split, requests) = (split.clone(), requests.clone());
        let mut next = 0;
        repeat(move || {
            next = (next + 1) % ASKED;
            split.choose(&requests[next].request().with_hash(next as u64), 0).arm
        })
    });
    let cluster = cluster("v1");
    cases.add("router", "part/pick", 1000, 1.0, || {
        let cluster = cluster.clone();
        repeat(move || cluster.pick(&Request::new()).map(|pick| pick.finish(Outcome::success())))
    });
}

/// The slow requests while one reload follows the other.
pub(crate) fn tails(n: usize, stretch: Duration) -> Vec<Row> {
    let router = router(n);
    let requests = routes::by_host_requests(n);
    let reloads = router.clone();
    let mut generation = 0;
    let mut reload = || {
        generation += 1;
        reloads.apply(config(n, generation), []).expect("a valid configuration");
    };
    let (mut scratch, mut next) = (Scratch::default(), 0);
    let mut pick = || {
        next = (next + 1) % ASKED;
        let incoming = Incoming::new(requests[next].request());
        let routed = router.route(&incoming, &mut scratch).expect("there is always a route");
        let mut exchange = routed.into_exchange().expect("it is sent on");
        drop(exchange.pick().expect("there is always an endpoint"));
    };
    tails::measure("evenkeel/router", n, stretch, &mut pick, &mut reload)
}

pub(crate) fn gates(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    let of = |subject: &str, n| rows.of("router", subject, n, 1);
    let parts = || Some(of("part/match", 1000)? + of("part/split", 1000)? + of("part/pick", 1000)?);
    let name = "router, whole / match + split + pick, N = 1000".to_owned();
    gates.push(ratio(name, of("evenkeel/whole", 1000), parts(), Bound::AtMost(1.2), None));
    let name = "reload 10000 routes, ms".to_owned();
    let alone =
        of("evenkeel/reload", 10_000).zip(of("part/config", 10_000)).map(|(all, config)| all - config);
    gates.push(ratio(name, alone, Some(MILLISECOND), Bound::AtMost(50.0), None));
}
