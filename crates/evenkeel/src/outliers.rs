//! Outlier detection in a cluster: counters beside each endpoint, one detector behind a short lock.
//!
//! Requests write to the counters alone. The lock is taken when a rule is met, by the sweep of the tick, and when members
//! come and go. An endpoint takes its state over from the detector under that lock, so that of two changes the later one
//! stays; who hears of it is told when no lock is held.

use std::sync::Arc;

use evenkeel_health::outlier::{
    OutlierChange, OutlierDetector, OutlierRules, OutlierState, OutlierStatus, OutlierTotals, Suspicion,
};
use evenkeel_health::{CheckResult, Note, Opinion};
use evenkeel_types::Timestamp;
use parking_lot::Mutex;

use crate::control::Timers;
use crate::factor;
use crate::live::{Live, News};
use crate::node::Node;
use crate::parts::Counted;

/// An endpoint as the detector knows it: enough to find it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) token: u64,
    pub(crate) slot: u32,
}

/// The detector of a cluster.
type Detector = OutlierDetector<Key, Counted>;

/// A change of the detector, and of which endpoint.
pub(crate) type Verdict = OutlierChange<Key>;

pub(crate) struct Outliers {
    pub(crate) rules: Arc<OutlierRules>,
    desk: Mutex<Desk>,
}

struct Desk {
    detector: Detector,
    /// The deadline for which a timer waits.
    armed: Timestamp,
}

impl Outliers {
    pub(crate) fn new(rules: OutlierRules, seed: u64, now: Timestamp, timers: &Timers) -> Self {
        let rules = Arc::new(rules);
        let detector = OutlierDetector::new(Arc::clone(&rules), seed, now);
        let armed = detector.next_deadline();
        timers.add_sweep(armed);
        Self { rules, desk: Mutex::new(Desk { detector, armed }) }
    }

    /// Watches `joined`, forgets `left`. Returns who comes back since fewer may be out now.
    pub(crate) fn members<T>(
        &self,
        joined: &[Arc<Node<T>>],
        left: &[Arc<Node<T>>],
        now: Timestamp,
    ) -> Vec<Verdict> {
        let mut desk = self.desk.lock();
        let mut changes = Vec::new();
        // Who joins first: a set in which some are replaced does not shrink, so nobody comes back for that.
        for live in joined.iter().map(|node| &node.live) {
            if let Some(parts) = &live.parts {
                let _ = desk.detector.insert(live.key(), Counted(Arc::clone(parts)), now);
                desk.detector.set_usable(live.key(), live.is_usable_but_for_outliers());
            }
        }
        for live in left.iter().map(|node| &node.live) {
            changes.extend(desk.detector.remove(live.key(), now));
        }
        changes
    }

    /// Ends what is due and judges the interval. Returns what changed; who is concerned has to
    /// [`follow`](Self::follow).
    pub(crate) fn sweep(&self, now: Timestamp, timers: &Timers) -> Vec<Verdict> {
        let mut desk = self.desk.lock();
        let changes = desk.detector.sweep(now);
        desk.armed = desk.detector.next_deadline();
        timers.add_sweep(desk.armed);
        changes
    }

    pub(crate) fn suspect<T>(&self, live: &Live<T>, suspicion: Suspicion, now: Timestamp) -> News {
        self.act(live, now, |detector| detector.suspect(live.key(), suspicion, now))
    }

    pub(crate) fn on_check<T>(&self, live: &Live<T>, result: CheckResult, now: Timestamp) -> News {
        self.act(live, now, |detector| detector.on_check(live.key(), result, now))
    }

    /// Tells the detector whether other sources of health let requests in: who is down anyway does not count as remaining.
    /// The word is read under the lock, so that of two flips the later one stays.
    pub(crate) fn note_usable<T>(&self, live: &Live<T>) {
        let mut desk = self.desk.lock();
        desk.detector.set_usable(live.key(), live.is_usable_but_for_outliers());
    }

    fn act<T>(
        &self,
        live: &Live<T>,
        now: Timestamp,
        act: impl FnOnce(&mut Detector) -> Vec<Verdict>,
    ) -> News {
        let mut news = News::default();
        let mut desk = self.desk.lock();
        let changes = act(&mut desk.detector);
        if changes.is_empty() {
            return news;
        }
        let timers = &live.control.timers;
        take_over(&desk.detector, live, now, &mut news);
        let (own, others): (Vec<Verdict>, Vec<Verdict>) =
            changes.into_iter().partition(|change| concerned(change).is_none_or(|key| key == live.key()));
        news.outlier.extend(own);
        call_back(&others, now, timers);
        let next = desk.detector.next_deadline();
        if next < desk.armed {
            desk.armed = next;
            timers.add_sweep(next);
        }
        news
    }

    /// Takes the detector's word over.
    pub(crate) fn follow<T>(&self, live: &Live<T>, now: Timestamp, news: &mut News) {
        take_over(&self.desk.lock().detector, live, now, news);
    }

    pub(crate) fn status(&self, key: Key) -> Option<OutlierStatus> {
        self.desk.lock().detector.status(key)
    }

    pub(crate) fn totals(&self) -> OutlierTotals {
        self.desk.lock().detector.totals()
    }
}

/// Called under the lock, so that the last word of the detector is the last word of the endpoint.
fn take_over<T>(detector: &Detector, live: &Live<T>, now: Timestamp, news: &mut News) {
    let (Some(status), Some(parts)) = (detector.status(live.key()), &live.parts) else { return };
    let ejected = status.state == OutlierState::Ejected;
    parts.outlier_factor.set(if ejected {
        factor::FULL
    } else {
        factor::parts(detector.factor(live.key(), now))
    });
    let until = status.until.unwrap_or(Timestamp::MAX);
    if ejected {
        parts.set_ejected_until(until);
    }
    live.say(Opinion::Ejected(ejected), note_of(&status).filter(|_| ejected).unwrap_or_default(), news);
    let on_probation = status.state == OutlierState::Probation;
    live.say(
        Opinion::Probation(on_probation),
        status.until.filter(|_| on_probation).map_or_else(Note::default, Note::until),
        news,
    );
    live.refresh_factor(now);
    match status.state {
        OutlierState::In | OutlierState::Ejected => {}
        // The detector's own timer ends it; a factor that grows is looked at now and then.
        OutlierState::Probation => live.arm(until),
        OutlierState::Ramp => live.arm(factor::next_look(now, until)),
    }
}

/// Until when it is out, and why.
fn note_of(status: &OutlierStatus) -> Option<Note> {
    let ejection = status.ejection?;
    let note = Note::until(ejection.until);
    Some(note.clone().because(ejection.reason.as_str()).unwrap_or(note))
}

/// Others than the one at hand are ticked soon.
fn call_back(changes: &[Verdict], now: Timestamp, timers: &Timers) {
    for key in changes.iter().filter_map(concerned) {
        timers.add(now, key.slot, key.token);
    }
}

/// The endpoint that a change is about.
pub(crate) const fn concerned(change: &Verdict) -> Option<Key> {
    match *change {
        OutlierChange::Ejected { token, .. }
        | OutlierChange::Probation { token, .. }
        | OutlierChange::Returned { token, .. }
        | OutlierChange::Ramped { token }
        | OutlierChange::Refused { token, .. } => Some(token),
        OutlierChange::Braked { .. } | OutlierChange::BrakeReleased => None,
    }
}

/// What concerns one endpoint, of verdicts in the order of whom they concern.
pub(crate) fn about(verdicts: &[Verdict], key: Key) -> &[Verdict] {
    let begin = verdicts.partition_point(|verdict| concerned(verdict) < Some(key));
    let count = verdicts[begin..].partition_point(|verdict| concerned(verdict) == Some(key));
    &verdicts[begin..begin + count]
}
