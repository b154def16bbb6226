//! Finds the rules of connections by what tells them apart best.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::byte_map::ByteMap;
use super::cidr::Cidr;
use super::host::HostMatch;
use super::host_index::HostIndex;
use super::ranges::Ranges;

/// What an entry can be found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Sni(String),
    Destination(Cidr),
    Source(Cidr),
    Listener(String),
}

/// Every entry lies under the keys of one of its dimensions: the one whose keys it shares with the fewest others.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamIndex {
    sni: HostIndex,
    destinations: Ranges,
    sources: Ranges,
    listeners: ByteMap,
    lists: Box<[Box<[u32]>]>,
    others: Box<[u32]>,
}

impl StreamIndex {
    /// `entries` holds for each entry its dimensions, and for each of these the keys.
    pub(crate) fn new(entries: &[Vec<Vec<Key>>]) -> Self {
        let mut shared: BTreeMap<&Key, u32> = BTreeMap::new();
        entries.iter().flatten().flatten().for_each(|key| *shared.entry(key).or_default() += 1);
        let crowd = |keys: &[Key]| keys.iter().filter_map(|key| shared.get(key)).copied().max();
        let mut places: BTreeMap<&Key, Vec<u32>> = BTreeMap::new();
        let mut others = Vec::new();
        for (entry, dimensions) in entries.iter().enumerate() {
            match dimensions.iter().min_by_key(|keys| crowd(keys)) {
                Some(keys) => keys.iter().for_each(|key| places.entry(key).or_default().push(entry as u32)),
                None => others.push(entry as u32),
            }
        }
        let numbered = || places.keys().enumerate().map(|(list, key)| (*key, list as u32));
        let names: Vec<(HostMatch, u32)> = numbered()
            .filter_map(
                |(key, list)| if let Key::Sni(name) = key { Some((name.parse().ok()?, list)) } else { None },
            )
            .collect();
        let ranges = |pick: fn(&Key) -> Option<Cidr>| {
            Ranges::new(&numbered().filter_map(|(key, list)| Some((pick(key)?, list))).collect::<Vec<_>>())
        };
        let listeners: Vec<(&[u8], u32)> = numbered()
            .filter_map(
                |(key, list)| {
                    if let Key::Listener(name) = key { Some((name.as_bytes(), list)) } else { None }
                },
            )
            .collect();
        Self {
            sni: HostIndex::new(names.iter().map(|(name, list)| (name, *list))),
            destinations: ranges(|key| if let Key::Destination(cidr) = key { Some(*cidr) } else { None }),
            sources: ranges(|key| if let Key::Source(cidr) = key { Some(*cidr) } else { None }),
            listeners: if listeners.is_empty() {
                ByteMap::default()
            } else {
                ByteMap::new(listeners.into_iter())
            },
            lists: places
                .into_values()
                .map(|mut list| {
                    list.dedup();
                    list.into()
                })
                .collect(),
            others: others.into(),
        }
    }

    /// Visits lists that together hold every entry that may fit.
    pub(crate) fn each(
        &self,
        listener: &str,
        source: IpAddr,
        destination: IpAddr,
        sni: &[u8],
        mut visit: impl FnMut(&[u32]),
    ) {
        let mut list = |list: u32| visit(&self.lists[list as usize]);
        self.sni.each(sni, &mut list);
        self.destinations.each(destination, &mut list);
        self.sources.each(source, &mut list);
        if let Some(found) = self.listeners.get(listener.as_bytes()) {
            list(found);
        }
        visit(&self.others);
    }
}
