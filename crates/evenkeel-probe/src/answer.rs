use evenkeel_health::CheckResult;

use crate::advice::Advice;
use crate::reason::Reason;

/// What one check found, before it is timed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// `None` if the check says nothing about the endpoint.
    pub(crate) result: Option<CheckResult>,
    pub(crate) reason: Option<Reason>,
    pub(crate) advice: Advice,
}

impl Answer {
    pub(crate) fn pass() -> Self {
        Self { result: Some(CheckResult::Pass), reason: None, advice: Advice::default() }
    }

    /// Counts towards `fall`; if the reason lies with us, it counts for nothing.
    pub(crate) fn fail(reason: Reason) -> Self {
        let result = (!reason.is_ours()).then_some(CheckResult::Fail);
        Self { result, reason: Some(reason), ..Self::pass() }
    }

    pub(crate) fn inconclusive(reason: Reason) -> Self {
        Self { result: None, reason: Some(reason), ..Self::pass() }
    }
}

#[cfg(feature = "http")]
impl Answer {
    pub(crate) fn fail_at_once(reason: Reason) -> Self {
        Self { result: Some(CheckResult::FailAtOnce), reason: Some(reason), ..Self::pass() }
    }

    pub(crate) fn degraded() -> Self {
        Self { result: Some(CheckResult::Degraded), ..Self::pass() }
    }
}
