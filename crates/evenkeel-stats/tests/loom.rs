//! Every interleaving of concurrent recorders. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p evenkeel-stats --release --test loom`.
#![cfg(loom)]

use std::time::Duration;

use evenkeel_stats::{
    Counts, FailureShare, InFlight, LatencyByLoad, PeakEwma, RollingCounter, TimeConstant, WindowShape,
};
use evenkeel_types::Timestamp;
use loom::sync::Arc;
use loom::thread;

/// A whole number of the estimator's ticks.
const TAU: Duration = Duration::from_nanos(1 << 30);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn no_peak_is_lost_and_no_sample_is_torn() {
    loom::model(|| {
        let now = Timestamp::ORIGIN.saturating_add(TAU);
        let ewma = PeakEwma::with_initial(TimeConstant::new(TAU).unwrap(), ms(10), Timestamp::ORIGIN);
        let ewma = Arc::new(ewma);
        let (slow, fast) = (ewma.clone(), ewma.clone());
        let first = thread::spawn(move || slow.observe(ms(100), now));
        let second = thread::spawn(move || fast.observe(ms(5), now));
        // A cost of one sample with the time of another would show as a peak that has already decayed.
        let seen = ewma.get(now).unwrap();
        let possible = [Duration::from_nanos(3_678_794), Duration::from_nanos(6_839_397), ms(100)];
        assert!(possible.contains(&seen), "{seen:?}");
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(ewma.get(now), Some(ms(100)), "either order ends at the peak");
    });
}

#[test]
fn guards_are_counted_exactly() {
    loom::model(|| {
        let in_flight = Arc::new(InFlight::new());
        let kept = in_flight.start();
        let (first, second) = (in_flight.clone(), in_flight.clone());
        let ended = thread::spawn(move || drop(first.start()));
        let started = thread::spawn(move || second.start());
        assert!((1..=3).contains(&in_flight.count()));
        ended.join().unwrap();
        let guard = started.join().unwrap();
        assert_eq!(in_flight.count(), 2);
        drop((guard, kept));
        assert_eq!(in_flight.count(), 0);
    });
}

/// Two results that both enter a new bucket, one of them two buckets on: neither is lost, the old one is gone.
#[test]
fn entering_a_new_bucket_loses_no_result() {
    loom::model(|| {
        let shape = WindowShape { buckets: 2, width: Duration::from_nanos(1) };
        let window = Arc::new(RollingCounter::new(shape).unwrap());
        window.record_failure(Timestamp::from_nanos(0));
        let (early, late) = (window.clone(), window.clone());
        let first = thread::spawn(move || early.record_success(Timestamp::from_nanos(2)));
        let second = thread::spawn(move || late.record_success(Timestamp::from_nanos(3)));
        first.join().unwrap();
        second.join().unwrap();
        let counts = window.counts(Timestamp::from_nanos(3));
        assert_eq!(counts, Counts { successes: 2, failures: 0 });
    });
}

/// Two failures at once count twice, whoever comes first, and neither takes the share of one with the time of another.
#[test]
fn no_failure_is_lost() {
    loom::model(|| {
        let now = Timestamp::ORIGIN.saturating_add(TAU);
        let failures = Arc::new(FailureShare::new(TimeConstant::new(TAU).unwrap()));
        let (one, other) = (failures.clone(), failures.clone());
        let first = thread::spawn(move || one.record_failure(now));
        let second = thread::spawn(move || other.record_failure(now));
        assert!([0.0, 0.125, 0.234_375].contains(&failures.share(now)), "{failures:?}");
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(failures.share(now), 0.234_375);
    });
}

/// What was recorded long ago, and the clock now.
fn latency_of_long_ago() -> (Arc<LatencyByLoad>, Timestamp) {
    let latency = Arc::new(LatencyByLoad::new(ms(1000), Duration::from_secs(10)));
    latency.record(0, ms(500), Timestamp::from_secs(1));
    (latency, Timestamp::from_secs(100))
}

fn median(latency: &LatencyByLoad, now: Timestamp) -> u64 {
    let reading = latency.expected(0, now, |nanos, _| nanos).expect("something was recorded");
    (reading.last / 1e6).round() as u64
}

/// Samples and their median are several words: a reader finds the median of samples that were recorded, never of a place
/// that is empty. (One recorder, since a reader looks at every place: with two the interleavings take hours.)
#[test]
fn a_reader_finds_the_median_of_samples() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let (latency, now) = latency_of_long_ago();
        let recorder = latency.clone();
        let recording = thread::spawn(move || recorder.record(0, ms(10), now));
        let seen = median(&latency, now);
        assert!([500, 10].contains(&seen), "{seen}");
        recording.join().unwrap();
        assert_eq!(median(&latency, now), 10, "what is beyond the horizon does not come back");
    });
}

/// Two recorders at once: one of their samples is the median in the end. (Both look at every place: with two preemptions it
/// takes minutes, and finds nothing more.)
#[test]
fn a_median_is_always_one_of_the_samples() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(1);
    builder.check(|| {
        let (latency, now) = latency_of_long_ago();
        let other = latency.clone();
        let second = thread::spawn(move || other.record(0, ms(20), now));
        latency.record(0, ms(10), now);
        second.join().unwrap();
        let left = median(&latency, now);
        assert!([10, 20].contains(&left), "{left}");
    });
}
