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
//! | [`PeakEwma`] | latency × requests in flight, of d draws | O(d) or O(n) |
//! | [`LeastLatency`] | who is expected to answer soonest, of all or of 32 | O(n) up to 128 |
//! | [`LeastTime`] | who is done soonest, in steps of 20 ms, of d draws | O(d) or O(n) |
//! | [`C3`] | latency × the cube of the queue, of d draws | O(d) or O(n) |
//! | [`Prequal`] | the fastest that is not hot, of d draws | O(d) or O(n) |
//! | [`ClientSideWeightedRoundRobin`] | in turn by reported load | O(greatest ÷ mean weight) |
//! | [`EarliestDeadlineFirst`] | in turn by weight, one strict order for all | O(log n), a lock |
//! | [`StaticStride`], [`Interleaved`], [`StaticMap`] | in turn by weight, as gRPC, IPVS and HAProxy order it | O(1) |
//! | [`FirstAvailable`], [`PickFirst`] | fill one after the other; stay with one | O(full ones); O(1) |
//! | [`LeastConnections`], [`ShortestExpectedDelay`] | the exact minimum by load | O(n) up to 128, else O(log n), a lock |
//! | [`JoinIdleQueue`] | an idle one, if there is one | O(1), a lock |
//! | [`RingHash`] | equal keys to one, few keys moved: a ring | O(1) |
//! | [`Ketama`] | the same, where nginx sends them | O(1) |
//! | [`Maglev`] | equal keys to one, evenly: a table | O(1) |
//! | [`Rendezvous`] | equal keys to one: all bid, the best bid wins | O(n) |
//! | [`IpHash`] | the same, by the client's address | O(n) |
//! | [`Anchor`] | equal keys to one, evenly: numbers that are taken out and put back | O(1) |
//! | [`Jump`] | equal keys to one, evenly: jumps among buckets | O(log n) |
//! | [`MultiProbe`] | equal keys to one: a ring of one point each, many probes | O(probes) |
//! | [`Modulo`] | equal keys to one: the rest of a division; a change moves nearly all | O(1) |
//! | [`compat`] | what nginx, HAProxy, Envoy, gRPC, pingora and Traefik would pick, to the bit | their own; most take a lock |
//!
//! Before any of them a [`subset`] may choose which endpoints a client uses at all.
//!
//! Costs hold with any part of the endpoints unusable. All of them fall back to one exact scan when a request excludes
//! what they found, and never answer "none" while a usable endpoint is left.
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
mod latency;
#[cfg(any(test, feature = "laws"))]
pub mod laws;
mod lineup;
mod load;
mod mask;
mod order;
mod policy;
mod scan;
pub mod subset;
mod sync;
#[cfg(test)]
mod testing;
mod tokens;
mod tournament;
mod view;

pub use built_in::BuiltIn;
pub use caller::{Caller, Script, place_in};
pub use config::{PolicyConfig, PolicySettings, UnknownPolicy};
pub use draws::{AliasTable, Choices, Random, RandomConfig, WeightedRandom, WeightedRandomConfig};
pub use event::{Event, LoadReport, Observation, Observed};
pub use hash::{
    Anchor, AnchorConfig, IpHash, IpHashConfig, Jump, JumpConfig, Ketama, KetamaConfig, Maglev, MaglevConfig,
    Modulo, ModuloConfig, MultiProbe, MultiProbeConfig, Rendezvous, RendezvousConfig, RingHash,
    RingHashConfig,
};
pub use invalid::InvalidPolicy;
pub use latency::{
    C3, C3Config, ClientSideWeightedRoundRobin, ClientSideWeightedRoundRobinConfig, LeastLatency,
    LeastLatencyConfig, LeastTime, LeastTimeConfig, PeakEwma, PeakEwmaConfig, Prequal, PrequalConfig,
    ProbePool, ProbePoolConfig, UnknownWeight,
};
pub use load::{
    JoinIdleQueue, JoinIdleQueueConfig, LeastConnections, LeastConnectionsConfig, LeastRequest,
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
