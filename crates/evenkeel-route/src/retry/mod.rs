//! A request that is sent again, after a failure or before an answer.

mod backoff;
mod ending;
mod hedge;
mod plan;
mod tried;

pub use backoff::{Backoff, BackoffError, Jitter};
pub use ending::{Ending, RetryOn, StatusRange};
pub use hedge::{Hedge, HedgeConfig, HedgeError, HedgePolicy, HedgeStep};
pub use plan::{GiveUp, Next, RetryConfig, RetryError, RetryPlan, RetryPolicy, RetryProgress};
pub use tried::Tried;
