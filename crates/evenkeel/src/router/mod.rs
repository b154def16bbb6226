//! From a request to a cluster, and from there to an endpoint: routes, limits, splits, affinity, retries.

mod action;
mod affinity;
mod config;
mod hedge;
mod key;
mod rate_limit;
mod stream_config;

pub use action::{BlueGreenAction, RampAction, Redirect, StaticResponse};
pub use affinity::{AffinityConfig, LearnedAffinity};
pub use config::{Action, RouteConfig, RouterConfig};
pub use hedge::{HedgeAfter, RouteHedgeConfig};
pub use key::KeySource;
pub use rate_limit::{RateLimitConfig, WithoutKey};
pub use stream_config::{StreamAction, StreamRouteConfig, StreamRouterConfig};
