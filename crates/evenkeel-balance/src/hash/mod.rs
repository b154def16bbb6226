//! Policies that send equal keys to one endpoint, and what they are made of.

mod anchor;
mod bound;
mod choose;
#[cfg(test)]
pub(crate) mod crowd;
mod function;
mod hot_keys;
mod ip_hash;
mod jump;
mod key;
mod ledger;
mod mix;
mod modulo;
mod multi_probe;
mod placement;
mod radix;
pub(crate) mod rank;
mod rendezvous;
#[expect(dead_code, reason = "its policies follow")]
mod ring;

pub use choose::Chooser;
pub use function::{HashFunction, MURMUR_SEED, crc32, djb2, fnv1a, murmur64a, sdbm, sip13, wt6, xxh64};
pub use key::{Bits, KeySettings, MissingKey};
pub use placement::{Candidate, Placement};

pub use anchor::{Anchor, AnchorConfig};
pub use hot_keys::{HotKeySettings, HotKeys};
pub use ip_hash::{IpHash, IpHashConfig};
pub use jump::{Jump, JumpConfig, jump_bucket};
pub use modulo::{Modulo, ModuloConfig};
pub use multi_probe::{MultiProbe, MultiProbeConfig};
pub use rendezvous::{Rendezvous, RendezvousConfig};
