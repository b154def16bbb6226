//! Policies that send equal keys to one endpoint, and what they are made of.

mod bound;
mod choose;
mod function;
mod ketama;
mod key;
mod maglev;
mod placement;
mod point_counts;
mod radix;
pub(crate) mod rank;
mod ring;
mod ring_hash;
mod top;

pub use choose::Chooser;
pub use function::{HashFunction, MURMUR_SEED, crc32, djb2, fnv1a, murmur64a, sdbm, sip13, wt6, xxh64};
pub use ketama::{Ketama, KetamaConfig};
pub use key::{Bits, KeySettings, MissingKey};
pub use maglev::{Maglev, MaglevConfig};
pub use placement::{Candidate, Placement};
pub use ring_hash::{RingHash, RingHashConfig};
pub use top::top;
