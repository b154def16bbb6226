use std::net::IpAddr;

use crate::hash::{crc32, djb2, sdbm, wt6};

/// `hash-type`: how a key becomes a server.
///
/// The default is HAProxy's: `map-based` with sdbm and without avalanche. Mind that a bare `hash-type consistent` *does*
/// avalanche: see [`HashType::bare`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HashType {
    /// What a hash is looked up in: the map of slots unless set, as in HAProxy.
    pub method: Method,
    /// What turns the bytes of a key into a hash: sdbm unless set, as in HAProxy. Not used for addresses.
    pub function: Function,
    /// Whether the hash is mixed once more. Off unless set, as for every function that HAProxy is told by name.
    pub avalanche: bool,
}

/// What a hash is looked up in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Method {
    /// A map of as many slots as there is weight, dealt anew whenever a server comes or goes: most keys then move.
    #[default]
    MapBased,
    /// A ring of 16 points for each unit of weight: only the keys of the server that came or went move.
    Consistent,
}

/// What turns the bytes of a key into a hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Function {
    /// That of the sdbm library.
    #[default]
    Sdbm,
    /// Bernstein's times 33.
    Djb2,
    /// HAProxy's own.
    Wt6,
    /// As in zlib.
    Crc32,
    /// None: the key is a decimal number, and the number is the hash. HAProxy has it since 2.7; 2.6 refuses the word.
    None,
}

impl HashType {
    /// What a bare `hash-type map-based` or `hash-type consistent` means, without naming a function: sdbm, and for
    /// `consistent` with avalanche, which naming the function would turn off.
    #[must_use]
    pub const fn bare(method: Method) -> Self {
        Self { method, function: Function::Sdbm, avalanche: matches!(method, Method::Consistent) }
    }

    /// The hash of a key. O(length).
    #[must_use]
    pub fn hash(self, key: &[u8]) -> u32 {
        self.finish(match self.function {
            Function::Sdbm => sdbm(key),
            Function::Djb2 => djb2(key),
            Function::Wt6 => wt6(key),
            Function::Crc32 => crc32(key),
            Function::None => number(key),
        })
    }

    /// The hash of a client's address, as `balance source` takes it: its 32-bit words, one upon the other.
    #[must_use]
    pub fn hash_source(self, address: IpAddr) -> u32 {
        self.finish(match address {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(address) => address
                .octets()
                .as_chunks::<4>()
                .0
                .iter()
                .fold(0, |hash, word| hash ^ u32::from_be_bytes(*word)),
        })
    }

    fn finish(self, hash: u32) -> u32 {
        if self.avalanche { full_hash(hash) } else { hash }
    }
}

/// Full avalanche: every bit of the input reaches every bit of the output. Bob Jenkins, "4-byte integer hashing", 2007,
/// and a multiplication that spreads neighbours over the ring. No two inputs have one output.
#[must_use]
pub const fn full_hash(mut a: u32) -> u32 {
    a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    a = (a ^ 0xc761_c23c) ^ (a >> 19);
    a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    a.wrapping_mul(3_221_225_473)
}

/// The decimal number at the start of a key, its lower 32 bits; beyond 64 bits it stays at the end of the range.
fn number(key: &[u8]) -> u32 {
    let (is_negative, digits) = match key {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| i64::from(byte - b'0'));
    let value = digits.fold(0_i64, |value, digit| {
        let digit = if is_negative { -digit } else { digit };
        value.saturating_mul(10).saturating_add(digit)
    });
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_word_is_a_trap() {
        assert!(HashType::bare(Method::Consistent).avalanche);
        assert_eq!(HashType::bare(Method::MapBased), HashType::default());
        let named = HashType { method: Method::Consistent, ..HashType::default() };
        assert_eq!(HashType::bare(Method::Consistent).hash(b"key"), full_hash(named.hash(b"key")));
    }

    #[test]
    fn addresses_are_folded() {
        let hash = |text: &str| HashType::default().hash_source(text.parse().expect("an address"));
        assert_eq!(hash("1.2.3.4"), 0x0102_0304);
        assert_eq!(hash("1:2::3:4"), 0x0001_0002 ^ 0x0003_0004);
        assert_eq!(hash("::ffff:1.2.3.4"), 0x0000_ffff ^ 0x0102_0304);
    }

    #[test]
    fn numbers_are_their_own_hash() {
        for (key, hash) in [
            ("", 0),
            ("17", 17),
            ("17x", 17),
            ("x17", 0),
            ("-1", u32::MAX),
            ("4294967297", 1),
            ("9999999999999999999999", u32::MAX),
            ("-9999999999999999999999", 0),
        ] {
            assert_eq!(number(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn full_hash_keeps_numbers_apart() {
        let mut seen: Vec<u32> = (0..100_000).map(full_hash).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100_000);
    }
}
