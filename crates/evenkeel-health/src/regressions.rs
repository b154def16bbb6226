//! Clocks that go back.

use evenkeel_types::Timestamp;

/// How often a machine was told an earlier time than before. What a clock did is no part of what a machine knows, so any two of
/// these are equal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Regressions(u64);

impl Regressions {
    pub(crate) const NONE: Self = Self(0);

    /// A call came at `now`, the latest one before it at `latest`.
    pub(crate) fn note(&mut self, now: Timestamp, latest: Timestamp) {
        self.0 = self.0.saturating_add(u64::from(now < latest));
    }

    pub(crate) const fn count(self) -> u64 {
        self.0
    }
}

impl PartialEq for Regressions {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Regressions {}
