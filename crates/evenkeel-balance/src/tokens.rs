//! From the lasting number of an endpoint to its position: what a policy needs that hears of events.

use std::hash::{BuildHasherDefault, Hasher};

use evenkeel_types::SplitMix64;
use hashbrown::HashMap;

use crate::Members;

/// The positions of the members' tokens. Its order reaches no decision: it is only asked for one token at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(HashMap<u64, u32, BuildHasherDefault<Mixed>>);

impl Tokens {
    /// Of these members. O(n).
    pub(crate) fn new(members: &dyn Members) -> Self {
        Self(
            (0..members.weights().len()).map(|position| (members.token(position), position as u32)).collect(),
        )
    }

    /// Where this token stands, if it is one of ours.
    #[inline]
    pub(crate) fn position(&self, token: u64) -> Option<usize> {
        self.0.get(&token).map(|&position| position as usize)
    }
}

/// Tokens are given out by us, so nobody can choose them to collide: mixing their bits is enough.
#[derive(Clone, Copy, Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = SplitMix64::mix(self.0 ^ number);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
