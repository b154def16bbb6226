//! Settings of outlier detection as they stand in files.

use evenkeel_health::outlier::envoy::EnvoyOutlierConfig;
use evenkeel_health::outlier::grpc::GrpcOutlierConfig;
use evenkeel_health::outlier::{
    FailureShare, LatencyRule, OutlierConfig, OutlierConfigError, OutlierRules, Return, ReturnBy,
};

#[test]
fn what_is_written_is_read() {
    for config in [
        OutlierConfig::default(),
        OutlierConfig {
            consecutive_failures: None,
            consecutive_gateway_failures: Some(3),
            success_rate: None,
            failure_share: Some(FailureShare::default()),
            latency: Some(LatencyRule::default()),
            brake: None,
            on_return: Return::Full,
            return_by: ReturnBy::TimeOrChecks(2),
            ..OutlierConfig::default()
        },
    ] {
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<OutlierConfig>(&json).unwrap(), config, "{json}");
        let toml = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<OutlierConfig>(&toml).unwrap(), config, "{toml}");
    }
    let envoy = EnvoyOutlierConfig::default();
    let toml = toml::to_string(&envoy).unwrap();
    assert_eq!(toml::from_str::<EnvoyOutlierConfig>(&toml).unwrap(), envoy, "{toml}");
    let grpc = GrpcOutlierConfig::default();
    let toml = toml::to_string(&grpc).unwrap();
    assert_eq!(toml::from_str::<GrpcOutlierConfig>(&toml).unwrap(), grpc, "{toml}");
}

#[test]
fn nothing_written_is_the_default_and_off_is_off() {
    assert_eq!(toml::from_str::<OutlierConfig>("").unwrap(), OutlierConfig::default());
    let config: OutlierConfig = toml::from_str("success_rate = 'off'\nconsecutive_5xx = 7").unwrap();
    assert_eq!((config.success_rate, config.consecutive_failures), (None, Some(7)));
    let config: OutlierConfig = toml::from_str("latency = {}").unwrap();
    assert_eq!(config.latency, Some(LatencyRule::default()));
    let config: OutlierConfig = serde_json::from_str(r#"{"brake":null}"#).unwrap();
    assert_eq!(config.brake, None);
}

#[test]
fn errors_name_the_field() {
    for (toml, named) in [
        ("brake = 'on'", "brake"),
        ("success_rate = 5", "success_rate"),
        ("consecutive_failures = -1", "consecutive_failures"),
        ("caps = { min = 1 }", "min"),
        ("ejection = { base = '10' }", "10"),
        ("on_return = 'never'", "never"),
    ] {
        let error = toml::from_str::<OutlierConfig>(toml).unwrap_err().to_string();
        assert!(error.contains(named), "{toml}: {error}");
    }
    let config: OutlierConfig = toml::from_str("ejection = { base = '2s', max = '1s' }").unwrap();
    let error = OutlierRules::new(config).unwrap_err();
    assert!(matches!(error, OutlierConfigError::Time { field: "ejection.max", .. }), "{error}");
    assert_eq!(error.to_string(), "ejection.max is 1s: allowed are 2s to 86400s");
}
