//! Policies that send equal keys to one endpoint, and what they are made of.

mod bound;
mod choose;
mod function;
mod key;
mod placement;
pub(crate) mod rank;

pub use choose::Chooser;
pub use function::{HashFunction, MURMUR_SEED, crc32, djb2, fnv1a, murmur64a, sdbm, sip13, wt6, xxh64};
pub use key::{Bits, KeySettings, MissingKey};
pub use placement::{Candidate, Placement};
