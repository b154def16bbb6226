use evenkeel_types::{Address, Endpoint, Locality};

use super::config::TableKind;
use super::{
    EnvoyConfig, LocalityHosts, LocalityWeight, Maglev, Ring, Share, Weighted, WeightsTooLarge, shares,
    shares_by_locality, socket_text,
};
use crate::Members;

/// What of the members goes into a hash table.
#[derive(Debug)]
pub(super) struct Hosts {
    texts: Vec<String>,
    weights: Vec<u32>,
    /// The locality of each position by its place in `localities`, if localities have weights.
    placed: Vec<Option<usize>>,
    /// The weights of the localities, in the order of their names.
    localities: Vec<u32>,
}

/// A hash table of Envoy's.
#[derive(Debug)]
pub(super) enum HashTable {
    Ring(Ring),
    Maglev(Maglev),
}

impl Hosts {
    pub(super) fn of(members: &dyn Members, config: &EnvoyConfig) -> Self {
        let weights = members.weights().to_vec();
        let mut names: Vec<&LocalityWeight> = config.locality_weights.iter().collect();
        names.sort_by_key(|name| (&name.region, &name.zone, &name.sub_zone));
        let mut hosts = Self {
            texts: Vec::with_capacity(weights.len()),
            placed: Vec::new(),
            localities: vec![0; names.len()],
            weights,
        };
        for position in 0..hosts.weights.len() {
            let endpoint = members.endpoint(position);
            hosts.texts.push(text_of(&endpoint, config.use_hostname));
            if !names.is_empty() {
                let place =
                    names.iter().position(|name| endpoint.locality().is_some_and(|here| is_at(here, name)));
                // Envoy counts the weight of a locality as soon as it has an endpoint.
                if let Some(place) = place {
                    hosts.localities[place] = names[place].weight;
                }
                hosts.placed.push(place);
            }
        }
        hosts
    }

    /// The table of these positions.
    pub(super) fn table(
        &self,
        kind: TableKind,
        positions: impl Iterator<Item = usize>,
    ) -> Result<HashTable, WeightsTooLarge> {
        let usable: Vec<Weighted> =
            positions.map(|position| (position as u32, self.weights[position])).collect();
        let shares = self.shares(&usable)?;
        let text = |position: u32| &self.texts[position as usize];
        Ok(match kind {
            TableKind::Ring(sizes, function) => HashTable::Ring(Ring::new(&shares, text, sizes, function)),
            TableKind::Maglev(size) => HashTable::Maglev(Maglev::new(&shares, text, size)),
        })
    }

    fn shares(&self, usable: &[Weighted]) -> Result<Vec<Share>, WeightsTooLarge> {
        if self.placed.is_empty() {
            return shares(usable);
        }
        let locality = |&weight: &u32| LocalityHosts { weight, hosts: Vec::new() };
        let mut localities: Vec<LocalityHosts> = self.localities.iter().map(locality).collect();
        for &(position, weight) in usable {
            if let Some(place) = self.placed[position as usize] {
                localities[place].hosts.push((position, weight));
            }
        }
        shares_by_locality(&localities)
    }
}

/// The text that stands for an endpoint in hashes.
fn text_of(endpoint: &Endpoint, use_hostname: bool) -> String {
    let name = || match (endpoint.hostname(), endpoint.address()) {
        (Some(name), _) => Some(name),
        (None, Address::Host(name, _)) => Some(name.as_str()),
        _ => None,
    };
    let key = endpoint.label(HASH_KEY).filter(|key| !key.is_empty());
    match key.or_else(|| name().filter(|_| use_hostname)) {
        Some(text) => text.to_owned(),
        None => match endpoint.address() {
            Address::Socket(address) => socket_text(*address),
            other => other.to_string(),
        },
    }
}

/// The label that overrides an endpoint's address: Envoy's metadata key `hash_key` under `envoy.lb`.
const HASH_KEY: &str = "envoy.lb.hash_key";

fn is_at(locality: &Locality, name: &LocalityWeight) -> bool {
    locality.region() == name.region && locality.zone() == name.zone && locality.sub_zone() == name.sub_zone
}

#[cfg(test)]
mod tests {
    use evenkeel_types::Labels;

    use super::*;

    #[test]
    fn an_endpoint_is_known_by_its_key_its_name_or_its_address() {
        let endpoint = |address: &str| Endpoint::new("e".parse().unwrap(), address.parse().unwrap());
        let labelled = |key: &str| {
            endpoint("10.0.0.1:80")
                .with_hostname("a.example")
                .with_labels(Labels::new([(HASH_KEY, key)]).unwrap())
        };
        for (endpoint, use_hostname, text) in [
            (endpoint("10.0.0.1:80"), true, "10.0.0.1:80"),
            (endpoint("[FD00::0:1]:80"), false, "[fd00::1]:80"),
            (endpoint("a.example:80"), false, "a.example:80"),
            (endpoint("a.example:80"), true, "a.example"),
            (endpoint("10.0.0.1:80").with_hostname("b.example"), true, "b.example"),
            (labelled("shard-1"), true, "shard-1"),
            (labelled(""), true, "a.example"),
            (labelled(""), false, "10.0.0.1:80"),
        ] {
            assert_eq!(text_of(&endpoint, use_hostname), text);
        }
    }
}
