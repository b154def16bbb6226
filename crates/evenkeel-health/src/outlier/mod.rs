//! Outlier detection: the endpoint that behaves worse than its peers goes out for a while.
//!
//! [`OutlierCounters`] lie beside each endpoint and hear of every request; the [`OutlierDetector`] of the cluster sweeps
//! them, judges, and says who goes out and who comes back. Rules, defaults and figures are in `docs/outlier-detection.md`.
//!
//! ```
//! use std::sync::Arc;
//! use evenkeel_health::outlier::{
//!     OutlierChange, OutlierConfig, OutlierCounters, OutlierDetector, OutlierRules,
//! };
//! use evenkeel_types::{Outcome, Timestamp};
//!
//! let rules = Arc::new(OutlierRules::new(OutlierConfig::default())?);
//! let mut detector = OutlierDetector::new(Arc::clone(&rules), 42, Timestamp::ORIGIN);
//! let counters: Vec<Arc<OutlierCounters>> = (0..3).map(|_| Arc::default()).collect();
//! for (token, counters) in counters.iter().enumerate() {
//!     let _ = detector.insert(token, Arc::clone(counters), Timestamp::ORIGIN);
//! }
//!
//! // Five failures in a row, and the caller asks for its ejection.
//! let now = Timestamp::from_secs(3);
//! for _ in 0..5 {
//!     if let Some(suspicion) = counters[0].record(&Outcome::failure(), &rules) {
//!         let changes = detector.suspect(0, suspicion, now);
//!         assert!(matches!(changes[..], [OutlierChange::Ejected { token: 0, .. }]));
//!     }
//! }
//! // A timer of the caller brings it back.
//! let due = detector.next_deadline();
//! let changes = detector.sweep(due);
//! # Ok::<(), evenkeel_health::outlier::OutlierConfigError>(())
//! ```
//!
//! The rules of other programs, for those who migrate: [`envoy`], [`grpc`] and [`nginx`].

mod backoff;
mod brake;
mod caps;
mod change;
mod counters;
mod detector;
pub mod envoy;
pub mod grpc;
mod judge;
mod latency_test;
mod log_latency;
pub mod nginx;
#[cfg(feature = "serde")]
mod or_off;
mod rules;
mod share_test;
mod sync;

pub use change::{Ejection, EjectionReason, OutlierChange, Refusal, Suspicion};
pub use counters::OutlierCounters;
pub use detector::{OutlierDetector, OutlierState, OutlierStatus, OutlierTotals};
pub use rules::{
    Brake, EjectionCaps, EjectionTime, FailureShare, Growth, LatencyRule, OutlierConfig, OutlierConfigError,
    OutlierRules, Probation, Return, ReturnBy, SuccessRate,
};
