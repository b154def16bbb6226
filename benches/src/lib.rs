//! What the benches, the scoreboard and the instruction counts have in common: the worlds they measure in, and the
//! floors they measure against.

mod floors;
mod parts;
mod pipeline;
pub mod router;
pub mod routes;
mod world;

pub use floors::{ClosedBreaker, F8Guard, FloorReader, FloorWorld};
pub use parts::{PARTS, Parts, window_breaker};
pub use pipeline::{PIPELINE_MET, pipeline};
pub use world::{
    KEYS, POLICIES, Weights, caller, cluster, endpoint, endpoints, is_usable, mask, members, names, policy,
    request, table_loads, unsettled, weights,
};
