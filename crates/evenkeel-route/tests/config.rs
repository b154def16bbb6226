//! Every kind of settings is read from a file, written back, and refuses what it does not know.

use std::fmt::Debug;

use evenkeel_route::affinity::{AffinityRules, CookieConfig, LearnedConfig};
use evenkeel_route::failover::{FailoverConfig, FailoverOrder, GrpcPriorityConfig, OnPanic};
use evenkeel_route::locality::{JointConfig, LoadAwareConfig, Region};
use evenkeel_route::matching::{HttpRulesConfig, StreamRulesConfig};
use evenkeel_route::retry::{HedgeConfig, RetryConfig};
use evenkeel_route::split::{
    BlueGreenConfig, ClusterRef, HeaderRules, MirrorConfig, RampConfig, SplitConfig,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn check<C: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) -> C {
    let config: C = toml::from_str(text).expect(text);
    let written = serde_json::to_string(&config).expect("it can be written");
    assert_eq!(serde_json::from_str::<C>(&written).expect("it can be read back"), config);
    let unknown = format!("no_such_setting = 1\n{text}");
    let error = toml::from_str::<C>(&unknown).expect_err("an unknown field").to_string();
    assert!(error.contains("no_such_setting"), "{error}");
    config
}

#[test]
fn settings_are_read_and_written() {
    let rules = check::<HttpRulesConfig>(
        r#"
        [[rules]]
        name = "users"
        weight = 3
        hosts = ["*.example.com", "www.*"]
        paths = [{ template = "/users/{id}/**" }, { regex = "/v[0-9]+" }, "any"]
        methods = ["GET"]
        headers = [{ name = "x-version", test = { range = { from = 2, to = 5 } } }, { name = "x-old", test = "absent" }]
        query = [{ name = "q", test = { contains = "a" }, invert = true }]
        cookies = [{ name = "beta", test = "present" }]
        fraction = { share = 0.25, salt = 7 }
        [path]
        percent = "all"
        escaped_slashes = "refuse"
        merge_slashes = true
        case = "insensitive"
        [limits]
        regexes = 10
        "#,
    );
    assert!(evenkeel_route::matching::HttpRules::new(&rules).is_ok());
    check::<StreamRulesConfig>(
        r#"
        precedence = "longest_prefix"
        [[rules]]
        listeners = ["tls"]
        sources = ["10.0.0.0/8", "2001:db8::/32"]
        destination_ports = [{ first = 443, last = 443 }]
        sni = ["*.example.com"]
        alpn = ["h2"]
        "#,
    );
    check::<SplitConfig>(
        r#"
        stickiness = "keyed"
        arms = [{ cluster = "v1", weight = 95 }, { cluster = "v2", weight = 5 }]
        canaries = [{ cluster = "v2", headers = [{ name = "x-canary", test = { exact = "always" } }] }]
        "#,
    );
    check::<RampConfig>(
        r#"
        wait = "1m"
        steps = [{ share = 0.1, hold = "10m" }, { share = 1.0, hold = "1h" }]
        budget = { failures = 0.02, above_old = false, min_requests = 50 }
        "#,
    );
    check::<HeaderRules>(r#"request = [{ set = { name = "a", value = "b" } }, { remove = { name = "c" } }]"#);
    let failover = check::<FailoverConfig>(
        r#"
        overprovisioning_factor = 120
        leave_below = 0.5
        return_at = 0.8
        return_over = "1m"
        on_panic = { static_response = { status = 503, body = "later" } }
        "#,
    );
    assert!(matches!(failover.on_panic, OnPanic::StaticResponse(_)));
    check::<FailoverOrder>("[regions]\neu = [\"us\", \"asia\"]");
    check::<Region>(
        r#"name = "eu"
        clients = ["10.0.0.0/8"]
        place = [50.1, 8.7]"#,
    );
    check::<CookieConfig>(r#"keys = [{ id = 1, secret = "0123456789abcdef" }]"#);
    check::<RetryConfig>(
        r#"
        attempts = 3
        per_try_timeout = "1s"
        on = { statuses = [{ first = 500, last = 599 }], grpc_codes = [8, 14], timed_out = true }
        backoff = { base = "10ms", max = "1s", jitter = "equal" }
        "#,
    );
    check::<MirrorConfig>(
        r#"cluster = "shadow"
        share = 0.1
        counting = "drawn""#,
    );
    check::<ClusterRef>(
        r#"name = "a"
        fallback = "b""#,
    );
}

#[test]
fn everything_has_defaults() {
    check::<BlueGreenConfig>("");
    check::<GrpcPriorityConfig>("");
    check::<LoadAwareConfig>("");
    check::<JointConfig>("");
    check::<AffinityRules>("");
    check::<LearnedConfig>("");
    check::<HedgeConfig>("");
    check::<FailoverConfig>("");
    check::<RampConfig>("");
    check::<RetryConfig>("");
}
