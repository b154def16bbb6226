use evenkeel_health::CheckResult;

/// How checks ended, since the target was added or the prober started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counts {
    /// They passed; those that found a degraded endpoint are among them.
    pub passed: u64,
    /// They passed and found the endpoint degraded.
    pub degraded: u64,
    /// They failed.
    pub failed: u64,
    /// They say nothing about the endpoint: a shortage on our side, an agent without a verdict.
    pub inconclusive: u64,
    /// They were given up, because the target changed or went.
    pub cancelled: u64,
    /// Turns that were left out, since the check before still ran or waited for its start.
    pub skipped: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, result: Option<CheckResult>) {
        let count = match result {
            Some(CheckResult::Pass) => &mut self.passed,
            Some(CheckResult::Degraded) => {
                self.degraded = self.degraded.saturating_add(1);
                &mut self.passed
            }
            Some(CheckResult::Fail | CheckResult::FailAtOnce) => &mut self.failed,
            None => &mut self.inconclusive,
        };
        *count = count.saturating_add(1);
    }
}
