use std::time::Duration;

use evenkeel_types::Timestamp;
use thiserror::Error;

use super::backoff::{Backoff, BackoffError};
use super::ending::{Ending, RetryOn};
use super::tried::Tried;

/// When a request is sent again.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RetryConfig {
    /// Attempts, the first one included: 1 to 16. Default 2: a second endpoint catches nearly everything that one bad
    /// endpoint breaks, and more multiplies load when all are bad.
    pub attempts: u32,
    /// Which endings are worth another attempt.
    pub on: RetryOn,
    /// How long one attempt may take. Default: as long as the request.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub per_try_timeout: Option<Duration>,
    /// How long the request waits in between.
    pub backoff: Backoff,
    /// The longest wait that an endpoint may ask for; if it asks for more, the request gives up, since a client would rather
    /// know. Default 1 s. Zero heeds no such wish.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_retry_after: Duration,
    /// After so many attempts in a tier it is avoided. Default 1: the next attempt is in another one, if there is one with a share.
    /// Zero never avoids a tier. Envoy: `update_frequency` of previous priorities.
    pub tier_after: u32,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: RetryOn::default(),
            per_try_timeout: None,
            backoff: Backoff::default(),
            max_retry_after: Duration::from_secs(1),
            tier_after: 1,
        }
    }
}

/// A checked [`RetryConfig`], from which each request begins a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy(RetryConfig);

impl RetryPolicy {
    /// A policy with these settings.
    ///
    /// # Errors
    ///
    /// [`RetryError`] if a setting makes no sense.
    pub fn new(config: &RetryConfig) -> Result<Self, RetryError> {
        if !(1..=MOST_ATTEMPTS).contains(&config.attempts) {
            return Err(RetryError::Attempts(config.attempts));
        }
        if let Some(range) = config.on.statuses.iter().position(|range| range.first > range.last) {
            return Err(RetryError::Statuses(range));
        }
        if let Some(&code) = config.on.grpc_codes.iter().find(|&&code| code == 0 || code > 16) {
            return Err(RetryError::GrpcCode(code));
        }
        if config.per_try_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(RetryError::ZeroTimeout);
        }
        if config.per_try_timeout.is_none() && config.on.timed_out {
            return Err(RetryError::NoTimeout);
        }
        config.backoff.check()?;
        Ok(Self(config.clone()))
    }

    /// The plan of a request that begins now.
    ///
    /// `deadline` is when its answer is of no use any more. `may_repeat` says that doing it twice does no harm (a `GET`, or
    /// an idempotent call whose body is kept); without it, only what no endpoint has seen is sent again.
    #[must_use]
    pub fn begin(&self, now: Timestamp, deadline: Option<Timestamp>, may_repeat: bool) -> RetryPlan<'_> {
        RetryPlan { policy: self, progress: RetryProgress::new(now, deadline, may_repeat) }
    }

    /// Whether an attempt that ended so is one to be retried. If not, [`RetryPlan::ended`] says [`Next::Answer`], and neither the
    /// time nor a draw need be had for it.
    #[must_use]
    pub fn minds(&self, ending: &Ending) -> bool {
        self.0.on.is_met(ending)
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &RetryConfig {
        &self.0
    }
}

/// One request on its way through its attempts.
///
/// ```
/// use evenkeel_route::retry::{Ending, Next, RetryConfig, RetryPolicy};
/// use evenkeel_types::Timestamp;
///
/// let policy = RetryPolicy::new(&RetryConfig::default())?;
/// let now = Timestamp::from_secs(1);
/// let mut plan = policy.begin(now, None, true);
/// let next = plan.ended(&Ending::ConnectFailed, 7, 0, now, u64::MAX, || true);
/// assert_eq!(next, Next::Retry { at: Timestamp::from_millis(1025) });
/// assert!(plan.tried().endpoint(7) && plan.avoids_tier(0));
/// # Ok::<(), evenkeel_route::retry::RetryError>(())
/// ```
#[derive(Clone, Debug)]
pub struct RetryPlan<'p> {
    policy: &'p RetryPolicy,
    progress: RetryProgress,
}

/// How far a request has come, without its policy: for those who keep the two apart, because one outlives the other.
///
/// Give the same policy each time.
#[derive(Clone, Debug)]
pub struct RetryProgress {
    deadline: Timestamp,
    may_repeat: bool,
    tried: Tried,
    last_wait: Duration,
    now: Timestamp,
}

/// What happens after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[must_use]
pub enum Next {
    /// The ending is the answer: it is none that is retried.
    Answer,
    /// Send it again, at this time and elsewhere.
    Retry {
        /// When.
        at: Timestamp,
    },
    /// The ending is the answer, though another attempt might have helped.
    GiveUp(GiveUp),
}

/// Why a request is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum GiveUp {
    /// All attempts are used.
    Attempts,
    /// It may have been done already, and must not be done twice.
    NotRepeatable,
    /// The deadline would have passed.
    Deadline,
    /// The endpoint asked for a longer wait than is allowed.
    AskedToWait,
    /// There was no permission: the budget is spent.
    Budget,
}

impl RetryPlan<'_> {
    /// The number of the attempt that is under way, 1 first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.progress.attempt()
    }

    /// Until when an attempt that begins now may take.
    #[must_use]
    pub fn attempt_deadline(&self, now: Timestamp) -> Timestamp {
        self.progress.attempt_deadline(self.policy, now)
    }

    /// What was tried: to be excluded from the next pick.
    #[must_use]
    pub const fn tried(&self) -> &Tried {
        self.progress.tried()
    }

    /// Whether the next attempt avoids this tier.
    #[must_use]
    pub fn avoids_tier(&self, tier: u32) -> bool {
        self.progress.avoids_tier(self.policy, tier)
    }

    /// The attempt ended. `endpoint` is a number of the caller's choice that names the endpoint, `draw` are 64 uniform bits, and
    /// `permit` is asked last, and only if all else allows a retry: so a permission that is given is used.
    pub fn ended(
        &mut self,
        ending: &Ending,
        endpoint: u64,
        tier: u32,
        now: Timestamp,
        draw: u64,
        permit: impl FnOnce() -> bool,
    ) -> Next {
        self.progress.ended(self.policy, ending, endpoint, tier, now, draw, permit)
    }
}

impl RetryProgress {
    /// Of a request that begins now; see [`RetryPolicy::begin`].
    #[must_use]
    pub fn new(now: Timestamp, deadline: Option<Timestamp>, may_repeat: bool) -> Self {
        Self {
            deadline: deadline.unwrap_or(Timestamp::MAX),
            may_repeat,
            tried: Tried::default(),
            last_wait: Duration::ZERO,
            now,
        }
    }

    /// As [`RetryPlan::attempt`].
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.tried.len() as u32 + 1
    }

    /// As [`RetryPlan::attempt_deadline`].
    #[must_use]
    pub fn attempt_deadline(&self, policy: &RetryPolicy, now: Timestamp) -> Timestamp {
        let own = policy
            .0
            .per_try_timeout
            .map_or(Timestamp::MAX, |timeout| now.max(self.now).saturating_add(timeout));
        own.min(self.deadline)
    }

    /// As [`RetryPlan::tried`].
    #[must_use]
    pub const fn tried(&self) -> &Tried {
        &self.tried
    }

    /// As [`RetryPlan::avoids_tier`].
    #[must_use]
    pub fn avoids_tier(&self, policy: &RetryPolicy, tier: u32) -> bool {
        policy.0.tier_after > 0 && self.tried.tier(tier, policy.0.tier_after as usize - 1)
    }

    /// As [`RetryPlan::ended`].
    #[expect(
        clippy::too_many_arguments,
        reason = "what a plan is told at the end of an attempt, and the policy"
    )]
    pub fn ended(
        &mut self,
        policy: &RetryPolicy,
        ending: &Ending,
        endpoint: u64,
        tier: u32,
        now: Timestamp,
        draw: u64,
        permit: impl FnOnce() -> bool,
    ) -> Next {
        let config = &policy.0;
        self.now = self.now.max(now);
        self.tried.add(endpoint, tier);
        if !config.on.is_met(ending) {
            return Next::Answer;
        }
        if self.tried.len() as u32 >= config.attempts {
            return Next::GiveUp(GiveUp::Attempts);
        }
        if !self.may_repeat && !ending.is_unseen() {
            return Next::GiveUp(GiveUp::NotRepeatable);
        }
        let mut wait = config.backoff.wait(self.tried.len() as u32, self.last_wait, draw);
        if let Some(asked) = ending.asked_to_wait().filter(|_| !config.max_retry_after.is_zero()) {
            if asked > config.max_retry_after {
                return Next::GiveUp(GiveUp::AskedToWait);
            }
            // Not sooner than asked, and still not all at once.
            wait = wait.saturating_add(asked);
        }
        let at = self.now.saturating_add(wait);
        if at >= self.deadline {
            return Next::GiveUp(GiveUp::Deadline);
        }
        if !permit() {
            return Next::GiveUp(GiveUp::Budget);
        }
        self.last_wait = wait;
        Next::Retry { at }
    }
}

/// Settings of retries that make no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RetryError {
    /// The number of attempts is out of range.
    #[error("attempts is {0}: allowed are 1 to 16")]
    Attempts(u32),
    /// A range the wrong way round.
    #[error("on.statuses[{0}].first is larger than its last")]
    Statuses(usize),
    /// No code of a failure.
    #[error("on.grpc_codes holds {0}: allowed are 1 to 16")]
    GrpcCode(u8),
    /// No time for an attempt.
    #[error("per_try_timeout is 0: leave it out, or give attempts time")]
    ZeroTimeout,
    /// A condition that is never met.
    #[error("on.timed_out without per_try_timeout never happens: give per_try_timeout")]
    NoTimeout,
    /// The backoff.
    #[error(transparent)]
    Backoff(#[from] BackoffError),
}

const MOST_ATTEMPTS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::Jitter;

    fn policy() -> RetryPolicy {
        let config = RetryConfig {
            attempts: 3,
            per_try_timeout: Some(Duration::from_millis(500)),
            backoff: Backoff { jitter: Jitter::None, ..Backoff::default() },
            ..RetryConfig::default()
        };
        RetryPolicy::new(&config).unwrap()
    }

    fn http(status: u16, retry_after: Option<Duration>) -> Ending {
        Ending::Http { status, retry_after }
    }

    #[test]
    fn every_ending_and_rule() {
        let ms = Timestamp::from_millis;
        let retry = |millis| Next::Retry { at: ms(millis) };
        let give_up = Next::GiveUp;
        let secs = |secs| Some(Duration::from_secs(secs));
        // ending, may repeat, permitted, deadline
        let cases = [
            (http(200, None), true, true, 9000, Next::Answer),
            (http(500, None), true, true, 9000, Next::Answer),
            (http(503, None), true, true, 9000, retry(1025)),
            (http(503, secs(1)), true, true, 9000, retry(2025)),
            (http(503, secs(2)), true, true, 9000, give_up(GiveUp::AskedToWait)),
            (http(503, secs(u64::MAX)), true, true, 9000, give_up(GiveUp::AskedToWait)),
            (http(503, None), false, true, 9000, give_up(GiveUp::NotRepeatable)),
            (http(503, None), true, false, 9000, give_up(GiveUp::Budget)),
            (http(503, None), true, true, 1025, give_up(GiveUp::Deadline)),
            (Ending::Grpc { code: 14, pushback: None }, true, true, 9000, retry(1025)),
            (Ending::Grpc { code: 0, pushback: None }, true, true, 9000, Next::Answer),
            (Ending::Grpc { code: 13, pushback: None }, true, true, 9000, Next::Answer),
            (Ending::ConnectFailed, false, true, 9000, retry(1025)),
            (Ending::Refused, false, true, 9000, retry(1025)),
            (Ending::Reset, false, true, 9000, give_up(GiveUp::NotRepeatable)),
            (Ending::Reset, true, true, 9000, retry(1025)),
            (Ending::TimedOut, true, true, 9000, Next::Answer),
        ];
        let policy = policy();
        for (ending, may_repeat, permitted, deadline, expected) in cases {
            let mut plan = policy.begin(ms(0), Some(ms(deadline)), may_repeat);
            let mut asked = false;
            let next = plan.ended(&ending, 1, 0, ms(1000), 0, || {
                asked = true;
                permitted
            });
            assert_eq!(next, expected, "{ending:?}");
            let is_used = matches!(next, Next::Retry { .. } | Next::GiveUp(GiveUp::Budget));
            assert_eq!(asked, is_used, "the budget is asked only for a retry that will be made");
        }
    }

    #[test]
    fn attempts_end_and_nothing_is_tried_twice() {
        let policy = policy();
        let mut plan = policy.begin(Timestamp::ORIGIN, None, true);
        assert_eq!(plan.attempt_deadline(Timestamp::ORIGIN), Timestamp::from_millis(500));
        for (attempt, endpoint) in [(1, 7), (2, 8)] {
            assert_eq!(plan.attempt(), attempt);
            let next = plan.ended(&Ending::Reset, endpoint, attempt - 1, Timestamp::ORIGIN, 0, || true);
            assert!(matches!(next, Next::Retry { .. }));
        }
        let next = plan.ended(&Ending::Reset, 9, 1, Timestamp::ORIGIN, 0, || true);
        assert_eq!(next, Next::GiveUp(GiveUp::Attempts));
        assert_eq!([6, 7, 8, 9].map(|endpoint| plan.tried().endpoint(endpoint)), [false, true, true, true]);
        assert_eq!([0, 1, 2].map(|tier| plan.avoids_tier(tier)), [true, true, false]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |change: fn(&mut RetryConfig)| {
            let mut config = RetryConfig::default();
            change(&mut config);
            RetryPolicy::new(&config).unwrap_err().to_string()
        };
        assert_eq!(refused(|config| config.attempts = 0), "attempts is 0: allowed are 1 to 16");
        assert!(refused(|config| config.on.timed_out = true).contains("per_try_timeout"));
        assert!(refused(|config| config.backoff.base = Duration::ZERO).contains("backoff.base"));
        assert!(refused(|config| config.on.grpc_codes = vec![0]).contains("grpc_codes"));
    }
}
