//! Which tier of a cluster serves a request, as tiers lose endpoints and get them back.

mod backup;
mod config;
mod envoy;
mod events;
mod grpc;
mod machine;
mod order;
mod spill;

pub use backup::{Backup, BackupGroup, BackupMode};
pub use config::{FailoverConfig, FailoverError, OnPanic, StaticResponse};
pub use envoy::{EnvoyLevel, EnvoyPriorities};
pub use events::{TierEvent, TierHappened};
pub use grpc::{GrpcChild, GrpcEvent, GrpcPriority, GrpcPriorityConfig};
pub use machine::{Failover, Serve};
pub use order::{FailoverOrder, FailoverOrderError};
pub use spill::{ONE, Situation, TierHealth, TierLoads, TierPick, TierShare, spill};
