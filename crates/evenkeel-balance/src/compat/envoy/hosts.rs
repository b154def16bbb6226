use evenkeel_types::Locality;

use super::config::TableKind;
use super::{
    EnvoyConfig, LocalityHosts, LocalityWeight, Maglev, Ring, Share, Weighted, WeightsTooLarge, shares,
    shares_by_locality,
};
use crate::Members;
use crate::compat::host_text::{host_name, host_text};

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
        names.sort_by_key(|weight| weight.name());
        let mut hosts = Self {
            texts: Vec::with_capacity(weights.len()),
            placed: Vec::new(),
            localities: vec![0; names.len()],
            weights,
        };
        for position in 0..hosts.weights.len() {
            let endpoint = members.endpoint(position);
            hosts.texts.push(match host_name(&endpoint).filter(|_| config.use_hostname) {
                Some(name) => name.to_owned(),
                None => host_text(&endpoint),
            });
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

fn is_at(locality: &Locality, name: &LocalityWeight) -> bool {
    [locality.region(), locality.zone(), locality.sub_zone()] == name.name()
}
