//! Budgets and rates as other programs have them, for those who come from there.
//!
//! Each does as its program does, also where [`RetryBudget`](crate::RetryBudget) would do better.

mod aws_adaptive;
mod aws_standard;
mod envoy_retry_budget;
mod grpc_throttle;

pub use aws_adaptive::{AwsAdaptiveConfig, AwsAdaptiveRate};
pub use aws_standard::{AwsRetry, AwsStandardBucket, AwsStandardConfig};
pub use envoy_retry_budget::{EnvoyRetryBudget, EnvoyRetryBudgetConfig};
pub use grpc_throttle::{GrpcThrottle, GrpcThrottleConfig, Pushback};
