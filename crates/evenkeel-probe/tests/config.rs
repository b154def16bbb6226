//! Settings: what a file may say, and what is refused with the name of the field.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper of tests fails the test")]

use std::time::Duration;

use evenkeel_probe::{
    AgentProbe, BodyMatch, CommandProbe, GrpcProbe, HttpProbe, HttpVersion, ProbeConfig, ProbeError, Prober,
    ProberConfig, Target, TcpProbe, TlsConfig,
};

fn refusal(probe: impl Into<ProbeConfig>) -> String {
    let prober = Prober::start(ProberConfig::default()).unwrap();
    let target = Target::new("it".parse().unwrap(), "127.0.0.1:1".parse().unwrap(), probe);
    let error = prober.add(target, |_| ()).unwrap_err();
    assert!(matches!(error, ProbeError::Config(_)));
    assert_eq!(prober.report().targets, 0);
    error.to_string()
}

fn refuses(probe: impl Into<ProbeConfig>, beginning: &str) {
    let text = refusal(probe);
    assert!(text.starts_with(beginning), "{text}");
}

#[test]
fn every_wrong_setting_is_named() {
    let tcp = TcpProbe::default;
    refuses(
        TcpProbe { timeout: Duration::ZERO, ..tcp() },
        "tcp.timeout: \"0ns\" is not allowed: allowed are 1 ms",
    );
    refuses(TcpProbe { timeout: Duration::MAX, ..tcp() }, "tcp.timeout");
    refuses(TcpProbe { connect_timeout: Some(Duration::ZERO), ..tcp() }, "tcp.connect_timeout");
    refuses(TcpProbe { connect_timeout: Some(Duration::from_secs(2)), ..tcp() }, "tcp.connect_timeout");
    refuses(TcpProbe { max_answer: 0, ..tcp() }, "tcp.max_answer");
    refuses(TcpProbe { max_answer: usize::MAX, ..tcp() }, "tcp.max_answer");
    refuses(TcpProbe { expect: Some("".into()), ..tcp() }, "tcp.expect");
    refuses(TcpProbe { expect: Some("abc".into()), max_answer: 2, ..tcp() }, "tcp.expect");
    refuses(AgentProbe { timeout: Duration::ZERO, ..AgentProbe::default() }, "agent.timeout");

    let http = HttpProbe::default;
    refuses(HttpProbe::path(""), "http.path");
    refuses(HttpProbe { timeout: Duration::ZERO, ..http() }, "http.timeout");
    refuses(HttpProbe { max_body: 0, ..http() }, "http.max_body");
    refuses(HttpProbe { expected: "".parse().unwrap(), ..http() }, "http.expected");
    refuses(HttpProbe { retriable: "299".parse().unwrap(), ..http() }, "http.retriable: \"299\"");
    refuses(HttpProbe { version: HttpVersion::Negotiated, ..http() }, "http.version");
    refuses(HttpProbe { body: Some(BodyMatch::Contains(String::new())), ..http() }, "http.body");
    refuses(GrpcProbe { timeout: Duration::ZERO, ..GrpcProbe::default() }, "grpc.timeout");
    refuses(GrpcProbe { service: "x".repeat(1_025), ..GrpcProbe::default() }, "grpc.service");

    let command = || CommandProbe::new("true", [""; 0]);
    refuses(CommandProbe::default(), "command.program");
    refuses(CommandProbe::new("a\0b", [""; 0]), "command.program");
    refuses(CommandProbe::new("true", ["a\0b"]), "command.args");
    refuses(CommandProbe { timeout: Duration::ZERO, ..command() }, "command.timeout");
    refuses(CommandProbe { max_output: 1 << 20, ..command() }, "command.max_output");
    for (name, value) in [("", "x"), ("a=b", "x"), ("a", "\0")] {
        let env = [(name.to_owned(), value.to_owned())].into();
        refuses(CommandProbe { env, ..command() }, "command.env");
    }
}

#[cfg(feature = "http")]
#[test]
fn every_wrong_setting_of_http_is_named() {
    let http = HttpProbe::default;
    for path in ["/a b", "/\r\nx: y", "/\u{e9}\0"] {
        refuses(HttpProbe::path(path), "http.path");
    }
    for method in ["", "G T", "CONNECT", "GET\r\n"] {
        refuses(HttpProbe { method: method.into(), ..http() }, "http.method");
    }
    for host in ["", "a b", "a/b", "user@host", "a\r\nb"] {
        refuses(HttpProbe { host: Some(host.into()), ..http() }, "http.host");
    }
    for (name, value) in
        [("", "v"), ("a b", "v"), ("a", "v\r\nx: y"), ("Content-Length", "1"), ("upgrade", "h2c")]
    {
        refuses(
            HttpProbe { headers: [(name.to_owned(), value.to_owned())].into(), ..http() },
            "http.headers",
        );
    }
    refuses(HttpProbe { degraded_header: Some("a b".into()), ..http() }, "http.degraded_header");
    for pattern in ["(", "(a{1000}){1000}"] {
        refuses(HttpProbe { body: Some(BodyMatch::Regex(pattern.into())), ..http() }, "http.body.regex");
    }
}

#[test]
fn a_feature_that_is_off_is_named() {
    for (on, probe, text) in [
        (cfg!(feature = "http"), HttpProbe::default().into(), "http: needs the feature \"http\""),
        (cfg!(feature = "grpc"), GrpcProbe::default().into(), "grpc: needs the feature \"grpc\""),
        (
            cfg!(feature = "command"),
            ProbeConfig::from(CommandProbe::new("true", [""; 0])),
            "command: needs the",
        ),
        (
            cfg!(feature = "tls") || !cfg!(feature = "http"),
            HttpProbe { tls: Some(TlsConfig::default()), ..HttpProbe::default() }.into(),
            "http.tls: needs the feature \"tls\"",
        ),
    ] {
        if !on {
            refuses(probe, text);
        }
    }
}

#[test]
fn limits_of_the_prober_are_checked() {
    for (config, field) in [
        (ProberConfig { max_in_flight: 0, ..ProberConfig::default() }, "max_in_flight"),
        (ProberConfig { max_in_flight: usize::MAX, ..ProberConfig::default() }, "max_in_flight"),
        (ProberConfig { max_commands: 0, ..ProberConfig::default() }, "max_commands"),
        (ProberConfig { max_targets: 0, ..ProberConfig::default() }, "max_targets"),
    ] {
        let text = Prober::start(config).unwrap_err().to_string();
        assert!(text.starts_with(field), "{text}");
    }
}

#[test]
fn a_file_says_it_in_few_words() {
    let text = r#"
        id = "users-1"
        address = "10.0.0.1:8080"
        notify = "results"
        check = { inter = "1s", thresholds = { fall = 2 } }

        [probe.http]
        path = "/health"
        version = "2"
        expected = ["200-299", 404]
        retriable = 503
        timeout = "500ms"
        headers = { x-key = "v" }
        body = { regex = "ok|fine" }
        tls = { roots = { pem_file = "/etc/ca.pem" }, server_name = "api.example" }
    "#;
    let target: Target = toml::from_str(text).unwrap();
    let ProbeConfig::Http(http) = &target.probe else { panic!("{target:?}") };
    assert_eq!(http.expected.to_string(), "200-299, 404");
    assert_eq!((http.version, http.timeout), (HttpVersion::Http2, Duration::from_millis(500)));
    assert_eq!(target.check.interval, Duration::from_secs(1));
    let written = toml::to_string(&target).unwrap();
    assert_eq!(toml::from_str::<Target>(&written).unwrap(), target, "{written}");
}

#[test]
fn every_kind_is_written_and_read_back() {
    let probes = [
        ProbeConfig::Tcp(TcpProbe { send: Some(vec![0, 255].into()), ..TcpProbe::default() }),
        HttpProbe::default().into(),
        GrpcProbe::default().into(),
        CommandProbe::new("check", ["-v"]).into(),
        AgentProbe { send: Some("ask\n".into()), ..AgentProbe::default() }.into(),
    ];
    for probe in probes {
        let written = serde_json::to_string(&probe).unwrap();
        assert_eq!(serde_json::from_str::<ProbeConfig>(&written).unwrap(), probe, "{written}");
    }
    let misspelt = serde_json::from_str::<ProbeConfig>(r#"{"tcp":{"tiemout":"1s"}}"#).unwrap_err();
    assert!(misspelt.to_string().contains("tiemout"), "{misspelt}");
    let config = ProberConfig { seed: Some(7), ..ProberConfig::default() };
    let written = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<ProberConfig>(&written).unwrap(), config);
}
