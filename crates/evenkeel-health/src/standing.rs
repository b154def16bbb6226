//! The health of one endpoint, composed of sources that cannot overwrite each other.

use std::fmt;

use evenkeel_types::Announced;

use crate::status::Status;
use crate::sync::{AtomicU32, Ordering};
use crate::{AdminState, CheckState, Opinion};

/// The health of one endpoint: one atomic word in which every [`Source`](crate::Source) owns its own bits.
///
/// Each setter replaces the bits of its source and no others, so that writers never race for each other's word: a
/// passing check does not end an ejection, and nobody but the operator ends a drain. (Envoy's hosts were un-ejected by
/// an unrelated passing check: <https://github.com/envoyproxy/envoy/issues/28303>.) The final [`Status`] depends only
/// on the last word of each source, in whatever order they came.
///
/// Reading costs one relaxed load and one mask test. A setter is one sequentially consistent read-modify-write, also
/// where it changes nothing, and so is [`load_ordered`](Self::load_ordered). That makes this protocol safe: whoever
/// publishes a table first publishes and then reads the word with `load_ordered`; whoever flips first sets and then
/// looks for the published table. The two read-modify-writes have an order, and the later one sees what came before the
/// earlier one: a flip during a swap is in the new table, or its setter finds the new table. It is never lost.
///
/// ```
/// use evenkeel_health::{AdminState, CheckState, Standing};
///
/// let standing = Standing::new();
/// assert!(standing.is_usable());
/// assert!(standing.set_check(CheckState::Down).turned_unusable());
///
/// // The operator's drain changes nothing for requests now, and outlives the check's recovery.
/// assert!(!standing.set_admin(AdminState::Drain).turned_unusable());
/// assert!(!standing.set_check(CheckState::Up).turned_usable());
/// assert!(standing.set_admin(AdminState::Ready).turned_usable());
/// ```
pub struct Standing(AtomicU32);

impl Standing {
    /// An endpoint about which nobody said anything yet: usable.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// An endpoint about which nobody said anything yet: usable.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Replaces what one source says.
    pub fn say(&self, opinion: Opinion) -> Change {
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            let after = Status::replaced(before, opinion);
            match self.0.compare_exchange_weak(before, after, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    return Change { before: Status::from_bits(before), after: Status::from_bits(after) };
                }
                Err(present) => before = present,
            }
        }
    }

    /// What the operator wants.
    pub fn set_admin(&self, state: AdminState) -> Change {
        self.say(Opinion::Admin(state))
    }

    /// What discovery announces.
    pub fn set_announced(&self, announced: Announced) -> Change {
        self.say(Opinion::Announced(announced))
    }

    /// What the active check knows.
    pub fn set_check(&self, state: CheckState) -> Change {
        self.say(Opinion::Check(state))
    }

    /// Whether it is ejected as an outlier.
    pub fn set_ejected(&self, ejected: bool) -> Change {
        self.say(Opinion::Ejected(ejected))
    }

    /// Whether its circuit breaker is open. A half-open breaker is not: it takes its probes from picks.
    pub fn set_breaker_open(&self, open: bool) -> Change {
        self.say(Opinion::BreakerOpen(open))
    }

    /// Whether its configured weight is zero.
    pub fn set_drained_by_weight(&self, drained: bool) -> Change {
        self.say(Opinion::DrainedByWeight(drained))
    }

    /// Whether it is being drained, with a deadline.
    pub fn set_draining(&self, draining: bool) -> Change {
        self.say(Opinion::Draining(draining))
    }

    /// Whether discovery does not name it any more, while it is kept for its last requests.
    pub fn set_unlisted(&self, unlisted: bool) -> Change {
        self.say(Opinion::Unlisted(unlisted))
    }

    /// Whether its heartbeats are missed.
    pub fn set_suspected(&self, suspected: bool) -> Change {
        self.say(Opinion::Suspected(suspected))
    }

    /// Whether it came and went too often.
    pub fn set_flap_damped(&self, damped: bool) -> Change {
        self.say(Opinion::FlapDamped(damped))
    }

    /// Whether it is back on trial after an ejection. It stays usable.
    pub fn set_probation(&self, on_probation: bool) -> Change {
        self.say(Opinion::Probation(on_probation))
    }

    /// Whether it is warming up. It stays usable.
    pub fn set_warming(&self, warming: bool) -> Change {
        self.say(Opinion::Warming(warming))
    }

    /// What everybody says now. One relaxed load.
    #[inline]
    #[must_use]
    pub fn load(&self) -> Status {
        Status::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// What everybody says now, ordered against the setters by a read-modify-write that changes nothing: for whoever
    /// has just published something that setters look at. See the type's documentation.
    #[must_use]
    pub fn load_ordered(&self) -> Status {
        Status::from_bits(self.0.fetch_or(0, Ordering::SeqCst))
    }

    /// Whether new requests may go there. One relaxed load and one mask test.
    #[inline]
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.load().usable()
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Standing").field(&self.load()).finish()
    }
}

/// What one setter of a [`Standing`] did: the word before, and the word after it.
///
/// Exactly one of several concurrent setters sees each turn, so whoever gets `turned_unusable` is the one to act on it.
#[must_use = "whoever turned the endpoint has to tell those who keep masks of it"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Change {
    /// What everybody said before.
    pub before: Status,
    /// What everybody says after.
    pub after: Status,
}

impl Change {
    /// Whether this brought the endpoint back into use.
    #[must_use]
    pub const fn turned_usable(self) -> bool {
        !self.before.usable() && self.after.usable()
    }

    /// Whether this took the endpoint out of use.
    #[must_use]
    pub const fn turned_unusable(self) -> bool {
        self.before.usable() && !self.after.usable()
    }

    /// Whether the source had said the same before.
    #[must_use]
    pub fn is_noop(self) -> bool {
        self.before == self.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cause, Source};

    #[test]
    fn every_word_of_every_source_reads_back() {
        let standing = Standing::new();
        for admin in [AdminState::Drain, AdminState::Maintenance, AdminState::Ready] {
            assert_eq!(standing.set_admin(admin).after.admin(), admin);
        }
        for check in [CheckState::Up, CheckState::Degraded, CheckState::Down, CheckState::Unknown] {
            let status = standing.set_check(check).after;
            assert_eq!((status.check(), status.usable()), (check, check.is_usable()));
        }
        use Announced::{Degraded, Down, Draining, Starting, Unknown, Up};
        for announced in [Up, Degraded, Starting, Draining, Down, Unknown] {
            let status = standing.set_announced(announced).after;
            assert_eq!((status.announced(), status.usable()), (announced, announced.is_usable()));
        }
        assert!(standing.set_ejected(true).after.ejected());
        assert!(standing.set_breaker_open(true).after.breaker_open());
        assert!(standing.set_drained_by_weight(true).after.drained_by_weight());
        assert!(standing.load().is_blocked_by(Source::Breaker));
        assert!(!standing.load().is_blocked_by(Source::Admin));
    }

    #[test]
    fn a_change_says_what_turned() {
        let standing = Standing::new();
        assert!(standing.set_check(CheckState::Unknown).is_noop());
        let degraded = standing.set_check(CheckState::Degraded);
        assert!(!degraded.is_noop() && !degraded.turned_usable() && !degraded.turned_unusable());
        assert!(standing.set_ejected(true).turned_unusable());
        assert!(!standing.set_breaker_open(true).turned_unusable());
        assert!(!standing.set_ejected(false).turned_usable());
        assert_eq!(standing.load().cause(), Some(Cause::BreakerOpen));
        assert!(standing.set_breaker_open(false).turned_usable());
        assert_eq!(standing.load().cause(), Some(Cause::Degraded));
    }

    /// A passing active check, of a degraded endpoint, moves the tier and not the set of usable endpoints.
    #[test]
    fn a_degraded_pass_keeps_the_endpoint_in_use() {
        let standing = Standing::new();
        let _ = standing.set_check(CheckState::Up);
        let change = standing.set_check(CheckState::Degraded);
        assert!(change.before.usable() && change.after.usable());
        assert!(change.after.is_degraded());
    }
}
