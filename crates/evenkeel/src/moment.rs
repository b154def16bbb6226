//! The time of one pick, or of one verdict.

use std::cell::Cell;

use evenkeel_types::Timestamp;

use crate::control::Control;

/// Read from the clock when something first needs it, and from then on the same for all that takes part: a reading costs more
/// than most of them.
pub(crate) struct Moment<'a> {
    pub(crate) control: &'a Control,
    /// [`Timestamp::MAX`] before.
    read: Cell<Timestamp>,
}

impl<'a> Moment<'a> {
    #[inline(always)]
    pub(crate) const fn new(control: &'a Control) -> Self {
        Self { control, read: Cell::new(Timestamp::MAX) }
    }

    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        let known = self.read.get();
        if known == Timestamp::MAX { self.read_now() } else { known }
    }

    #[inline(never)]
    fn read_now(&self) -> Timestamp {
        let now = self.control.now();
        self.read.set(now);
        now
    }

    /// Time has passed: somebody else's code ran.
    pub(crate) fn forget(&self) {
        self.read.set(Timestamp::MAX);
    }
}
