//! The chains of places that the hashing methods try.

use std::net::IpAddr;

use crc32fast::Hasher;

/// How often a chain may miss before round robin decides.
const MOST_MISSES: u32 = 20;

/// Where a request stands in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    kind: Kind,
    misses: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No chain: round robin, or `least_conn`.
    None,
    /// `ip_hash`: one hash that each step carries on over the same bytes.
    Address { bytes: [u8; 16], length: usize, hash: u32 },
    /// `hash`: a sum that each step adds a hash to, of the number of the step and the key.
    Key { sum: u32, step: u32 },
    /// `hash consistent`: a place on the ring.
    Ring { index: usize },
}

impl Chain {
    /// No chain at all.
    pub(super) const NONE: Self = Self { kind: Kind::None, misses: 0 };

    /// The chain of `ip_hash`. A client without an IP address counts as 0.0.0.0.
    pub(super) fn of_address(address: Option<IpAddr>) -> Self {
        let (mut bytes, mut length) = ([0; 16], IPV4_BYTES);
        match address {
            Some(IpAddr::V4(address)) => bytes[..4].copy_from_slice(&address.octets()),
            Some(IpAddr::V6(address)) => (bytes, length) = (address.octets(), 16),
            None => {}
        }
        Self { kind: Kind::Address { bytes, length, hash: ADDRESS_SEED }, misses: 0 }
    }

    /// The chain of `hash`. Without a key there is none.
    pub(super) const fn of_key(key: &[u8]) -> Self {
        let kind = if key.is_empty() { Kind::None } else { Kind::Key { sum: 0, step: 0 } };
        Self { kind, misses: 0 }
    }

    /// The chain of `hash consistent`, from a place on the ring. Without a key there is none.
    pub(super) fn of_ring(key: &[u8], place: impl FnOnce() -> usize) -> Self {
        let kind = if key.is_empty() { Kind::None } else { Kind::Ring { index: place() } };
        Self { kind, misses: 0 }
    }

    /// Whether there is a chain and it has not missed too often.
    pub(super) const fn goes_on(&self) -> bool {
        !matches!(self.kind, Kind::None) && self.misses <= MOST_MISSES
    }

    /// The place on the ring, if it is that chain.
    pub(super) const fn ring_index(&self) -> Option<usize> {
        match self.kind {
            Kind::Ring { index } => Some(index),
            Kind::None | Kind::Address { .. } | Kind::Key { .. } => None,
        }
    }

    /// The next unit of weight, below `total`, of a chain that is not on the ring.
    pub(super) fn next_unit(&mut self, key: &[u8], total: u64) -> Option<u64> {
        let hash = match &mut self.kind {
            Kind::Address { bytes, length, hash } => {
                *hash =
                    bytes[..*length].iter().fold(*hash, |hash, &byte| (hash * 113 + u32::from(byte)) % 6271);
                *hash
            }
            Kind::Key { sum, step } => {
                *sum = sum.wrapping_add(key_hash(*step, key));
                *step += 1;
                *sum
            }
            Kind::None | Kind::Ring { .. } => return None,
        };
        u64::from(hash).checked_rem(total)
    }

    /// What the chain led to was not usable. On the ring the next point is as far as it goes on.
    pub(super) fn missed(&mut self) {
        self.misses += 1;
        if let Kind::Ring { index } = &mut self.kind {
            *index = index.wrapping_add(1);
        }
    }
}

/// 15 bits of the CRC-32 of the step's number, from the second on, and the key.
fn key_hash(step: u32, key: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    let mut digits = [0; 10];
    let mut first = digits.len();
    let mut left = step;
    while left > 0 {
        first -= 1;
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    hasher.update(&digits[first..]);
    hasher.update(key);
    (hasher.finalize() >> 16) & 0x7fff
}

/// So many bytes of an IPv4 address count: clients of one network stay together.
const IPV4_BYTES: usize = 3;
const ADDRESS_SEED: u32 = 89;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_after_the_first_are_numbered_in_the_hash() {
        let expected = |text: &str| (crc32fast::hash(text.as_bytes()) >> 16) & 0x7fff;
        assert_eq!(key_hash(0, b"key"), expected("key"));
        assert_eq!(key_hash(1, b"key"), expected("1key"));
        assert_eq!(key_hash(20, b"key"), expected("20key"));
        let mut chain = Chain::of_key(b"key");
        assert_eq!(chain.next_unit(b"key", 1000), Some(u64::from(expected("key")) % 1000));
        let sum = u64::from(expected("key") + expected("1key"));
        assert_eq!(chain.next_unit(b"key", 1000), Some(sum % 1000));
    }

    #[test]
    fn clients_of_one_network_have_one_chain() {
        let chain = |text: &str| Chain::of_address(text.parse().ok()).next_unit(b"", 6271);
        assert_eq!(chain("10.1.2.3"), chain("10.1.2.200"));
        assert_ne!(chain("10.1.2.3"), chain("10.1.3.3"));
        assert_ne!(chain("fd00::1"), chain("fd00::2"));
        assert_eq!(Chain::of_address(None), Chain::of_address("0.0.0.9".parse().ok()).with_last_byte(0));
    }

    impl Chain {
        fn with_last_byte(mut self, byte: u8) -> Self {
            if let Kind::Address { bytes, .. } = &mut self.kind {
                bytes[3] = byte;
            }
            self
        }
    }

    #[test]
    fn a_chain_ends_with_the_21st_miss_and_needs_a_key() {
        let mut chain = Chain::of_key(b"key");
        for _ in 0..21 {
            assert!(chain.goes_on());
            chain.missed();
        }
        assert!(!chain.goes_on());
        assert!(!Chain::of_key(b"").goes_on());
        assert!(!Chain::of_ring(b"", || 1).goes_on());
        assert!(!Chain::NONE.goes_on());
        assert_eq!(Chain::of_key(b"key").next_unit(b"key", 0), None);
    }
}
