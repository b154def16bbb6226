//! The common-cause brake.

use std::collections::VecDeque;

use evenkeel_types::Timestamp;

use super::rules::Brake;

/// Who met a rule of late, and until when ejections are held. One trip an endpoint is kept, so that its memory is bounded by
/// the number of endpoints.
#[derive(Clone, Debug)]
pub(super) struct BrakeState<K> {
    /// Oldest first; the tokens differ.
    trips: VecDeque<(Timestamp, K)>,
    until: Option<Timestamp>,
}

impl<K: Copy + Ord> BrakeState<K> {
    pub(super) const fn new() -> Self {
        Self { trips: VecDeque::new(), until: None }
    }

    /// Somebody met a rule. `last` is when it did so before. Returns how many did, if that is too many for chance and the
    /// brake was not on already.
    pub(super) fn trip(
        &mut self,
        rule: &Brake,
        token: K,
        last: Option<Timestamp>,
        endpoints: usize,
        now: Timestamp,
    ) -> Option<usize> {
        let since = now.saturating_sub(rule.within);
        while self.trips.front().is_some_and(|&(at, _)| at < since) {
            self.trips.pop_front();
        }
        if last.is_some_and(|last| last >= since) {
            self.forget(token);
        }
        self.trips.push_back((now, token));
        let tripped = self.trips.len();
        let parts = u128::from(rule.share.parts_per_million());
        let too_many = tripped >= 2 && tripped as u128 * 1_000_000 > parts * endpoints as u128;
        let begins = too_many && self.until.is_none();
        if too_many {
            self.until = Some(now.saturating_add(rule.hold));
        }
        begins.then_some(tripped)
    }

    pub(super) const fn until(&self) -> Option<Timestamp> {
        self.until
    }

    /// Lets go. Whoever met a rule before does not count any more.
    pub(super) fn release(&mut self) {
        self.until = None;
        self.trips.clear();
    }

    pub(super) fn forget(&mut self, token: K) {
        // Among few: a brake that has seen many is on. Searched from the newest.
        if let Some(place) = self.trips.iter().rposition(|&(_, other)| other == token) {
            self.trips.remove(place);
        }
    }
}
