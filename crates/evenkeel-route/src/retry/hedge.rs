use std::sync::Arc;
use std::time::Duration;

use evenkeel_types::Timestamp;
use thiserror::Error;

use super::ending::{Ending, RetryOn};

/// When a request is sent a second time before the first has been answered.
///
/// After Dean and Barroso, "The Tail at Scale" (2013): sent again once it has taken longer than most do, a request costs a few
/// percent of load and cuts off the tail. Only for requests that may be done twice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HedgeConfig {
    /// Attempts that may be under way together, the first one included: 2 to 5. Default 2.
    pub attempts: u32,
    /// Endings that are not the answer: the others are waited for, and the next attempt begins at once. gRPC: non-fatal
    /// codes (proposal A6).
    pub on: RetryOn,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self { attempts: 2, on: RetryOn::default() }
    }
}

/// A checked [`HedgeConfig`], from which requests begin without an allocation.
#[derive(Clone, Debug)]
pub struct HedgePolicy {
    on: Arc<RetryOn>,
    attempts: u32,
}

impl HedgePolicy {
    /// A policy with these settings.
    ///
    /// # Errors
    ///
    /// [`HedgeError`] if a setting makes no sense.
    pub fn new(config: &HedgeConfig) -> Result<Self, HedgeError> {
        if !(2..=MOST).contains(&config.attempts) {
            return Err(HedgeError::Attempts(config.attempts));
        }
        Ok(Self { on: Arc::new(config.on.clone()), attempts: config.attempts })
    }

    /// As [`Hedge::new`]. With a delay of [`Duration::MAX`] attempts are sent only when others have ended.
    #[must_use]
    pub fn begin(&self, delay: Duration, now: Timestamp) -> Hedge {
        Hedge {
            on: Arc::clone(&self.on),
            delay,
            allowed: self.attempts,
            sent: 1,
            running: 1,
            next: now.saturating_add(delay),
            now,
            may_repeat: true,
            is_over: false,
        }
    }

    /// For a request that must not be done twice: no attempt is sent beside another, and a further one only after an ending that
    /// no endpoint has seen.
    #[must_use]
    pub fn begin_once(&self, now: Timestamp) -> Hedge {
        Hedge { may_repeat: false, ..self.begin(Duration::MAX, now) }
    }
}

/// The attempts of one request that run side by side.
///
/// ```text
///                  delay over, permitted   delay over, refused   ending to wait out            other ending
/// more allowed     Send                    no more attempts      Send, if permitted            Answer
/// no more          –                       –                     Answer, if it was the last    Answer
/// ```
#[derive(Clone, Debug)]
pub struct Hedge {
    on: Arc<RetryOn>,
    delay: Duration,
    allowed: u32,
    sent: u32,
    running: u32,
    next: Timestamp,
    now: Timestamp,
    may_repeat: bool,
    is_over: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[must_use]
pub enum HedgeStep {
    /// Nothing, until an attempt ends or the deadline comes.
    Wait,
    /// Send the attempt of this number (2 first), elsewhere.
    Send(u32),
    /// This ending is the answer: drop the other attempts.
    Answer,
}

impl Hedge {
    /// A request whose first attempt is sent now. `delay` is how long an attempt is waited for alone: a quantile of what such
    /// requests take, from wherever the caller measures that.
    ///
    /// # Errors
    ///
    /// [`HedgeError`] if a setting makes no sense.
    pub fn new(config: &HedgeConfig, delay: Duration, now: Timestamp) -> Result<Self, HedgeError> {
        Ok(HedgePolicy::new(config)?.begin(delay, now))
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let is_open = !self.is_over && self.sent < self.allowed;
        Some(self.next).filter(|&next| is_open && next != Timestamp::MAX)
    }

    /// Sends another attempt, if it is time and `permit` allows it. A refusal is final: a budget that is spent would only be
    /// asked again and again.
    pub fn tick(&mut self, now: Timestamp, permit: impl FnOnce() -> bool) -> HedgeStep {
        self.now = self.now.max(now);
        if self.next_deadline().is_some_and(|deadline| self.now >= deadline) {
            self.send(permit)
        } else {
            HedgeStep::Wait
        }
    }

    /// One of the attempts ended.
    pub fn ended(&mut self, ending: &Ending, now: Timestamp, permit: impl FnOnce() -> bool) -> HedgeStep {
        self.now = self.now.max(now);
        if self.is_over {
            return HedgeStep::Wait;
        }
        self.running = self.running.saturating_sub(1);
        if self.on.is_met(ending) && (self.may_repeat || ending.is_unseen()) {
            // An endpoint that asks to be left alone is heard: nothing is sent sooner than planned.
            let may_hurry = ending.asked_to_wait().is_none();
            let step =
                if self.sent < self.allowed && may_hurry { self.send(permit) } else { HedgeStep::Wait };
            if step != HedgeStep::Wait || self.running > 0 {
                return step;
            }
        }
        self.is_over = true;
        HedgeStep::Answer
    }

    /// The attempt that [`HedgeStep::Send`] asked for could not be sent: no endpoint was left. No further one is tried.
    pub fn not_sent(&mut self) -> HedgeStep {
        self.running = self.running.saturating_sub(1);
        self.allowed = self.sent;
        if self.running > 0 || self.is_over {
            return HedgeStep::Wait;
        }
        self.is_over = true;
        HedgeStep::Answer
    }

    /// How many attempts are under way.
    #[must_use]
    pub const fn running(&self) -> u32 {
        self.running
    }

    fn send(&mut self, permit: impl FnOnce() -> bool) -> HedgeStep {
        if !permit() {
            self.allowed = self.sent;
            return HedgeStep::Wait;
        }
        self.sent += 1;
        self.running += 1;
        self.next = self.now.saturating_add(self.delay);
        HedgeStep::Send(self.sent)
    }
}

/// Settings of hedges that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HedgeError {
    /// The number of attempts is out of range.
    #[error("attempts is {0}: allowed are 2 to 5")]
    Attempts(u32),
}

const MOST: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use HedgeStep::{Answer, Send, Wait};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn hedge(attempts: u32) -> Hedge {
        let config = HedgeConfig { attempts, ..HedgeConfig::default() };
        Hedge::new(&config, Duration::from_millis(10), at(0)).unwrap()
    }

    const GOOD: Ending = Ending::Http { status: 200, retry_after: None };
    const BAD: Ending = Ending::Http { status: 503, retry_after: None };
    const LATER: Ending = Ending::Http { status: 503, retry_after: Some(Duration::from_secs(1)) };

    #[test]
    fn every_state_and_event() {
        let mut both = hedge(2);
        assert_eq!(both.tick(at(9), || unreachable!("not yet")), Wait);
        assert_eq!(both.tick(at(10), || true), Send(2));
        assert_eq!((both.next_deadline(), both.running()), (None, 2));
        assert_eq!(both.ended(&BAD, at(11), || unreachable!("no more")), Wait, "the other may still answer");
        assert_eq!(both.ended(&GOOD, at(12), || unreachable!("no more")), Answer);
        assert_eq!(both.ended(&GOOD, at(13), || unreachable!("over")), Wait);

        let mut refused = hedge(3);
        assert_eq!(refused.tick(at(10), || false), Wait);
        assert_eq!(refused.next_deadline(), None, "a refusal is final");
        assert_eq!(refused.ended(&BAD, at(11), || unreachable!("no more")), Answer, "it was the last");

        let mut hurried = hedge(3);
        assert_eq!(hurried.ended(&BAD, at(3), || true), Send(2), "at once");
        assert_eq!(hurried.next_deadline(), Some(at(13)));
        assert_eq!(hurried.tick(at(13), || true), Send(3));
        assert_eq!(hurried.ended(&LATER, at(14), || unreachable!("no more")), Wait);
        assert_eq!(hurried.ended(&GOOD, at(15), || unreachable!("over")), Answer);

        let policy = HedgePolicy::new(&HedgeConfig::default()).unwrap();
        for (mut unhurried, may_repeat) in
            [(policy.begin(Duration::MAX, at(0)), true), (policy.begin_once(at(0)), false)]
        {
            assert_eq!(
                (unhurried.next_deadline(), unhurried.tick(Timestamp::MAX, || unreachable!())),
                (None, Wait)
            );
            let mut reset = unhurried.clone();
            let expected = if may_repeat { Send(2) } else { Answer };
            assert_eq!(reset.ended(&Ending::Reset, at(5), || may_repeat), expected);
            assert_eq!(
                unhurried.ended(&Ending::ConnectFailed, at(5), || true),
                Send(2),
                "nobody has seen it"
            );
            assert_eq!(unhurried.ended(&Ending::ConnectFailed, at(6), || unreachable!("no more")), Answer);
        }

        let mut asked = hedge(2);
        assert_eq!(asked.ended(&LATER, at(3), || unreachable!("not now")), Answer);
        assert_eq!(
            Hedge::new(&HedgeConfig { attempts: 1, ..HedgeConfig::default() }, Duration::ZERO, at(0)).err(),
            Some(HedgeError::Attempts(1))
        );
    }
}
