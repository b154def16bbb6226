//! Pick one of many.
//!
//! A policy sees endpoints as positions `0..n` through a [`View`]: a [`Mask`] of usable positions, a weight and a load
//! each. What it consumes besides (draws, its place in a cycle, the request's key) comes through a [`Caller`]. So the
//! same inputs give the same picks on every platform, and a test scripts each draw.
//!
//! | policy | idea | a pick costs |
//! |---|---|---|
//! | [`RoundRobin`] | each in turn | O(1) |
//! | [`SmoothWeightedRoundRobin`] | in turn by weight, without bursts | O(1) |
//! | [`Random`] | uniform | O(1) |
//! | [`WeightedRandom`] | by weight, alias table | O(1) |
//! | [`LeastRequest`] | the less loaded of d distinct draws, or of all | O(d) or O(n) |
//!
//! All of them answer in O(1) with any part of the endpoints unusable, fall back to one exact scan when a request
//! excludes what they drew, and never answer "none" while a usable endpoint is left.
//!
//! ```
//! use evenkeel_balance::{Mask, RoundRobin, Script, Table};
//!
//! let mask = Mask::all_usable(3);
//! let view = Table::new(&mask, &[1, 1, 1], &[0, 0, 0]);
//! let mut caller = Script::seeded(42);
//! let mut picks = [0; 3];
//! for _ in 0..300 {
//!     picks[RoundRobin.choose(&view, &mut caller).expect("all are usable")] += 1;
//! }
//! assert_eq!(picks, [100, 100, 100]);
//!
//! mask.set(1, false);
//! assert!((0..10).all(|_| RoundRobin.choose(&view, &mut caller) != Some(1)));
//! ```
//!
//! # Your own policy
//!
//! Implement [`Policy`] and run the laws on it (feature and module `laws`). A policy that keeps a sequence or an order
//! asks for [`Event`]s.
//!
//! # Features
//!
//! `serde`: [`PolicyConfig`] reads and writes itself. `laws`: the laws.

mod built_in;
mod caller;
pub mod compat;
mod config;
mod draws;
mod event;
pub mod hash;
mod invalid;
#[cfg(feature = "laws")]
pub mod laws;
mod lineup;
mod load;
mod mask;
mod order;
mod policy;
mod scan;
mod sync;
#[cfg(test)]
mod testing;
mod tokens;
mod tournament;
mod view;

pub use built_in::BuiltIn;
pub use caller::{Caller, Script, place_in};
pub use config::{PolicyConfig, PolicySettings, UnknownPolicy};
pub use draws::{AliasTable, Random, RandomConfig, WeightedRandom, WeightedRandomConfig};
pub use event::{Event, LoadReport, Observation, Observed};
pub use invalid::InvalidPolicy;
pub use load::{
    Choices, JoinIdleQueue, JoinIdleQueueConfig, LeastConnections, LeastConnectionsConfig, LeastRequest,
    LeastRequestConfig, ShortestExpectedDelay, ShortestExpectedDelayConfig,
};
pub use mask::Mask;
pub use order::{
    EarliestDeadlineFirst, EarliestDeadlineFirstConfig, FirstAvailable, FirstAvailableConfig,
    GlobalSmoothWeightedRoundRobin, Interleaved, InterleavedConfig, PickFirst, PickFirstConfig, RoomPer,
    RoundRobin, RoundRobinConfig, Shuffle, SmoothWeightedRoundRobin, SmoothWeightedRoundRobinConfig,
    StaticMap, StaticMapConfig, StaticStride, StaticStrideConfig, TurnOrder,
};
pub use policy::{MemberList, Members, Policy, Wants};
pub use view::{Table, View};
