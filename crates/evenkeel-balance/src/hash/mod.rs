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
mod ketama;
mod key;
mod ledger;
mod lines;
mod maglev;
mod mix;
mod modulo;
mod multi_probe;
mod placed;
mod placement;
mod point_counts;
mod radix;
pub(crate) mod rank;
mod rendezvous;
mod ring;
mod ring_hash;
mod top;

pub use anchor::{Anchor, AnchorConfig};
pub use choose::Chooser;
pub use function::{HashFunction, MURMUR_SEED, crc32, djb2, fnv1a, murmur64a, sdbm, sip13, wt6, xxh64};
pub use hot_keys::{HotKeySettings, HotKeys};
pub use ip_hash::{IpHash, IpHashConfig};
pub use jump::{Jump, JumpConfig, jump_bucket};
pub use ketama::{Ketama, KetamaConfig};
pub use key::{Bits, KeySettings, MissingKey};
pub use maglev::{Maglev, MaglevConfig};
pub use modulo::{Modulo, ModuloConfig};
pub use multi_probe::{MultiProbe, MultiProbeConfig};
pub use placement::{Candidate, Placement};
pub use rendezvous::{Rendezvous, RendezvousConfig};
pub use ring_hash::{RingHash, RingHashConfig};
pub use top::top;
