//! Nothing is silently dropped: what a reader does not carry over it tells.
#![allow(clippy::panic, clippy::unwrap_used)]

use evenkeel_convert::{Conversion, Dialect, Options, Verdict, read};
use serde_json::{Value, json};

fn convert(from: Dialect, text: &str) -> Conversion {
    read(from, text, "f", &Options::default()).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// The worst that is told of the subjects that hold this text.
fn worst(found: &Conversion, subject: &str) -> Option<Verdict> {
    let all = found.report.findings.iter();
    all.filter(|finding| finding.subject.contains(subject)).map(|finding| finding.verdict).max()
}

/// Every table of an Envoy configuration gets a field that does not exist; each must be told or refused.
#[test]
fn fields_of_envoy_that_nobody_reads_are_told() {
    let whole = envoy();
    let mut tables = Vec::new();
    collect(&whole, String::new(), &mut tables);
    assert!(tables.len() > 60, "{tables:?}");
    for table in tables {
        let mut changed = whole.clone();
        let inner = changed.pointer_mut(&table).unwrap().as_object_mut().unwrap();
        inner.insert("unheard_of".to_owned(), json!(1));
        if let Ok(found) = read(Dialect::Envoy, &changed.to_string(), "f", &Options::default()) {
            assert_eq!(worst(&found, "unheard_of"), Some(Verdict::NoEquivalent), "{table}\n{}", found.report);
        }
    }
}

/// The JSON pointers of all tables in a value. Labels are free, so what they are called says nothing.
fn collect(value: &Value, at: String, into: &mut Vec<String>) {
    match value {
        Value::Object(table) => {
            for (key, inner) in table.iter().filter(|(key, _)| *key != "envoy.lb") {
                collect(inner, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), into);
            }
            into.push(at);
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(place, inner)| collect(inner, format!("{at}/{place}"), into));
        }
        _ => {}
    }
}

fn envoy() -> Value {
    let tls_types = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
    let pair =
        json!({ "certificate_chain": { "filename": "c.pem" }, "private_key": { "filename": "k.pem" } });
    let routes = json!([
        {
            "match": {
                "safe_regex": { "regex": "/a.*", "google_re2": {} },
                "headers": [
                    { "name": "x", "string_match": { "exact": "1" } },
                    { "name": "y", "string_match": { "safe_regex": { "regex": "a+" } } },
                    { "name": "z", "safe_regex_match": { "regex": "a+" } },
                    { "name": "n", "range_match": { "start": 1, "end": 5 } },
                ],
                "query_parameters": [{ "name": "q", "string_match": { "prefix": "v" } }],
                "runtime_fraction": { "default_value": { "numerator": 5 }, "runtime_key": "k" },
            },
            "request_headers_to_add": [{ "header": { "key": "a", "value": "b" } }],
            "route": {
                "weighted_clusters": { "clusters": [{ "name": "app", "weight": 1 }], "total_weight": 1 },
                "retry_policy": { "retry_on": "5xx", "retry_back_off": { "base_interval": "1s" } },
                "request_mirror_policies": [
                    { "cluster": "app", "runtime_fraction": { "default_value": { "numerator": 5 } } },
                ],
                "hash_policy": [
                    { "header": { "header_name": "h" } },
                    { "cookie": { "name": "c" } },
                    { "query_parameter": { "name": "q" } },
                    { "connection_properties": { "source_ip": true } },
                ],
            },
        },
        { "match": { "prefix": "/r" }, "redirect": { "host_redirect": "h" } },
        { "match": { "prefix": "/d" }, "direct_response": { "status": 200, "body": { "inline_string": "x" } } },
    ]);
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "route_config": { "name": "r", "virtual_hosts": [{ "name": "v", "domains": ["*"], "routes": routes }] },
    });
    let tcp = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "t",
        "weighted_clusters": { "clusters": [{ "name": "app", "weight": 1 }] },
    });
    let udp = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
        "stat_prefix": "u",
        "matcher": { "on_no_match": { "action": { "name": "route", "typed_config": { "cluster": "app" } } } },
        "hash_policies": [{ "source_ip": true }],
    });
    let listener = |port: u16, filters: Value| {
        json!({
            "name": format!("l{port}"),
            "address": { "socket_address": { "address": "0.0.0.0", "port_value": port } },
            "filter_chains": [{ "filters": filters }],
        })
    };
    let mut encrypted = listener(443, json!([{ "name": "http", "typed_config": manager }]));
    encrypted["listener_filters"] =
        json!([{ "name": "envoy.filters.listener.tls_inspector", "typed_config": {} }]);
    encrypted["filter_chains"][0]["filter_chain_match"] = json!({ "server_names": ["a.example"] });
    encrypted["filter_chains"][0]["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": format!("{tls_types}.DownstreamTlsContext"),
            "common_tls_context": { "tls_certificates": [pair] },
        },
    });
    let kinds = "type.googleapis.com/envoy.extensions.load_balancing_policies";
    let typed = |name: &str, kind: &str, settings: Value| {
        let mut config = settings;
        config["@type"] = json!(format!("{kinds}.{kind}"));
        let policies = json!([{ "typed_extension_config": { "name": "x", "typed_config": config } }]);
        json!({ "name": name, "load_balancing_policy": { "policies": policies } })
    };
    let slow = json!({ "slow_start_window": "10s", "aggression": { "default_value": 1.0 } });
    let zones = json!({ "zone_aware_lb_config": { "fail_traffic_on_panic": true } });
    let hashing = json!({ "use_hostname_for_hashing": true });
    let reports = typed(
        "e",
        "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
        json!({ "blackout_period": "5s", "slow_start_config": slow, "locality_lb_config": zones }),
    );
    let inside = json!({ "endpoint_picking_policy": reports["load_balancing_policy"] });
    let typed = [
        typed(
            "a",
            "round_robin.v3.RoundRobin",
            json!({ "slow_start_config": slow, "locality_lb_config": zones }),
        ),
        typed(
            "b",
            "least_request.v3.LeastRequest",
            json!({ "active_request_bias": { "default_value": 1.0 }, "slow_start_config": slow }),
        ),
        typed(
            "c",
            "ring_hash.v3.RingHash",
            json!({ "consistent_hashing_lb_config": hashing, "locality_weighted_lb_config": {} }),
        ),
        typed("d", "maglev.v3.Maglev", json!({ "consistent_hashing_lb_config": hashing })),
        reports,
        typed("f", "wrr_locality.v3.WrrLocality", inside),
        typed("g", "random.v3.Random", json!({ "locality_lb_config": zones })),
    ];
    let mut whole = json!({ "static_resources": {
        "listeners": [
            encrypted,
            listener(81, json!([{ "name": "tcp", "typed_config": tcp }])),
            {
                "name": "dns",
                "address": { "socket_address": { "address": "0.0.0.0", "port_value": 53, "protocol": "UDP" } },
                "listener_filters": [{ "name": "envoy.filters.udp_listener.udp_proxy", "typed_config": udp }],
            },
        ],
        "clusters": [{
            "name": "app",
            "lb_policy": "LEAST_REQUEST",
            "least_request_lb_config": {
                "choice_count": 3,
                "active_request_bias": { "default_value": 1.0, "runtime_key": "k" },
                "slow_start_config": { "slow_start_window": "10s", "aggression": { "default_value": 1.0 } },
            },
            "common_lb_config": {
                "healthy_panic_threshold": { "value": 40 },
                "zone_aware_lb_config": { "fail_traffic_on_panic": true },
                "locality_weighted_lb_config": {},
                "consistent_hashing_lb_config": { "use_hostname_for_hashing": true },
            },
            "load_assignment": {
                "cluster_name": "app",
                "policy": { "overprovisioning_factor": 140 },
                "endpoints": [{
                    "locality": { "zone": "a" },
                    "lb_endpoints": [{
                        "endpoint": { "address": { "socket_address": { "address": "10.0.0.1", "port_value": 80 } } },
                        "metadata": { "filter_metadata": { "envoy.lb": { "x": "y" } } },
                    }],
                }],
            },
            "outlier_detection": { "consecutive_5xx": 3 },
            "circuit_breakers": {
                "thresholds": [{ "max_requests": 10, "retry_budget": { "budget_percent": { "value": 20 } } }],
                "per_host_thresholds": [{ "max_connections": 10 }],
            },
            "health_checks": [{
                "timeout": "1s", "interval": "2s", "healthy_threshold": 1, "unhealthy_threshold": 2,
                "http_health_check": { "path": "/", "expected_statuses": [{ "start": 200, "end": 300 }] },
            }],
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": format!("{tls_types}.UpstreamTlsContext"),
                    "common_tls_context": {
                        "validation_context": {
                            "trusted_ca": { "filename": "ca.pem" },
                            "system_root_certs": {},
                            "match_typed_subject_alt_names":
                                [{ "san_type": "DNS", "matcher": { "exact": "a.example" } }],
                        },
                    },
                },
            },
        }],
    } });
    whole["static_resources"]["clusters"].as_array_mut().unwrap().extend(typed);
    whole
}

#[test]
fn what_envoy_does_in_part_or_more_often_is_told() {
    let cluster = |fields: Value| {
        let mut cluster = json!({ "name": "app" });
        cluster.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        convert(Dialect::Envoy, &json!({ "static_resources": { "clusters": [cluster] } }).to_string())
    };
    let texts = json!([{ "text": "61" }, { "text": "62" }]);
    let found = cluster(json!({ "health_checks": [{
        "timeout": "1s", "interval": "2s", "healthy_threshold": 1, "unhealthy_threshold": 2,
        "tcp_health_check": { "receive": texts },
    }] }));
    assert_eq!(worst(&found, "receive[1]"), Some(Verdict::NoEquivalent), "{}", found.report);
    let found = cluster(json!({ "outlier_detection": { "enforcing_success_rate": 50 } }));
    assert_eq!(worst(&found, "enforcing_success_rate: 50"), Some(Verdict::Differs), "{}", found.report);
    let found = cluster(json!({ "circuit_breakers": { "thresholds": [{ "max_requests": u32::MAX }] } }));
    assert_eq!(worst(&found, "max_requests"), Some(Verdict::Differs), "{}", found.report);
}

#[test]
fn words_of_haproxy_that_ours_does_not_say_are_told() {
    use Verdict::{Differs, NoEquivalent};
    let http = |backend: &str| format!("backend x\n mode http\n{backend}\n");
    let tcp = |backend: &str| {
        format!("frontend f\n mode tcp\n bind :1\n default_backend x\nbackend x\n mode tcp\n{backend}\n")
    };
    for (text, subject, verdict) in [
        (http(" server a 10.0.0.1:80 check observe layer4"), "observe layer4", Differs),
        (http(" server a 10.0.0.1:80 check observe layer7"), "observe layer7", Differs),
        (http(" server a 10.0.0.1:80 observe layer4"), "observe layer4", NoEquivalent),
        (
            http(" server a 10.0.0.1:80 check\n server b 10.0.0.2:80 check observe layer4"),
            "the check of b",
            Differs,
        ),
        (http(" balance random\n server a 10.0.0.1:80 maxconn 5"), "maxconn 5", NoEquivalent),
        (
            http(" balance random\n hash-balance-factor 150\n server a 10.0.0.1:80"),
            "hash-balance-factor 150",
            NoEquivalent,
        ),
        (http(" option httpchk GET /\n server a 10.0.0.1:80 check"), "option httpchk", Differs),
        (http(" http-check send ver HTTP/1.0\n server a 10.0.0.1:80 check"), "ver HTTP/1.0", Differs),
        (
            http(" stick-table type ip size 1k store gpc0\n server a 10.0.0.1:80"),
            "stick-table: store gpc0",
            NoEquivalent,
        ),
        (
            http(" stick-table type ip size 1k nopurge\n server a 10.0.0.1:80"),
            "stick-table: nopurge",
            NoEquivalent,
        ),
        (http(" stick on src table t\n server a 10.0.0.1:80"), "stick: table t", NoEquivalent),
        (http(" server a 10.0.0.1:80 cookie s1"), "cookie s1", NoEquivalent),
        (http(" acl p path_beg /x\n server a 10.0.0.1:80"), "acl p", NoEquivalent),
        (tcp(" stick on src\n server a 10.0.0.1:80"), "the affinity of x", NoEquivalent),
        (tcp(" server a 10.0.0.1:80"), "retries (in force for x)", Differs),
    ] {
        let found = convert(Dialect::Haproxy, &text);
        assert_eq!(worst(&found, subject), Some(verdict), "{subject} of {text}\n{}", found.report);
    }
    let whole = http(" option httpchk GET / HTTP/1.1\n server a 10.0.0.1:80 check");
    assert_eq!(worst(&convert(Dialect::Haproxy, &whole), "option httpchk"), Some(Verdict::Taken));
    let same = http(" server a 10.0.0.1:80 check observe layer4\n server b 10.0.0.2:80 check observe layer4");
    assert_eq!(worst(&convert(Dialect::Haproxy, &same), "the check of"), None);
}

#[test]
fn words_of_haproxys_cookie_are_told() {
    let options = Options { cookie_secret: Some("sixteen bytes or more".to_owned()), ..Options::default() };
    let text = "backend x\n mode http\n cookie SRV insert preserve domain .example maxidle 10m maxlife 1h\n stick on src\n server a 10.0.0.1:80 cookie a\n";
    let found = read(Dialect::Haproxy, text, "f", &options).unwrap();
    for subject in [
        "cookie SRV: preserve",
        "cookie SRV: domain .example",
        "cookie SRV: maxidle 10m",
        "stick on src, beside",
    ] {
        assert_eq!(worst(&found, subject), Some(Verdict::NoEquivalent), "{subject}\n{}", found.report);
    }
}

#[test]
fn numbers_of_haproxy_are_not_cut_in_silence() {
    for (line, field) in [
        ("stick-table type ip size much", "stick-table size"),
        ("stick-table type ip size 4g", "stick-table size"),
        ("tcp-check connect port http", "tcp-check connect port"),
    ] {
        let text = format!("backend x\n mode tcp\n {line}\n server a 10.0.0.1:80 check\n");
        let error = read(Dialect::Haproxy, &text, "f", &Options::default()).unwrap_err().to_string();
        assert!(error.contains(field), "{line}: {error}");
    }
}

#[test]
fn directives_of_nginx_that_come_to_nothing_are_told() {
    let found = convert(
        Dialect::Nginx,
        "upstream a { random; server 10.0.0.1:80 max_fails=3 fail_timeout=9s; } server { listen 80; location / { proxy_pass http://a; } }",
    );
    for word in ["max_fails=3", "fail_timeout=9s"] {
        assert_eq!(worst(&found, word), Some(Verdict::NoEquivalent), "{}", found.report);
    }
    let found = convert(
        Dialect::Nginx,
        "upstream a { server 10.0.0.1:80; } server { listen 80; return 301 https://$host; return 403; location /x { proxy_pass http://a; } }",
    );
    for text in ["location /x", "return 403"] {
        assert_eq!(worst(&found, text), Some(Verdict::NoEquivalent), "{}", found.report);
    }
}
