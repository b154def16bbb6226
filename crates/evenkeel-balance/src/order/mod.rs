//! Policies that keep an order: each in turn, by weight or not.

mod round_robin;
mod smooth_weighted_round_robin;

pub use round_robin::{RoundRobin, RoundRobinConfig};
pub use smooth_weighted_round_robin::{SmoothWeightedRoundRobin, SmoothWeightedRoundRobinConfig};
