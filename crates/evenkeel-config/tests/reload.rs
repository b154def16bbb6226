//! Reloads under way: what stays, what goes, and that nobody waits or fails meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel::route::matching::Request as Http;
use evenkeel::router::{Incoming, Scratch};
use evenkeel::{Outcome, Request};
use evenkeel_config::{Config, Loaded, Running, Syntax};
use proptest::prelude::*;

fn load(text: &str) -> Loaded {
    Loaded::parse(text, Syntax::Toml).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

const BASE: &str = r#"
[[http.routes]]
name = "all"
action = { cluster = "users" }

[[clusters]]
name = "users"
policy = "least_request"
breaker = { rules = [{ consecutive = { failures = 1 } }], open_for = "1h" }
endpoints = [
  { id = "a", address = "10.0.0.1:80" },
  { id = "b", address = "10.0.0.2:80" },
]
"#;

#[test]
fn the_table_of_what_survives() {
    // Change of the text, what the diff says, and whether what was learnt of endpoint `a` is still known.
    for (from, to, says, kept) in [
        ("", "", "nothing changed", true),
        ("\"least_request\"", "\"random\"", "cluster users: policy changed, in place", true),
        ("10.0.0.2:80", "10.0.0.3:80", "cluster users: endpoints changed, in place", true),
        (
            "10.0.0.1:80\" }",
            "10.0.0.1:80\", weight = 7 }",
            "cluster users: endpoints changed, in place",
            true,
        ),
        (
            "policy",
            "subset = { type = \"label\", labels = { zone = \"x\" } }\npolicy",
            "cluster users: subset changed, in place",
            true,
        ),
        ("\"1h\"", "\"2h\"", "cluster users: breaker changed, built anew", false),
        ("policy", "max_endpoints = 5\npolicy", "cluster users: max_endpoints changed, built anew", false),
        ("\"all\"", "\"everything\"", "http: 1 routes added: everything\nhttp: 1 routes removed: all", true),
        ("{ cluster = \"users\" }", "{ respond = { status = 404 } }", "http: 1 routes changed: all", true),
    ] {
        let running = Running::<AtomicU64>::start(load(BASE)).unwrap();
        let id = "a".parse().unwrap();
        let users = running.cluster("users").unwrap();
        users.endpoint(&id).unwrap().payload().store(7, Ordering::Relaxed);
        let text = if from.is_empty() { BASE.to_owned() } else { BASE.replacen(from, to, 1) };
        let diff = match running.apply(load(&text)) {
            Ok(diff) => diff,
            Err(errors) => panic!("{from} -> {to}: {errors}"),
        };
        assert_eq!(diff.to_string(), says, "{from} -> {to}");
        let users = running.cluster("users").unwrap();
        let payload = users.endpoint(&id).unwrap().payload().load(Ordering::Relaxed);
        assert_eq!(payload == 7, kept, "{from} -> {to}");
    }
}

#[test]
fn a_bad_configuration_changes_nothing() {
    let running = Running::<()>::start(load(BASE)).unwrap();
    let before = (running.report().clusters, serde_json::to_value(&*running.config()).unwrap());
    for (from, to) in [
        ("{ cluster = \"users\" }", "{ cluster = \"nobody\" }"),
        ("\"1h\"", "\"0s\""),
        ("\"least_request\"", "{ type = \"least_request\", choices = 99 }"),
        ("id = \"b\"", "id = \"a\""),
        ("name = \"all\"", "name = \"all\"\nmatch = { paths = [{ regex = \"(\" }] }"),
        // In place for one cluster, refused for another: the first is taken back.
        (
            "policy = \"least_request\"",
            "policy = \"random\"\n[[clusters]]\nname = \"second\"\npolicy = { type = \"least_request\", choices = 1 }\n[[clusters]]\nname=\"third\"",
        ),
    ] {
        let text = BASE.replacen(from, to, 1);
        let errors = running.apply(load(&text)).expect_err(to);
        assert!(errors.all()[0].line().is_some(), "{errors}");
        let after = (running.report().clusters, serde_json::to_value(&*running.config()).unwrap());
        assert_eq!(before, after, "{to}");
    }
    assert_eq!(running.report().reloads, 0);
}

#[test]
fn what_was_changed_in_place_is_taken_back_when_the_routes_fail() {
    let running = Running::<()>::start(load(BASE)).unwrap();
    let before = running.report().clusters;
    // Only compiling the table finds this one, after the cluster took its policy over.
    let text = BASE
        .replacen("\"least_request\"", "\"random\"", 1)
        .replacen("10.0.0.2:80", "10.0.0.9:80", 1)
        .replacen("name = \"all\"", "name = \"all\"\nmatch = { paths = [{ regex = \"(\" }] }", 1);
    running.apply(load(&text)).expect_err("the expression is none");
    let after = running.report().clusters;
    assert_eq!(after[0].policy, before[0].policy);
    let addresses = |report: &[evenkeel::ClusterReport]| -> Vec<String> {
        report[0].endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
    };
    assert_eq!(addresses(&after), addresses(&before));
}

#[test]
fn requests_under_way_end_where_they_began() {
    let running = Running::<()>::start(load(BASE)).unwrap();
    let pick = running.cluster("users").unwrap().pick(&Request::new()).unwrap();
    let mut scratch = Scratch::default();
    let routed = running.router().route(&Incoming::new(Http::new("GET", "x", "/")), &mut scratch).unwrap();
    let mut exchange = routed.into_exchange().unwrap();
    running.apply(load(&BASE.replace("users", "others"))).unwrap();
    assert!(running.cluster("users").is_none());
    assert!(exchange.pick().is_ok());
    pick.finish(Outcome::success());
}

/// A cluster that a reload takes away is forgotten by the routers too, with what its endpoints hold.
#[test]
fn a_cluster_that_is_taken_away_is_dropped() {
    let more = "[[clusters]]\nname = \"old\"\nendpoints = [{ id = \"x\", address = \"10.0.0.9:80\" }]\n";
    let running = Running::<Arc<()>>::start(load(&format!("{BASE}{more}"))).unwrap();
    let id = "x".parse().unwrap();
    let payload = Arc::downgrade(running.cluster("old").unwrap().endpoint(&id).unwrap().payload());
    assert!(running.router().cluster("old").is_some());
    running.apply(load(BASE)).unwrap();
    let _ = running.router().tick();
    assert!(running.cluster("old").is_none() && running.router().cluster("old").is_none());
    assert_eq!(payload.strong_count(), 0);
}

/// Whoever reloads does not wait for thousands of routes to be freed: the thread that ticks does that.
#[test]
fn what_a_reload_leaves_behind_is_freed_by_a_tick() {
    let running = Running::<()>::start(load(BASE)).unwrap();
    let before = Arc::downgrade(&running.config());
    running.apply(load(&BASE.replace("\"all\"", "\"everything\""))).unwrap();
    // The thread that ticks may be at it in this moment.
    let is_freed = |_| {
        running.tick();
        std::thread::yield_now();
        before.upgrade().is_none()
    };
    assert!((0..100_000).any(is_freed));
}

#[test]
fn a_list_that_becomes_empty_is_the_operators_word() {
    let text = "[[clusters]]\nname = \"users\"\nendpoints = [{ id = \"a\", address = \"10.0.0.1:80\" }]\n";
    let running = Running::<()>::start(load(text)).unwrap();
    running.apply(load("[[clusters]]\nname = \"users\"\n")).unwrap();
    assert!(running.cluster("users").unwrap().is_empty());
    // What the program applied itself stays, as long as the list in the file does not change.
    let users = running.cluster("users").unwrap();
    users.apply([evenkeel::Endpoint::at("10.0.0.9:80".parse().unwrap()).unwrap()]).unwrap();
    running.apply(load("[[clusters]]\nname = \"users\"\npolicy = \"random\"\n")).unwrap();
    assert_eq!(users.len(), 1);
}

/// A subset and the endpoints that fit it come together, and a policy that the old endpoints would not fit.
#[test]
fn policy_subset_and_endpoints_change_by_one_swap() {
    let text = |version: u32, policy: &str| {
        format!(
            "[[clusters]]\nname = \"users\"\npolicy = {policy}\nsubset = {{ type = \"label\", labels = {{ version = \"v{version}\" }} }}\n\
             endpoints = [{{ id = \"e{version}\", address = \"10.0.0.1:80\", labels = {{ version = \"v{version}\" }} }}]\n"
        )
    };
    let running = Running::<()>::start(load(&text(0, "\"random\""))).unwrap();
    let users = running.cluster("users").unwrap();
    let (stop, picked, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _ending = Ending(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                failed.fetch_add(u64::from(users.pick(&Request::new()).is_err()), Ordering::Relaxed);
                picked.fetch_add(1, Ordering::Relaxed);
            }
        });
        for version in 1..200 {
            let seen = picked.load(Ordering::Relaxed);
            let policy = if version % 2 == 0 { "\"random\"" } else { "\"round_robin\"" };
            let diff = running.apply(load(&text(version, policy))).unwrap().to_string();
            assert_eq!(diff, "cluster users: endpoints, policy, subset changed, in place");
            while picked.load(Ordering::Relaxed) < seen + 10 {
                std::thread::yield_now();
            }
        }
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    // A table too small for the endpoints that go.
    let many: Vec<String> =
        (0..300).map(|i| format!("{{ id = \"m{i}\", address = \"10.0.0.1:80\" }}")).collect();
    let many =
        format!("[[clusters]]\nname = \"users\"\npolicy = \"random\"\nendpoints = [{}]\n", many.join(", "));
    running.apply(load(&many)).unwrap();
    let few = "[[clusters]]\nname = \"users\"\npolicy = { type = \"maglev\", table_size = 251 }\nendpoints = [{ id = \"one\", address = \"10.0.0.1:80\" }]\n";
    running.apply(load(few)).unwrap();
    assert_eq!(running.cluster("users").unwrap().len(), 1);
    assert!(
        running.apply(load(&many.replace("\"random\"", "{ type = \"maglev\", table_size = 251 }"))).is_err()
    );
    assert_eq!(running.cluster("users").unwrap().len(), 1);
}

/// How long this thread has run, where the system tells: on a busy machine the rest is waiting for others.
fn on_cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or_default())
}

/// Not a test of speed, which a busy machine cannot be: run it alone, in release mode, to see figures.
#[test]
#[ignore = "it measures"]
fn a_reload_of_ten_thousand_routes() {
    let mut text =
        "[[clusters]]\nname = \"users\"\nendpoints = [{ id = \"a\", address = \"10.0.0.1:80\" }]\n"
            .to_owned();
    for i in 0..10_000 {
        text += &format!(
            "[[http.routes]]\nname = \"r{i}\"\nmatch = {{ hosts = [\"h{i}.example.com\"], paths = [{{ prefix = \"/p{i}\" }}] }}\naction = {{ cluster = \"users\" }}\n"
        );
    }
    let clock = evenkeel::MonotonicClock::new();
    let now = || evenkeel::Clock::now(&clock);
    let (start, old) = (now(), load(&text));
    let read = now();
    let running = Running::<()>::start(old).unwrap();
    let started = now();
    let between = |from: evenkeel::Timestamp, to: evenkeel::Timestamp| to.saturating_since(from);
    println!("10000 routes: read {:?}, start {:?}", between(start, read), between(read, started));
    // Every host changes, then one route in a hundred, then nothing.
    let other = text.replace("example.com", "example.org");
    let some = text.replace("00.example.com", "00.example.net");
    for (what, there, back) in [("all", &other, &text), ("100", &some, &text), ("none", &text, &text)] {
        let mut taken = Vec::new();
        for i in 0..20 {
            let new = load(if i % 2 == 0 { there } else { back });
            let (before, busy) = (now(), on_cpu());
            let diff = running.apply(new).unwrap();
            taken.push((between(before, now()), on_cpu().saturating_sub(busy)));
            assert_eq!(diff.is_empty(), what == "none");
        }
        let of = |pick: fn(&(Duration, Duration)) -> Duration| {
            let mut all: Vec<Duration> = taken.iter().map(pick).collect();
            all.sort();
            format!("lowest {:?}, median {:?}, highest {:?}", all[0], all[10], all[19])
        };
        println!(
            "reload, {what} of the routes changed: {}; on the processor {}",
            of(|one| one.0),
            of(|one| one.1)
        );
    }
}

#[test]
fn a_configuration_made_in_the_program_runs_too() {
    let running = Running::<()>::start(Config::default()).unwrap();
    let errors = running.apply(Config { tick: Duration::ZERO, ..Config::default() }).unwrap_err();
    assert_eq!(errors.to_string(), "tick: is 0ns: allowed are 1ms to 1m");
}

/// Ends the picking threads, also when an assertion fails: the scope waits for them.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A configuration of up to four clusters, of which `always` is one that has endpoints.
fn text(clusters: &[(u8, u8, u8, bool)]) -> String {
    let policies = ["least_request", "round_robin", "random", "maglev", "peak_ewma"];
    let mut text = String::from("[[http.routes]]\nname = \"all\"\naction = { cluster = \"always\" }\n");
    for (i, (policy, endpoints, breaker, list)) in clusters.iter().enumerate() {
        let name = if i == 0 { "always".to_owned() } else { format!("c{i}") };
        let policy = policies[usize::from(*policy) % policies.len()];
        text += &format!("[[clusters]]\nname = {name:?}\npolicy = {policy:?}\n");
        if policy == "peak_ewma" {
            text += "latency = {}\n";
        }
        if breaker % 3 == 0 {
            text += &format!(
                "breaker = {{ open_for = \"{}s\", rules = [{{ consecutive = {{ failures = 3 }} }}] }}\n",
                1 + u16::from(*breaker)
            );
        }
        let from = u8::from(*list);
        for n in from..=from + endpoints % 4 {
            text += &format!("[[clusters.endpoints]]\nid = \"e{n}\"\naddress = \"10.0.{i}.{}:80\"\n", n + 1);
        }
        if i > 0 {
            text += &format!(
                "[[http.routes]]\nname = \"r{i}\"\nmatch = {{ paths = [{{ prefix = \"/{i}\" }}] }}\naction = {{ cluster = {name:?} }}\n"
            );
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_pick_fails_or_waits_while_configurations_change(
        steps in prop::collection::vec(prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), any::<bool>()), 1..4), 2..12)
    ) {
        let running = Arc::new(Running::<()>::start(load(&text(&steps[0]))).unwrap());
        let stop = AtomicBool::new(false);
        let (picked, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let _ending = Ending(&stop);
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut scratch = Scratch::default();
                    while !stop.load(Ordering::Relaxed) {
                        let request = Incoming::new(Http::new("GET", "example.com", "/anything"));
                        let routed = running.router().route(&request, &mut scratch);
                        let pick = routed.ok().and_then(evenkeel::router::Routed::into_exchange)
                            .and_then(|mut exchange| exchange.pick().ok().map(|pick| (exchange, pick)));
                        match pick {
                            Some(_) => picked.fetch_add(1, Ordering::Relaxed),
                            None => failed.fetch_add(1, Ordering::Relaxed),
                        };
                        if running.cluster("always").is_none_or(|cluster| cluster.pick(&Request::new()).is_err()) {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            for step in &steps {
                let loaded = load(&text(step));
                running.apply(loaded.clone()).unwrap();
                // The same again changes nothing.
                assert!(running.apply(loaded).unwrap().is_empty());
                // Each step is seen by some pick.
                let seen = picked.load(Ordering::Relaxed);
                while picked.load(Ordering::Relaxed) == seen && failed.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
            }
        });
        prop_assert_eq!(failed.load(Ordering::Relaxed), 0);
        let last = steps.last().unwrap().len();
        prop_assert_eq!(running.clusters().len(), last);
    }
}

/// A program that has a part of its own in the file is asked before anything is taken over.
#[test]
fn a_program_may_refuse_a_file() {
    let folder = std::env::temp_dir().join(format!("evenkeel-config-agree-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("main.toml");
    let text = |limit: u32| format!("tick = \"{limit}ms\"\n[program]\nlimit = {limit}\n");
    std::fs::write(&file, text(100)).unwrap();
    let running = Arc::new(Running::<()>::start(Loaded::load(&file).unwrap()).unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let agree = |loaded: &Loaded| {
        let own: std::collections::BTreeMap<String, u32> =
            loaded.program().map_err(|errors| errors.to_string())?;
        if own["limit"] > 500 { Err(format!("limit: is {}: at most 500", own["limit"])) } else { Ok(()) }
    };
    let every = Duration::from_millis(10);
    let _watching = evenkeel_config::watch_file_with(&running, &file, every, agree, move |reload| {
        let _ = tell.send(reload.result);
    })
    .unwrap();
    let replace = |limit: u32| {
        std::fs::write(folder.join("new"), text(limit)).unwrap();
        std::fs::rename(folder.join("new"), &file).unwrap();
        told.recv_timeout(Duration::from_secs(60)).unwrap()
    };
    let refused = replace(1000).unwrap_err().to_string();
    assert!(refused.contains("main.toml:2:") && refused.contains("program: limit: is 1000"), "{refused}");
    assert_eq!(running.config().tick, Duration::from_millis(100));
    let diff = replace(200).unwrap().to_string();
    assert_eq!(diff, "tick: changed\nprogram: changed");
    assert_eq!(running.config().tick, Duration::from_millis(200));
    std::fs::remove_dir_all(&folder).unwrap();
}
