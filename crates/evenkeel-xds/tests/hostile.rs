//! Servers that are wrong on purpose, or only unlucky: what they may not bring about.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

mod support;

use std::time::Duration;

use evenkeel_registry::{Event, Proof, TroubleKind};
use evenkeel_types::Timestamp;
use evenkeel_xds::{Assignment, Deletions, End, Follow, Scope, Variant, XdsClient, XdsConfig};
use prost::Message;
use support::proto::{
    self, Any, CDS, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, EDS,
    ENVELOPE, ResourceError, ResourceName, Span, Status,
};
use support::{assignment, cluster, encoded, group, lb_endpoint, simple};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn client(variant: Variant, follows: &[Follow]) -> XdsClient {
    let config = XdsConfig { variant, ..XdsConfig::new(["http://a:1"], "node-1") };
    let mut client = XdsClient::new(&config, Scope::Followed);
    follows.iter().for_each(|follow| client.follow(follow));
    client.opened(at(0));
    client
}

fn eds(name: &str) -> Follow {
    Follow::Endpoints(name.to_owned())
}

fn cds(name: &str) -> Follow {
    Follow::Cluster(name.to_owned())
}

fn requests(client: &mut XdsClient, now: u64) -> Vec<DiscoveryRequest> {
    let next = || client.next_request(at(now)).map(|bytes| DiscoveryRequest::decode(&bytes[..]).unwrap());
    std::iter::from_fn(next).collect()
}

fn delta_requests(client: &mut XdsClient, now: u64) -> Vec<DeltaDiscoveryRequest> {
    let next =
        || client.next_request(at(now)).map(|bytes| DeltaDiscoveryRequest::decode(&bytes[..]).unwrap());
    std::iter::from_fn(next).collect()
}

fn any(url: &str, bytes: Vec<u8>) -> Any {
    Any { type_url: url.to_owned(), value: bytes.into() }
}

fn sotw(url: &str, version: &str, resources: Vec<Vec<u8>>) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.to_owned(),
        resources: resources.into_iter().map(|bytes| any(url, bytes)).collect(),
        type_url: url.to_owned(),
        nonce: format!("of {version}"),
        resource_errors: Vec::new(),
    }
}

fn delta(url: &str, version: &str, resources: Vec<(&str, Vec<u8>)>) -> DeltaDiscoveryResponse {
    let resource = |(name, bytes): (&str, Vec<u8>)| proto::Resource {
        version: version.to_owned(),
        resource: Some(any(url, bytes)),
        name: name.to_owned(),
    };
    DeltaDiscoveryResponse {
        resources: resources.into_iter().map(resource).collect(),
        type_url: url.to_owned(),
        nonce: format!("of {version}"),
        ..Default::default()
    }
}

fn hear<M: Message>(client: &mut XdsClient, now: u64, response: &M) {
    client.received(at(now), &encoded(response)).unwrap();
}

fn told(client: &mut XdsClient) -> Vec<String> {
    let short = |(follow, event): (Follow, Event)| {
        let (Follow::Endpoints(name) | Follow::Cluster(name)) = follow;
        match event {
            Event::Full { endpoints, .. } => format!("{name}: {}", endpoints.len()),
            Event::Absent { proof: Proof::Deleted } => format!("{name}: deleted"),
            Event::Absent { .. } => format!("{name}: not found"),
            Event::Trouble { kind, .. } => format!("{name}: {kind:?}"),
            Event::Fresh { .. } => format!("{name}: fresh"),
            Event::Reject { id, .. } => format!("{name}: reject {}", id.unwrap()),
            other => panic!("{other:?}"),
        }
    };
    client.take_events().into_iter().map(short).collect()
}

const NOTHING: [&str; 0] = [];

/// A refusal that cannot be sent, since there is no subscription that it could go with, was waited for in a circle.
#[test]
fn answers_that_nobody_asked_for_do_not_keep_the_thread_awake() {
    for variant in [Variant::StateOfTheWorld, Variant::Delta] {
        let mut client = client(variant, &[eds("a")]);
        while client.next_request(at(0)).is_some() {}
        for nonce in 0..9 {
            let bad = vec![("x", vec![0xff])];
            match variant {
                Variant::StateOfTheWorld => {
                    hear(&mut client, 0, &sotw(CDS, &nonce.to_string(), vec![vec![0xff]]));
                }
                Variant::Delta => hear(&mut client, 0, &delta(CDS, &nonce.to_string(), bad)),
            }
        }
        client.tick(at(9));
        assert_eq!(client.next_request(at(9)), None, "nothing was asked for, so nothing is answered");
        assert!(client.next_deadline().is_none_or(|next| next > at(9)), "{variant:?}");
        // The first real subscription answers nothing.
        client.follow(&cds("c"));
        let first = client.next_request(at(9)).unwrap();
        let (nonce, error) = match variant {
            Variant::StateOfTheWorld => {
                let first = DiscoveryRequest::decode(&first[..]).unwrap();
                (first.response_nonce, first.error_detail)
            }
            Variant::Delta => {
                let first = DeltaDiscoveryRequest::decode(&first[..]).unwrap();
                (first.response_nonce, first.error_detail)
            }
        };
        assert_eq!((nonce.as_str(), error), ("", None), "{variant:?}");
    }
}

/// The answer may have been on its way when the name was added; gRPC waits for its timer, too.
#[test]
fn a_cluster_that_was_never_told_of_is_not_deleted_by_an_earlier_answer() {
    let mut client = client(Variant::StateOfTheWorld, &[cds("a")]);
    requests(&mut client, 0);
    hear(&mut client, 0, &sotw(CDS, "1", vec![encoded(&cluster("a", ""))]));
    hear(&mut client, 0, &sotw(EDS, "1", vec![encoded(&simple("a", &[1]))]));
    assert_eq!(told(&mut client), ["a: 1"]);
    client.follow(&cds("b"));
    requests(&mut client, 1);
    hear(&mut client, 1, &sotw(CDS, "2", vec![encoded(&cluster("a", ""))]));
    assert_eq!(told(&mut client), NOTHING);
    client.tick(at(15));
    assert_eq!(told(&mut client), NOTHING);
    client.tick(at(16));
    assert_eq!(told(&mut client), ["b: Timeout"]);
}

/// Or a server that has that version would never say it again, and the trouble never end.
#[test]
fn what_is_in_trouble_is_not_claimed_to_be_known() {
    let error = |code| ResourceError {
        resource_name: Some(ResourceName { name: "a".to_owned() }),
        error_detail: Some(Status { code, message: "soon".to_owned() }),
    };
    let mut stale = simple("a", &[1]);
    let span = Span { seconds: 5, nanos: 0 };
    stale.policy = Some(proto::Policy { endpoint_stale_after: Some(span), ..Default::default() });
    let mut bad = stale.clone();
    bad.endpoints[0].priority = 200;

    for what in ["fine", "stale", "an error", "refused"] {
        let mut client = client(Variant::Delta, &[eds("a")]);
        delta_requests(&mut client, 0);
        hear(&mut client, 0, &delta(EDS, "1", vec![("a", encoded(&stale))]));
        match what {
            "stale" => client.tick(at(5)),
            "an error" => {
                let failed =
                    DeltaDiscoveryResponse { resource_errors: vec![error(14)], ..delta(EDS, "2", vec![]) };
                hear(&mut client, 1, &failed);
            }
            "refused" => hear(&mut client, 1, &delta(EDS, "2", vec![("a", encoded(&bad))])),
            _ => {}
        }
        client.ended(at(6), End::Closed, TroubleKind::Closed, "bye");
        client.opened(at(7));
        let first = delta_requests(&mut client, 7).remove(0);
        let wanted: &[&str] = if what == "fine" { &["1"] } else { &[] };
        let versions: Vec<_> = first.initial_resource_versions.values().map(String::as_str).collect();
        assert_eq!((versions.as_slice(), first.resource_names_subscribe.len()), (wanted, 1), "{what}");

        let mut client = crate::client(Variant::StateOfTheWorld, &[eds("a")]);
        requests(&mut client, 0);
        hear(&mut client, 0, &sotw(EDS, "1", vec![encoded(&stale)]));
        match what {
            "stale" => client.tick(at(5)),
            "an error" => {
                hear(
                    &mut client,
                    1,
                    &DiscoveryResponse { resource_errors: vec![error(14)], ..sotw(EDS, "1", vec![]) },
                );
            }
            "refused" => hear(&mut client, 1, &sotw(EDS, "2", vec![encoded(&bad)])),
            _ => {}
        }
        client.ended(at(6), End::Closed, TroubleKind::Closed, "bye");
        client.opened(at(7));
        let first = requests(&mut client, 7).remove(0);
        assert_eq!(first.version_info, if what == "fine" { "1" } else { "" }, "{what}");
    }
    // A deletion that was not believed is asked about anew, too.
    let config = XdsConfig {
        deletions: Deletions::Ignore,
        variant: Variant::Delta,
        ..XdsConfig::new(["http://a:1"], "n")
    };
    let mut client = XdsClient::new(&config, Scope::Followed);
    client.follow(&eds("a"));
    client.opened(at(0));
    delta_requests(&mut client, 0);
    hear(&mut client, 0, &delta(EDS, "1", vec![("a", encoded(&simple("a", &[1])))]));
    hear(
        &mut client,
        0,
        &DeltaDiscoveryResponse { removed_resources: vec!["a".to_owned()], ..delta(EDS, "2", vec![]) },
    );
    client.opened(at(1));
    assert!(delta_requests(&mut client, 1).remove(0).initial_resource_versions.is_empty());
}

#[test]
fn a_stream_that_breaks_after_each_answer_is_opened_less_and_less_often() {
    let mut client = client(Variant::StateOfTheWorld, &[eds("a")]);
    let mut waits = Vec::new();
    let mut now = at(0);
    for _ in 0..8 {
        client.opened(now);
        client.received(now, &encoded(&sotw(EDS, "1", vec![encoded(&simple("a", &[1]))]))).unwrap();
        let next = client.ended(now, End::Broken, TroubleKind::Malformed, "garbage");
        waits.push(next.saturating_since(now));
        now = next;
    }
    assert!(waits[0] > Duration::ZERO && waits[7] >= Duration::from_secs(4), "{waits:?}");
    // One that stood for a while is no reason to be wary of the next.
    client.opened(now);
    client.received(now, &encoded(&sotw(EDS, "1", Vec::new()))).unwrap();
    let later = now.saturating_add(Duration::from_secs(60));
    let next = client.ended(later, End::Broken, TroubleKind::Timeout, "silent");
    assert!(next.saturating_since(later) <= Duration::from_millis(250));
}

/// They were counted for as long as somebody followed them.
#[test]
fn clusters_that_are_gone_leave_room_for_others() {
    let config = XdsConfig { max_clusters: 3, ..XdsConfig::new(["http://a:1"], "n") };
    let mut client = XdsClient::new(&config, Scope::All);
    client.opened(at(0));
    requests(&mut client, 0);
    for round in 0..9 {
        let names = [0, 1, 2].map(|n| format!("c-{round}-{n}"));
        let all = names.iter().map(|name| encoded(&cluster(name, ""))).collect();
        hear(&mut client, round, &sotw(CDS, &round.to_string(), all));
        assert_eq!(client.take_listed(), names);
        names.iter().for_each(|name| client.follow(&cds(name)));
        let answers = requests(&mut client, round);
        assert!(answers.iter().all(|answer| answer.error_detail.is_none()), "round {round}: {answers:?}");
    }
}

/// The files of the protocol bound the sums; Envoy 1.40 was seen to take those of endpoints.
#[test]
fn weights_whose_sum_is_above_32_bits_are_taken() {
    let heavy = |ip: &str| proto::LbEndpoint { load_balancing_weight: Some(u32::MAX), ..lb_endpoint(ip, 80) };
    let place = |ip: &str| proto::LocalityLbEndpoints {
        load_balancing_weight: Some(u32::MAX),
        ..group(vec![heavy(ip), heavy("10.0.0.9")])
    };
    let read =
        Assignment::read(&encoded(&assignment("a", vec![place("10.0.0.1"), place("10.0.0.2")]))).unwrap();
    assert_eq!(read.endpoints.len(), 4);
}

#[test]
fn ports_and_addresses_at_the_edge() {
    let read = |ip: &str, port| {
        Assignment::read(&encoded(&assignment("a", vec![group(vec![lb_endpoint(ip, port)])])))
    };
    assert_eq!(read("10.0.0.1", 65_535).unwrap().endpoints.len(), 1);
    assert!(read("10.0.0.1", 65_536).unwrap_err().to_string().contains("at most 65535"));
    // Allowed, and nowhere to send to.
    for (ip, port) in [("10.0.0.1", 0), ("0.0.0.0", 80), ("::", 80), ("224.0.0.1", 80), ("ff02::1", 80)] {
        let read = read(ip, port).unwrap();
        assert_eq!((read.endpoints.len(), read.rejects.len()), (0, 1), "{ip} {port}");
    }
    for ip in ["", "localhost", "10.0.0.1:80", "[fd00::1]", "10.0.0", "fe80::1%", "10.0.0.1/8"] {
        assert!(read(ip, 80).unwrap_err().to_string().contains("is not an IP address"), "{ip}");
    }
    assert_eq!(read("fd00::1", 80).unwrap().endpoints[0].id().as_str(), "[fd00::1]:80");
}

/// Two bytes are an empty entry, which takes hundreds when it is decoded.
#[test]
fn small_answers_do_not_become_large_ones() {
    const EMPTY: [u8; 2] = [0x12, 0];
    let field = |number: u8, bytes: &[u8]| {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut field);
        field.extend(bytes);
        field
    };
    let many = EMPTY.repeat(1 << 20);
    let before = peak();
    let mut client = client(Variant::StateOfTheWorld, &[eds("a"), cds("c")]);
    requests(&mut client, 0);
    let mut inline = cluster("c", "");
    (inline.kind, inline.eds_cluster_config) = (0, None);
    let named = |bytes: &[u8]| [field(1, b"a"), bytes.to_vec()].concat();
    let entry = |number: u8, bytes: &[u8]| named(&field(2, &field(2, &field(number, bytes))));
    let bombs = [
        ("groups", named(&many)),
        ("endpoints", named(&field(2, &many))),
        ("further addresses", entry(1, &[0x22, 0].repeat(1 << 20))),
        ("metadata", entry(3, &[0x0a, 0].repeat(1 << 20))),
        ("drops", named(&field(4, &many))),
    ];
    for (round, (what, bomb)) in (1..).zip(&bombs) {
        let now = round * 1_000;
        let why = Assignment::read(bomb).unwrap_err().to_string();
        assert!(why.contains("at most"), "{what}: {why}");
        hear(&mut client, 0, &sotw(EDS, "1", vec![bomb.clone()]));
        assert!(requests(&mut client, now).iter().any(|request| request.error_detail.is_some()), "{what}");
        let bytes = [encoded(&inline), [vec![0x8a, 2], field(1, bomb)[1..].to_vec()].concat()].concat();
        hear(&mut client, 0, &sotw(CDS, "1", vec![bytes]));
        let refused = requests(&mut client, now + 500);
        let detail = refused.iter().find_map(|request| request.error_detail.clone()).unwrap();
        assert!(detail.message.contains("at most"), "{what}: {detail:?}");
    }
    // As are answers.
    for variant in [Variant::StateOfTheWorld, Variant::Delta] {
        let mut client = crate::client(variant, &[eds("a")]);
        let answer = [field(4, EDS.as_bytes()), many.clone()].concat();
        assert!(client.received(at(0), &answer).unwrap_err().to_string().contains("at most"), "{variant:?}");
    }
    let grown = peak() - before;
    assert!(grown < 64 << 10, "{grown} KiB");
}

/// The most memory that this process ever had, in KiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Whatever is in the wrong envelope may be what the server still has.
#[test]
fn a_cluster_in_the_wrong_envelope_is_not_deleted() {
    let mut client = client(Variant::StateOfTheWorld, &[cds("a")]);
    requests(&mut client, 0);
    hear(&mut client, 0, &sotw(CDS, "1", vec![encoded(&cluster("a", ""))]));
    hear(&mut client, 0, &sotw(EDS, "1", vec![encoded(&simple("a", &[1]))]));
    told(&mut client);
    let wrong = proto::Resource {
        version: "2".to_owned(),
        resource: Some(any(CDS, encoded(&cluster("a", "")))),
        name: "b".to_owned(),
    };
    let response =
        DiscoveryResponse { resources: vec![any(ENVELOPE, encoded(&wrong))], ..sotw(CDS, "2", vec![]) };
    hear(&mut client, 1, &response);
    assert_eq!(told(&mut client), NOTHING);
    assert!(requests(&mut client, 1).iter().any(|request| request.error_detail.is_some()));
}

/// The end may come at any moment, and time may stand still or go back.
#[test]
fn the_end_in_every_state() {
    for variant in [Variant::StateOfTheWorld, Variant::Delta] {
        for end in [End::Closed, End::Broken] {
            for steps in 0..7 {
                let mut client = client(variant, &[cds("a"), eds("b")]);
                client.ended(at(100), end, TroubleKind::Closed, "before anything");
                client.ended(at(99), end, TroubleKind::Closed, "without a stream");
                client.opened(at(50));
                for step in 0..steps {
                    match (step, variant) {
                        (1, Variant::StateOfTheWorld) => {
                            hear(&mut client, 3, &sotw(CDS, "1", vec![encoded(&cluster("a", "b"))]));
                        }
                        (1, Variant::Delta) => {
                            hear(&mut client, 3, &delta(CDS, "1", vec![("a", encoded(&cluster("a", "b")))]));
                        }
                        (3, Variant::StateOfTheWorld) => {
                            hear(&mut client, 2, &sotw(EDS, "1", vec![encoded(&simple("b", &[1]))]));
                        }
                        (3, Variant::Delta) => {
                            hear(&mut client, 2, &delta(EDS, "1", vec![("b", encoded(&simple("b", &[1])))]));
                        }
                        (5, _) => client.unfollow(&cds("a")),
                        _ => while client.next_request(at(1)).is_some() {},
                    }
                }
                let next = client.ended(at(1), end, TroubleKind::Closed, "bye");
                assert!(next >= at(100) && next <= at(130), "{next:?}");
                assert_eq!(client.next_request(at(200)), None);
                assert_eq!(client.next_deadline(), None);
                client.received(at(1), b"late").unwrap();
                client.opened(next);
                assert!(client.next_request(next).is_some(), "{variant:?} {end:?} {steps}");
            }
        }
    }
}

#[test]
fn names_of_any_kind() {
    for name in
        ["a/b//c", "xdstp://authority/envoy.config.endpoint.v3.ClusterLoadAssignment/x?a=b", "ä\u{0}", " "]
    {
        let mut client = client(Variant::StateOfTheWorld, &[cds(name)]);
        assert_eq!(requests(&mut client, 0).remove(0).resource_names, [name]);
        hear(&mut client, 0, &sotw(CDS, "1", vec![encoded(&cluster(name, ""))]));
        hear(&mut client, 0, &sotw(EDS, "1", vec![encoded(&simple(name, &[1, 2]))]));
        assert_eq!(told(&mut client), [format!("{name}: 2")]);
    }
}
