//! Texts in, events out: both formats in three syntaxes, every kind of fault, and garbage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use evenkeel_file::{Answer, Document, Syntax};
use evenkeel_registry::{Event, Proof, TroubleKind};
use evenkeel_types::{Announced, Endpoint, Labels, Locality, Priority, Weight};
use proptest::prelude::*;

fn read(syntax: Syntax, text: &str) -> Answer {
    Document::parse(text.as_bytes(), syntax).and_then(|document| document.service("users")).unwrap()
}

/// What is wrong with the whole.
fn fault(syntax: Syntax, text: &str) -> String {
    let read = Document::parse(text.as_bytes(), syntax).and_then(|document| document.service("users"));
    read.map(|answer| answer.endpoints).unwrap_err().to_string()
}

const TOML: &str = r#"
version = 1
[[services.users.endpoints]]
id = "users-1"
addresses = ["10.0.0.1:8080", "[fd00::1]:8080"]
weight = 0x3
priority = 1
announced = "draining"
hostname = "users.example"
incarnation = 7
locality = { region = "no", zone = "no-1" }
labels = { version = "7" }
[[services.users.endpoints]]
address = "unix:/run/users.sock"
[services.mail]
endpoints = []
"#;

const YAML: &str = "
version: 1
services:
  users:
    endpoints:
    - &first
      id: users-1
      addresses: ['10.0.0.1:8080', '[fd00::1]:8080']
      weight: 3
      priority: 1
      announced: draining
      hostname: users.example
      incarnation: 7
      locality: {region: no, zone: no-1}
      labels: {version: 7}
    - address: unix:/run/users.sock
  mail:
    endpoints: []
  copy:
    endpoints: [*first]
";

const JSON: &str = r#"{"version": 1, "services": {
  "users": {"endpoints": [
    {"id": "users-1", "addresses": ["10.0.0.1:8080", "[fd00::1]:8080"], "weight": 3, "priority": 1,
     "announced": "draining", "hostname": "users.example", "incarnation": 7,
     "locality": {"region": "no", "zone": "no-1"}, "labels": {"version": 7}},
    {"address": "unix:/run/users.sock", "id": null}]},
  "mail": {"endpoints": []}}}"#;

#[test]
fn one_set_in_three_syntaxes() {
    let first = Endpoint::new("users-1".parse().unwrap(), "10.0.0.1:8080".parse().unwrap())
        .with_further_addresses(vec!["[fd00::1]:8080".parse().unwrap()])
        .unwrap()
        .with_weight(Weight::new(3))
        .with_priority(Priority::new(1).unwrap())
        .with_announced(Announced::Draining)
        .with_hostname("users.example")
        .with_incarnation(7)
        .with_locality(Locality::new("no", "no-1", ""))
        .with_labels(Labels::new([("version", "7")]).unwrap());
    let second = Endpoint::at("unix:/run/users.sock".parse().unwrap()).unwrap();
    let wanted = Answer { endpoints: vec![first, second], ..Answer::default() };
    for (syntax, text) in [(Syntax::Toml, TOML), (Syntax::Yaml, YAML), (Syntax::Json, JSON)] {
        assert_eq!(read(syntax, text), wanted, "{syntax:?}");
        let document = Document::parse(text.as_bytes(), syntax).unwrap();
        assert!(document.services().iter().any(|name| name == "mail"));
        assert!(document.service("mail").unwrap().endpoints.is_empty());
    }
    let copy = Document::parse(YAML.as_bytes(), Syntax::Yaml).unwrap().service("copy").unwrap();
    assert_eq!(copy.endpoints[0], wanted.endpoints[0], "an alias is what it stands for");
}

/// What is said of an entry that should have been good.
fn rejected(entry: &str) -> String {
    let text = format!(
        "version = 1\n[[services.users.endpoints]]\nid = \"good\"\naddress = \"10.0.0.1:80\"\n\
         [[services.users.endpoints]]\n{entry}\n"
    );
    let answer = read(Syntax::Toml, &text);
    assert_eq!(answer.endpoints.len(), 1, "the good one is used: {entry}");
    let [bad] = answer.bad.as_slice() else { panic!("one is bad: {:?}", answer.bad) };
    format!("{}: {}", bad.id, bad.fault)
}

#[test]
fn bad_entries_are_named_with_their_line() {
    let cases = [
        ("id = \"b\"", "b: line 5: there is neither address nor addresses"),
        ("id = \"b\"\naddress = \"10.0.0.1\"", "b: line 7: address \"10.0.0.1\": address has no port"),
        ("address = \"10.0.0.2:99999\"", "10.0.0.2:99999: line 6: address \"10.0.0.2:99999\": port"),
        (
            "id = \"b\"\naddress = \"10.0.0.2:80\"\nlabels = { \"evenkeel.a\" = \"1\" }",
            "b: line 8: labels: a label's key begins with `evenkeel.`, which is reserved",
        ),
        ("id = 7\naddress = \"10.0.0.2:80\"", "7: line 6: id is 7, not a text"),
        ("id = \"good\"\naddress = \"10.0.0.2:80\"", "good: line 5: a second entry with this id; the first"),
        ("address = \"10.0.0.2:80\"\nweight = -1", "10.0.0.2:80: line 7: weight is -1, not a whole number"),
        ("address = \"10.0.0.2:80\"\nweight = 4294967296", "10.0.0.2:80: line 7: weight is 4294967296, not"),
        ("address = \"10.0.0.2:80\"\nweight = \"3\"", "10.0.0.2:80: line 7: weight is \"3\", not a whole"),
        ("address = \"10.0.0.2:80\"\npriority = 129", "10.0.0.2:80: line 7: priority is 129, not a whole"),
        (
            "address = \"10.0.0.2:80\"\nannounced = \"UP\"",
            "10.0.0.2:80: line 7: announced is \"UP\": allowed",
        ),
        (
            "address = \"10.0.0.2:80\"\nwieght = 3",
            "10.0.0.2:80: line 7: the entry has the unknown key \"wieght\"",
        ),
        ("id = \"\"\naddress = \"10.0.0.2:80\"", ": line 6: endpoint id is empty"),
        ("addresses = []", "services.users.endpoints[1]: line 5: there is no address"),
        (
            "addresses = [\"a:1\", \"a:1\"]",
            "services.users.endpoints[1]: line 5: endpoint has the address a:1",
        ),
        ("address = \"a:1\"\nlabels = { \"\" = \"x\" }", "a:1: line 7: labels: a label has an empty key"),
    ];
    for (entry, wanted) in cases {
        let said = rejected(entry);
        assert!(said.contains(wanted), "{said:?} of {entry:?} should hold {wanted:?}");
    }
}

#[test]
fn broken_files_are_trouble_with_a_line() {
    let cases = [
        (Syntax::Toml, "version = 1\n[services.users\n", "line 2: "),
        (Syntax::Toml, "", "line 1: the file is empty"),
        (Syntax::Toml, "[services.users]\nendpoints = []", "there is no version: write version = 1"),
        (Syntax::Toml, "version = 2\n[services.users]", "line 1: version 2 is not known: 1 is"),
        (
            Syntax::Toml,
            "version = 1\n[services.users]\nendpionts = []",
            "line 3: services.users has the unknown",
        ),
        (Syntax::Toml, "version = 1\n[services.users]", "services.users has no endpoints"),
        (
            Syntax::Toml,
            "version = 1\n[services.user]\nendpoints = []",
            "\"users\" is not listed; those listed are: user",
        ),
        (Syntax::Toml, "version = 1\nservices = 3", "line 2: services is 3, not a table"),
        (Syntax::Toml, "a = 1", "neither `services` (evenkeel) nor `resources`"),
        (Syntax::Yaml, "version: 1\nservices: {users: {endpoints: [}", "line 2: "),
        (Syntax::Yaml, "version: 1\nversion: 1", "line 2: key \"version\" stands here twice"),
        (Syntax::Yaml, "version: 1\n---\nversion: 1", "line 2: a second document"),
        (Syntax::Yaml, "version: !!int 1", "line 1: tags are not allowed"),
        (Syntax::Yaml, "~", "the file is null"),
        (Syntax::Json, "{\"version\": 1,\n\"services\": {\"users\": {", "line 2: EOF"),
        (Syntax::Json, "{\"version\": 1}\n{}", "line 2: trailing characters"),
        (Syntax::Json, "{\"version\": 1,\n\"version\": 1}", "line 2: key \"version\" stands here twice"),
        (Syntax::Json, "[1]", "the file is a list, not a table"),
    ];
    for (syntax, text, wanted) in cases {
        let said = fault(syntax, text);
        assert!(said.contains(wanted), "{said:?} of {text:?} should hold {wanted:?}");
    }
    let latin = Document::parse(b"a = 1\nb = \"\xe9\"", Syntax::Toml).unwrap_err();
    assert_eq!(latin.to_string(), "line 2: not UTF-8");
}

#[test]
fn breadth_and_depth_are_bounded() {
    for syntax in [Syntax::Toml, Syntax::Yaml, Syntax::Json] {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = if syntax == Syntax::Toml { format!("a = {deep}") } else { deep };
        assert!(Document::parse(text.as_bytes(), syntax).is_err(), "{syntax:?}");
        let wide = format!("[{}]", "1,".repeat(2_100_000).trim_end_matches(','));
        let text = if syntax == Syntax::Toml { format!("a = {wide}") } else { wide };
        let said = Document::parse(text.as_bytes(), syntax).unwrap_err().to_string();
        assert!(said.contains("more than 2000000 values"), "{syntax:?}: {said}");
    }
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs += &format!("a{level}: &a{level} [{inner}]\n");
    }
    let said = Document::parse(laughs.as_bytes(), Syntax::Yaml).unwrap_err().to_string();
    assert!(said.contains("more than 2000000 values"), "{said}");
}

#[test]
fn an_empty_list_is_taken_at_its_word_only_if_it_says_so() {
    let events = |rest: &str| {
        Document::events(
            format!("version: 1\nservices: {{users: {{{rest}}}}}").as_bytes(),
            Syntax::Yaml,
            "users",
        )
    };
    assert_eq!(events("endpoints: []"), [Event::set(vec![])]);
    assert_eq!(events("endpoints: [], empty: true"), [Event::Absent { proof: Proof::Declared }]);
    let all_bad = events("endpoints: [{id: a}], empty: true");
    assert!(matches!(all_bad[0], Event::Reject { .. }));
    assert!(matches!(all_bad[1], Event::Trouble { kind: TroubleKind::Malformed, .. }), "{all_bad:?}");
}

const EDS: &str = r#"
version_info: "3"
resources:
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: users
  endpoints:
  - locality: {region: eu, zone: eu-1, sub_zone: r7}
    priority: 1
    load_balancing_weight: 5
    lb_endpoints:
    - endpoint:
        hostname: users.example
        address: {socket_address: {address: 10.0.0.1, port_value: 8080}}
        additional_addresses: [{address: {socket_address: {address: "fd00::1", port_value: 8080}}}]
      health_status: DRAINING
      load_balancing_weight: 3
      metadata: {filter_metadata: {envoy.lb: {version: 7, canary: true}}}
    - endpoint: {address: {pipe: {path: /run/users.sock}}}
    - endpoint: {address: {socket_address: {address: users.example, port_value: 8080}}}
    - endpoint: {address: {socket_address: {address: 10.0.0.2, port_value: 8080}}}
      load_balancing_weight: 0
    - endpoint_name: other
  - priority: 129
    lb_endpoints: [{endpoint: {address: {socket_address: {address: 10.0.0.3, port_value: 8080}}}}]
  policy: {overprovisioning_factor: 140}
"#;

#[test]
fn eds_is_read_and_bad_endpoints_are_left_out() {
    let answer = read(Syntax::Yaml, EDS);
    let place = |endpoint: Endpoint| {
        endpoint.with_priority(Priority::new(1).unwrap()).with_locality(Locality::new("eu", "eu-1", "r7"))
    };
    let first = Endpoint::at("10.0.0.1:8080".parse().unwrap()).unwrap();
    let first = first
        .with_further_addresses(vec!["[fd00::1]:8080".parse().unwrap()])
        .unwrap()
        .with_hostname("users.example")
        .with_announced(Announced::Draining)
        .with_weight(Weight::new(3))
        .with_labels(Labels::new([("version", "7"), ("canary", "true")]).unwrap());
    let second = Endpoint::at("unix:/run/users.sock".parse().unwrap()).unwrap();
    assert_eq!(answer.endpoints, [place(first), place(second)]);
    let bad: Vec<_> = answer.bad.iter().map(|bad| format!("{}: {}", bad.id, bad.fault)).collect();
    let wanted = [
        "users.example:8080: line 19: address \"users.example\" is not an IP address, as EDS wants it",
        "10.0.0.2:8080: line 21: load_balancing_weight is 0",
        "endpoints[0].lb_endpoints[4]: line 22: endpoint_name",
        "endpoints[1]: line 23: priority is 129, not a whole number from 0 to 128",
    ];
    assert_eq!(bad.len(), wanted.len(), "{bad:?}");
    for (bad, wanted) in bad.iter().zip(wanted) {
        assert!(bad.contains(wanted), "{bad}");
    }
}

#[test]
fn eds_in_the_json_spelling_of_protobuf() {
    let text = r#"{"clusterName": "users", "endpoints": [{"lbEndpoints": [{"healthStatus": 1,
        "loadBalancingWeight": "2", "endpoint": {"address": {"socketAddress": {"address": "10.0.0.1",
        "portValue": "80", "protocol": "TCP"}}}}]}]}"#;
    let answer = read(Syntax::Json, text);
    let wanted = Endpoint::at("10.0.0.1:80".parse().unwrap()).unwrap();
    assert_eq!(answer.endpoints, [wanted.with_announced(Announced::Up).with_weight(Weight::new(2))]);
    let said = fault(Syntax::Json, r#"{"resources": [{"@type": "x/envoy.config.cluster.v3.Cluster"}]}"#);
    assert!(said.contains("only envoy.config.endpoint.v3.ClusterLoadAssignment"), "{said}");
}

fn syntaxes() -> impl Strategy<Value = Syntax> {
    prop::sample::select(vec![Syntax::Toml, Syntax::Yaml, Syntax::Json])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// No text panics, and every text leads to at least one event.
    #[test]
    fn garbage_is_survived(syntax in syntaxes(), text in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(!Document::events(&text, syntax, "users").is_empty());
    }

    /// A good file that is cut or hit somewhere is never read as nobody.
    #[test]
    fn damage_never_empties(syntax in syntaxes(), cut in 0_usize..700, hit in 0_usize..700, byte in any::<u8>()) {
        let text = match syntax { Syntax::Toml => TOML, Syntax::Yaml => YAML, _ => JSON };
        let mut text = text.as_bytes()[..cut.min(text.len())].to_vec();
        if let Some(place) = text.get_mut(hit) {
            *place = byte;
        }
        for event in Document::events(&text, syntax, "users") {
            let empty = matches!(&event, Event::Full { endpoints, .. } if endpoints.is_empty());
            prop_assert!(!empty && !matches!(event, Event::Absent { .. }), "{}", String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn the_file_of_the_readme_is_read() {
    let (_, rest) = include_str!("../README.md").split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let endpoints = read(Syntax::Toml, text).endpoints;
    assert_eq!(endpoints.iter().map(|endpoint| endpoint.id().to_string()).collect::<Vec<_>>(), ["users-1"]);
}
