//! The permission for one call, and its refusal.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use evenkeel_types::{Now, Outcome, Timestamp};
use thiserror::Error;

use crate::Limiter;

/// The permission for one call: hand it back to [`Limiter::release`] with the outcome.
///
/// Plain data, 16 bytes, so that a guard of any lifetime can own it. It remembers when the call began and how many were
/// in flight then, which is what the algorithms learn from. Unlike a [`Permit`] it does not give itself back.
#[must_use = "a token that is dropped holds its slot for ever: release it, or hold a Permit"]
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    pub(crate) started: Timestamp,
    /// Including this call; zero if it bypassed the limit and holds no slot.
    pub(crate) in_flight: u32,
}

impl Token {
    /// For a call that no limit shall hold up: it is not counted and teaches nothing. Health checks, an operator's call.
    pub const fn bypass() -> Self {
        Self { started: Timestamp::ORIGIN, in_flight: 0 }
    }

    /// A token is good for one result: when the call began, and how many were in flight.
    #[inline]
    pub(crate) const fn spend(self) -> (Timestamp, u32) {
        (self.started, self.in_flight)
    }

    /// Whether it is one of [`bypass`](Self::bypass).
    #[must_use]
    pub const fn is_bypass(&self) -> bool {
        self.in_flight == 0
    }

    /// The calls in flight when this one began, with it.
    #[must_use]
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

/// A slot that gives itself back: dropped without an outcome it teaches nothing.
///
/// `H` is whatever leads to the limiter: `Arc<Limiter>` for an owned guard, `&Limiter` for a borrowed one.
///
/// ```
/// use std::sync::Arc;
/// use evenkeel_limit::{LimitConfig, Limiter, Permit};
/// use evenkeel_types::{Outcome, Timestamp};
///
/// let limiter = Arc::new(Limiter::new(&LimitConfig::fixed(1), 7)?);
/// let now = Timestamp::from_secs(1);
/// let permit = Permit::try_acquire(Arc::clone(&limiter), now)?;
/// assert!(Permit::try_acquire(Arc::clone(&limiter), now).is_err());
/// drop(permit);
/// Permit::try_acquire(&*limiter, now)?.finish(&Outcome::success(), now);
/// assert_eq!(limiter.in_flight(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping the permit gives the slot back at once"]
pub struct Permit<H: Deref<Target = Limiter>> {
    limiter: H,
    /// `None` only after `finish`.
    token: Option<Token>,
}

impl<H: Deref<Target = Limiter>> Permit<H> {
    /// As [`Limiter::try_acquire`].
    ///
    /// # Errors
    ///
    /// [`Refusal`]: as many calls as allowed are in flight.
    #[inline]
    pub fn try_acquire(limiter: H, now: impl Now) -> Result<Self, Refusal> {
        let token = limiter.try_acquire(now)?;
        Ok(Self { limiter, token: Some(token) })
    }

    /// As [`Limiter::release`].
    pub fn finish(mut self, outcome: &Outcome, now: impl Now) -> Option<LimitChange> {
        let token = self.token.take()?;
        self.limiter.release(token, outcome, now)
    }
}

impl<H: Deref<Target = Limiter>> Drop for Permit<H> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.limiter.give_back(token);
        }
    }
}

impl<H: Deref<Target = Limiter>> fmt::Debug for Permit<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.token).finish()
    }
}

/// The limit does not let the call through. It says *saturated*, not *unhealthy*: nothing is known to be wrong there, and
/// whoever picks an endpoint should try another one and hold nothing against this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("saturated: {in_flight} calls in flight, the limit is {limit}")]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Refusal {
    /// The limit that refused: that of the whole, or of the partition.
    pub limit: u32,
    /// The calls that it counted.
    pub in_flight: u32,
    /// After how long a slot is likely to be free: the latency of those served of late, divided by the calls in flight (they end evenly
    /// spread, at best). `None` where no latency is known, as with a fixed limit.
    pub retry_hint: Option<Duration>,
}

/// A limit has changed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "nobody else hears of it"]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LimitChange {
    /// The limit before.
    pub from: u32,
    /// The limit now.
    pub to: u32,
}

const _: () = assert!(size_of::<Token>() <= 16);
