//! Situations that other breakers are known to handle, or to mishandle; the comments name where each is from.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails the test")]

mod script;

use std::time::Duration;

use evenkeel_breaker::{BreakerConfig, HalfOpen, Rule, Window};
use evenkeel_types::Ratio;
use script::check;

fn consecutive(failures: u32) -> BreakerConfig {
    BreakerConfig { rules: vec![Rule::Consecutive { failures }], ..BreakerConfig::default() }
}

fn ratio(percent: u32, min_requests: u32, window: Window) -> BreakerConfig {
    let failures = Ratio::percent(percent).unwrap();
    BreakerConfig { rules: vec![Rule::Ratio { failures, min_requests, window }], ..BreakerConfig::default() }
}

fn count(size: u32) -> Window {
    Window::Count { size }
}

fn seconds(span: u64, buckets: u32) -> Window {
    Window::Time { span: Duration::from_secs(span), buckets }
}

fn probing(max_concurrent: u32, successes_needed: u32) -> BreakerConfig {
    let half_open = HalfOpen { max_concurrent, successes_needed, ..HalfOpen::default() };
    BreakerConfig { half_open, ..consecutive(1) }
}

#[test]
fn consecutive_failures() {
    // gobreaker, TestDefaultCircuitBreaker.
    check(&consecutive(6), "FFFFF", "closed row=5");
    check(&consecutive(6), "FFFFF S F", "closed row=1");
    check(&consecutive(6), "FFFFF S F FFFFF", "open until=5 row=0 opened=1");
    // Finagle, FailureAccrualPolicy and failsafe: an ignored result neither resets nor counts.
    check(&consecutive(3), "FF S FFF", "open");
    check(&consecutive(3), "FF N F", "open");
    check(&consecutive(1), "F", "open");
}

#[test]
fn ratio_of_a_time_window() {
    let window = ratio(50, 5, seconds(20, 20));
    // resilience4j, shouldOpenAfterFailureRateThresholdExceeded: a success completes the minimum and trips.
    check(&window, "FFFS", "closed window=3/4");
    check(&window, "FFFSS ?open", "open opened=1");
    // resilience4j, shouldOpenAfterFailureRateThresholdExceeded2.
    check(&window, "S @1 S @2 S @3 F @4 F", "closed window=2/5");
    check(&window, "S @1 S @2 S @3 F @4 F @5 F", "open until=10");
    // What is older than the window is forgotten, each bucket at its time.
    check(&window, "FF @19 S", "closed window=2/3");
    check(&window, "FF @20 S", "closed window=0/1");
    // An idle time of more than 2^32 milliseconds brings nothing back (linkerd's regression).
    check(&window, "FFFF @4294968 F", "closed window=1/1");
    // linkerd, failure_burst_trips_independent_of_rate.
    check(&window, "FFFFF", "open");
    check(&window, "F @1 F @2 F @3 F @4 F", "open");
    // Polly, OnActionFailure_WhenClosed, and the low volumes of Hystrix.
    check(&window, "FFFF", "closed");
}

#[test]
fn ratio_of_a_count_window() {
    // Polly, OnActionFailure_WhenClosed: throughput, minimum, failures.
    let window = ratio(10, 10, count(100));
    check(&window, "SSSSSSSSSS", "closed window=0/10");
    check(&window, "FSSSSSSSS", "closed window=1/9");
    check(&window, "FSSSSSSSS S", "open");
    check(&ratio(20, 10, count(100)), "FSSSSSSSSS S", "closed window=1/11");
    check(&ratio(20, 11, count(100)), "FFFSSSSSSS S", "open");
    // Exactly the minimum decides, not the one after it.
    check(&ratio(100, 5, count(5)), "FFFF", "closed");
    check(&ratio(100, 5, count(5)), "FFFFF", "open");
    check(&ratio(100, 1, count(1)), "SS F", "open");
    // A window of 10 after many successes needs five failures, not a thousand.
    let successes = "S".repeat(1000);
    check(&ratio(50, 10, count(10)), &format!("{successes} FFFF"), "closed window=4/10");
    check(&ratio(50, 10, count(10)), &format!("{successes} FFFFF"), "open");
    // What leaves the ring is forgotten.
    check(&ratio(50, 10, count(10)), &format!("FFFF SSSSSS F SSS F {successes}"), "closed window=0/10");
    check(&ratio(100, 3, count(3)), "FFS FFS FF", "closed window=2/3");
}

#[test]
fn overload_is_not_a_failure() {
    // linkerd: 429 never makes a run of failures, and lowers the ratio.
    check(&consecutive(2), "OOOOO", "closed row=0");
    check(&consecutive(2), "F OO F", "open");
    check(&ratio(50, 4, count(10)), "SS OO", "open");
    // As a probe it decides neither way and frees its slot.
    check(&probing(1, 1), "F @5 O", "half-open probes=0");
    check(&probing(1, 1), "F @5 O S", "closed");
    check(&probing(1, 1), "F @5 O F", "open until=10");
}

#[test]
fn waiting() {
    // resilience4j, shouldTransitionToHalfOpenAfterWaitDuration. The deadline is inclusive.
    check(&consecutive(1), "F @3 ?open", "open until=5");
    check(&consecutive(1), "F @4.999 ?open", "open until=5");
    check(&consecutive(1), "F @5 a", "half-open probes=1 passed=0 row=0");
    check(&consecutive(1), "F @6 a", "half-open probes=1");
    // By the clock alone.
    check(&consecutive(1), "F @4.999 t", "open");
    check(&consecutive(1), "F @5 t", "half-open probes=0");
    // Polly, OnActionFailure while open (App-vNext/Polly#218): no second event, the deadline stays.
    check(&consecutive(2), "ab FF @1 f1 f2", "open until=5 opened=1");
    // linkerd: a late success while open is ignored.
    check(&consecutive(2), "a FF @1 s1", "open until=5");
    // Polly, EnsureBreakDurationNotOverflow.
    let for_ever = BreakerConfig { open_for: Duration::MAX, ..consecutive(1) };
    check(&for_ever, "F @4294968 ?open", "open opened=1");
    // linkerd, failsafe: the wait after a recovery is the same as before.
    check(&probing(1, 1), "F @5 S F", "open until=10 opened=2");
}

#[test]
fn probing_in_half_open() {
    // resilience4j, shouldOnlyPermitFourCallsInHalfOpenState.
    check(&probing(4, 4), "F @5 aaaa ?taken ?taken", "half-open probes=4");
    check(&probing(4, 4), "F @5 aaaa f1 @10 aaaa ?taken", "half-open probes=4 opened=2");
    // resilience4j, shouldIncreaseCounterOnReleasePermission.
    check(&probing(4, 4), "F @5 aaaa ?taken r1 a ?taken", "half-open probes=4");
    // resilience4j, shouldTransitionBackToOpenStateWhenFailureIsAboveThreshold; ours reopens on the first.
    check(&probing(4, 4), "F @5 aaaa f1", "open until=10");
    check(&probing(4, 4), "F @5 aaaa s1 s2 f3 s4", "open until=10");
    // resilience4j, shouldTransitionBackToClosedStateWhenFailureIsBelowThreshold: counters at zero.
    check(&probing(4, 4), "F @5 SSSS", "closed row=0");
    check(
        &BreakerConfig { half_open: probing(1, 1).half_open, ..consecutive(2) },
        "FF @5 S F",
        "closed row=1",
    );
    // gobreaker, TestCustomCircuitBreaker: no probe whose success is not needed.
    check(&probing(3, 3), "F @5 S S a ?taken", "half-open probes=1 passed=2");
    check(&probing(3, 3), "F @5 S S a ?taken s1", "closed");
    check(&probing(3, 3), "F @5 S S a r1 a ?taken s2", "closed");
    // Polly, Flow_Closed_HalfOpen_Open_HalfOpen_Closed: the refusal says when.
    check(&probing(1, 1), "F ?open=5 @5 a ?taken=35", "half-open");
    check(&probing(1, 1), "F @5 a @5.001 f1 @5.002 ?open=10.001", "open until=10.001");
    check(&probing(1, 1), "F @5 a f1 @10 S", "closed opened=2");
    // Polly#1979: a neutral probe neither closes nor sticks.
    check(&probing(1, 1), "F @5 N N N", "half-open probes=0 passed=0");
    check(&probing(1, 1), "F @5 N S", "closed");
}

#[test]
fn lost_probes() {
    // Hystrix, testUnsubscriptionDoesNotLeaveCircuitStuckHalfOpen; resilience4j/resilience4j#903.
    check(&probing(1, 1), "F @5 a @34.999 ?taken=35", "half-open probes=1");
    check(&probing(1, 1), "F @5 a @35 S", "closed");
    check(&probing(1, 1), "F @5 a @35 t", "half-open probes=0");
    check(&probing(1, 1), "F @5 a @50 a @51 ?taken=80", "half-open probes=1");
    // The lost one's result decides no more: after its lease, after the slot went to another, after a tick.
    check(&probing(1, 1), "F @5 a @35 f1", "half-open probes=0");
    check(&probing(1, 1), "F @5 a @35 a f1", "half-open probes=1");
    check(&probing(1, 1), "F @5 a @35 a s1", "half-open probes=1 passed=0");
    check(&probing(1, 1), "F @5 a @35 a f1 s2", "closed");
    check(&probing(1, 1), "F @5 a @35 t @34 f1", "half-open probes=0");
    // Nor with a clock that goes back to give the next probe the same lease.
    check(&probing(1, 1), "F @5 a @35 t @5 a f1", "half-open probes=1");
    check(&probing(2, 2), "F @5 a @6 a ?taken=35 @35 a ?taken=36", "half-open probes=2");
}

#[test]
fn late_results() {
    // Netflix/Hystrix#1350, Polly#217: a call that began closed does not judge the half-open state.
    check(&consecutive(2), "ab FF @5 a s1 f2", "half-open probes=1 passed=0");
    check(&consecutive(2), "ab FF @5 SSS f1 f2", "closed row=0");
    // resilience4j, Failsafe#391: nor does its release add a slot.
    check(
        &BreakerConfig { rules: consecutive(2).rules, ..probing(1, 1) },
        "ab FF @5 c ?taken r1 r2 ?taken",
        "half-open probes=1",
    );
    // A probe of the half-open state before.
    check(&probing(2, 2), "F @5 aa f1 @10 a s2", "half-open probes=1 passed=0");
    check(&probing(2, 2), "F @5 aa f1 @10 a f2", "half-open probes=1");
    // An override ends the epoch as well.
    check(&consecutive(2), "a F x f1", "closed row=0");
    check(&consecutive(1), "F x", "closed row=0 opened=1");
    check(&probing(1, 1), "F @5 a x f1", "closed");
    check(&ratio(50, 2, count(4)), "a F x f1 S", "closed window=0/1");
    check(&ratio(50, 2, seconds(10, 10)), "a F x f1 S", "closed window=0/1");
}

#[test]
fn a_slow_failure_counts_when_it_ends() {
    // gobreaker, TestGeneration, drops it; here it counts in the bucket in which it ended.
    let window = ratio(100, 5, seconds(30, 3));
    check(&window, "@29 a @30.5 f1", "closed window=1/1");
    check(&window, "@29 a @95 f1", "closed window=1/1");
    check(&window, "aaaaa @300 f1 f2 f3 f4 f5", "open until=305");
}

#[test]
fn a_clock_that_goes_back() {
    check(&consecutive(1), "@100 F @0 ?open", "open until=105");
    check(&consecutive(1), "@100 F @105 a @0 ?taken=135", "half-open probes=1");
    check(&probing(1, 1), "@100 F @105 a @0 s1", "closed");
    check(&probing(1, 1), "@100 F @105 a @0 f1", "open until=110");
    let window = ratio(100, 6, seconds(10, 10));
    check(&window, "@100 FF @50 F @0 F", "closed window=4/4");
    check(&window, "@100 FF @0 FF @109 F", "closed window=5/5");
    check(&window, "@100 FF @0 FF @110 F", "closed window=1/1");
}

#[test]
fn the_first_rule_of_several() {
    let mut both = ratio(50, 4, count(10));
    both.rules.push(Rule::Consecutive { failures: 4 });
    check(&both, "SSFF", "open reason=ratio");
    check(&both, "FFFF", "open reason=consecutive");
    let strictest = BreakerConfig {
        rules: vec![Rule::Consecutive { failures: 4 }, Rule::Consecutive { failures: 2 }],
        ..BreakerConfig::default()
    };
    check(&strictest, "FF", "open");
}
