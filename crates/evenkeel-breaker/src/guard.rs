//! For those who want only a breaker.

use std::fmt;
use std::ops::Deref;
use std::thread;

use evenkeel_types::{Classify, Outcome, Timestamp};

use crate::{Breaker, Permit, Refusal, Transition};

/// A permit that gives itself back: dropped without an outcome it is neutral.
///
/// It holds the breaker as `&Breaker` or as `Arc<Breaker>`, and a clock.
///
/// ```
/// use std::sync::Arc;
/// use evenkeel_breaker::{Breaker, BreakerConfig, Guard};
/// use evenkeel_types::{Outcome, Timestamp};
///
/// let breaker = Arc::new(Breaker::new(&BreakerConfig::default())?);
/// let clock = || Timestamp::from_secs(1);
/// let guard = Guard::enter(Arc::clone(&breaker), clock)?;
/// // … send the request, perhaps in another task …
/// assert_eq!(guard.finish(&Outcome::success()), None);
///
/// drop(Guard::enter(&*breaker, clock)?); // the caller gave up: nothing is counted
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropped at once it gives the permit back"]
pub struct Guard<B: Deref<Target = Breaker>, C: FnMut() -> Timestamp> {
    breaker: B,
    clock: C,
    permit: Option<Permit>,
    transition: Option<Transition>,
    panic_is_failure: bool,
}

impl<B: Deref<Target = Breaker>, C: FnMut() -> Timestamp> Guard<B, C> {
    /// Asks to send one request.
    ///
    /// # Errors
    ///
    /// As [`Breaker::try_acquire`].
    pub fn enter(breaker: B, mut clock: C) -> Result<Self, Refusal> {
        let admission = breaker.try_acquire(&mut clock)?;
        let (permit, transition) = (Some(admission.permit), admission.transition);
        Ok(Self { breaker, clock, permit, transition, panic_is_failure: false })
    }

    /// The change of state that the admission caused.
    #[must_use]
    pub const fn transition(&self) -> Option<Transition> {
        self.transition
    }

    /// Whether the request is a probe.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.permit.as_ref().is_some_and(Permit::is_probe)
    }

    /// Says how the request went.
    pub fn finish(mut self, outcome: &Outcome) -> Option<Transition> {
        let permit = self.permit.take()?;
        self.breaker.record(permit, outcome, &mut self.clock)
    }
}

impl<B: Deref<Target = Breaker>, C: FnMut() -> Timestamp> Drop for Guard<B, C> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let panics = self.panic_is_failure && thread::panicking();
            let outcome = if panics { Outcome::failure() } else { Outcome::neutral() };
            // Nobody is left to tell: the state says it all the same.
            let _ = self.breaker.record(permit, &outcome, &mut self.clock);
        }
    }
}

impl<B: Deref<Target = Breaker>, C: FnMut() -> Timestamp> fmt::Debug for Guard<B, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("permit", &self.permit).finish_non_exhaustive()
    }
}

/// A call that was made, and the changes of state around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called<A> {
    /// What the call answered.
    pub answer: A,
    /// The change that its admission caused.
    pub before: Option<Transition>,
    /// The change that its outcome caused.
    pub after: Option<Transition>,
}

impl Breaker {
    /// Makes a call if the breaker allows it, and takes its answer for the outcome as [`Classify`] says.
    ///
    /// A panic in `call` is a failure, and goes on. The clock is asked where the breaker needs to know.
    ///
    /// ```
    /// use evenkeel_breaker::{Breaker, BreakerConfig};
    /// use evenkeel_types::{HttpStatus, Timestamp};
    ///
    /// let breaker = Breaker::new(&BreakerConfig::default())?;
    /// let clock = || Timestamp::from_secs(1);
    /// for _ in 0..5 {
    ///     let called = breaker.call(clock, || HttpStatus(500))?;
    ///     assert_eq!(called.answer, HttpStatus(500));
    /// }
    /// assert!(breaker.call(clock, || HttpStatus(200)).is_err(), "five failures in a row opened it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire); `call` has not been made then.
    pub fn call<A: Classify>(
        &self,
        clock: impl FnMut() -> Timestamp,
        call: impl FnOnce() -> A,
    ) -> Result<Called<A>, Refusal> {
        let mut guard = Guard::enter(self, clock)?;
        guard.panic_is_failure = true;
        let before = guard.transition();
        let answer = call();
        let after = guard.finish(&answer.classify());
        Ok(Called { answer, before, after })
    }
}
