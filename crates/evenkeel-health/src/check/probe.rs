//! One probe under way.

use evenkeel_types::Timestamp;

/// The ticket of one probe: which it is, and when nobody waits for it any more.
///
/// A result that comes with it counts only while it is the latest probe: what an older one found says how the endpoint
/// was, not how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a probe that is not run and reported delays the next one by its timeout"]
pub struct Probe {
    pub(super) number: u64,
    pub(super) give_up_at: Timestamp,
}

impl Probe {
    /// When to give up and report [`CheckResult::Fail`](crate::CheckResult::Fail); inclusive. The next probe does not
    /// start before.
    #[must_use]
    pub const fn give_up_at(self) -> Timestamp {
        self.give_up_at
    }
}
