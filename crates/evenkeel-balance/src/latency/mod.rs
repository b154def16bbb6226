//! Policies that learn: from how long requests take, and from what endpoints report.
//!
//! What is learnt belongs to an endpoint and lies behind an `Arc`, found by position in a pick and by token in an event;
//! a policy's successor shares it, so no update loses any of it. These rules hold for all that go by latency:
//!
//! * A failure never lowers an estimate: failing fast is not being fast. Costs are divided by a power of the share of
//!   successes (`guard.rs`). A request that was dropped without a verdict is a floor.
//! * What is not asked is forgiven by and by, down to half of what is typical among those that answer (`typical.rs`), so
//!   that it is asked again; but each request in flight there weighs as much as it ever did, so that it is tried by one
//!   request and not flooded (`price.rs`).
//! * An endpoint of which nothing is known counts as typical and forgiven.

mod c3;
mod client_side_weighted_round_robin;
mod fleet;
mod guard;
mod learnt;
mod least_latency;
mod least_time;
mod peak_ewma;
mod prequal;
mod price;
mod probe_pool;
mod reported_weight;
mod settings;
mod standing;
mod stride;
#[cfg(all(test, not(loom)))]
mod testing;
mod threshold;
mod typical;

pub use c3::{C3, C3Config};
pub use client_side_weighted_round_robin::{
    ClientSideWeightedRoundRobin, ClientSideWeightedRoundRobinConfig, UnknownWeight,
};
pub use least_latency::{LeastLatency, LeastLatencyConfig};
pub use least_time::{LeastTime, LeastTimeConfig};
pub use peak_ewma::{PeakEwma, PeakEwmaConfig};
pub use prequal::{Prequal, PrequalConfig};
pub use probe_pool::{ProbePool, ProbePoolConfig};
