//! Which ranges hold an address: one lookup for each length that occurs.

use std::net::IpAddr;

use super::byte_map::ByteMap;
use super::cidr::{Cidr, masked};

#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    /// The lengths that occur, IPv4 and IPv6, shortest first.
    lengths: [Box<[u8]>; 2],
    map: ByteMap,
}

impl Ranges {
    /// Of equal ranges the first counts.
    pub(crate) fn new(ranges: &[(Cidr, u32)]) -> Self {
        let lengths = |is_ipv4| {
            let mut lengths: Vec<u8> = ranges
                .iter()
                .filter(|(cidr, _)| cidr.address().is_ipv4() == is_ipv4)
                .map(|(cidr, _)| cidr.length())
                .collect();
            lengths.sort_unstable();
            lengths.dedup();
            lengths.into()
        };
        if ranges.is_empty() {
            return Self::default();
        }
        let keys: Vec<([u8; 18], u32)> =
            ranges.iter().map(|(cidr, list)| (key(cidr.address(), cidr.length()), *list)).collect();
        Self {
            lengths: [lengths(true), lengths(false)],
            map: ByteMap::new(keys.iter().map(|(key, list)| (&key[..], *list))),
        }
    }

    /// What the ranges that hold `address` stand for, widest first: at most 33 lookups, or 129.
    pub(crate) fn each(&self, address: IpAddr, mut visit: impl FnMut(u32)) {
        for &length in &self.lengths[usize::from(address.is_ipv6())] {
            if let Some(list) = self.map.get(&key(masked(address, length), length)) {
                visit(list);
            }
        }
    }
}

fn key(address: IpAddr, length: u8) -> [u8; 18] {
    let mut key = [0; 18];
    match address {
        IpAddr::V4(v4) => key[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => key[..16].copy_from_slice(&v6.octets()),
    }
    key[16] = length;
    key[17] = u8::from(address.is_ipv4());
    key
}
