use std::fmt;

use crate::sync::{AtomicU32, Ordering};

/// Counts errors of requests in a row, off every lock, and tells each full run once: the counter before
/// [`observe`](super::CheckConfig::observe) where the check itself lives on another thread.
///
/// ```text
///             error                        good      clear     heard
/// n < limit   n + 1; told, if that is it   0         0         0
/// told        stay                         stay      stay      0
/// ```
///
/// It is one word, so that a run which was heard of cannot be told again by a request that was late, and a good request
/// cannot undo what has been told. A good request is one load as long as there were no errors, an error of a run that was told too.
///
/// ```
/// use evenkeel_health::ErrorRun;
///
/// let run = ErrorRun::new(2);
/// assert_eq!([run.error(), run.error(), run.error()], [false, true, false], "told once");
/// run.heard();
/// assert_eq!([run.error(), run.error()], [false, true], "the next run");
/// ```
pub struct ErrorRun {
    /// 0 while nobody observes.
    limit: AtomicU32,
    /// Errors in a row, or [`TOLD`].
    errors: AtomicU32,
}

impl ErrorRun {
    /// No errors yet. So many in a row are a run; with 0 nothing is counted.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { limit: AtomicU32::new(limit), errors: AtomicU32::new(0) }
    }

    /// Another limit; a run that is as long already is told at its next error.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// A request went well: the errors before it count no more.
    #[inline]
    pub fn good(&self) {
        if self.limit.load(Ordering::Relaxed) != 0 {
            self.clear();
        }
    }

    /// A request met an error. Whether that makes the run full: to be told to the check, once.
    #[inline]
    #[must_use = "nobody else tells it"]
    pub fn error(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit != 0 && self.errors.load(Ordering::Relaxed) != TOLD && self.count(limit)
    }

    /// The errors before count no more, unless they have been told.
    #[inline]
    pub fn clear(&self) {
        if self.errors.load(Ordering::Relaxed) != 0 {
            self.turn(|errors| (errors != 0 && errors != TOLD).then_some(0));
        }
    }

    /// What was told has been heard: the next run begins.
    pub fn heard(&self) {
        self.errors.store(0, Ordering::Relaxed);
    }

    fn count(&self, limit: u32) -> bool {
        let longer = |errors: u32| if errors + 1 >= limit { TOLD } else { errors + 1 };
        let before = self.turn(|errors| (errors != TOLD).then(|| longer(errors)));
        before.is_some_and(|errors| longer(errors) == TOLD)
    }

    /// What it was, if it was changed. Whoever tells does so under a lock, which orders the rest.
    fn turn(&self, next: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        self.errors.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()
    }
}

impl fmt::Debug for ErrorRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.errors.load(Ordering::Relaxed);
        let told = errors == TOLD;
        f.debug_struct("ErrorRun").field("errors", &(!told).then_some(errors)).field("told", &told).finish()
    }
}

/// No count: the run is longer than any limit.
const TOLD: u32 = u32::MAX;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How often a run is told by these: `F` an error, `S` a good request, `h` heard, `c` cleared.
    fn told(limit: u32, events: &str) -> usize {
        let run = ErrorRun::new(limit);
        let happens = |event: char| {
            match event {
                'F' => return run.error(),
                'S' => run.good(),
                'h' => run.heard(),
                _ => run.clear(),
            }
            false
        };
        events.chars().filter(|event| happens(*event)).count()
    }

    #[test]
    fn every_event_in_every_state() {
        for (limit, events, times) in [
            (3, "FF", 0),
            (3, "FFF", 1),
            (3, "FFFFFF", 1),
            (3, "FFSFF", 0),
            (3, "FFSFFF", 1),
            (3, "FFcFF", 0),
            (3, "FFhFF", 0),
            (3, "FFFSFFF", 1),
            (3, "FFFcFFF", 1),
            (3, "FFFhFF", 1),
            (3, "FFFhFFF", 2),
            (1, "FhFhF", 3),
            (0, "FFFF", 0),
        ] {
            assert_eq!(told(limit, events), times, "{limit}: {events}");
        }
    }

    #[test]
    fn a_lower_limit_catches_a_longer_run() {
        let run = ErrorRun::new(5);
        assert_eq!([run.error(), run.error(), run.error()], [false; 3]);
        run.set_limit(2);
        assert!(run.error());
        run.set_limit(u32::MAX);
        run.heard();
        assert!(!run.error());
    }
}
