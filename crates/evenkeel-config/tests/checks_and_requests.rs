//! What requests mean to checks, and checks to outlier detection: a prober for real, on loopback. Time decides nothing, and all
//! waits end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use evenkeel::{Cause, CheckState, Handle, Outcome, Request};
use evenkeel_config::{Loaded, Running, Syntax};

/// Waits until it holds, at most half a minute.
fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let (_keep, never) = mpsc::channel::<()>();
    for _ in 0..3000 {
        if holds() {
            return;
        }
        let _ = never.recv_timeout(Duration::from_millis(10));
    }
    panic!("{what}");
}

fn load(text: &str) -> Loaded {
    Loaded::parse(text, Syntax::Toml).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// A cluster of so many endpoints, all of which accept, checked by this schedule.
fn text(listeners: &[TcpListener], schedule: &str, rest: &str) -> String {
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let endpoint =
        |(n, address): (usize, &SocketAddr)| format!("{{ id = \"e{n}\", address = \"{address}\" }}");
    let endpoints: Vec<String> = addresses.iter().enumerate().map(endpoint).collect();
    format!(
        "[[clusters]]\nname = \"users\"\npolicy = \"round_robin\"\nendpoints = [{}]\n{rest}\n\
         check = {{ probe = {{ tcp = {{}} }}, schedule = {{ {schedule} }} }}\n",
        endpoints.join(", ")
    )
}

fn listeners(count: usize) -> Vec<TcpListener> {
    (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect()
}

fn handle(running: &Running<()>, id: &str) -> Handle<()> {
    running.cluster("users").unwrap().endpoint(&id.parse().unwrap()).unwrap()
}

/// Requests, of which those to `bad` fail.
fn requests(running: &Running<()>, count: usize, bad: &str) {
    for _ in 0..count {
        let pick = running.cluster("users").unwrap().pick(&Request::new()).unwrap();
        let fails = pick.endpoint().id().as_str() == bad;
        pick.finish(if fails { Outcome::failure() } else { Outcome::success() });
    }
}

fn passed(running: &Running<()>) -> u64 {
    running.report().prober.unwrap().counts.passed
}

#[test]
fn errors_of_requests_are_evidence_for_the_check() {
    let listeners = listeners(2);
    // An hour: nothing but the requests can take an endpoint down.
    let schedule =
        "interval = \"1h\", stale_after = \"100h\", observe = { error_limit = 5, on_error = \"mark_down\" }";
    let observing = text(&listeners, schedule, "");
    let deaf = text(&listeners, "interval = \"1h\", stale_after = \"100h\"", "");
    let running = Running::<()>::start(load(&deaf)).unwrap();
    requests(&running, 40, "e0");
    running.apply(load(&observing)).unwrap();
    assert_eq!(handle(&running, "e0").status().check(), CheckState::Unknown);
    requests(&running, 8, "e0");
    requests(&running, 2, "nobody");
    requests(&running, 8, "e0");
    assert_eq!(handle(&running, "e0").status().check(), CheckState::Unknown, "never five in a row");
    requests(&running, 2, "e0");
    wait_for("the fifth takes it down", || handle(&running, "e0").status().check() == CheckState::Down);
    assert_eq!(handle(&running, "e1").status().check(), CheckState::Unknown);
}

#[test]
fn a_cluster_in_use_is_checked_at_its_usual_interval() {
    let listeners = listeners(1);
    let schedule = "interval = \"20ms\", no_traffic_interval = \"1h\", no_traffic_after = \"1h\"";
    let running = Running::<()>::start(load(&text(&listeners, schedule, ""))).unwrap();
    wait_for("the first check does not wait", || passed(&running) == 1);
    requests(&running, 1, "nobody");
    // The question comes with a tick, and the answer with the next pick.
    wait_for("traffic is noticed", || {
        requests(&running, 1, "nobody");
        passed(&running) >= 5
    });
}

#[test]
fn ejected_endpoints_come_back_by_checks() {
    let listeners = listeners(3);
    let rest = "outlier = { return_by = { checks = 2 } }";
    let running = Running::<()>::start(load(&text(&listeners, "interval = \"20ms\"", rest))).unwrap();
    let all_up =
        || ["e0", "e1", "e2"].iter().all(|id| handle(&running, id).status().check() == CheckState::Up);
    wait_for("all are checked", all_up);
    requests(&running, 30, "e0");
    assert!(running.cluster("users").unwrap().report().outliers.unwrap().ejections > 0);
    let blocked = || handle(&running, "e0").status().causes().any(|cause| cause == Cause::Ejected);
    // By time it would be 300 s.
    wait_for("two passes bring it back", || !blocked());
}

/// Discovery says what the checks know, at the same moment as the prober does: at rest both say the same.
#[test]
fn who_speaks_last_says_what_the_checks_know() {
    let address = listeners(1)[0].local_addr().unwrap();
    let text = |weight: u32| {
        format!(
            "[[clusters]]\nname = \"users\"\nendpoints = [{{ id = \"e0\", address = \"{address}\", weight = {weight} }}]\n\
             check = {{ probe = {{ tcp = {{}} }}, schedule = {{ interval = \"1ms\", thresholds = {{ rise = 1, fall = 1 }} }} }}\n"
        )
    };
    let running = Running::<()>::start(load(&text(1))).unwrap();
    for round in 0..20 {
        let listener = (round % 2 == 0).then(|| TcpListener::bind(address).unwrap());
        for weight in 2..12 {
            running.apply(load(&text(weight))).unwrap();
        }
        let expected = if listener.is_some() { CheckState::Up } else { CheckState::Down };
        wait_for("both say what is", || handle(&running, "e0").status().check() == expected);
        // Whatever was said last stays.
        let counts = running.report().prober.unwrap().counts;
        wait_for("further checks", || {
            let now = running.report().prober.unwrap().counts;
            now.passed + now.failed >= counts.passed + counts.failed + 3
        });
        assert_eq!(handle(&running, "e0").status().check(), expected);
    }
}
