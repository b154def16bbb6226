//! The floors as cases.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use crossbeam_utils::CachePadded;
use evenkeel_benches::{ClosedBreaker, FloorReader, FloorWorld};

use crate::cases::{Cases, repeat};
use crate::method::Runner;

/// F1 to F9 at `n`, and the primitives they are made of.
pub(crate) fn picks(cases: &mut Cases, n: usize) {
    let world = FloorWorld::new(n);
    let mut add = |name: &str, run: fn(FloorReader) -> Runner| {
        cases.add("pick", &format!("floor/{name}"), n, 1.0, || run(world.reader()));
    };
    add("F1", |reader| repeat(move || reader.f1()));
    add("F2", |mut reader| repeat(move || reader.f2()));
    add("F3", |mut reader| repeat(move || reader.f3()));
    add("F4", |reader| repeat(move || reader.f4()));
    add("F5", |mut reader| repeat(move || reader.f5()));
    add("F6", |mut reader| repeat(move || reader.f6()));
    add("F7", |mut reader| repeat(move || reader.f7()));
    add("F8", |mut reader| repeat(move || reader.f8().index()));
    add("F8-cached", |mut reader| repeat(move || reader.f8_cached()));
    add("F9", |reader| repeat(move || reader.f9()));
}

/// What everything is made of.
pub(crate) fn primitives(cases: &mut Cases) {
    let world = FloorWorld::new(1);
    let mut add = |name: &str, run: fn(FloorReader) -> Runner| {
        cases.add("pick", &format!("floor/{name}"), 0, 1.0, || run(world.reader()));
    };
    add("fetch_add", |reader| repeat(move || reader.fetch_add()));
    add("ArcSwap::load", |reader| repeat(move || reader.load()));
    add("Instant::now", |_| repeat(Instant::now));
}

/// B1 to B3, and what a refusal costs at least.
pub(crate) fn breakers(cases: &mut Cases) {
    let breaker = Arc::new(ClosedBreaker::default());
    let mut add = |name: &str, run: fn(Arc<ClosedBreaker>, CachePadded<AtomicU64>) -> Runner| {
        let subject = format!("floor/{name}");
        cases.add("breaker", &subject, 0, 1.0, || run(Arc::clone(&breaker), CachePadded::default()));
    };
    add("B1", |breaker, _| repeat(move || breaker.b1()));
    add("B2", |breaker, mine| repeat(move || breaker.b2(&mine)));
    add("B3", |breaker, mine| repeat(move || breaker.b3(&mine)));
    add("refusal", |breaker, _| repeat(move || breaker.refusal()));
}

/// One handle of `n` is replaced in a copy of the list, which is swapped in.
pub(crate) fn updates(cases: &mut Cases, n: usize) {
    let handles = Arc::new(FloorWorld::handles(n));
    let mut turn = 0;
    let replace = move || {
        turn += 1;
        let mut copy = handles.load_full().to_vec();
        copy[turn % n] = Arc::new(turn as u64);
        handles.store(Arc::new(copy));
    };
    cases.add_single("update", "floor/copy-handles", n, 1, repeat(replace));
}
