//! How much is too much: limits, budgets, throttling and shedding.
//!
//! An overloaded service does not get better by more requests. This crate holds them back at the places where that can be
//! decided: before a call ([`Limiter`], [`RateLimit`]), before a second attempt ([`RetryBudget`], [`Hedger`], [`Ledger`]), in a
//! client whose requests are turned away ([`Throttle`], [`Admission`]), and in a server whose queue grows ([`Codel`],
//! [`PriorityShed`], [`DeadlineShed`], [`LittleQueue`]).
//!
//! ```
//! use evenkeel_limit::{Aimd, LimitConfig, Limiter};
//! use evenkeel_types::{Outcome, Timestamp};
//!
//! let config = LimitConfig::Aimd(Aimd { initial: 2, min: 1, ..Aimd::default() });
//! let limiter = Limiter::new(&config, 7)?;
//! let now = Timestamp::from_secs(1);
//!
//! let token = limiter.try_acquire(now)?;
//! // … the endpoint answers 503 …
//! let change = limiter.release(token, &Outcome::overload(None), now);
//! assert_eq!(change.map(|change| change.to), Some(1));
//!
//! let _only = limiter.try_acquire(now)?;
//! let refusal = limiter.try_acquire(now).unwrap_err();
//! assert_eq!((refusal.in_flight, refusal.limit), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here reads a clock, draws by itself, spawns, waits or calls back: time and draws are arguments, and every change
//! is a returned value. What requests touch is `&self` and takes no lock that it would have to wait for. A refusal is a value
//! with numbers and, where it can be known, says when to come back; it means *saturated*, which is not *unhealthy*.
//!
//! | type | question |
//! |---|---|
//! | [`Limiter`], [`Permit`], [`Partitions`] | may another call be in flight? |
//! | [`RateLimit`], [`KeyedRate`] | is that too often? |
//! | [`RetryBudget`] | may this be retried? |
//! | [`Hedger`], [`HedgePlan`] | shall a second request be sent, and when? |
//! | [`Ledger`] | how much extra load is there, all in all? |
//! | [`Throttle`] ([`Accepts`], [`NackFilter`]) | do they turn so much away that I should not even ask? |
//! | [`Admission`] | do so many fail that I should let fewer in? |
//! | [`Codel`], [`PriorityShed`], [`DeadlineShed`], [`LittleQueue`] | which of those that wait are not served? |
//! | [`compat`] | what would Envoy, gRPC or an AWS SDK say? |
//!
//! # Features
//!
//! `serde`: configuration is read and written (durations as `"5s"`), refusals and changes are written.

mod admission;
mod algorithm;
pub mod compat;
mod config;
mod draw;
mod error;
mod hedge;
mod keyed_rate;
mod ledger;
mod limiter;
mod partitions;
mod permit;
mod rate;
mod retry_budget;
mod shed;
mod sliding;
mod slots;
mod sync;
mod throttle;

pub use admission::{Admission, AdmissionConfig};
pub use algorithm::Sample;
pub use config::{Aimd, Batch, EnvoyGradient, Fixed, Gradient2, LimitConfig, Vegas, VegasProbe};
pub use error::LimitConfigError;
pub use hedge::{HedgeConfig, HedgeDelay, HedgePlan, HedgeStep, Hedger, Leg};
pub use keyed_rate::{KeyedRate, KeyedRateConfig, Let, WhenFull};
pub use ledger::{Extra, Ledger, LedgerConfig, LedgerKind, LedgerRefusal, Reservation};
pub use limiter::Limiter;
pub use partitions::{PartitionId, PartitionToken, Partitions, PartitionsConfig};
pub use permit::{LimitChange, Permit, Refusal, Token};
pub use rate::{RateConfig, RateLimit, RateRefusal};
pub use retry_budget::{BudgetSpent, RetryBudget, RetryBudgetConfig, Withdrawal};
pub use shed::{
    Codel, CodelConfig, DeadlineConfig, DeadlineShed, LevelChange, LittleConfig, LittleQueue, Place,
    PriorityConfig, PriorityShed, Shed,
};
pub use slots::MAX_LIMIT;
pub use throttle::{Accepts, AcceptsConfig, NackConfig, NackFilter, Throttle, ThrottleConfig, Throttled};
