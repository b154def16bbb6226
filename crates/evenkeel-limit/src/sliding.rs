//! Counts over a sliding window, of which reading and adding are one atomic operation each.
//!
//! Each counter only grows (or takes one step back when a spend is cancelled). The window is the difference between a counter
//! and its *floor*, the value that it had when the oldest living slot began. Floors move once a slot, by whoever comes first
//! after the slot's end and finds the lock free; everybody else goes on with the old slot. So what a window holds can be
//! compared and spent with one compare-and-swap on the counter, and nothing need be written a second time.
//!
//! Slots are aligned to the origin of time. With ten of them a count lives between nine and ten tenths of the span.

use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::sync::{AtomicU64, Mutex, Ordering, try_lock};

#[derive(Debug)]
pub(crate) struct Sliding<const N: usize> {
    counters: [AtomicU64; N],
    floors: [AtomicU64; N],
    /// The end of the present slot, in nanoseconds; zero before the first.
    slot_end: AtomicU64,
    /// In nanoseconds.
    width: u64,
    marks: Mutex<Marks<N>>,
}

/// The counters at the beginning of each slot, by the number of the slot modulo their number.
#[derive(Debug)]
struct Marks<const N: usize> {
    newest: Option<u64>,
    at_begin: Box<[[u64; N]]>,
}

/// When something was spent: the slot, by its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent(u64);

impl<const N: usize> Sliding<N> {
    pub(crate) fn new(span: Duration, slots: usize) -> Self {
        let slots = slots.max(1);
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self {
            counters: std::array::from_fn(|_| AtomicU64::new(0)),
            floors: std::array::from_fn(|_| AtomicU64::new(0)),
            slot_end: AtomicU64::new(0),
            width: nanos.div_ceil(slots as u64).max(1),
            marks: Mutex::new(Marks { newest: None, at_begin: vec![[0; N]; slots].into() }),
        }
    }

    /// Adds one.
    #[inline]
    pub(crate) fn add(&self, counter: usize, now: Timestamp) {
        self.roll_if_due(now);
        self.counters[counter].fetch_add(1, Ordering::Relaxed);
    }

    /// What a counter has in the window.
    pub(crate) fn count(&self, counter: usize, now: Timestamp) -> u64 {
        self.roll_if_due(now);
        self.counted(counter)
    }

    /// Adds one to `counter` if `allows` what it has in the window, which may look at the other counters.
    ///
    /// Between the look and the addition nobody else adds to this counter; others only grow meanwhile.
    pub(crate) fn add_if(
        &self,
        counter: usize,
        now: Timestamp,
        allows: impl Fn(u64) -> bool,
    ) -> Option<Spent> {
        self.roll_if_due(now);
        let cell = &self.counters[counter];
        loop {
            let slot = self.slot_end.load(Ordering::Acquire);
            let floor = self.floors[counter].load(Ordering::Acquire);
            let seen = cell.load(Ordering::Acquire);
            if !allows(seen.saturating_sub(floor)) {
                return None;
            }
            let next = seen.checked_add(1)?;
            if cell.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Some(Spent(slot));
            }
        }
    }

    /// What a counter has in the window, as it was last rolled.
    #[inline]
    pub(crate) fn counted(&self, counter: usize) -> u64 {
        let floor = self.floors[counter].load(Ordering::Acquire);
        self.counters[counter].load(Ordering::Acquire).saturating_sub(floor)
    }

    /// Takes back what [`add_if`](Self::add_if) has added, as if it had never been, unless it has left the window.
    ///
    /// If others hold the lock for longer than a moment it stays: then the window holds one too many, never one too few.
    pub(crate) fn take_back(&self, counter: usize, Spent(slot_end): Spent) {
        for _ in 0..ATTEMPTS {
            if let Some(mut marks) = try_lock(&self.marks) {
                marks.take_back(
                    counter,
                    slot_end / self.width,
                    &self.counters[counter],
                    &self.floors[counter],
                );
                return;
            }
            std::hint::spin_loop();
        }
    }

    #[inline]
    fn roll_if_due(&self, now: Timestamp) {
        if now.as_nanos() >= self.slot_end.load(Ordering::Acquire) {
            self.roll(now);
        }
    }

    #[cold]
    fn roll(&self, now: Timestamp) {
        let Some(mut marks) = try_lock(&self.marks) else { return };
        let slot = now.as_nanos() / self.width;
        if marks.newest.is_some_and(|newest| slot <= newest) {
            return;
        }
        let values = std::array::from_fn(|counter| self.counters[counter].load(Ordering::Acquire));
        let floors = marks.enter(slot, values);
        for (floor, value) in self.floors.iter().zip(floors) {
            floor.store(value, Ordering::Release);
        }
        self.slot_end.store(slot.saturating_add(1).saturating_mul(self.width), Ordering::Release);
    }
}

impl<const N: usize> Marks<N> {
    /// Begins a slot; what the counters were when the oldest living one began.
    fn enter(&mut self, slot: u64, values: [u64; N]) -> [u64; N] {
        let slots = self.at_begin.len() as u64;
        let skipped = self.newest.map_or(0, |newest| slot - newest);
        for number in slot.saturating_sub(skipped.min(slots).saturating_sub(1))..=slot {
            if skipped > 0 {
                self.at_begin[(number % slots) as usize] = values;
            }
        }
        self.newest = Some(slot);
        self.at_begin[((slot + 1) % slots) as usize]
    }

    /// `after`: the number of the slot that follows the one of the spend.
    fn take_back(&mut self, counter: usize, after: u64, cell: &AtomicU64, floor: &AtomicU64) {
        let slots = self.at_begin.len() as u64;
        let newest = self.newest.unwrap_or(0);
        // The spend's slot is `after - 1`; it lives while the newest is less than `slots` later.
        if newest >= after.saturating_sub(1).saturating_add(slots) {
            return;
        }
        cell.fetch_sub(1, Ordering::AcqRel);
        for number in after..=newest {
            let mark = &mut self.at_begin[(number % slots) as usize][counter];
            *mark = mark.saturating_sub(1);
        }
        floor.store(self.at_begin[((newest + 1) % slots) as usize][counter], Ordering::Release);
    }
}

/// The lock is held for tens of nanoseconds.
const ATTEMPTS: u32 = 64;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn what_is_counted_leaves_after_the_span() {
        let window = Sliding::<1>::new(Duration::from_secs(10), 10);
        window.add(0, at(1000));
        window.add(0, at(1004));
        assert_eq!(window.count(0, at(1009)), 2);
        assert_eq!(window.count(0, at(1010)), 1);
        assert_eq!(window.count(0, at(1003)), 1, "a time that goes back revives nothing");
        assert_eq!(window.count(0, at(1013)), 1);
        assert_eq!(window.count(0, at(1014)), 0);
        window.add(0, at(1014));
        assert_eq!(window.count(0, Timestamp::MAX), 0);
    }

    #[test]
    fn a_pause_of_any_length_empties_it() {
        for pause in [10, 11, 15, 19, 20, 21, 1_000_000] {
            let window = Sliding::<1>::new(Duration::from_secs(10), 10);
            (0..5).for_each(|secs| window.add(0, at(secs)));
            assert_eq!(window.count(0, at(4 + pause)), 0, "{pause}");
            window.add(0, at(4 + pause));
            assert_eq!(window.count(0, at(13 + pause)), 1, "{pause}");
            assert_eq!(window.count(0, at(14 + pause)), 0, "{pause}");
        }
    }

    #[test]
    fn what_is_taken_back_never_was() {
        let window = Sliding::<1>::new(Duration::from_secs(10), 10);
        let spend = |secs| window.add_if(0, at(secs), |_| true).expect("allowed");
        let (first, second) = (spend(0), spend(5));
        window.take_back(0, first);
        assert_eq!(window.count(0, at(9)), 1);
        assert_eq!(window.count(0, at(10)), 1, "the first does not leave a second time");
        assert_eq!(window.count(0, at(15)), 0);
        window.take_back(0, second);
        assert_eq!(window.count(0, at(15)), 0, "what has left cannot come back");
        spend(15);
        assert_eq!(window.count(0, at(15)), 1);
    }
}
