//! Policies that draw: uniformly, or by weight.

mod alias;
pub(crate) mod few;
pub(crate) mod random;
pub(crate) mod weighted_random;

pub use alias::AliasTable;
pub use few::Choices;
pub use random::{Random, RandomConfig};
pub use weighted_random::{WeightedRandom, WeightedRandomConfig};
