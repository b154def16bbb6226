//! The laws, for the policies that do as nginx, pingora and Traefik do.

use evenkeel_balance::compat::nginx::{Method, NginxConfig};
use evenkeel_balance::compat::pingora::{PingoraConfig, Selection};
use evenkeel_balance::compat::traefik::{Strategy, TraefikConfig};
use evenkeel_balance::laws::{Shares, check};
use evenkeel_balance::{BuiltIn, MemberList, PolicyConfig};
use evenkeel_types::Weight;

fn run(config: &PolicyConfig, shares: Shares) {
    check(&format!("{config:?}"), shares, &|members| {
        Box::new(BuiltIn::new(config, members).expect("a valid policy"))
    });
}

/// On a ring of points by weight, absurd weights are refused: here they are made small for the members, so that the other
/// laws can be tested.
fn run_on_a_ring(config: &PolicyConfig) {
    check(&format!("{config:?}"), Shares::Other, &|members| {
        let most = if members.weights().len() < 1000 { 10 } else { 1 };
        let weights = members.weights().iter().map(|&weight| weight.min(most));
        let endpoints = weights.enumerate().map(|(position, weight)| {
            members.endpoint(position).as_ref().clone().with_weight(Weight::new(weight))
        });
        let members = MemberList::new(endpoints);
        Box::new(BuiltIn::new(config, &members).expect("a valid policy"))
    });
}

fn nginx_with(method: Method) -> PolicyConfig {
    PolicyConfig::Nginx(NginxConfig { method, ..NginxConfig::default() })
}

#[test]
fn nginx() {
    run(&PolicyConfig::nginx(), Shares::Weighted);
}

#[test]
fn nginx_by_other_methods() {
    // Without keys and addresses, as here, the hashing methods take turns.
    for method in [Method::LeastConn, Method::IpHash, Method::Hash] {
        run(&nginx_with(method), Shares::Weighted);
    }
    run_on_a_ring(&nginx_with(Method::HashConsistent));
}

#[test]
fn pingora() {
    // Bursts, and no weights in the place of who is out.
    run(&PolicyConfig::pingora(), Shares::Other);
}

#[test]
fn pingora_by_key() {
    let with = |selection| PolicyConfig::Pingora(PingoraConfig { selection, ..PingoraConfig::default() });
    run(&with(Selection::FnvHash), Shares::Other);
    run_on_a_ring(&with(Selection::Consistent { point_multiple: 16 }));
}

#[test]
fn traefik() {
    run(&PolicyConfig::traefik(), Shares::Weighted);
}

#[test]
fn traefik_by_client() {
    let config = TraefikConfig { strategy: Strategy::Hrw, ..TraefikConfig::default() };
    // FNV-1a mixes the last bytes badly, and there the addresses of the laws differ.
    run(&PolicyConfig::Traefik(config), Shares::Other);
}
