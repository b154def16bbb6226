//! Configuration as people write it.
#![cfg(feature = "serde")]

use std::time::Duration;

use evenkeel_breaker::{Breaker, BreakerConfig, HalfOpen, Rule, Window};
use evenkeel_types::{Outcome, Ratio, Timestamp};

#[test]
fn a_configuration_survives_the_round_trip() {
    let config = BreakerConfig {
        rules: vec![
            Rule::Consecutive { failures: 7 },
            Rule::Ratio { failures: Ratio::HALF, min_requests: 20, window: Window::Count { size: 100 } },
            Rule::Ratio {
                failures: Ratio::ONE,
                min_requests: 5,
                window: Window::Time { span: Duration::from_secs(30), buckets: 6 },
            },
        ],
        open_for: Duration::from_millis(1500),
        half_open: HalfOpen {
            max_concurrent: 2,
            successes_needed: 4,
            lease: Duration::from_secs(60),
            ..HalfOpen::default()
        },
        ..BreakerConfig::default()
    };
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains(r#""open_for":"1s 500ms""#), "{text}");
    assert_eq!(serde_json::from_str::<BreakerConfig>(&text).unwrap(), config);
}

#[test]
fn what_is_left_out_has_its_default() {
    let read = |text: &str| serde_json::from_str::<BreakerConfig>(text).unwrap();
    assert_eq!(read("{}"), BreakerConfig::default());
    assert_eq!(read(r#"{"half_open":{"lease":"2m"}}"#).half_open.successes_needed, 3);
    let rule = r#"{"rules":[{"ratio":{"failures":0.5,"min_requests":9,"window":{"time":{"span":"10s"}}}}]}"#;
    let window = Window::Time { span: Duration::from_secs(10), buckets: 10 };
    assert_eq!(read(rule).rules, [Rule::Ratio { failures: Ratio::HALF, min_requests: 9, window }]);
}

#[test]
fn what_is_misspelt_is_refused() {
    for text in [
        r#"{"open_four":"5s"}"#,
        r#"{"half_open":{"leese":"5s"}}"#,
        r#"{"rules":[{"consecutive":{"failure":5}}]}"#,
        r#"{"rules":[{"consecutif":{"failures":5}}]}"#,
        r#"{"rules":[{"ratio":{"failures":0.5,"min_requests":9,"window":{"count":{"length":10}}}}]}"#,
        r#"{"rules":[{"ratio":{"failures":1.5,"min_requests":9,"window":{"count":{"size":10}}}}]}"#,
        r#"{"open_for":5}"#,
    ] {
        assert!(serde_json::from_str::<BreakerConfig>(text).is_err(), "{text}");
    }
}

#[test]
fn changes_are_written() {
    let config = BreakerConfig { rules: vec![Rule::Consecutive { failures: 1 }], ..BreakerConfig::default() };
    let breaker = Breaker::new(&config).unwrap();
    let now = Timestamp::from_secs(1);
    let permit = breaker.try_acquire(now).unwrap().permit;
    let transition = breaker.record(permit, &Outcome::failure(), now).unwrap();
    assert_eq!(
        serde_json::to_string(&transition).unwrap(),
        concat!(
            r#"{"from":"closed","to":{"open":{"until":6000000000}},"at":1000000000,"#,
            r#""reason":{"consecutive":{"failures":1}},"epoch":1}"#
        )
    );
    let refusal = serde_json::to_string(&breaker.try_acquire(now).unwrap_err()).unwrap();
    assert_eq!(refusal, r#"{"reason":"open","retry_at":6000000000}"#);
    let stats = serde_json::to_string(&breaker.stats(now)).unwrap();
    assert!(stats.contains(r#""times_opened":1"#), "{stats}");
}
