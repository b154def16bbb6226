//! Hashes of hashes: what placements draw their second and further opinions from.

use evenkeel_types::SplitMix64;

use crate::Members;

use super::sip13;

/// A wide product folded to 64 bits: about a nanosecond, and as good as its two operands are unrelated.
#[inline(always)]
pub(super) const fn fold(one: u64, other: u64) -> u64 {
    let product = one as u128 * other as u128;
    (product >> 64) as u64 ^ product as u64
}

/// The hash of a key once more, for the `step`-th time: as good as independent of it and of each other.
#[inline]
pub(super) const fn again(hash: u64, step: u64) -> u64 {
    SplitMix64::mix(hash.wrapping_add(SplitMix64::STEP.wrapping_mul(step.wrapping_add(1))))
}

/// A hash brought to `0..length` by its upper bits.
#[inline(always)]
pub(super) const fn scale(hash: u64, length: u32) -> u32 {
    ((hash as u128 * length as u128) >> 64) as u32
}

/// The hash of the name of the endpoint at a position: what orders endpoints in a way that no list of them changes.
pub(super) fn name(members: &dyn Members, position: usize, seed: u64) -> u64 {
    sip13(seed, members.endpoint(position).id().as_str().as_bytes())
}
