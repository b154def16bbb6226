//! Policies that draw: uniformly, or by weight.

mod alias;
pub(crate) mod random;
pub(crate) mod weighted_random;

pub use alias::AliasTable;
pub use random::{Random, RandomConfig};
pub use weighted_random::{WeightedRandom, WeightedRandomConfig};
