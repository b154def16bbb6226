//! Records in each form that the format allows: replayed, and never passed over.

use std::path::Path;
use std::{env, fs, process};

use evenkeel_conformance::{Tally, Vector, programs, run};
use serde_json::{Value, json};

/// Replays cases of a program; the error is why none of them can be.
fn replay(program: &str, lines: &[Value]) -> Result<Tally, String> {
    let meta = json!({"type": "meta", "program": program, "algorithm": "any"});
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let vector = Vector::parse(Path::new("x.jsonl"), &format!("{meta}\n{}\n", lines.join("\n")));
    programs::replay(&vector.expect("lines of the format")).map_err(|unknown| unknown.to_string())
}

fn is_clean(replayed: &Result<Tally, String>) -> bool {
    replayed.as_ref().is_ok_and(|tally| tally.total > 0 && tally.passed == tally.total)
}

/// The key lists of a committed file and its first case.
fn committed(file: &str) -> (Vec<Value>, Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let text = fs::read_to_string(path).expect("a committed file");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).cloned().collect::<Vec<_>>();
    let case = of("case").into_iter().next().expect("a case");
    (of("keys"), case)
}

fn keys_of(lists: &[Value], case: &Value) -> Vec<String> {
    let list = lists.iter().find(|list| list["id"] == case["keys"]).expect("the list of the case");
    list["keys"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| key.as_str().expect("a text").to_owned())
        .collect()
}

/// The same case with two picks changed for each other.
fn swapped(case: &Value, field: &str) -> Value {
    let mut case = case.clone();
    let list = case[field].as_array_mut().expect("a list");
    let other = (1..list.len()).find(|&at| pick_of(&list[at]) != pick_of(&list[0])).expect("another pick");
    if list[0].is_object() {
        let (first, second) = (list[0]["picks"].clone(), list[other]["picks"].clone());
        (list[0]["picks"], list[other]["picks"]) = (second, first);
    } else {
        list.swap(0, other);
    }
    case
}

fn pick_of(value: &Value) -> &Value {
    if value.is_object() { &value["picks"] } else { value }
}

/// The forms of keys: inline, as `key_order`, and as requests with texts or bytes.
fn each_form(lists: &[Value], case: &Value) -> Vec<(&'static str, Value, &'static str)> {
    let keys = keys_of(lists, case);
    let picks = case["picks"].as_array().expect("picks");
    let mut inline = case.clone();
    inline["keys"] = json!(keys);
    let mut order = case.clone();
    order.as_object_mut().expect("a case").remove("keys");
    let mut requests = order.clone();
    requests.as_object_mut().expect("a case").remove("picks");
    order["key_order"] = json!(keys);
    let mut in_hex = requests.clone();
    let pairs = || keys.iter().zip(picks);
    let hex = |key: &str| key.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    requests["requests"] = pairs().map(|(key, pick)| json!({"key": key, "picks": [pick]})).collect();
    in_hex["requests"] = pairs().map(|(key, pick)| json!({"key_hex": hex(key), "picks": [pick]})).collect();
    vec![
        ("inline", inline, "picks"),
        ("key_order", order, "picks"),
        ("text", requests, "requests"),
        ("hex", in_hex, "requests"),
    ]
}

#[test]
fn keys_may_stand_in_each_form() {
    for (program, file) in [
        ("envoy", "envoy/ring_hash.jsonl"),
        ("envoy", "envoy/maglev.jsonl"),
        ("grpc", "grpc/ring_hash.jsonl"),
        ("haproxy", "haproxy/balance_hdr_map_based.jsonl"),
        ("nginx", "nginx/hash_plain.jsonl"),
        ("pingora", "pingora/ketama.jsonl"),
        ("traefik", "traefik/hrw.jsonl"),
    ] {
        let (lists, case) = committed(file);
        let has_requests = ["envoy", "grpc", "haproxy"].contains(&program);
        for (form, case, field) in each_form(&lists, &case) {
            let replayed = replay(program, std::slice::from_ref(&case));
            if field == "requests" && !has_requests {
                assert!(replayed.is_err(), "{file} {form}: passed over");
                continue;
            }
            assert!(is_clean(&replayed), "{file} {form}: {replayed:?}");
            let wrong = replay(program, &[swapped(&case, field)]).expect("the same form");
            assert_eq!(wrong.total - wrong.passed, 2, "{file} {form}: {:?}", wrong.mismatches);
        }
        let mut unknown = case.clone();
        unknown["keys"] = "no such list".into();
        assert!(replay(program, &[unknown]).is_err(), "{file}: an unknown list");
    }
}

#[test]
fn what_envoy_decides_otherwise_is_no_success() {
    let (lists, case) = committed("envoy/ring_hash.jsonl");
    let replayed = |change: &dyn Fn(&mut Value)| {
        let mut case = case.clone();
        change(&mut case);
        replay("envoy", &[lists.clone(), vec![case]].concat())
    };
    assert!(is_clean(&replayed(&|_| {})));
    for (about, change) in [
        (
            "a cookie that no request has",
            (&|case: &mut Value| case["config"]["hash_policy"] = json!([{"cookie": {"name": "c"}}]))
                as &dyn Fn(&mut Value),
        ),
        ("a parameter that no request has", &|case| {
            case["config"]["hash_policy"] = json!([{"query_parameter": {"name": "q"}}]);
        }),
        ("a policy by extension", &|case| {
            case["config"]["lb_policy"] = "LOAD_BALANCING_POLICY_CONFIG".into();
            case["config"]["load_balancing_policy"] = json!({"policies": []});
        }),
        ("the same without it", &|case| case["config"]["lb_policy"] = "LOAD_BALANCING_POLICY_CONFIG".into()),
        ("no keys", &|case| drop(case.as_object_mut().map(|case| case.remove("keys")))),
    ] {
        assert!(!is_clean(&replayed(change)), "{about}");
    }
}

/// Three of five hosts are down: with this flag a level in panic gives nobody, unless a table decides.
#[test]
fn a_level_may_fail_in_panic() {
    let entry = |(at, health): (usize, &str)| {
        let address = json!({"socket_address": {"address": format!("10.0.0.{}", at + 1), "port_value": 80}});
        json!({"endpoint": {"address": address}, "health_status": health})
    };
    let health = ["HEALTHY", "UNHEALTHY", "UNHEALTHY", "HEALTHY", "UNHEALTHY"];
    let entries: Value = health.into_iter().enumerate().map(entry).collect();
    let servers: Value = (1..=5).map(|at| json!({"addr": format!("10.0.0.{at}:80")})).collect();
    for (policy, fails) in [("RING_HASH", false), ("MAGLEV", false), ("ROUND_ROBIN", true)] {
        let mut config = json!({
            "lb_policy": policy,
            "common_lb_config": {"zone_aware_lb_config": {"fail_traffic_on_panic": true}},
            "load_assignment": {"endpoints": [{"lb_endpoints": entries}]},
        });
        let case = |config: &Value| json!({"type": "case", "id": policy, "config": config, "servers": servers, "keys": ["a", "b"], "picks": [null, -1]});
        let replayed = replay("envoy", &[case(&config)]);
        assert_eq!(is_clean(&replayed), fails, "{policy}: {replayed:?}");
        config["common_lb_config"] = json!({});
        assert_eq!(replay("envoy", &[case(&config)]).map(|tally| tally.passed), Ok(0), "{policy}");
    }
}

/// The recorded keys are the values of the variable, whichever it is.
#[test]
fn nginx_hashes_any_variable() {
    for file in ["nginx/hash_plain.jsonl", "nginx/hash_consistent.jsonl"] {
        let (lists, case) = committed(file);
        let with = |text: &str| {
            let mut case = case.clone();
            case["config"] = case["config"].as_str().expect("a text").replace("$arg_key", text).into();
            replay("nginx", &[lists.clone(), vec![case]].concat())
        };
        for text in [
            "$arg_key",
            "$request_uri",
            "$arg_id",
            "$http_x_user",
            "$cookie_u",
            "$host",
            "$http_host",
            "${uri}",
            "\"$remote_addr\"",
            "\"${arg_key}\"",
        ] {
            assert!(is_clean(&with(text)), "{text}: {:?}", with(text));
        }
        // Where the key stood in these nobody knows.
        for text in ["$host$uri", "$arg_id-", "$uri$arg_key"] {
            assert!(with(text).is_err(), "{text}");
        }
        // The value and a text behind it are another key.
        assert!(with("$arg_key-").is_ok_and(|tally| tally.passed < tally.total));
    }
}

#[test]
fn requests_of_haproxy_may_reach_nobody() {
    let servers = json!([{"name": "a"}, {"name": "b"}]);
    let config = ["balance roundrobin", "server a 10.0.0.1:80", "server b 10.0.0.2:80"];
    for nobody in [json!(null), json!(-1)] {
        let ops = json!([
            {"picks": [0, 1]},
            {"admin": "disable server x/a; disable server x/b"},
            {"picks": [nobody, nobody]},
            ["+", nobody],
            ["-", 0],
            {"admin": "enable server x/a"},
            {"picks": [0]},
        ]);
        let case = json!({"type": "case", "id": "down", "config": config, "servers": servers, "ops": ops});
        let tally = replay("haproxy", &[case]).expect("a known form");
        assert_eq!((tally.passed, tally.total), (6, 6), "{:?}", tally.mismatches);
    }
    for ops in
        [json!([["+", 2]]), json!([["+", "a"]]), json!([["-", 0]]), json!([["+", null], ["-", 0], ["-", 0]])]
    {
        let case = json!({"type": "case", "id": "odd", "config": config, "servers": servers, "ops": ops});
        assert!(!is_clean(&replay("haproxy", &[case])), "{ops}");
    }
}

#[test]
fn cases_of_grpc_without_an_answer_fail() {
    let (lists, case) = committed("grpc/ring_hash.jsonl");
    let forms = each_form(&lists, &case);
    let (_, hex, _) = forms.last().expect("four forms");
    assert!(is_clean(&replay("grpc", &[lists.clone(), vec![case.clone(), hex.clone()]].concat())));
    for (field, value) in
        [("picks", json!(null)), ("picks", json!("0101")), ("runs", json!([0, 1])), ("runs", json!([]))]
    {
        let mut odd = case.clone();
        odd.as_object_mut().expect("a case").remove("picks");
        odd[field] = value;
        let replayed = replay("grpc", &[lists.clone(), vec![case.clone(), odd]].concat());
        let tally = replayed.expect("one case is known");
        assert_eq!(tally.total - tally.passed, 1, "{field}: {:?}", tally.mismatches);
    }
    let down = json!([{"addr": "10.0.0.1:80", "refuses_connections": true}]);
    for config in [json!({"round_robin": {}}), json!({"ring_hash_experimental": {"requestHashHeader": "x"}})]
    {
        let case = json!({"type": "case", "id": "down", "config": config, "servers": down, "keys": ["a", "b"], "picks": [null, -1]});
        let replayed = replay("grpc", &[case]);
        assert!(is_clean(&replayed), "{replayed:?}");
    }
}

#[test]
fn overlapping_requests_and_blocks_may_alternate() {
    let config = "least_conn; server a:80; server b:80;";
    let servers = json!([{"name": "a:80"}, {"name": "b:80"}]);
    let ops = json!([["+", 0], {"picks": [1, 1]}, ["-", 0], ["+", 0]]);
    let case = json!({"type": "case", "id": "both", "config": config, "servers": servers, "ops": ops});
    let replayed = replay("nginx", &[case]);
    assert_eq!(replayed.map(|tally| tally.total), Ok(4));
    // A method by keys needs them.
    let config = "hash $arg_k; server a:80; server b:80;";
    for ops in [json!([["+", 0]]), json!([{"picks": [0]}])] {
        let case = json!({"type": "case", "id": "keyless", "config": config, "servers": servers, "ops": ops});
        assert!(replay("nginx", &[case]).is_err());
    }
}

fn clean_folder(name: &str, file: &str, text: &str) -> Option<bool> {
    let folder = env::temp_dir().join(format!("evenkeel-conformance-forms-{}-{name}", process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    fs::write(folder.join(file), text).expect("a file can be written");
    let report = run(&folder);
    fs::remove_dir_all(&folder).expect("it is ours");
    report.ok().map(|report| report.is_clean())
}

/// Only their names make files measurements, or what they list.
#[test]
fn exact_picks_are_not_banded() {
    let file = |picks: [u32; 4]| {
        let entry = |(at, weight): (usize, u32)| {
            let address =
                json!({"socket_address": {"address": format!("10.0.0.{}", at + 1), "port_value": 80}});
            json!({"endpoint": {"address": address}, "load_balancing_weight": weight})
        };
        let entries: Value = [3, 1].into_iter().enumerate().map(entry).collect();
        let config = json!({"lb_policy": "LEAST_REQUEST", "load_assignment": {"endpoints": [{"lb_endpoints": entries}]}});
        let servers = json!([{"addr": "10.0.0.1:80", "weight": 3}, {"addr": "10.0.0.2:80"}]);
        let meta = json!({"type": "meta", "program": "envoy", "algorithm": "least_request"});
        let case = json!({"type": "case", "id": "x", "config": config, "servers": servers, "picks": picks});
        format!("{meta}\n{case}\n")
    };
    assert_eq!(clean_folder("right", "least_request.jsonl", &file([0, 0, 0, 1])), Some(true));
    assert_eq!(clean_folder("wrong", "least_request.jsonl", &file([1, 1, 1, 1])), Some(false));
}

#[test]
fn no_file_of_json_is_passed_over() {
    let good = concat!(
        r#"{"type":"meta","program":"pingora","algorithm":"rr"}"#,
        "\n",
        r#"{"type":"case","id":"two","config":{"what":"lb_round_robin"},"servers":[{"addr":"10.0.0.1:80"},{"addr":"10.0.0.2:80"}],"picks":[0,1]}"#,
    );
    let bad = good.replace("[0,1]}", "[1,0,0]}");
    for (number, file) in ["x.jsonl", "X.JSONL", "x.ndjson", "x.json", "x.jsonl.txt"].into_iter().enumerate()
    {
        assert_eq!(clean_folder(&format!("good{number}"), file, good), Some(true), "{file}");
        assert_eq!(clean_folder(&format!("bad{number}"), file, &bad), Some(false), "{file}");
    }
    assert_eq!(clean_folder("gz", "x.jsonl.gz", "\u{1f}\u{8b}"), Some(false));
    assert_eq!(clean_folder("json", "x.json", "[1, 2]"), Some(false));
    for file in ["README.md", "notes.txt", "json"] {
        assert_eq!(clean_folder("notes", file, "nothing"), None, "{file}");
    }
}
