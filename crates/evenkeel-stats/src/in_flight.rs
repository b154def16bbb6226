//! Calls started and not yet ended.

use std::fmt;

use crate::sync::Arc;

/// How many calls are in flight.
///
/// Each [`start`](Self::start) gives an owned guard, and the count is the number of guards alive: it can neither be
/// decremented twice nor be forgotten, and it cannot underflow, because nothing is ever subtracted by hand. One atomic
/// addition to start, one subtraction to end, one load to read.
///
/// It is the *counted handle* idea without a payload: the count is the strong count of a shared allocation, less the
/// one reference that this holds. Where a call holds a reference to the endpoint's live state anyway, that reference is
/// the count, and this type is not needed; it is for counting what has no such state: a cluster, a client, a queue.
///
/// ```
/// use evenkeel_stats::InFlight;
/// let in_flight = InFlight::new();
/// let call = in_flight.start();
/// assert_eq!(in_flight.count(), 1);
/// drop(call);
/// assert_eq!(in_flight.count(), 0);
/// ```
pub struct InFlight {
    token: Arc<()>,
}

impl InFlight {
    /// Nothing in flight. Allocates once.
    #[must_use]
    pub fn new() -> Self {
        Self { token: Arc::new(()) }
    }

    /// Counts a call until the guard is dropped, in whatever thread, and also if `self` is gone by then.
    pub fn start(&self) -> InFlightGuard {
        InFlightGuard { _token: self.token.clone() }
    }

    /// The number of guards alive. Exact when nobody starts or ends at the same time, else one of the numbers passed.
    #[must_use]
    pub fn count(&self) -> usize {
        Arc::strong_count(&self.token) - 1
    }
}

impl Default for InFlight {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InFlight").field(&self.count()).finish()
    }
}

/// One call in flight: dropping it ends the call.
#[must_use = "dropping the guard ends the call at once"]
pub struct InFlightGuard {
    _token: Arc<()>,
}

impl fmt::Debug for InFlightGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InFlightGuard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_guards_in_any_order() {
        let in_flight = InFlight::default();
        let (first, second) = (in_flight.start(), in_flight.start());
        drop(first);
        let third = in_flight.start();
        assert_eq!(in_flight.count(), 2);
        drop((second, third));
        assert_eq!(in_flight.count(), 0);
        assert_eq!(format!("{in_flight:?}"), "InFlight(0)");
    }

    #[test]
    fn a_guard_outlives_its_counter_and_its_thread() {
        fn is_send<T: Send + Sync + 'static>(guard: T) -> T {
            guard
        }
        let in_flight = InFlight::new();
        let guard = is_send(in_flight.start());
        drop(in_flight);
        drop(guard);
    }
}
