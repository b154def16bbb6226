//! What 10 000 endpoints cost: memory for each, and the time of one change. Times are printed, and not judged but for
//! disasters; `cargo test --release --test cost -- --nocapture` gives those that count.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use evenkeel_registry::{Cause, Event, Feed, MirrorConfig, Registry, Removal, Revision, Settle, Watch};
use evenkeel_types::{Endpoint, Timestamp, Weight};

const COUNT: u32 = 10_000;

fn endpoint(number: u32) -> Endpoint {
    let [_, a, b, c] = number.to_be_bytes();
    Endpoint::new(
        format!("users-{number:06}").parse().unwrap(),
        format!("10.{a}.{b}.{c}:8080").parse().unwrap(),
    )
}

fn at(token: u32) -> Revision {
    Revision::new("cluster", token).unwrap()
}

fn open() -> (Registry, Watch, Feed) {
    let registry = Registry::default();
    let service = "users".parse().unwrap();
    let watch = registry.watch(&service);
    let settle = Settle { quiet: Duration::ZERO, max: Duration::ZERO };
    let config = MirrorConfig { settle, max_events_per_second: 1_000_000, ..MirrorConfig::default() };
    let feed =
        registry.feed(&service, &"store".parse().unwrap(), config, || Timestamp::from_secs(1)).unwrap();
    (registry, watch, feed)
}

/// Endpoint, mirror, merged set, snapshot and what the watch holds: everything that stays.
#[test]
fn an_endpoint_costs_at_most_512_bytes() {
    let mut kept = None;
    let info = allocation_counter::measure(|| {
        let (registry, watch, feed) = open();
        feed.send(Event::full(at(1), (0..COUNT).map(endpoint).collect())).unwrap();
        let _ = watch.take().unwrap();
        kept = Some((registry, watch, feed));
    });
    let bytes = info.bytes_current / i64::from(COUNT);
    println!(
        "{bytes} bytes for each of {COUNT} endpoints without labels, {} at most meanwhile",
        info.bytes_max / u64::from(COUNT)
    );
    assert!(bytes <= 512, "{bytes} bytes per endpoint");
}

#[test]
fn one_change_among_ten_thousand() {
    let (registry, watch, feed) = open();
    feed.send(Event::full(at(1), (0..COUNT).map(endpoint).collect())).unwrap();
    let service = watch.service().clone();
    let _ = watch.take();
    let mut applied = Vec::new();
    let mut seen = Vec::new();
    for token in 1..200 {
        let upserts = vec![endpoint(token * 37 % COUNT).with_weight(Weight::new(token + 1))];
        let delta = Event::Delta { from: at(token), to: at(token + 1), upserts, removals: vec![] };
        let start = Instant::now();
        feed.send(delta).unwrap();
        let sent = Instant::now();
        let (snapshot, changes) = watch.take().unwrap();
        let taken = Instant::now();
        assert_eq!((snapshot.endpoints().len(), changes.len()), (COUNT as usize, 1));
        applied.push(sent - start);
        seen.push(taken - start);
    }
    let mut whole = Vec::new();
    for _ in 0..20 {
        let all: Vec<_> =
            registry.snapshot(&service).endpoints().iter().map(|e| Endpoint::clone(e)).collect();
        let start = Instant::now();
        assert!(black_box(feed.send(Event::full(at(200), all)).unwrap()).is_empty());
        whole.push(start.elapsed());
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (applied, seen, whole) = (median(applied), median(seen), median(whole));
    println!(
        "a change among {COUNT}: applied in {applied:?}, snapshot and difference with the watch in {seen:?}"
    );
    println!("the same full set of {COUNT} again: {whole:?}");
    assert!(seen < Duration::from_millis(if cfg!(debug_assertions) { 200 } else { 20 }), "{seen:?}");
}

/// A change allocates by what changed, but for the one list of pointers.
#[test]
fn a_change_copies_no_description() {
    let (_registry, watch, feed) = open();
    feed.send(Event::full(at(1), (0..COUNT).map(endpoint).collect())).unwrap();
    let _ = watch.take();
    let removals = vec![Removal { id: endpoint(5).id().clone(), cause: Cause::Deregistered }];
    let delta = Event::Delta {
        from: at(1),
        to: at(2),
        upserts: vec![endpoint(7).with_weight(Weight::new(9))],
        removals,
    };
    let info = allocation_counter::measure(|| {
        feed.send(delta).unwrap();
    });
    assert!(info.bytes_total < 4_096, "{} bytes", info.bytes_total);
    let info = allocation_counter::measure(|| drop(black_box(watch.take())));
    assert!(info.bytes_total < 3 * 8 * u64::from(COUNT) + 4_096, "{} bytes", info.bytes_total);
}
