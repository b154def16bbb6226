//! The hash functions that placements and compatible modes are made of.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// A function from the bytes of a key to 64 bits.
///
/// [`Sip13`](Self::Sip13) is the default wherever clients choose the keys: without knowing the seed nobody can aim at an
/// endpoint. The others are for agreeing with what other programs do; they are neither keyed nor hard to aim with. Those
/// of 32 bits answer in the lower half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum HashFunction {
    /// SipHash-1-3 under a seed. Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012.
    #[default]
    Sip13,
    /// xxHash, 64 bits, seed 0: Envoy, gRPC.
    Xxh64,
    /// MurmurHash64A under the seed of GCC's `std::hash`: Envoy's `MURMUR_HASH_2`.
    Murmur2,
    /// CRC-32 (IEEE): nginx, HAProxy, pingora's ketama.
    Crc32,
    /// FNV-1a, 64 bits: pingora, Traefik.
    Fnv1a,
    /// Bernstein's times 33 from 5381: HAProxy.
    Djb2,
    /// The function of the sdbm library: HAProxy.
    Sdbm,
    /// HAProxy's Wang/Thomas variant.
    Wt6,
}

impl HashFunction {
    /// The hash of `bytes`. `seed` matters to [`Sip13`](Self::Sip13) alone. O(length).
    #[must_use]
    pub fn hash(self, seed: u64, bytes: &[u8]) -> u64 {
        match self {
            Self::Sip13 => sip13(seed, bytes),
            Self::Xxh64 => xxh64(bytes, 0),
            Self::Murmur2 => murmur64a(bytes, MURMUR_SEED),
            Self::Crc32 => u64::from(crc32(bytes)),
            Self::Fnv1a => fnv1a(bytes),
            Self::Djb2 => u64::from(djb2(bytes)),
            Self::Sdbm => u64::from(sdbm(bytes)),
            Self::Wt6 => u64::from(wt6(bytes)),
        }
    }
}

/// SipHash-1-3 whose second half of the key is zero.
#[must_use]
pub fn sip13(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed, 0);
    hasher.write(bytes);
    hasher.finish()
}

/// xxHash with 64 bits.
#[inline]
#[must_use]
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    xxhash_rust::xxh64::xxh64(bytes, seed)
}

/// CRC-32 as in zlib.
#[inline]
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// FNV-1a with 64 bits.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// `h = 33 h + byte` from 5381.
#[must_use]
pub fn djb2(bytes: &[u8]) -> u32 {
    bytes.iter().fold(5381_u32, |hash, &byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
}

/// `h = byte + 65599 h` from 0, in shifts.
#[must_use]
pub fn sdbm(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0_u32, |hash, &byte| hash.wrapping_mul(65_599).wrapping_add(u32::from(byte)))
}

/// Two words that each byte turns over, with rotations taken from the words themselves.
#[must_use]
pub fn wt6(bytes: &[u8]) -> u32 {
    let (mut h0, mut h1): (u32, u32) = (0xa53c_965a, 0x5ca6_953a);
    let (mut s0, mut s1) = (6, 18);
    for &byte in bytes {
        h0 = !(h0 ^ u32::from(byte));
        h1 = !h1.wrapping_add(u32::from(byte));
        (h0, h1) = (h1.rotate_left(s0), h0.rotate_left(s1));
        let turn = ((h0 >> 16) ^ h1) & 0xffff;
        (s0, s1) = (turn & 31, turn >> 11);
    }
    h0 ^ h1
}

/// MurmurHash64A: Austin Appleby's MurmurHash2 for 64-bit machines.
#[must_use]
pub fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> R)).wrapping_mul(M);
    hash ^ (hash >> R)
}

/// What GCC's standard library seeds MurmurHash64A with, and Envoy after it.
pub const MURMUR_SEED: u64 = 0xc70f_6907;

#[cfg(test)]
mod tests {
    use super::*;

    /// From the papers and reference programs of each.
    #[test]
    fn known_answers() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(xxh64(b"", 0), 0xef46_db37_51d8_e999);
        assert_eq!(djb2(b""), 5381);
        assert_eq!(djb2(b"a"), 5381 * 33 + 97);
        assert_eq!(sdbm(b"a"), 97);
        assert_eq!(sdbm(b"ab"), 97 * 65_599 + 98);
        assert_ne!(sip13(1, b"key"), sip13(2, b"key"));
        assert_ne!(murmur64a(b"12345678", 0), murmur64a(b"1234567", 0));
    }

    #[test]
    fn every_function_takes_every_length() {
        use HashFunction::{Crc32, Djb2, Fnv1a, Murmur2, Sdbm, Sip13, Wt6, Xxh64};
        let bytes: Vec<u8> = (1..=255).collect();
        for function in [Sip13, Xxh64, Murmur2, Crc32, Fnv1a, Djb2, Sdbm, Wt6] {
            let mut seen: Vec<u64> = (0..bytes.len()).map(|end| function.hash(7, &bytes[..end])).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), bytes.len(), "{function:?}");
        }
    }
}
