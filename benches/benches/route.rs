//! Which rule takes a request: among 1,000 and 10,000, by host, path and a header, and by path alone.

#![allow(missing_docs, reason = "criterion makes the functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use evenkeel_benches::routes;
use evenkeel_route::matching::{HttpRules, HttpRulesConfig, Scratch};

fn matches(criterion: &mut Criterion) {
    for count in [1000, 10_000] {
        let rules = HttpRules::new(&routes::by_host(count)).expect("valid rules");
        let requests = routes::by_host_requests(count);
        let (mut scratch, mut next) = (Scratch::default(), 0);
        criterion.bench_function(&format!("host, path, header/{count}"), |bencher| {
            bencher.iter(|| {
                next = (next + 1) % routes::ASKED;
                black_box(
                    rules.find(&requests[next].request(), &mut scratch).ok().flatten().map(|m| m.rule()),
                )
            });
        });
        for kind in routes::KINDS {
            let config = HttpRulesConfig { rules: routes::by_path(count), ..HttpRulesConfig::default() };
            let rules = HttpRules::new(&config).expect("valid rules");
            let paths = routes::paths(kind, count);
            let mut next = 0;
            criterion.bench_function(&format!("path only, {kind}/{count}"), |bencher| {
                bencher.iter(|| {
                    next = (next + 1) % routes::ASKED;
                    black_box(routes::find(&rules, &paths[next], &mut scratch))
                });
            });
            #[cfg(feature = "peer-routes")]
            {
                let router = routes::matchit(count);
                criterion.bench_function(&format!("matchit, {kind}/{count}"), |bencher| {
                    bencher.iter(|| {
                        next = (next + 1) % routes::ASKED;
                        black_box(routes::find_matchit(&router, &paths[next]))
                    });
                });
            }
        }
    }
}

fn compile(criterion: &mut Criterion) {
    let config = routes::by_host(10_000);
    criterion.bench_function("compile/10000", |bencher| bencher.iter(|| HttpRules::new(black_box(&config))));
}

criterion_group!(benches, matches, compile);
criterion_main!(benches);
