use evenkeel_types::{Address, Endpoint};

use super::envoy::socket_text;

/// The text that stands for an endpoint in the hashes of Envoy and gRPC: its hash key, or its address.
pub(super) fn host_text(endpoint: &Endpoint) -> String {
    match (hash_key(endpoint), endpoint.address()) {
        (Some(key), _) => key.to_owned(),
        (None, Address::Socket(address)) => socket_text(*address),
        (None, other) => other.to_string(),
    }
}

/// The text under Envoy's `use_hostname_for_hashing`: the hash key, or the name of the host if it has one.
pub(super) fn host_name(endpoint: &Endpoint) -> Option<&str> {
    let name = || match (endpoint.hostname(), endpoint.address()) {
        (Some(name), _) => Some(name),
        (None, Address::Host(name, _)) => Some(name.as_str()),
        _ => None,
    };
    hash_key(endpoint).or_else(name)
}

fn hash_key(endpoint: &Endpoint) -> Option<&str> {
    endpoint.label(HASH_KEY).filter(|key| !key.is_empty())
}

/// The label that overrides an endpoint's address: the metadata key `hash_key` under `envoy.lb` (gRFC A76 has it too).
const HASH_KEY: &str = "envoy.lb.hash_key";

#[cfg(test)]
mod tests {
    use evenkeel_types::Labels;

    use super::*;

    #[test]
    fn an_endpoint_is_known_by_its_key_its_name_or_its_address() {
        let endpoint = |address: &str| Endpoint::new("e".parse().unwrap(), address.parse().unwrap());
        let labelled = |key: &str| {
            let labels = Labels::new([(HASH_KEY, key)]).unwrap();
            endpoint("10.0.0.1:80").with_hostname("a.example").with_labels(labels)
        };
        for (endpoint, text, name) in [
            (endpoint("10.0.0.1:80"), "10.0.0.1:80", None),
            (endpoint("[FD00::0:1]:80"), "[fd00::1]:80", None),
            (endpoint("a.example:80"), "a.example:80", Some("a.example")),
            (endpoint("10.0.0.1:80").with_hostname("b.example"), "10.0.0.1:80", Some("b.example")),
            (labelled("shard-1"), "shard-1", Some("shard-1")),
            (labelled(""), "10.0.0.1:80", Some("a.example")),
        ] {
            assert_eq!((host_text(&endpoint).as_str(), host_name(&endpoint)), (text, name));
        }
    }
}
