use std::net::IpAddr;

use evenkeel_types::{RandomSource, SplitMix64, Timestamp};

use crate::hash::sip13;

/// What a pick consumes besides the view: draws, places in a cycle, the key and the time of the request.
///
/// Each is asked for only if the policy needs it, so a policy that needs no clock costs no clock read.
pub trait Caller {
    /// The next 64 uniformly distributed bits.
    fn draw(&mut self) -> u64;

    /// The caller's next place in a cycle of `length` places: 0, 1, … `length` − 1, 0, … from a start of its own.
    ///
    /// The place is the caller's, not the policy's: it survives updates, and every thread has its own, since a shared
    /// one costs more than the rest of the pick. When the length shrinks below the place, it is taken modulo the length.
    /// Zero for `length` zero.
    fn turn(&mut self, length: u32) -> u32;

    /// The hash of the request's key, if it has one.
    fn key(&mut self) -> Option<u64> {
        None
    }

    /// The request's key itself, for hash functions of other programs. `None` also if the caller had only its hash.
    fn key_bytes(&mut self) -> Option<&[u8]> {
        None
    }

    /// The seed under which [`key`](Self::key) hashes: for policies that make a key of something else, as of an address.
    fn key_seed(&self) -> u64 {
        0
    }

    /// The address of the client that sent the request.
    fn source(&mut self) -> Option<IpAddr> {
        None
    }

    /// The present.
    fn now(&mut self) -> Timestamp {
        Timestamp::ORIGIN
    }
}

/// A caller that owns all its inputs: scripted in a test, seeded in a program.
///
/// ```
/// use evenkeel_balance::{Caller, Script};
/// let mut draws = [5_u64, 6].into_iter();
/// let mut caller = Script::new(|| draws.next().unwrap_or(0)).starting_at(2).with_key(7);
/// assert_eq!((caller.draw(), caller.turn(3), caller.turn(3), caller.key()), (5, 2, 0, Some(7)));
/// ```
#[derive(Clone, Debug)]
pub struct Script<R> {
    source: R,
    place: u32,
    key: Option<u64>,
    key_bytes: Option<Vec<u8>>,
    key_seed: u64,
    source_address: Option<IpAddr>,
    now: Timestamp,
}

impl Script<SplitMix64> {
    /// Draws from a seeded generator; the first place in every cycle is 0.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self::new(SplitMix64::new(seed))
    }
}

impl<R> Script<R> {
    /// Draws from `source`; the first place in every cycle is 0.
    #[must_use]
    pub const fn new(source: R) -> Self {
        Self {
            source,
            place: 0,
            key: None,
            key_bytes: None,
            key_seed: 0,
            source_address: None,
            now: Timestamp::ORIGIN,
        }
    }

    /// The same with another first place.
    #[must_use]
    pub const fn starting_at(mut self, place: u32) -> Self {
        self.place = place;
        self
    }

    /// The same with the hash of a key.
    #[must_use]
    pub const fn with_key(mut self, hash: u64) -> Self {
        self.key = Some(hash);
        self
    }

    /// The same with a key, and its SipHash-1-3 under seed 0 as its hash.
    #[must_use]
    pub fn with_key_bytes(mut self, key: impl Into<Vec<u8>>) -> Self {
        let key = key.into();
        self.key = Some(sip13(0, &key));
        self.key_bytes = Some(key);
        self
    }

    /// The same with this seed of key hashes; it changes no key that was given.
    #[must_use]
    pub const fn with_key_seed(mut self, seed: u64) -> Self {
        self.key_seed = seed;
        self
    }

    /// The same with the address of a client.
    #[must_use]
    pub const fn with_source(mut self, address: IpAddr) -> Self {
        self.source_address = Some(address);
        self
    }

    /// The same at another time.
    #[must_use]
    pub const fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }
}

impl<R: RandomSource> Caller for Script<R> {
    #[inline]
    fn draw(&mut self) -> u64 {
        self.source.next_u64()
    }

    #[inline]
    fn turn(&mut self, length: u32) -> u32 {
        let place = place_in(self.place, length);
        self.place = place.wrapping_add(1);
        place
    }

    fn key(&mut self) -> Option<u64> {
        self.key
    }

    fn key_bytes(&mut self) -> Option<&[u8]> {
        self.key_bytes.as_deref()
    }

    fn key_seed(&self) -> u64 {
        self.key_seed
    }

    fn source(&mut self) -> Option<IpAddr> {
        self.source_address
    }

    fn now(&mut self) -> Timestamp {
        self.now
    }
}

/// `place` brought into a cycle of `length` places: two comparisons as a rule, a division when the cycle has shrunk. For
/// those who implement [`Caller::turn`].
#[inline]
#[must_use]
pub const fn place_in(place: u32, length: u32) -> u32 {
    // The end of a cycle is met once in each, so by a choice of values: in a short one a branch would be taken often.
    let place = if place == length { 0 } else { place };
    if place < length {
        place
    } else if length == 0 {
        0
    } else {
        place % length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_goes_round_and_survives_a_change_of_length() {
        let mut caller = Script::seeded(1).starting_at(3);
        let places: Vec<u32> = [5, 5, 5, 5, 2, 2, 0, 2].map(|length| caller.turn(length)).into();
        assert_eq!(places, [3, 4, 0, 1, 0, 1, 0, 1]);
        assert_eq!(Script::seeded(1).starting_at(u32::MAX).turn(10), 5);
    }
}
