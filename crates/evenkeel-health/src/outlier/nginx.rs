//! nginx's `max_fails` and `fail_timeout`, as the state of one peer.
//!
//! A peer is skipped when it failed `max_fails` times and the last look at it is not longer ago than `fail_timeout`. The
//! first pick after that is a look: the peer is skipped again for everybody else until `fail_timeout` has passed or the
//! request has succeeded, so one request each `fail_timeout` tries it. A success forgets the failures only if the peer was
//! looked at after it last failed. The failures are not windowed: nine in a day and one more make ten. A group of a single
//! peer never skips it, which the caller decides. Times are whole seconds in nginx; here they are as exact as `now`.
//!
//! The policies of `evenkeel_balance::compat::nginx` have this built in; this is for those who balance otherwise. Source:
//! nginx 1.22, `src/http/ngx_http_upstream_round_robin.c`.

use std::time::Duration;

use evenkeel_types::Timestamp;
use thiserror::Error;

use crate::regressions::Regressions;

/// The parameters of a `server` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct NginxFailsConfig {
    /// Default 1. Zero: failures are not counted.
    pub max_fails: u32,
    /// Default 10 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub fail_timeout: Duration,
}

impl Default for NginxFailsConfig {
    fn default() -> Self {
        Self { max_fails: 1, fail_timeout: Duration::from_secs(10) }
    }
}

/// The parameters contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "fail_timeout is zero while max_fails is {0}: a peer would never be skipped; set max_fails to 0 instead"
)]
pub struct NginxFailsConfigError(pub u32);

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NginxFails {
    config: NginxFailsConfig,
    fails: u32,
    accessed: Timestamp,
    checked: Timestamp,
    now: Timestamp,
    regressions: Regressions,
}

impl NginxFails {
    /// A peer that has not failed yet.
    ///
    /// # Errors
    ///
    /// [`NginxFailsConfigError`]: failures are counted, and forgiven at once.
    pub fn new(config: NginxFailsConfig) -> Result<Self, NginxFailsConfigError> {
        if config.max_fails > 0 && config.fail_timeout.is_zero() {
            return Err(NginxFailsConfigError(config.max_fails));
        }
        let origin = Timestamp::ORIGIN;
        Ok(Self {
            config,
            fails: 0,
            accessed: origin,
            checked: origin,
            now: origin,
            regressions: Regressions::NONE,
        })
    }

    /// How often a call came with an earlier time than one before it. Such a call counts as if it had come at the latest one.
    #[must_use]
    pub const fn clock_regressions(&self) -> u64 {
        self.regressions.count()
    }

    /// Whether a pick may take it. Changes nothing.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        let since = now.max(self.now).saturating_since(self.checked);
        !self.counts() || self.fails < self.config.max_fails || since > self.config.fail_timeout
    }

    /// It was picked.
    pub fn on_pick(&mut self, now: Timestamp) {
        self.regressions.note(now, self.now);
        self.now = self.now.max(now);
        if self.now.saturating_since(self.checked) > self.config.fail_timeout {
            self.checked = self.now;
        }
    }

    /// The request failed. Returns whether the peer is skipped from now on and was not before.
    pub fn on_failure(&mut self, now: Timestamp) -> bool {
        let was_usable = self.is_usable(now);
        self.regressions.note(now, self.now);
        self.now = self.now.max(now);
        self.fails = self.fails.saturating_add(1);
        (self.accessed, self.checked) = (self.now, self.now);
        was_usable && !self.is_usable(self.now)
    }

    /// The request succeeded. Returns whether that made the failures forgotten.
    pub fn on_success(&mut self, now: Timestamp) -> bool {
        self.regressions.note(now, self.now);
        self.now = self.now.max(now);
        let forgets = self.accessed < self.checked && self.fails > 0;
        if forgets {
            self.fails = 0;
        }
        forgets
    }

    /// When it may be tried again, if it is skipped now: just after this.
    #[must_use]
    pub fn skipped_until(&self, now: Timestamp) -> Option<Timestamp> {
        (!self.is_usable(now)).then(|| self.checked.saturating_add(self.config.fail_timeout))
    }

    /// Failures that are not forgotten.
    #[must_use]
    pub const fn fails(&self) -> u32 {
        self.fails
    }

    fn counts(&self) -> bool {
        self.config.max_fails > 0
    }
}
