//! Which rule takes a request: ours, and matchit for paths alone.

use std::hint::black_box;
use std::sync::Arc;

use evenkeel_benches::routes::{self, ASKED};
use evenkeel_route::matching::{HttpRules, HttpRulesConfig, Scratch};

use crate::cases::{Cases, repeat};
use crate::gates::{Bound, Gate, MILLISECOND, Rows, ratio};

pub(crate) fn cases(cases: &mut Cases) {
    if !cases.is_wanted("route", "")
        && !["evenkeel", "matchit"].iter().any(|who| cases.is_wanted("route", who))
    {
        return;
    }
    for n in SIZES {
        let config = routes::by_host(n);
        let rules = Arc::new(HttpRules::new(&config).expect("valid rules"));
        let requests = Arc::new(routes::by_host_requests(n));
        cases.add("route", "evenkeel/host+path+header", n, 1.0, || {
            let (rules, requests) = (rules.clone(), requests.clone());
            let (mut scratch, mut next) = (Scratch::default(), 0);
            repeat(move || {
                next = (next + 1) % ASKED;
                rules.find(&requests[next].request(), &mut scratch).ok().flatten().map(|found| found.rule())
            })
        });
        for kind in routes::KINDS {
            paths(cases, n, kind);
        }
        let compile = repeat(move || HttpRules::new(black_box(&config)).is_ok());
        cases.add_single("route", "evenkeel/compile", n, 1, compile);
    }
}

fn paths(cases: &mut Cases, n: usize, kind: &str) {
    let config = HttpRulesConfig { rules: routes::by_path(n), ..HttpRulesConfig::default() };
    let rules = Arc::new(HttpRules::new(&config).expect("valid rules"));
    let paths = Arc::new(routes::paths(kind, n));
    cases.add("route", &format!("evenkeel/{kind}"), n, 1.0, || {
        let (rules, paths) = (rules.clone(), paths.clone());
        let (mut scratch, mut next) = (Scratch::default(), 0);
        repeat(move || {
            next = (next + 1) % ASKED;
            routes::find(&rules, &paths[next], &mut scratch)
        })
    });
    #[cfg(feature = "peer-routes")]
    {
        let router = Arc::new(routes::matchit(n));
        cases.add("route", &format!("matchit/{kind}"), n, 1.0, || {
            let (router, paths) = (router.clone(), paths.clone());
            let mut next = 0;
            repeat(move || {
                next = (next + 1) % ASKED;
                routes::find_matchit(&router, &paths[next])
            })
        });
    }
}

pub(crate) fn gates(rows: &Rows<'_>, gates: &mut Vec<Gate>) {
    let of = |subject: &str, n| rows.of("route", subject, n, 1);
    let full = |n| of("evenkeel/host+path+header", n);
    let name = "route by host, path and header, N = 1000, ns".to_owned();
    gates.push(ratio(name, full(1000), Some(1.0), Bound::AtMost(200.0), None));
    let name = "route by host, path and header, N = 10000 / 1000".to_owned();
    gates.push(ratio(name, full(10_000), full(1000), Bound::AtMost(2.0), None));
    for kind in routes::KINDS {
        let name = format!("route by path, {kind} / matchit, N = 1000");
        let (ours, theirs) = (of(&format!("evenkeel/{kind}"), 1000), of(&format!("matchit/{kind}"), 1000));
        gates.push(ratio(name, ours, theirs, Bound::AtMost(0.6), None));
    }
    let name = "compile 10000 rules, ms".to_owned();
    gates.push(ratio(name, of("evenkeel/compile", 10_000), Some(MILLISECOND), Bound::AtMost(50.0), None));
}

const SIZES: [usize; 2] = [1000, 10_000];
