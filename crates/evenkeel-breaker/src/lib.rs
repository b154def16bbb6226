//! Circuit breakers that cannot get stuck.
//!
//! A [`Breaker`] watches one endpoint. While it is closed every request passes; when the endpoint fails by one of the
//! configured [`Rule`]s it opens and refuses; after a while it turns half-open, lets a few probes through, and closes if
//! they succeed.
//!
//! ```
//! use evenkeel_breaker::{Breaker, BreakerConfig, State};
//! use evenkeel_types::{Outcome, Timestamp};
//!
//! let breaker = Breaker::new(&BreakerConfig::default())?;
//! let now = Timestamp::from_secs(100);
//!
//! for _ in 0..5 {
//!     let admission = breaker.try_acquire(now)?;
//!     // … send the request …
//!     if let Some(transition) = breaker.record(admission.permit, &Outcome::failure(), now) {
//!         assert_eq!(transition.to, State::Open { until: Timestamp::from_secs(105) });
//!     }
//! }
//! let refusal = breaker.try_acquire(now).unwrap_err();
//! assert_eq!(refusal.retry_at, Some(Timestamp::from_secs(105)));
//!
//! let later = Timestamp::from_secs(105);
//! let probe = breaker.try_acquire(later)?;
//! assert_eq!(breaker.state(), State::HalfOpen);
//! # breaker.release(probe.permit, later);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Three things set it apart from the breakers that it learnt from (resilience4j, Polly, gobreaker, Hystrix, Sentinel,
//! Finagle, linkerd):
//!
//! - A permit carries its epoch. A slow answer to a request of the closed state does not judge the half-open one
//!   (Netflix/Hystrix#1350, App-vNext/Polly#217).
//! - A probe has a lease. One that is lost (resilience4j/resilience4j#903) frees its slot by itself.
//! - `peek` is pure. A balancer that looks at several endpoints and uses one spends no probe
//!   (alibaba/Sentinel#1638).
//!
//! Nothing here reads a clock, spawns, waits, locks or calls back: time is an argument and every change of state is a
//! returned [`Transition`], which exactly one caller receives.
//!
//! # Features
//!
//! `serde`: configuration is read and written (durations as `"5s"`), states, transitions and statistics are written.

mod body;
mod breaker;
mod chart;
mod check;
mod config;
mod ewma;
mod forcing;
mod gauge;
mod guard;
mod lazy_now;
mod overdue;
mod owner;
mod permit;
mod probes;
mod probing;
mod ramp;
mod row;
mod rules;
mod set;
mod state;
mod stats;
mod sync;
mod verdicts;
mod wait;
mod window;
mod word;

pub use breaker::Breaker;
pub use config::{
    BreakerConfig, Combine, ConfigError, Decision, Fading, HalfOpen, Initial, Overload, OverloadProbe,
    ProbeRatio, Ramp, RampShape, Rule, Window,
};
pub use forcing::{Force, ForceError, IllegalTransition, Restart};
pub use guard::{Called, Guard};
pub use owner::{InvalidOwner, Owner};
pub use permit::{Admission, Permit, Refusal, RefusalReason};
pub use rules::Rules;
pub use set::{BreakerSet, BreakerSetConfig, Evicted, Got, SetConfigError, WhenFull};
pub use state::{Reason, State, Transition, WouldBe};
pub use stats::Stats;
pub(crate) use wait::Wait;
pub use wait::{Backoff, Forget, Growth, Jitter};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
