//! The table in the docs of `XdsClient`, row by row.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

mod support;

use std::time::Duration;

use evenkeel_registry::{Event, Proof, TroubleKind};
use evenkeel_types::{Announced, Endpoint, Timestamp};
use evenkeel_xds::{Assignment, Deletions, End, Follow, OnTimeout, Scope, Variant, XdsClient, XdsConfig};
use prost::Message;
use support::proto::{
    self, Any, CDS, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, EDS,
    ENVELOPE, ResourceError, ResourceName, Span, Status,
};
use support::{cluster, encoded, simple};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn client(change: fn(&mut XdsConfig)) -> XdsClient {
    let mut config = XdsConfig::new(["http://a:1"], "node-1");
    change(&mut config);
    XdsClient::new(&config, Scope::Followed)
}

fn eds(name: &str) -> Follow {
    Follow::Endpoints(name.to_owned())
}

fn following(name: &str, change: fn(&mut XdsConfig)) -> XdsClient {
    let mut client = client(change);
    client.follow(&eds(name));
    client.opened(at(0));
    client
}

fn request(client: &mut XdsClient, now: u64) -> Option<DiscoveryRequest> {
    client.next_request(at(now)).map(|bytes| DiscoveryRequest::decode(&bytes[..]).unwrap())
}

fn delta_request(client: &mut XdsClient, now: u64) -> Option<DeltaDiscoveryRequest> {
    client.next_request(at(now)).map(|bytes| DeltaDiscoveryRequest::decode(&bytes[..]).unwrap())
}

fn any(url: &str, bytes: Vec<u8>) -> Any {
    Any { type_url: url.to_owned(), value: bytes.into() }
}

fn response(url: &str, version: &str, nonce: &str, resources: Vec<Vec<u8>>) -> Vec<u8> {
    let resources = resources.into_iter().map(|bytes| any(url, bytes)).collect();
    encoded(&DiscoveryResponse {
        version_info: version.to_owned(),
        resources,
        type_url: url.to_owned(),
        nonce: nonce.to_owned(),
        resource_errors: Vec::new(),
    })
}

/// What the events come to, in short.
fn told(client: &mut XdsClient) -> Vec<String> {
    let short = |(follow, event): (Follow, Event)| {
        let (Follow::Endpoints(name) | Follow::Cluster(name)) = follow;
        match event {
            Event::Full { endpoints, .. } => format!("{name}: {}", endpoints.len()),
            Event::Absent { proof: Proof::Deleted } => format!("{name}: deleted"),
            Event::Absent { .. } => format!("{name}: not found"),
            Event::Trouble { kind, .. } => format!("{name}: {kind:?}"),
            Event::Fresh { .. } => format!("{name}: fresh"),
            Event::Reject { .. } => format!("{name}: reject"),
            other => panic!("{other:?}"),
        }
    };
    client.take_events().into_iter().map(short).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_acknowledgement_has_the_new_version_and_a_refusal_the_old() {
    let mut client = following("a", |_| {});
    let first = request(&mut client, 0).unwrap();
    assert_eq!((first.version_info.as_str(), first.response_nonce.as_str()), ("", ""));
    assert_eq!((first.type_url.as_str(), &first.resource_names[..]), (EDS, &["a".to_owned()][..]));
    assert_eq!(first.node.unwrap().id, "node-1");
    assert_eq!(request(&mut client, 0), None);

    client.received(at(1), &response(EDS, "1", "n1", vec![encoded(&simple("a", &[1, 2]))])).unwrap();
    assert_eq!(told(&mut client), ["a: 2"]);
    let ack = request(&mut client, 1).unwrap();
    assert_eq!((ack.version_info.as_str(), ack.response_nonce.as_str()), ("1", "n1"));
    assert_eq!((ack.error_detail, ack.node), (None, None));

    let mut bad = simple("a", &[1]);
    bad.endpoints[0].lb_endpoints[0].load_balancing_weight = Some(0);
    client.received(at(2), &response(EDS, "2", "n2", vec![encoded(&bad)])).unwrap();
    assert_eq!(told(&mut client), ["a: Malformed"]);
    let nack = request(&mut client, 2).unwrap();
    assert_eq!((nack.version_info.as_str(), nack.response_nonce.as_str()), ("1", "n2"));
    let detail = nack.error_detail.unwrap();
    assert_eq!(detail.code, 3);
    assert!(detail.message.contains("a: endpoints[0].lb_endpoints[0].load_balancing_weight"), "{detail:?}");
    assert_eq!((client.counts().acks, client.counts().nacks), (1, 1));
    // The last good one is what a latecomer hears, with what is wrong.
    client.follow(&eds("a"));
    assert_eq!(told(&mut client), ["a: 2", "a: Malformed"]);
}

#[test]
fn of_a_refused_answer_the_valid_resources_are_used() {
    let mut client = following("a", |_| {});
    client.follow(&eds("b"));
    let mut bad = simple("b", &[1]);
    bad.endpoints[0].priority = 129;
    let resources = vec![encoded(&bad), encoded(&simple("a", &[1])), b"\xff\xff".to_vec()];
    client.received(at(0), &response(EDS, "1", "n", resources)).unwrap();
    assert_eq!(told(&mut client), ["b: Malformed", "a: 1"]);
    let nack = request(&mut client, 0).unwrap();
    assert!(nack.error_detail.unwrap().message.contains("b: endpoints[0].priority: is 129"));
}

#[test]
fn refusals_in_a_row_wait() {
    let mut client = following("a", |config| {
        (config.backoff.min, config.backoff.max) = (Duration::from_secs(2), Duration::from_secs(8));
    });
    request(&mut client, 0).unwrap();
    let bad = |nonce: &str| response(EDS, "1", nonce, vec![b"\xff".to_vec()]);
    client.received(at(0), &bad("1")).unwrap();
    assert!(request(&mut client, 0).is_some(), "the first at once");
    client.received(at(0), &bad("2")).unwrap();
    assert_eq!(request(&mut client, 0), None);
    let until = client.next_deadline().unwrap();
    assert!((at(1)..=at(2)).contains(&until), "{until:?}");
    client.received(at(0), &bad("3")).unwrap();
    assert_eq!(client.next_deadline(), Some(until), "one that waits is not put off by the next");
    assert_eq!(request(&mut client, 2).unwrap().response_nonce, "3", "the last counts");
    client.received(at(2), &response(EDS, "2", "4", vec![encoded(&simple("a", &[1]))])).unwrap();
    assert_eq!(request(&mut client, 2).unwrap().response_nonce, "4", "an acknowledgement never waits");
}

#[test]
fn absence_means_deletion_of_clusters_alone() {
    let mut client = client(|_| {});
    for name in ["a", "b"] {
        client.follow(&Follow::Cluster(name.to_owned()));
    }
    client.opened(at(0));
    assert_eq!(request(&mut client, 0).unwrap().resource_names, ["a", "b"]);
    let both = vec![encoded(&cluster("a", "sa")), encoded(&cluster("b", ""))];
    client.received(at(0), &response(CDS, "1", "n1", both)).unwrap();
    assert_eq!(request(&mut client, 0).unwrap().type_url, CDS);
    assert_eq!(request(&mut client, 0).unwrap().resource_names, ["b", "sa"]);
    let sets = vec![encoded(&simple("sa", &[1])), encoded(&simple("b", &[1, 2]))];
    client.received(at(0), &response(EDS, "1", "e1", sets)).unwrap();
    assert_eq!(told(&mut client), ["a: 1", "b: 2"]);
    request(&mut client, 0).unwrap();
    // Of endpoints, only one is said: the other has not changed.
    client.received(at(1), &response(EDS, "2", "e2", vec![encoded(&simple("b", &[1]))])).unwrap();
    assert_eq!(told(&mut client), ["b: 1"]);
    client.received(at(2), &response(CDS, "2", "n2", vec![encoded(&cluster("b", ""))])).unwrap();
    assert_eq!(told(&mut client), ["a: deleted"]);
    let names: Vec<_> = std::iter::from_fn(|| request(&mut client, 2)).map(|r| r.resource_names).collect();
    assert_eq!(names, [vec!["a".to_owned(), "b".to_owned()], vec!["b".to_owned()]]);
    // An answer that cannot be read in part deletes nobody.
    client.received(at(3), &response(CDS, "3", "n3", vec![b"\xff".to_vec()])).unwrap();
    assert_eq!(told(&mut client), NOTHING);
}

#[test]
fn an_empty_assignment_is_an_empty_set_and_a_delta_deletes() {
    let mut client = following("a", |config| config.variant = Variant::Delta);
    let first = delta_request(&mut client, 0).unwrap();
    assert_eq!((first.resource_names_subscribe, first.response_nonce), (vec!["a".to_owned()], String::new()));
    let say = |client: &mut XdsClient, nonce: &str, bytes: Option<Vec<u8>>, removed: &[&str]| {
        let resource = bytes.map(|bytes| proto::Resource {
            version: nonce.to_owned(),
            resource: Some(any(EDS, bytes)),
            name: "a".to_owned(),
        });
        let response = DeltaDiscoveryResponse {
            resources: resource.into_iter().collect(),
            type_url: EDS.to_owned(),
            nonce: nonce.to_owned(),
            removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        };
        client.received(at(0), &encoded(&response)).unwrap();
    };
    say(&mut client, "1", None, &["a"]);
    assert_eq!(told(&mut client), ["a: not found"]);
    say(&mut client, "2", Some(encoded(&simple("a", &[1]))), &[]);
    say(&mut client, "3", Some(encoded(&simple("a", &[]))), &[]);
    assert_eq!(told(&mut client), ["a: 1", "a: 0"]);
    let nonces: Vec<_> =
        std::iter::from_fn(|| delta_request(&mut client, 0)).map(|r| r.response_nonce).collect();
    assert_eq!(nonces, ["1", "2", "3"], "each is answered");
    say(&mut client, "4", Some(encoded(&simple("b", &[1]))), &[]);
    assert!(told(&mut client).is_empty() || client.counts().responses == 4);
    assert!(
        delta_request(&mut client, 0).unwrap().error_detail.is_some(),
        "another name than the envelope's"
    );
    client.opened(at(9));
    let again = delta_request(&mut client, 9).unwrap();
    assert!(again.initial_resource_versions.is_empty(), "what was refused last is to be sent again");
    say(&mut client, "5", None, &["a"]);
    assert_eq!(told(&mut client).last().unwrap(), "a: deleted");
}

#[test]
fn deletions_can_be_ignored() {
    let mut client = client(|config| config.deletions = Deletions::Ignore);
    client.follow(&Follow::Cluster("a".to_owned()));
    client.opened(at(0));
    request(&mut client, 0).unwrap();
    client.received(at(0), &response(CDS, "1", "1", vec![encoded(&cluster("a", ""))])).unwrap();
    client.received(at(0), &response(EDS, "1", "1", vec![encoded(&simple("a", &[1]))])).unwrap();
    client.received(at(0), &response(CDS, "2", "2", Vec::new())).unwrap();
    assert_eq!(told(&mut client), ["a: 1", "a: Server"]);
    client.received(at(0), &response(EDS, "2", "2", vec![encoded(&simple("a", &[1, 2]))])).unwrap();
    assert_eq!(told(&mut client), ["a: 2"], "its endpoints are still followed");
    client.received(at(0), &response(CDS, "3", "3", vec![encoded(&cluster("a", ""))])).unwrap();
    assert_eq!(told(&mut client), ["a: 2"], "all is well again");
}

#[test]
fn every_field_of_an_entry() {
    use Announced::{Degraded, Down, Draining, Unknown, Up};
    let locality = |zone: &str| proto::Locality { zone: zone.to_owned(), ..Default::default() };
    let entry = |ip: &str, health_status, weight| proto::LbEndpoint {
        health_status,
        load_balancing_weight: weight,
        ..support::lb_endpoint(ip, 80)
    };
    let states = (0..7).map(|state| entry(&format!("10.0.0.{state}"), state, None)).collect();
    let first = proto::LocalityLbEndpoints {
        locality: Some(locality("a")),
        load_balancing_weight: Some(7),
        ..support::group(states)
    };
    let far = vec![entry("10.0.1.1", 0, Some(9))];
    let second =
        proto::LocalityLbEndpoints { locality: Some(locality("b")), priority: 5, ..support::group(far) };
    let read = Assignment::read(&encoded(&support::assignment("x", vec![first, second]))).unwrap();
    let announced: Vec<_> = read.endpoints.iter().map(Endpoint::announced).collect();
    assert_eq!(announced, [Unknown, Up, Down, Draining, Down, Degraded, Unknown, Unknown]);
    let of = |at: usize| {
        let endpoint = &read.endpoints[at];
        let zone = endpoint.locality().unwrap().zone().to_owned();
        let locality_weight = endpoint.label(Assignment::LOCALITY_WEIGHT).map(str::to_owned);
        (endpoint.weight().get(), endpoint.priority().get(), zone, locality_weight)
    };
    assert_eq!(of(0), (1, 0, "a".to_owned(), Some("7".to_owned())));
    assert_eq!(of(7), (9, 5, "b".to_owned(), None));
}

#[test]
fn who_is_left_is_unsubscribed() {
    let mut client = client(|config| config.variant = Variant::Delta);
    for name in ["a", "b"] {
        client.follow(&eds(name));
    }
    client.opened(at(0));
    assert_eq!(delta_request(&mut client, 0).unwrap().resource_names_subscribe, ["a", "b"]);
    client.unfollow(&eds("a"));
    client.follow(&eds("c"));
    let change = delta_request(&mut client, 0).unwrap();
    assert_eq!(
        (change.resource_names_subscribe, change.resource_names_unsubscribe),
        (vec!["c".to_owned()], vec!["a".to_owned()])
    );
    client.unfollow(&eds("b"));
    client.unfollow(&eds("c"));
    assert_eq!(delta_request(&mut client, 0).unwrap().resource_names_unsubscribe, ["b", "c"]);
    assert_eq!(delta_request(&mut client, 0), None);
}

#[test]
fn what_is_not_told_in_time_is_trouble_or_absent() {
    let silent = |change: fn(&mut XdsConfig)| {
        let mut client = following("a", change);
        assert_eq!(client.next_deadline(), None, "nothing was asked yet");
        request(&mut client, 10).unwrap();
        assert_eq!(client.next_deadline(), Some(at(25)));
        client.tick(at(24));
        assert_eq!(told(&mut client), NOTHING);
        client.tick(at(25));
        let said = told(&mut client);
        client.tick(at(99));
        assert_eq!(told(&mut client), NOTHING, "once");
        // The timer stands while there is no stream, and starts anew with the next.
        client.ended(at(99), End::Broken, TroubleKind::Closed, "x");
        told(&mut client);
        assert_eq!(client.next_deadline(), None);
        client.opened(at(100));
        request(&mut client, 100).unwrap();
        assert_eq!(client.next_deadline(), Some(at(115)));
        said
    };
    assert_eq!(silent(|_| {}), ["a: Timeout"]);
    assert_eq!(silent(|config| config.on_timeout = OnTimeout::Absence), ["a: not found"]);
    let mut patient = following("a", |config| config.resource_timeout = None);
    request(&mut patient, 0).unwrap();
    assert_eq!(patient.next_deadline(), None);
}

#[test]
fn a_stream_that_the_server_ends_after_an_answer_is_no_trouble() {
    let set = || response(EDS, "1", "n", vec![encoded(&simple("a", &[1]))]);
    let mut client = following("a", |_| {});
    request(&mut client, 0).unwrap();
    client.received(at(1), &set()).unwrap();
    assert_eq!(told(&mut client), ["a: 1"]);
    assert_eq!(client.ended(at(100), End::Closed, TroubleKind::Closed, "bye"), at(100), "at once");
    assert_eq!(told(&mut client), NOTHING);
    // The next has the version, and no node was said on it yet.
    client.opened(at(100));
    let again = request(&mut client, 100).unwrap();
    assert_eq!((again.version_info.as_str(), again.response_nonce.as_str()), ("1", ""));
    assert!(again.node.is_some());
    // Before an answer it is trouble, which is over when the server is there, silent as it may be.
    assert!(client.ended(at(101), End::Closed, TroubleKind::Closed, "bye") > at(101));
    assert_eq!(told(&mut client), ["a: Closed"]);
    client.opened(at(102));
    client.alive(at(110), Duration::from_secs(1));
    assert_eq!(told(&mut client), ["a: fresh"]);
    // Silence is trouble in any case.
    client.received(at(111), &set()).unwrap();
    client.ended(at(112), End::Broken, TroubleKind::Timeout, "silent");
    assert_eq!(told(&mut client), ["a: 1", "a: Timeout"]);
    // A server that answers and ends the stream again and again is asked less and less often.
    let mut waits = Vec::new();
    let mut now = at(200);
    for _ in 0..6 {
        client.opened(now);
        client.received(now, &set()).unwrap();
        let next = client.ended(now, End::Closed, TroubleKind::Closed, "bye");
        waits.push(next.saturating_since(now));
        now = next;
    }
    assert_eq!(waits[0], Duration::ZERO);
    assert!(waits[5] >= Duration::from_secs(2), "{waits:?}");
}

#[test]
fn a_new_name_is_asked_for_without_the_version() {
    let mut client = following("a", |_| {});
    request(&mut client, 0).unwrap();
    client.received(at(0), &response(EDS, "7", "n", vec![encoded(&simple("a", &[1]))])).unwrap();
    client.ended(at(1), End::Closed, TroubleKind::Closed, "bye");
    client.follow(&eds("b"));
    client.opened(at(2));
    let first = request(&mut client, 2).unwrap();
    assert_eq!(first.version_info, "", "or a server at version 7 might never tell of b");
    // On a stream that stands, a changed subscription repeats version and nonce.
    client.received(at(2), &response(EDS, "7", "m", vec![encoded(&simple("a", &[1]))])).unwrap();
    request(&mut client, 2).unwrap();
    client.follow(&eds("c"));
    let more = request(&mut client, 3).unwrap();
    assert_eq!((more.version_info.as_str(), more.response_nonce.as_str()), ("7", "m"));
    assert_eq!(more.resource_names, ["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        client.unfollow(&eds(name));
    }
    assert!(request(&mut client, 3).unwrap().resource_names.is_empty());
    assert!(!client.wants_stream());
}

#[test]
fn endpoints_of_a_stale_assignment_are_down() {
    let mut client = following("a", |_| {});
    let mut short = simple("a", &[1]);
    let span = Span { seconds: 5, nanos: 0 };
    short.policy = Some(proto::Policy { endpoint_stale_after: Some(span), ..Default::default() });
    let response = response(EDS, "1", "n", vec![encoded(&short)]);
    client.received(at(0), &response).unwrap();
    client.received(at(3), &response).unwrap();
    told(&mut client);
    client.ended(at(4), End::Closed, TroubleKind::Closed, "bye");
    assert_eq!(client.next_deadline(), Some(at(8)), "also without a stream");
    client.tick(at(8));
    let events = client.take_events();
    assert!(
        matches!(&events[0].1, Event::Full { endpoints, .. } if endpoints[0].announced() == Announced::Down)
    );
    assert!(matches!(&events[1].1, Event::Trouble { kind: TroubleKind::Timeout, .. }));
    client.opened(at(9));
    client.received(at(9), &response).unwrap();
    let events = client.take_events();
    assert!(
        matches!(&events[0].1, Event::Full { endpoints, .. } if endpoints[0].announced() == Announced::Unknown)
    );
}

#[test]
fn errors_of_single_resources_and_envelopes() {
    let mut client = following("a", |_| {});
    for name in ["b", "c"] {
        client.follow(&eds(name));
    }
    let error = |name: &str, code| ResourceError {
        resource_name: Some(ResourceName { name: name.to_owned() }),
        error_detail: Some(Status { code, message: "no".to_owned() }),
    };
    let inner = proto::Resource {
        version: "x".to_owned(),
        resource: Some(any(EDS, encoded(&simple("a", &[1])))),
        name: "a".to_owned(),
    };
    let response = DiscoveryResponse {
        version_info: "1".to_owned(),
        resources: vec![any(ENVELOPE, encoded(&inner))],
        type_url: EDS.to_owned(),
        nonce: "n".to_owned(),
        resource_errors: vec![error("b", 5), error("c", 7), error("a", 14), error("nobody", 5)],
    };
    client.received(at(0), &encoded(&response)).unwrap();
    assert_eq!(told(&mut client), ["a: 1", "b: not found", "c: Denied", "a: Server"]);
    assert_eq!(client.next_request(at(0)).map(|_| client.counts().acks), Some(1), "no reason to refuse");
}

#[test]
fn all_clusters_by_the_wildcard() {
    let mut client = XdsClient::new(&XdsConfig::new(["http://a:1"], "n"), Scope::All);
    assert!(client.wants_stream());
    client.opened(at(0));
    assert!(request(&mut client, 0).unwrap().resource_names.is_empty());
    let both = || vec![encoded(&cluster("a", "s")), encoded(&cluster("b", "s"))];
    client.received(at(0), &response(CDS, "1", "n", both())).unwrap();
    assert_eq!(client.take_listed(), ["a", "b"]);
    client.follow(&Follow::Cluster("a".to_owned()));
    let mut seen = Vec::new();
    while let Some(request) = request(&mut client, 0) {
        seen.push((request.type_url, request.resource_names));
    }
    let named = (EDS.to_owned(), vec!["s".to_owned()]);
    assert_eq!(seen, [(CDS.to_owned(), vec![]), named], "who is not followed costs nothing");
    client.received(at(0), &response(CDS, "2", "m", vec![])).unwrap();
    client.received(at(0), &response(CDS, "3", "o", both())).unwrap();
    assert_eq!(client.take_listed(), ["a", "b"], "they are back");
    assert_eq!(told(&mut client), ["a: deleted"]);
    // One that is followed by name and not listed is waited for; in a delta nobody says that it does not exist.
    let config = XdsConfig { variant: Variant::Delta, ..XdsConfig::new(["http://a:1"], "n") };
    let mut client = XdsClient::new(&config, Scope::All);
    client.follow(&Follow::Cluster("x".to_owned()));
    client.opened(at(0));
    assert!(delta_request(&mut client, 0).unwrap().resource_names_subscribe.is_empty());
    client.tick(at(15));
    assert_eq!(told(&mut client), ["x: Timeout"]);
}

#[test]
fn clusters_whose_endpoints_are_elsewhere_and_inline() {
    let mut client = client(|config| config.max_clusters = 2);
    for name in ["a", "b"] {
        client.follow(&Follow::Cluster(name.to_owned()));
    }
    client.opened(at(0));
    let mut inline = cluster("a", "");
    (inline.kind, inline.eds_cluster_config) = (0, None);
    inline.load_assignment = Some(simple("whatever", &[1, 2, 3]));
    let mut dns = cluster("b", "");
    dns.kind = 1;
    let both = vec![encoded(&inline), encoded(&dns)];
    client.received(at(0), &response(CDS, "1", "n", both.clone())).unwrap();
    assert_eq!(told(&mut client), ["a: 3", "b: Malformed"]);
    assert_eq!(request(&mut client, 0).unwrap().error_detail, None, "that is no error of the control plane");
    client.alive(at(1), Duration::ZERO);
    assert_eq!(told(&mut client), ["a: fresh"]);
    let three = [both, vec![encoded(&cluster("c", ""))]].concat();
    client.received(at(2), &response(CDS, "2", "m", three)).unwrap();
    assert!(request(&mut client, 2).unwrap().error_detail.unwrap().message.contains("at most 2"));
}

/// Found by the law that both variants lead to the same sets.
#[test]
fn what_is_left_and_followed_again_before_the_server_hears_is_not_forgotten() {
    let mut client = client(|config| config.variant = Variant::Delta);
    for name in ["a", "b"] {
        client.follow(&Follow::Cluster(name.to_owned()));
    }
    client.opened(at(0));
    let say = |client: &mut XdsClient, url: &str, nonce: &str, named: Vec<(&str, Vec<u8>)>| {
        let resource = |(name, bytes): (&str, Vec<u8>)| proto::Resource {
            version: nonce.to_owned(),
            resource: Some(any(url, bytes)),
            name: name.to_owned(),
        };
        let response = DeltaDiscoveryResponse {
            resources: named.into_iter().map(resource).collect(),
            type_url: url.to_owned(),
            nonce: nonce.to_owned(),
            ..Default::default()
        };
        client.received(at(0), &encoded(&response)).unwrap();
        while client.next_request(at(0)).is_some() {}
    };
    while client.next_request(at(0)).is_some() {}
    say(&mut client, CDS, "1", vec![("a", encoded(&cluster("a", "s")))]);
    say(&mut client, EDS, "2", vec![("s", encoded(&simple("s", &[1])))]);
    assert_eq!(told(&mut client), ["a: 1"]);
    // One leaves the service, the other comes to it: the server is told of no change, and will not send it again.
    let exchanged = vec![("a", encoded(&cluster("a", "t"))), ("b", encoded(&cluster("b", "s")))];
    say(&mut client, CDS, "3", exchanged);
    assert_eq!(told(&mut client), ["b: 1"]);
    client.unfollow(&Follow::Cluster("b".to_owned()));
    client.follow(&Follow::Cluster("b".to_owned()));
    assert_eq!(client.next_request(at(0)), None);
    assert_eq!(told(&mut client), ["b: 1"]);
    client.unfollow(&Follow::Cluster("b".to_owned()));
    while client.next_request(at(0)).is_some() {}
    client.follow(&Follow::Cluster("b".to_owned()));
    assert_eq!(told(&mut client), NOTHING, "now it is forgotten");
}
