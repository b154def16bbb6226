//! What a policy hears of requests, and what a request tells a policy.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel::{
    Caller, Cluster, Endpoint, Event, LoadReport, ManualClock, Observed, Outcome, Policy, PolicyConfig,
    Request, View, Wants,
};

/// Key and address of one request.
type Asked = (Option<Vec<u8>>, Option<IpAddr>);

/// Takes the first open position and writes down what it is told.
#[derive(Debug)]
struct Ear {
    wants: Wants,
    heard: Arc<Mutex<Vec<Event>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Policy for Ear {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        let key = caller.key_bytes().map(<[u8]>::to_vec);
        self.asked.lock().expect("no thread panicked").push((key, caller.source()));
        view.mask().iter().find(|&position| view.admits(position))
    }

    fn wants(&self) -> Wants {
        self.wants
    }

    fn on_event(&self, event: Event) {
        self.heard.lock().expect("no thread panicked").push(event);
    }
}

struct World {
    cluster: Cluster<()>,
    clock: Arc<ManualClock>,
    heard: Arc<Mutex<Vec<Event>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

fn world(wants: Wants) -> World {
    let (heard, asked) = (Arc::default(), Arc::default());
    let ear = Ear { wants, heard: Arc::clone(&heard), asked: Arc::clone(&asked) };
    let clock = Arc::new(ManualClock::default());
    let builder = Cluster::builder("x").policy(PolicyConfig::custom(ear)).clock(Arc::clone(&clock)).seed(1);
    let cluster = builder.build().expect("a valid world");
    cluster
        .apply([Endpoint::at("10.0.0.1:80".parse().expect("an address")).expect("a valid world")])
        .expect("a valid world");
    World { cluster, clock, heard, asked }
}

/// Observations in short: kind and milliseconds, and the number in flight.
fn observations(heard: &Mutex<Vec<Event>>) -> Vec<(Observed, u128, u32)> {
    let heard = heard.lock().expect("no thread panicked");
    let seen = heard.iter().filter_map(|event| match event {
        Event::Observed(_, seen) => Some((seen.kind, seen.latency.as_millis(), seen.in_flight)),
        _ => None,
    });
    seen.collect()
}

#[test]
fn every_verdict_is_observed_once_with_its_latency() {
    let World { cluster, clock, heard, .. } = world(Wants::OBSERVED | Wants::LOADS);
    let outcomes = [
        (Outcome::success(), Observed::Success),
        (Outcome::failure(), Observed::Failure),
        (Outcome::overload(None), Observed::Overload),
        (Outcome::neutral(), Observed::Neutral),
    ];
    for (outcome, _) in outcomes {
        let pick = cluster.pick(&Request::new()).unwrap();
        clock.advance(Duration::from_millis(7));
        pick.finish(outcome);
    }
    let expected: Vec<_> = outcomes.iter().map(|&(_, kind)| (kind, 7, 1)).collect();
    assert_eq!(observations(&heard), expected);
}

#[test]
fn a_measured_latency_wins_and_a_dropped_request_gives_its_age() {
    let World { cluster, clock, heard, .. } = world(Wants::OBSERVED | Wants::LOADS);
    let (first, second) = (cluster.pick(&Request::new()).unwrap(), cluster.pick(&Request::new()).unwrap());
    clock.advance(Duration::from_millis(9));
    first.finish(Outcome::success().with_latency(Duration::from_millis(4)));
    drop(second);
    assert_eq!(observations(&heard), [(Observed::Success, 4, 2), (Observed::Censored, 9, 1)]);
}

#[test]
fn an_early_verdict_is_observed_and_the_end_is_not() {
    let World { cluster, clock, heard, .. } = world(Wants::OBSERVED | Wants::LOADS | Wants::EVENTS);
    let mut pick = cluster.pick(&Request::new()).unwrap();
    clock.advance(Duration::from_millis(2));
    pick.record(Outcome::success());
    clock.advance(Duration::from_secs(60));
    drop(pick);
    assert_eq!(observations(&heard), [(Observed::Success, 2, 1)]);
    let heard = heard.lock().unwrap();
    let counted = |wanted: fn(&Event) -> bool| heard.iter().filter(|event| wanted(event)).count();
    assert_eq!(counted(|event| matches!(event, Event::Picked(_))), 1);
    assert_eq!(counted(|event| matches!(event, Event::Released(_))), 1);
}

#[test]
fn reports_reach_those_who_asked_with_the_clusters_time() {
    let World { cluster, clock, heard, .. } = world(Wants::REPORTS);
    clock.advance(Duration::from_secs(3));
    let pick = cluster.pick(&Request::new()).unwrap();
    pick.report(LoadReport::new(10.0, 1.0, 0.5));
    pick.endpoint().report(LoadReport::new(20.0, 0.0, 0.9));
    pick.finish(Outcome::success());
    let heard = heard.lock().unwrap();
    let told: Vec<_> = heard
        .iter()
        .filter_map(|event| match event {
            Event::Reported(_, report) => Some((report.queries_per_second, report.at.as_nanos())),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(10.0, 3_000_000_000), (20.0, 3_000_000_000)]);
    assert_eq!(heard.len(), 2, "nothing else was asked for: {heard:?}");
}

#[test]
fn nobody_hears_what_it_did_not_ask_for() {
    let World { cluster, heard, .. } = world(Wants::empty());
    let pick = cluster.pick(&Request::new()).unwrap();
    pick.report(LoadReport::new(1.0, 0.0, 1.0));
    pick.finish(Outcome::failure());
    assert!(heard.lock().unwrap().is_empty());
}

#[test]
fn a_policy_reads_key_and_address_of_the_request() {
    let World { cluster, asked, .. } = world(Wants::KEY | Wants::SOURCE);
    let address = IpAddr::from([192, 0, 2, 1]);
    let _ = cluster.pick(&Request::with_key("user-42").from_address(address));
    let _ = cluster.pick(&Request::with_hash(7));
    assert_eq!(*asked.lock().unwrap(), [(Some(b"user-42".to_vec()), Some(address)), (None, None)]);
}

/// A cluster in which nothing but the policy takes part in picks.
fn plain() -> Cluster<()> {
    let cluster = Cluster::builder("x").policy(PolicyConfig::round_robin()).seed(1).build().expect("valid");
    let at = |n| Endpoint::at(format!("10.0.0.{n}:80").parse().expect("an address")).expect("an id");
    cluster.apply([at(1), at(2)]).expect("a valid set");
    cluster
}

#[test]
fn verdicts_are_heard_where_somebody_asks_for_them() {
    let cluster = plain();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let request = |outcome: Outcome| {
        for _ in 0..2 {
            cluster.pick(&Request::new()).expect("usable").finish(outcome);
        }
    };
    request(Outcome::failure());
    let verdicts = Arc::clone(&heard);
    let first = &cluster.endpoints()[0];
    first.hear_verdicts(move |verdict| verdicts.lock().expect("no thread panicked").push(verdict));
    request(Outcome::success());
    request(Outcome::failure());
    drop(cluster.pick(&Request::new()));
    drop(cluster.pick(&Request::new()));
    first.ignore_verdicts();
    request(Outcome::failure());
    let heard = heard.lock().expect("no thread panicked").clone();
    assert_eq!(heard, [evenkeel::Verdict::Success, evenkeel::Verdict::Failure], "of one of two endpoints");
    assert_eq!(first.in_flight(), 0);
}

#[test]
fn traffic_is_seen_by_who_asks() {
    let cluster = plain();
    cluster.pick(&Request::new()).expect("usable").finish(Outcome::success());
    assert!(!cluster.had_traffic(), "nobody had asked");
    assert_eq!(cluster.tick(), None, "a question is no deadline");
    assert!(!cluster.had_traffic());
    cluster.picker().pick(&Request::new()).expect("usable").finish(Outcome::success());
    assert!(cluster.had_traffic());
    assert!(!cluster.had_traffic());
    cluster.set_weight(&cluster.endpoints()[0].id(), evenkeel::Weight::new(0)).expect("known");
    assert!(!cluster.had_traffic(), "no request");
}
