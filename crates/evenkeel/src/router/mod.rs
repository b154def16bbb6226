//! From a request to a cluster, and from there to an endpoint: routes, limits, splits, affinity, retries.
//!
//! ```text
//! request ─► route ─► rate limit ─► split ─► affinity ─► (cluster: tier, zone, subset, policy, admit) ─► endpoint
//!                                              ▲                                                │
//!                                              └──────────── retry, hedge ◄─────────────────────┘      copies aside
//! ```
//!
//! [`RouterConfig`] says all of it; [`Router::route`] decides for a request, and the [`Exchange`] that it gives leads it
//! through its attempts. [`Router::explain`] tells why. For connections there is [`StreamRouter`].

mod action;
mod affinity;
mod blue_green;
mod build;
mod builder;
mod clusters;
mod config;
mod counters;
mod error;
mod exchange;
mod explain;
mod hedge;
mod incoming;
mod key;
mod ramp;
mod rate_limit;
mod redirect;
mod report;
#[expect(clippy::module_inception, reason = "the type that the module is about")]
mod router;
mod sticky;
mod stream;
mod stream_config;
mod stream_explain;
mod table;
mod tables;
mod target;
mod unix;

pub use action::{BlueGreenAction, RampAction, Redirect, StaticResponse};
pub use affinity::{AffinityConfig, LearnedAffinity};
pub use builder::RouterBuilder;
pub use config::{Action, RouteConfig, RouterConfig};
pub use error::{RouteError, RouterError, RouterProblem, SendError};
pub use exchange::{Exchange, Next, outcome_of};
pub use explain::{ExplainedAffinity, ExplainedArm, ExplainedCluster, LimitWord, RouteExplanation};
pub use hedge::{HedgeAfter, RouteHedgeConfig};
pub use incoming::{Incoming, Scratch};
pub use key::KeySource;
pub use ramp::RampOrder;
pub use rate_limit::{RateLimitConfig, WithoutKey};
pub use report::{ArmReport, RouteReport, RouterReport};
pub use router::{Decision, Matched, NoSuchRoute, Routed, Router, RouterTick};
pub use sticky::Affinity;
pub use stream::{NoStreamRoute, StreamRouted, StreamRouter};
pub use stream_config::{StreamAction, StreamRouteConfig, StreamRouterConfig};
pub use stream_explain::StreamExplanation;
pub use target::ArmReason;
pub use unix::{SystemUnixClock, UnixClock};
