//! Scratch.
use evenkeel_benches::routes;
use evenkeel_route::matching::{HttpRules, HttpRulesConfig, Scratch};
use std::hint::black_box;
use std::time::Instant;
fn time(mut f: impl FnMut(usize)) -> f64 {
    let mut best = Vec::new();
    for _ in 0..400 {
        let t = Instant::now();
        for i in 0..routes::ASKED {
            f(i);
        }
        best.push(t.elapsed().as_nanos() as f64 / routes::ASKED as f64);
    }
    best.sort_by(f64::total_cmp);
    best[40]
}
fn main() {
    for count in [1000, 10_000] {
        let config = routes::by_host(count);
        let mut t = Vec::new();
        for _ in 0..8 {
            let s = Instant::now();
            black_box(HttpRules::new(&config).unwrap());
            t.push(s.elapsed());
        }
        println!("compile {count}: {:?}", t.iter().min());
        let rules = HttpRules::new(&config).unwrap();
        let requests = routes::by_host_requests(count);
        let mut scratch = Scratch::default();
        println!(
            "host {count} {:.1}",
            time(|i| {
                black_box(rules.find(&requests[i].request(), &mut scratch).ok().flatten().map(|m| m.rule()));
            })
        );
        let rules =
            HttpRules::new(&HttpRulesConfig { rules: routes::by_path(count), ..Default::default() }).unwrap();
        let router = routes::matchit(count);
        for kind in routes::KINDS {
            let paths = routes::paths(kind, count);
            let ours = time(|i| {
                black_box(routes::find(&rules, &paths[i], &mut scratch));
            });
            let peer = time(|i| {
                black_box(routes::find_matchit(&router, &paths[i]));
            });
            println!("{kind} {count}: {ours:.1} matchit {peer:.1} ratio {:.2}", ours / peer);
        }
    }
}
