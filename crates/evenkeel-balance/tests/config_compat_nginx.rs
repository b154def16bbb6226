//! How the policies that do as nginx, pingora and Traefik do are written.
#![cfg(feature = "serde")]

use std::time::Duration;

use evenkeel_balance::compat::nginx::{Method, NginxConfig};
use evenkeel_balance::compat::pingora::{PingoraConfig, Selection};
use evenkeel_balance::compat::traefik::{Strategy, TraefikConfig};
use evenkeel_balance::{BuiltIn, MemberList, PolicyConfig};

fn read(text: &str) -> Result<PolicyConfig, String> {
    toml::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn settings_are_read() {
    let text = "type = \"nginx\"\nmethod = \"hash_consistent\"\nmax_fails = 3\nfail_timeout = \"1m\"";
    let expected =
        NginxConfig { method: Method::HashConsistent, max_fails: 3, fail_timeout: Duration::from_secs(60) };
    assert!(matches!(read(text), Ok(PolicyConfig::Nginx(config)) if config == expected));

    let text = "type = \"pingora\"\nselection = { type = \"consistent\", point_multiple = 40 }";
    let selection = Selection::Consistent { point_multiple: 40 };
    let expected = PingoraConfig { selection, ..PingoraConfig::default() };
    assert!(matches!(read(text), Ok(PolicyConfig::Pingora(config)) if config == expected));

    let text = "type = \"traefik\"\nstrategy = \"hrw\"\nscheme = \"https\"";
    let expected = TraefikConfig { strategy: Strategy::Hrw, scheme: "https".to_owned() };
    assert!(matches!(read(text), Ok(PolicyConfig::Traefik(config)) if config == expected));
}

#[test]
fn mistakes_are_named() {
    for (text, words) in [
        ("type = \"nginx\"\nmethod = \"least_com\"", &["least_com", "least_conn"][..]),
        ("type = \"nginx\"\nmax_fail = 1", &["max_fail", "max_fails"]),
        ("type = \"nginx\"\nfail_timeout = \"10\"", &["10", "250ms"]),
        ("type = \"pingora\"\nselection = { type = \"ketama\" }", &["ketama", "consistent"]),
        ("type = \"pingora\"\niterations = 3", &["iterations", "max_iterations"]),
        ("type = \"traefik\"\nstrategy = \"p2c\"", &["p2c", "hrw"]),
    ] {
        let error = read(text).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
    }
    for (text, message) in [
        (
            "type = \"nginx\"\nfail_timeout = \"1500ms\"",
            "policy nginx: fail_timeout: 1.5s is no whole number of seconds, as nginx counts",
        ),
        (
            "type = \"pingora\"\nmax_iterations = 0",
            "policy pingora: max_iterations: 0 is not allowed, at least 1 is",
        ),
        (
            "type = \"pingora\"\nselection = { type = \"consistent\", point_multiple = 0 }",
            "policy pingora: point_multiple: 0 is not allowed, at least 1 is",
        ),
        (
            "type = \"traefik\"\nscheme = \"\"",
            "policy traefik: scheme: empty, where `http`, `https` or `h2c` is expected",
        ),
    ] {
        let built = BuiltIn::new(&read(text).unwrap(), &MemberList::default());
        assert_eq!(built.unwrap_err().to_string(), message);
    }
}
