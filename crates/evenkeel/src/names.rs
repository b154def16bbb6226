//! Where each endpoint of a snapshot is, by name: for requests that ask for one.

use std::sync::{Arc, OnceLock};

use evenkeel_types::EndpointId;

use crate::node::Node;
use crate::snapshot::{Snapshot, Tier};
use crate::update;

/// Hashes of names, sorted, each with its tier and position. Made with the snapshot once somebody has asked for a name, else at
/// the first question: O(n log n), and nobody waits for somebody else to make it.
#[derive(Debug, Default)]
pub(crate) struct Names(OnceLock<Box<[(u64, u32, u32)]>>);

impl Names {
    pub(crate) fn prepare<T>(&self, snapshot: &Snapshot<T>) {
        if self.0.get().is_none() {
            let _ = self.0.set(index(snapshot));
        }
    }
}

impl<T> Snapshot<T> {
    /// The endpoint of this name and its tier, whatever its health. O(log n).
    pub(crate) fn named(&self, id: &EndpointId, hash_key: (u64, u64)) -> Option<(&Arc<Node<T>>, &Tier<T>)> {
        self.names.prepare(self);
        let names = self.names.0.get()?;
        let hash = update::hash(hash_key, id);
        let first = names.partition_point(|&(other, ..)| other < hash);
        names[first..].iter().take_while(|&&(other, ..)| other == hash).find_map(|&(_, tier, position)| {
            let tier = self.tiers().nth(tier as usize)?;
            let node = tier.nodes.get(position as usize)?;
            node.live.is_called(id).then_some((node, tier))
        })
    }
}

fn index<T>(snapshot: &Snapshot<T>) -> Box<[(u64, u32, u32)]> {
    let places = snapshot.used().enumerate().flat_map(|(number, tier)| {
        let nodes = tier.nodes.iter().enumerate();
        nodes.map(move |(position, node)| (node.live.id_hash, number as u32, position as u32))
    });
    let mut names: Vec<_> = places.collect();
    names.sort_unstable();
    names.into()
}
