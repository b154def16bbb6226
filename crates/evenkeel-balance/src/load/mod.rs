//! Policies that compare loads: requests in flight.

mod exact;
mod join_idle_queue;
mod least_connections;
mod least_request;
mod ranking;
mod rule;
mod shortest_expected_delay;

pub use join_idle_queue::{JoinIdleQueue, JoinIdleQueueConfig};
pub use least_connections::{LeastConnections, LeastConnectionsConfig};
pub use least_request::{LeastRequest, LeastRequestConfig};
pub use shortest_expected_delay::{ShortestExpectedDelay, ShortestExpectedDelayConfig};
