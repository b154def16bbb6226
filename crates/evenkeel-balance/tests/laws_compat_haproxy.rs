//! The policy `haproxy` passes every law, whatever its algorithm.

use evenkeel_balance::compat::haproxy::{Balance, Function, HaproxyConfig, HashType, Method};
use evenkeel_balance::laws::{Shares, check, members};
use evenkeel_balance::{BuiltIn, Members, PolicyConfig};

/// HAProxy knows weights up to 256 and, for `roundrobin`, 4095 servers; laws that ask for more are told so, and shown what
/// it can do.
fn build(config: &PolicyConfig, wanted: &dyn Members) -> BuiltIn {
    let is_absurd = wanted.weights().len() > 4095 || wanted.weights().iter().any(|&weight| weight > 256);
    match BuiltIn::new(config, wanted) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(is_absurd, "{error}");
            // Few enough for a ring of all their points.
            let weights = wanted.weights().iter().take(100).map(|&weight| weight.min(256));
            BuiltIn::new(config, &members(&weights.collect::<Vec<_>>())).expect("now all is in range")
        }
    }
}

fn run(config: HaproxyConfig, shares: Shares) {
    let config = PolicyConfig::Haproxy(config);
    check(&format!("{config:?}"), shares, &|members| Box::new(build(&config, members)));
}

fn balancing(balance: Balance) -> HaproxyConfig {
    HaproxyConfig { balance, ..HaproxyConfig::default() }
}

#[test]
fn haproxy() {
    run(HaproxyConfig::default(), Shares::Weighted);
    run(balancing(Balance::StaticRr), Shares::Weighted);
}

/// Without a word about connections the order never changes, so shares say nothing.
#[test]
fn haproxy_by_connections() {
    run(balancing(Balance::LeastConn), Shares::Other);
    run(HaproxyConfig { maxconn: Some(2), ..balancing(Balance::First) }, Shares::Other);
}

/// Slots are shared by weight; points are nobody's fair share.
#[test]
fn haproxy_by_hash() {
    run(balancing(Balance::Hdr), Shares::Weighted);
    run(balancing(Balance::Source), Shares::Weighted);
    for function in [Function::Crc32, Function::Wt6] {
        let hash_type = HashType { method: Method::Consistent, function, avalanche: true };
        run(HaproxyConfig { hash_type, ..balancing(Balance::Hash) }, Shares::Other);
        let hash_balance_factor = Some(125);
        run(HaproxyConfig { hash_type, hash_balance_factor, ..balancing(Balance::UrlParam) }, Shares::Other);
    }
}
