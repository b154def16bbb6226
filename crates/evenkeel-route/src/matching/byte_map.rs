//! A frozen map from byte strings to numbers.

/// Open addressing with linear probing, half empty. Only configuration is ever inserted, so no request can lengthen a
/// probe run: an unkeyed hash is safe here, and it is the same on every platform.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByteMap {
    slots: Box<[Slot]>,
    bytes: Box<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u32,
    at: u32,
    len: u32,
    value: u32,
}

impl ByteMap {
    /// A map of these pairs; of equal keys the first counts.
    pub(crate) fn new<'a>(pairs: impl ExactSizeIterator<Item = (&'a [u8], u32)>) -> Self {
        let size = (pairs.len() * 2).next_power_of_two();
        let mut slots = vec![Slot { tag: 0, at: 0, len: 0, value: EMPTY }; size];
        let mut bytes: Vec<u8> = Vec::new();
        for (key, value) in pairs {
            let hash = hash(key);
            let mut at = hash as usize & (size - 1);
            let tag = (hash >> 32) as u32;
            let taken = loop {
                let slot = &slots[at];
                if slot.value == EMPTY {
                    break false;
                }
                if slot.tag == tag && &bytes[slot.at as usize..][..slot.len as usize] == key {
                    break true;
                }
                at = (at + 1) & (size - 1);
            };
            if !taken {
                slots[at] = Slot { tag, at: bytes.len() as u32, len: key.len() as u32, value };
                bytes.extend_from_slice(key);
            }
        }
        Self { slots: slots.into(), bytes: bytes.into() }
    }

    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let hash = hash(key);
        let tag = (hash >> 32) as u32;
        let mut at = hash as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.value == EMPTY {
                return None;
            }
            if slot.tag == tag && slot.len as usize == key.len() {
                let from = slot.at as usize;
                if equal(&self.bytes[from..from + key.len()], key) {
                    return Some(slot.value);
                }
            }
            at = (at + 1) & mask;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// Multiply and fold, eight bytes at a time, the last eight overlapping: the scheme of wyhash, without its seeds.
#[inline]
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = SEED ^ bytes.len() as u64;
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let mut rest = bytes;
        if bytes.len() > 8 {
            state = fold(state ^ u64::from_le_bytes(*first), STEP);
            rest = &rest[8..];
            while let Some((word, tail)) = rest.split_first_chunk::<8>() {
                if tail.is_empty() {
                    break;
                }
                state = fold(state ^ u64::from_le_bytes(*word), STEP);
                rest = tail;
            }
        }
        return fold(state ^ u64::from_le_bytes(*last), STEP);
    }
    let word = match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    };
    fold(state ^ word, STEP)
}

/// Whether two texts are equal: for the short ones that segments and hosts are, words are compared faster than a call is
/// made.
#[inline(always)]
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.len() > 32 {
        return a == b;
    }
    // The two chunks overlap, so that any length between once and twice theirs is covered.
    if let (Some(a_first), Some(b_first), Some(a_last), Some(b_last)) =
        (a.first_chunk::<16>(), b.first_chunk::<16>(), a.last_chunk::<16>(), b.last_chunk::<16>())
    {
        let differ = |a: &[u8; 16], b: &[u8; 16]| u128::from_le_bytes(*a) ^ u128::from_le_bytes(*b);
        return differ(a_first, b_first) | differ(a_last, b_last) == 0;
    }
    if let (Some(a_first), Some(b_first), Some(a_last), Some(b_last)) =
        (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>())
    {
        let differ = |a: &[u8; 8], b: &[u8; 8]| u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        return differ(a_first, b_first) | differ(a_last, b_last) == 0;
    }
    if let (Some(a_first), Some(b_first), Some(a_last), Some(b_last)) =
        (a.first_chunk::<4>(), b.first_chunk::<4>(), a.last_chunk::<4>(), b.last_chunk::<4>())
    {
        return u32::from_le_bytes(*a_first) == u32::from_le_bytes(*b_first)
            && u32::from_le_bytes(*a_last) == u32::from_le_bytes(*b_last);
    }
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// Fewer than eight bytes as a word, the first lowest: two reads that may overlap.
#[inline(always)]
pub(crate) fn short_word(tail: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        let shift = 8 * (tail.len() as u32 - 4);
        return u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << shift;
    }
    tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Both halves of the product, folded into one.
#[inline]
pub(crate) const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product >> 64) as u64 ^ product as u64
}

const EMPTY: u32 = u32::MAX;
const SEED: u64 = 0x2d35_8dcc_aa6c_78a5;
const STEP: u64 = 0x8bb8_4b93_962e_acc9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_equal_if_every_byte_is() {
        for len in 0..40 {
            let text: Vec<u8> = (0..len).collect();
            assert!(equal(&text, &text.clone()));
            for at in 0..text.len() {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert!(!equal(&text, &other), "byte {at} of {len}");
            }
            assert!(!equal(&text, &[&text[..], &[0]].concat()));
        }
    }

    #[test]
    fn finds_every_key_and_no_other() {
        let keys: Vec<String> =
            (0..1000).map(|i| "x".repeat(i % 23) + &i.to_string()).chain([String::new()]).collect();
        let map = ByteMap::new(keys.iter().enumerate().map(|(i, key)| (key.as_bytes(), i as u32)));
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(map.get(key.as_bytes()), Some(i as u32), "{key}");
            assert_eq!(map.get(format!("{key}?").as_bytes()), None);
        }
        assert_eq!(ByteMap::default().get(b"a"), None);
        assert_eq!(ByteMap::new([(&b"a"[..], 1), (b"a", 2)].into_iter()).get(b"a"), Some(1));
    }
}
