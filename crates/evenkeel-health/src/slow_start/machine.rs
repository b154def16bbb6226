//! The slow start of one endpoint.

use std::fmt;

use evenkeel_types::Timestamp;

use super::config::Ramp;
use crate::sync::{AtomicU64, Ordering};

/// Why an endpoint came into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// It was out, and is back.
    Return,
    /// It is new.
    New,
}

/// Where an endpoint is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Warmth {
    /// It takes its full share.
    Warm,
    /// It is warming up.
    Warming {
        /// Since when.
        since: Timestamp,
        /// Until when.
        until: Timestamp,
    },
}

/// The slow start of one endpoint: one atomic word, read by picks. The settings are the cluster's [`Ramp`].
///
/// ```text
///          enter, others warm   enter, none warm   leave   tick before its end   tick at its end
/// Warm     Warming              stay               stay    stay                  stay
/// Warming  Warming, anew        Warm               Warm    stay                  Warm
/// ```
///
/// It begins when an endpoint returns from down, and (by option) when one is new; but only if another usable endpoint
/// is warm. Where all would warm up, the ratios would be what they are anyway, and only the doubt would be new: so a
/// cluster never starts slowly as a whole.
///
/// The factor is a function of the beginning and of `now`. It never falls while `now` grows; a `now` from before the
/// beginning counts as the beginning; and once a [`tick`](Self::tick) has ended it, it has ended for every `now`.
///
/// ```
/// use evenkeel_health::{Entry, Ramp, SlowStart, SlowStartConfig};
/// use evenkeel_types::Timestamp;
///
/// let ramp = Ramp::new(SlowStartConfig::default())?;
/// let slow_start = SlowStart::new();
/// assert!(slow_start.enter(&ramp, Entry::Return, true, Timestamp::from_secs(100)));
/// assert_eq!(slow_start.factor(&ramp, Timestamp::from_secs(100)), 0.1);
/// assert_eq!(slow_start.factor(&ramp, Timestamp::from_secs(115)), 0.5);
/// assert!(slow_start.tick(&ramp, Timestamp::from_secs(130)));
/// assert_eq!(slow_start.factor(&ramp, Timestamp::from_secs(130)), 1.0);
/// # Ok::<(), evenkeel_health::SlowStartConfigError>(())
/// ```
pub struct SlowStart {
    /// The beginning in nanoseconds, plus one; 0 while warm.
    began: AtomicU64,
}

impl SlowStart {
    /// An endpoint that is warm.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self { began: AtomicU64::new(WARM) }
    }

    /// An endpoint that is warm.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self { began: AtomicU64::new(WARM) }
    }

    /// The endpoint came into use at `now`; `others_warm` says whether any other usable endpoint of its tier is warm.
    /// Returns whether it warms up. An earlier slow start is over either way.
    pub fn enter(&self, ramp: &Ramp, entry: Entry, others_warm: bool, now: Timestamp) -> bool {
        let wanted = match entry {
            Entry::Return => true,
            Entry::New => ramp.config().new_endpoints,
        };
        let warms = wanted && others_warm;
        // Writers are read-modify-writes, so that they have one order; this is off the path of picks.
        self.began.swap(if warms { word_of(now) } else { WARM }, Ordering::AcqRel);
        warms
    }

    /// The endpoint went out of use, or shall take its full share at once. Returns whether it was warming up.
    pub fn leave(&self) -> bool {
        self.began.swap(WARM, Ordering::AcqRel) != WARM
    }

    /// The share of its requests that it may take, from 0 to 1. One relaxed load if it is warm.
    #[inline]
    #[must_use]
    pub fn factor(&self, ramp: &Ramp, now: Timestamp) -> f64 {
        match self.began.load(Ordering::Relaxed) {
            WARM => 1.0,
            word => ramp.factor(now.saturating_since(moment_of(word))),
        }
    }

    /// Where it is. A slow start that is over and was not ticked counts as warm.
    #[must_use]
    pub fn state(&self, ramp: &Ramp, now: Timestamp) -> Warmth {
        match self.began.load(Ordering::Relaxed) {
            WARM => Warmth::Warm,
            word if now >= end_of(word, ramp) => Warmth::Warm,
            word => Warmth::Warming { since: moment_of(word), until: end_of(word, ramp) },
        }
    }

    /// Ends a slow start that is over. `true` for the one caller that ended it.
    pub fn tick(&self, ramp: &Ramp, now: Timestamp) -> bool {
        let word = self.began.load(Ordering::Relaxed);
        // A slow start that began in between is another one: it is not ended.
        word != WARM
            && now >= end_of(word, ramp)
            && self.began.compare_exchange(word, WARM, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// When the factor is worth another look: the next step (one second of HAProxy's steps, else a twentieth of the
    /// window), or the end. `None` if it is warm.
    #[must_use]
    pub fn next_change(&self, ramp: &Ramp, now: Timestamp) -> Option<Timestamp> {
        let word = self.began.load(Ordering::Relaxed);
        if word == WARM {
            return None;
        }
        let (began, end) = (moment_of(word), end_of(word, ramp));
        let pace = ramp.pace();
        let steps = now.saturating_since(began).as_nanos() / pace.as_nanos().max(1) + 1;
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        Some(began.saturating_add(pace.saturating_mul(steps)).min(end))
    }
}

impl Default for SlowStart {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SlowStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.began.load(Ordering::Relaxed);
        f.debug_tuple("SlowStart").field(&(word != WARM).then(|| moment_of(word))).finish()
    }
}

const WARM: u64 = 0;

const fn word_of(began: Timestamp) -> u64 {
    began.as_nanos().saturating_add(1)
}

const fn moment_of(word: u64) -> Timestamp {
    Timestamp::from_nanos(word.saturating_sub(1))
}

fn end_of(word: u64, ramp: &Ramp) -> Timestamp {
    moment_of(word).saturating_add(ramp.config().window)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::SlowStartConfig;

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn ramp() -> Ramp {
        Ramp::new(SlowStartConfig::default()).expect("the defaults are right")
    }

    #[test]
    fn it_is_small() {
        assert_eq!(size_of::<SlowStart>(), 8);
    }

    /// The table of the type's documentation.
    #[test]
    fn every_state_meets_every_event() {
        let ramp = ramp();
        let warm = SlowStart::new;
        let warming = || {
            let slow_start = SlowStart::new();
            assert!(slow_start.enter(&ramp, Entry::Return, true, at(10)));
            slow_start
        };
        let is = |since, until| Warmth::Warming { since: at(since), until: at(until) };
        type Event = fn(&SlowStart, &Ramp) -> bool;
        type After = (bool, Warmth);
        let events: [(Event, After, After); 7] = [
            (|s, r| s.enter(r, Entry::Return, true, at(20)), (true, is(20, 50)), (true, is(20, 50))),
            (|s, r| s.enter(r, Entry::New, true, at(20)), (true, is(20, 50)), (true, is(20, 50))),
            (|s, r| s.enter(r, Entry::Return, false, at(20)), (false, Warmth::Warm), (false, Warmth::Warm)),
            (|s, r| s.enter(r, Entry::New, false, at(20)), (false, Warmth::Warm), (false, Warmth::Warm)),
            (|s, _| s.leave(), (false, Warmth::Warm), (true, Warmth::Warm)),
            (|s, r| s.tick(r, Timestamp::from_millis(39_999)), (false, Warmth::Warm), (false, is(10, 40))),
            (|s, r| s.tick(r, at(40)), (false, Warmth::Warm), (true, Warmth::Warm)),
        ];
        for (place, (event, from_warm, from_warming)) in events.into_iter().enumerate() {
            let (slow_start, expected) = (warm(), from_warm);
            assert_eq!((event(&slow_start, &ramp), slow_start.state(&ramp, at(20))), expected, "{place}");
            let (slow_start, expected) = (warming(), from_warming);
            assert_eq!((event(&slow_start, &ramp), slow_start.state(&ramp, at(20))), expected, "{place}");
        }
    }

    #[test]
    fn new_endpoints_are_an_option() {
        let config = SlowStartConfig { new_endpoints: false, ..SlowStartConfig::default() };
        let ramp = Ramp::new(config).unwrap();
        let slow_start = SlowStart::new();
        assert!(!slow_start.enter(&ramp, Entry::New, true, at(1)));
        assert!(slow_start.enter(&ramp, Entry::Return, true, at(1)));
    }

    #[test]
    fn time_going_back_is_harmless() {
        let (ramp, slow_start) = (ramp(), SlowStart::new());
        let _ = slow_start.enter(&ramp, Entry::Return, true, at(100));
        assert_eq!(slow_start.factor(&ramp, at(0)), 0.1);
        assert!(!slow_start.tick(&ramp, at(0)));
        assert_eq!(slow_start.factor(&ramp, at(130)), 1.0, "over, ticked or not");
        assert_eq!(slow_start.state(&ramp, at(130)), Warmth::Warm);
        assert!(slow_start.tick(&ramp, at(130)));
        assert_eq!(slow_start.factor(&ramp, at(101)), 1.0);
    }

    #[test]
    fn says_when_to_look_again() {
        let (ramp, slow_start) = (ramp(), SlowStart::new());
        assert_eq!(slow_start.next_change(&ramp, at(0)), None);
        let _ = slow_start.enter(&ramp, Entry::Return, true, at(10));
        assert_eq!(slow_start.next_change(&ramp, at(0)), Some(Timestamp::from_millis(11_500)));
        assert_eq!(slow_start.next_change(&ramp, Timestamp::from_millis(11_500)), Some(at(13)));
        assert_eq!(slow_start.next_change(&ramp, at(39)), Some(at(40)));
        assert_eq!(slow_start.next_change(&ramp, at(1_000)), Some(at(40)), "overdue");

        let steps = Ramp::new(SlowStartConfig::haproxy(Duration::from_secs(60))).unwrap();
        assert_eq!(slow_start.next_change(&steps, at(12)), Some(at(13)));
    }

    #[test]
    fn the_ends_of_time_are_harmless() {
        let (ramp, slow_start) = (ramp(), SlowStart::new());
        assert!(slow_start.enter(&ramp, Entry::Return, true, Timestamp::ORIGIN));
        assert_eq!(slow_start.factor(&ramp, Timestamp::ORIGIN), 0.1, "the origin is not warm");
        assert_eq!(slow_start.factor(&ramp, Timestamp::MAX), 1.0);
        assert!(slow_start.enter(&ramp, Entry::Return, true, Timestamp::MAX));
        assert!(slow_start.next_change(&ramp, Timestamp::MAX).is_some());
        assert!(slow_start.tick(&ramp, Timestamp::MAX), "it is never stuck");
    }
}
