//! How the policy `haproxy` is written in a file: in HAProxy's words.
#![cfg(feature = "serde")]

use evenkeel_balance::PolicyConfig;
use evenkeel_balance::compat::haproxy::{Balance, Function, HaproxyConfig, HashType, Method};

fn read(text: &str) -> Result<HaproxyConfig, String> {
    match toml::from_str(&format!("type = \"haproxy\"\n{text}")) {
        Ok(PolicyConfig::Haproxy(config)) => Ok(config),
        Ok(other) => Err(format!("{other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn settings_are_read_in_haproxys_words() {
    assert_eq!(read(""), Ok(HaproxyConfig::default()));
    for (word, balance) in [
        ("roundrobin", Balance::RoundRobin),
        ("static-rr", Balance::StaticRr),
        ("static_rr", Balance::StaticRr),
        ("leastconn", Balance::LeastConn),
        ("first", Balance::First),
        ("source", Balance::Source),
        ("uri", Balance::Uri),
        ("url_param", Balance::UrlParam),
        ("hdr", Balance::Hdr),
        ("hash", Balance::Hash),
    ] {
        assert_eq!(read(&format!("balance = \"{word}\"")).map(|config| config.balance), Ok(balance));
    }
    let full = "balance = \"hdr\"\nhash_balance_factor = 150\nmaxconn = 10\n\
                hash_type = { method = \"consistent\", function = \"wt6\", avalanche = true }";
    let hash_type = HashType { method: Method::Consistent, function: Function::Wt6, avalanche: true };
    let expected =
        HaproxyConfig { balance: Balance::Hdr, hash_type, hash_balance_factor: Some(150), maxconn: Some(10) };
    assert_eq!(read(full), Ok(expected));
}

#[test]
fn mistakes_are_named() {
    for (text, word) in [
        ("balance = \"random\"", "random"),
        ("hash_type = { function = \"md5\" }", "md5"),
        ("hash-balance-factor = 150", "hash-balance-factor"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains(word), "{error}");
    }
}
