use std::net::{IpAddr, Ipv4Addr};

use evenkeel::{AdminState, Cluster, Endpoint, PolicyConfig, Request, Weight};
use evenkeel_balance::{Mask, MemberList, Script};
use evenkeel_types::SplitMix64;

/// The policies that are dispatched without a pointer, by the names they have in a configuration file: those whose every
/// nanosecond is watched.
pub const POLICIES: [&str; 5] =
    ["round_robin", "smooth_weighted_round_robin", "random", "weighted_random", "least_request"];

/// Keys of 16 bytes, for what hashes a key.
pub const KEYS: [&[u8; 16]; 4] =
    [b"session-00000017", b"session-00004711", b"session-00081516", b"session-00234200"];

/// How the weights of a world are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// All are one.
    Equal,
    /// From 1 to 10, each as often, also among every tenth endpoint.
    OneToTen,
}

impl Weights {
    /// The weight at a position.
    #[must_use]
    pub const fn at(self, position: usize) -> u32 {
        match self {
            Self::Equal => 1,
            Self::OneToTen => 1 + ((position + position / 10) % 10) as u32,
        }
    }
}

/// Every policy, by the name it has in a configuration file.
#[must_use]
pub fn names() -> Vec<&'static str> {
    PolicyConfig::all().iter().map(PolicyConfig::name).collect()
}

/// A request with a key and an address, for policies of any kind.
#[must_use]
pub fn request() -> Request<'static> {
    Request::with_key(KEYS[0]).from_address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17)))
}

/// Inputs of a choice alone, for policies of any kind.
#[must_use]
pub fn caller() -> Script<SplitMix64> {
    Script::seeded(1).with_key_bytes(*KEYS[0]).with_source(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17)))
}

/// The policy of this name, at its defaults.
#[must_use]
pub fn policy(name: &str) -> PolicyConfig {
    let known = PolicyConfig::all().into_iter().find(|policy| policy.name() == name);
    known.expect("only known names are asked for")
}

/// The endpoint at a position.
#[must_use]
pub fn endpoint(position: usize, weights: Weights) -> Endpoint {
    let [.., high, low] = (position as u32).to_be_bytes();
    let address = format!("10.{}.{high}.{low}:8080", (position >> 16) & 0xff);
    Endpoint::new(
        format!("node-{position}").parse().expect("a name without odd characters"),
        address.parse().expect("an address"),
    )
    .with_weight(Weight::new(weights.at(position)))
}

/// The first `n` endpoints.
pub fn endpoints(n: usize, weights: Weights) -> impl Iterator<Item = Endpoint> {
    (0..n).map(move |position| endpoint(position, weights))
}

/// Whether the endpoint at `position` is usable in a world where this share is: 1, a half or a tenth, spread evenly. At
/// least the first one is.
#[must_use]
pub fn is_usable(position: usize, share: f64) -> bool {
    position.is_multiple_of((1.0 / share).round() as usize)
}

/// A cluster of `n` endpoints under a policy, of which a share is usable.
#[must_use]
pub fn cluster(policy_name: &str, n: usize, share: f64, weights: Weights) -> Cluster<()> {
    let cluster = unsettled(policy_name);
    cluster.apply(endpoints(n, weights)).expect("valid endpoints");
    let down = endpoints(n, weights).enumerate().filter(|(position, _)| !is_usable(*position, share));
    for (_, endpoint) in down {
        let endpoint = cluster.endpoint(endpoint.id()).expect("a known endpoint");
        assert!(!endpoint.set_admin(AdminState::Maintenance).usable());
    }
    cluster
}

/// A cluster without endpoints.
#[must_use]
pub fn unsettled(policy_name: &str) -> Cluster<()> {
    Cluster::builder("bench").policy(policy(policy_name)).seed(42).build().expect("a valid cluster")
}

/// A mask of `n` positions of which a share is usable.
#[must_use]
pub fn mask(n: usize, share: f64) -> Mask {
    Mask::new(n, |position| is_usable(position, share))
}

/// `n` weights.
#[must_use]
pub fn weights(n: usize, weights: Weights) -> Vec<u32> {
    (0..n).map(|position| weights.at(position)).collect()
}

/// `n` small loads that differ.
#[must_use]
pub fn table_loads(n: usize) -> Vec<u32> {
    (0..n as u32).map(|position| position.wrapping_mul(7) % 5).collect()
}

/// The members that a policy is built for.
#[must_use]
pub fn members(n: usize, weights: Weights) -> MemberList {
    MemberList::new(endpoints(n, weights))
}
