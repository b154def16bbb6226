//! What is usable.
//!
//! Several sources know something about the health of an endpoint: the operator, discovery, our own active checks, what
//! requests met (outlier ejection, the circuit breaker), the configured weight. A [`Standing`] keeps them apart, one
//! atomic word for each endpoint, and derives the answer; an [`ActiveCheck`] says when to look at an endpoint next and
//! turns results into a verdict by the [`RiseFall`] rule. Beside the word, a [`Provenance`] keeps who said what, since
//! when, until when and why. A [`SlowStart`] gives who returns a growing share, a [`Drain`] takes one out without losing
//! a request, a [`FlapDamper`] keeps out who comes and goes, and [`PhiAccrual`] judges heartbeats.
//!
//! ```
//! use evenkeel_health::{ActiveCheck, Cause, CheckConfig, CheckResult, Standing};
//! use evenkeel_types::{SplitMix64, Timestamp};
//!
//! let mut now = Timestamp::ORIGIN;
//! let mut check = ActiveCheck::new(CheckConfig::default(), now, &mut SplitMix64::new(7))?;
//! let standing = Standing::new();
//! assert!(standing.is_usable(), "not checked yet: nothing speaks against it");
//!
//! // The caller owns the loop and the IO: wait until the deadline, probe, hand in the result.
//! now = check.next_deadline();
//! assert!(check.begin(now));
//! if let Some(change) = check.on_result(now, CheckResult::Fail) {
//!     let turned = standing.set_check(change.after);
//!     assert!(turned.turned_unusable());
//! }
//! assert_eq!(standing.load().cause(), Some(Cause::CheckDown));
//! # Ok::<(), evenkeel_health::CheckConfigError>(())
//! ```
//!
//! Nothing here reads a clock, draws, spawns or waits: time and draws are arguments, changes are returned values.
//!
//! State tables, formulas, and how to choose numbers are in `docs/health.md` of the repository.
//!
//! # Features
//!
//! `serde`: configuration is read and written (durations as `"2s"`), states are written.

mod cause;
mod check;
mod drain;
mod flap;
mod note;
mod opinion;
pub mod outlier;
mod phi;
mod provenance;
mod regressions;
mod rise_fall;
mod slow_start;
mod source;
mod standing;
mod status;
mod sync;
mod word;

pub use cause::Cause;
pub use check::{
    ActiveCheck, CheckChange, CheckConfig, CheckConfigError, CheckResult, ErrorRun, ObserveConfig, OnError,
    Probe, StartOffset, StartupConfig,
};
pub use drain::{Drain, DrainChange, DrainConfig, DrainConfigError, DrainEnd, DrainState};
pub use flap::{FlapChange, FlapConfig, FlapConfigError, FlapDamper};
pub use note::{Note, NoteError};
pub use opinion::Opinion;
pub use phi::{PhiAccrual, PhiChange, PhiConfig, PhiConfigError, PhiForm};
pub use provenance::{Evidence, Provenance, Record, TimeToLive, TimeToLiveError};
pub use rise_fall::{ConfigError, RiseFall, RiseFallConfig, Start, Turn};
pub use slow_start::{
    Crowd, Curve, Entry, EnvoySlowStart, EnvoySlowStartConfig, EnvoySlowStartConfigError, Ramp, SlowStart,
    SlowStartConfig, SlowStartConfigError, Warmth,
};
pub use source::{AdminState, CheckState, Source};
pub use standing::{Change, Standing};
pub use status::Status;
