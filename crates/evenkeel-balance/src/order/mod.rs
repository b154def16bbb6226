//! Policies that keep an order: each in turn, by weight or not.

mod cycle;
mod earliest_deadline_first;
mod first_available;
mod interleaved;
mod pick_first;
mod round_robin;
mod smooth_weighted_round_robin;
mod static_map;
mod static_stride;

pub use earliest_deadline_first::{EarliestDeadlineFirst, EarliestDeadlineFirstConfig};
pub use first_available::{FirstAvailable, FirstAvailableConfig, RoomPer};
pub use interleaved::{Interleaved, InterleavedConfig};
pub use pick_first::{PickFirst, PickFirstConfig, Shuffle};
pub use round_robin::{RoundRobin, RoundRobinConfig};
pub use smooth_weighted_round_robin::{
    GlobalSmoothWeightedRoundRobin, SmoothWeightedRoundRobin, SmoothWeightedRoundRobinConfig, TurnOrder,
};
pub use static_map::{StaticMap, StaticMapConfig};
pub use static_stride::{StaticStride, StaticStrideConfig};
