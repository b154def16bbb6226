//! What attempts make of what pingora tells them, hook by hook.
#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test")]

use evenkeel::{BreakerConfig, Cluster, Endpoint, PolicyConfig, Request, Rule};
use evenkeel_pingora::{Attempts, outcome_of};
use pingora_error::{Error, ErrorSource, ErrorType, RetryType};

/// One failure opens the breaker, so that usable endpoints show what was judged.
fn watched() -> Cluster<()> {
    let breaker =
        BreakerConfig { rules: vec![Rule::Consecutive { failures: 1 }], ..BreakerConfig::default() };
    let cluster = Cluster::builder("x").policy(PolicyConfig::round_robin()).breaker(breaker).build().unwrap();
    cluster.apply([Endpoint::at("10.0.0.1:80".parse().unwrap()).unwrap()]).unwrap();
    cluster
}

fn sent(cluster: &Cluster<()>) -> Attempts<()> {
    let mut attempts = Attempts::at_most(3);
    attempts.peer(cluster, &Request::new(), false, "").unwrap();
    attempts
}

fn error(source: ErrorSource, kind: ErrorType) -> Box<Error> {
    let mut error = Error::new(kind);
    error.esource = source;
    error
}

#[test]
fn interim_answers_are_no_verdict() {
    for (statuses, failed) in [
        (&[500][..], true),
        (&[100, 500][..], true),
        (&[103, 103, 502][..], true),
        (&[100, 200][..], false),
        (&[101, 500][..], false),
        (&[103][..], false),
    ] {
        let cluster = watched();
        let mut attempts = sent(&cluster);
        statuses.iter().for_each(|status| attempts.answered(*status));
        attempts.end(None);
        assert_eq!(cluster.usable() == 0, failed, "{statuses:?}");
    }
}

#[test]
fn what_the_hook_did_not_decide_is_not_sent_again() {
    for (retry, reused, again, failed) in [
        (RetryType::ReusedOnly, true, false, true),
        (RetryType::ReusedOnly, false, false, true),
        (RetryType::Decided(true), true, true, false),
        (RetryType::Decided(true), false, true, true),
        (RetryType::Decided(false), true, false, true),
    ] {
        let cluster = watched();
        let mut attempts = sent(&cluster);
        let mut error = error(ErrorSource::Upstream, ErrorType::ConnectionClosed);
        error.retry = retry;
        let error = attempts.failed_on_the_way(error, reused);
        assert_eq!(error.retry(), again, "{:?}, reused: {reused}", error.retry);
        assert_eq!(cluster.usable() == 0, failed, "{:?}, reused: {reused}", error.retry);
    }
}

#[test]
fn only_errors_of_the_upstream_count_against_it() {
    let kinds = [ErrorType::HTTPStatus(500), ErrorType::ConnectRefused, ErrorType::ReadError];
    let sources = [ErrorSource::Upstream, ErrorSource::Unset, ErrorSource::Internal, ErrorSource::Downstream];
    for source in sources {
        for kind in &kinds {
            let error = error(source.clone(), kind.clone());
            let counts = source == ErrorSource::Upstream;
            assert_eq!(outcome_of(&error).is_some(), counts, "{error}");
            let cluster = watched();
            sent(&cluster).end(Some(&error));
            assert_eq!(cluster.usable() == 0, counts, "{error}");
        }
    }
    // That no connection came about is the endpoint's in any case.
    let cluster = watched();
    let error = sent(&cluster).failed_to_connect(error(ErrorSource::Unset, ErrorType::ConnectRefused));
    assert_eq!((error.retry(), cluster.usable()), (true, 0));
}

#[test]
fn a_status_is_a_reason_to_ask_another_if_there_is_one() {
    let two = || {
        let cluster = Cluster::builder("x").policy(PolicyConfig::round_robin()).build().unwrap();
        let endpoint = |n: u8| Endpoint::at(format!("10.0.0.{n}:80").parse().unwrap()).unwrap();
        cluster.apply([endpoint(1), endpoint(2)]).unwrap();
        cluster
    };
    let in_flight = |cluster: &Cluster<()>| -> usize {
        cluster.report().endpoints.iter().map(|endpoint| endpoint.in_flight).sum()
    };
    let request = Request::new();
    let cluster = two();
    let mut attempts = sent(&cluster);
    let first = attempts.pick().unwrap().endpoint().id();
    let error = attempts.answered_or_elsewhere(&cluster, &request, 503).unwrap_err();
    assert_eq!(
        (&error.etype, &error.esource, error.retry()),
        (&ErrorType::HTTPStatus(503), &ErrorSource::Upstream, true)
    );
    assert_eq!(in_flight(&cluster), 2, "the other one is reserved");
    // Kept connections change nothing: it has answered.
    let error = attempts.failed_on_the_way(error, true);
    assert!(error.retry());
    attempts.peer(&cluster, &request, false, "").unwrap();
    assert_ne!(attempts.pick().unwrap().endpoint().id(), first);
    assert_eq!((attempts.attempts(), in_flight(&cluster)), (2, 1));
    // Nobody is left: the answer goes through.
    attempts.answered_or_elsewhere(&cluster, &request, 503).unwrap();
    attempts.end(None);
    assert_eq!(in_flight(&cluster), 0);

    // An answer that is to come, and the last attempt, are nothing to give up.
    let mut attempts = sent(&cluster);
    attempts.answered_or_elsewhere(&cluster, &request, 103).unwrap();
    let mut attempts = Attempts::at_most(1);
    attempts.peer(&cluster, &request, false, "").unwrap();
    attempts.answered_or_elsewhere(&cluster, &request, 503).unwrap();

    // A hook that decides otherwise gives the other one back.
    let cluster = two();
    let mut attempts = sent(&cluster);
    let mut error = attempts.answered_or_elsewhere(&cluster, &request, 503).unwrap_err();
    error.set_retry(false);
    assert!(!attempts.failed_on_the_way(error, false).retry());
    assert_eq!(in_flight(&cluster), 1);

    // And it is a verdict all the same.
    let cluster = watched();
    sent(&cluster).answered_or_elsewhere(&cluster, &request, 500).unwrap();
    assert_eq!(cluster.usable(), 0);
}
