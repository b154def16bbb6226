use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evenkeel_types::{Endpoint, EndpointId, Timestamp};

use crate::catalog::replacement;
use crate::service::Record;
use crate::source::{SourceName, SourceStatus};
use crate::{Cause, ChangeKind, Held, Merge, Mirror, SourceState};

/// The feeds of one service, and the set that they and the leases make together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) merge: Merge,
    /// In order of preference, then by name.
    pub(crate) feeds: Vec<Source>,
    merged: BTreeMap<EndpointId, Arc<Endpoint>>,
    /// Which source alone counts; `None` if all do, or none.
    active: Active,
}

#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) mirror: Mirror,
    /// When the catalog has been told to tick it.
    pub(crate) wake: Option<Timestamp>,
    /// Which opening of it counts; `None` if its feed was dropped.
    pub(crate) opening: Option<u64>,
}

/// Which sources take part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Active {
    /// The positions of those that do: 0 is the leases, 1 the first feed.
    #[default]
    Nobody,
    All(Vec<usize>),
    One(usize),
}

/// What the leases of the service say.
pub(crate) struct Local<'a> {
    pub(crate) records: &'a BTreeMap<EndpointId, Record>,
    pub(crate) state: SourceState,
    pub(crate) held: Option<Held>,
}

impl Sources {
    /// The most feeds of one service.
    pub(crate) const MAX: usize = 16;

    pub(crate) fn find(&mut self, name: &SourceName) -> Option<&mut Source> {
        self.feeds.iter_mut().find(|source| source.mirror.source() == name)
    }

    pub(crate) fn add(&mut self, mirror: Mirror, opening: u64) {
        self.feeds.push(Source { mirror, wake: None, opening: Some(opening) });
        self.sort();
    }

    pub(crate) fn sort(&mut self) {
        self.feeds.sort_by(|a, b| {
            let key = |s: &Source| (s.mirror.config().preference, s.mirror.source().clone());
            key(a).cmp(&key(b))
        });
    }

    pub(crate) fn remove(&mut self, name: &SourceName) -> Option<Source> {
        let at = self.feeds.iter().position(|source| source.mirror.source() == name)?;
        Some(self.feeds.remove(at))
    }

    pub(crate) fn merged(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.merged.values()
    }

    /// Brings the merged set in line after `touched` changed somewhere, with the causes of what went.
    pub(crate) fn refresh(
        &mut self,
        now: Timestamp,
        local: &Local<'_>,
        touched: BTreeMap<EndpointId, Option<Cause>>,
    ) -> Vec<(Arc<Endpoint>, ChangeKind)> {
        let active = self.choose(now, local);
        if active != self.active {
            self.active = active;
            return self.rebuild(local, &touched);
        }
        let mut changes = Vec::new();
        for (id, cause) in touched {
            self.settle(local, &id, cause, &mut changes);
        }
        changes
    }

    /// Chooses and compares everything anew.
    pub(crate) fn remerge(&mut self, now: Timestamp, local: &Local<'_>) -> Vec<(Arc<Endpoint>, ChangeKind)> {
        self.active = self.choose(now, local);
        self.rebuild(local, &BTreeMap::new())
    }

    /// Compares everything, because other sources count now, or all may have changed.
    fn rebuild(
        &mut self,
        local: &Local<'_>,
        causes: &BTreeMap<EndpointId, Option<Cause>>,
    ) -> Vec<(Arc<Endpoint>, ChangeKind)> {
        let mut ids: BTreeSet<EndpointId> = self.merged.keys().chain(local.records.keys()).cloned().collect();
        ids.extend(self.feeds.iter().flat_map(|source| source.mirror.shown_ids()).cloned());
        let mut changes = Vec::new();
        for id in ids {
            let cause = causes.get(&id).copied().flatten();
            self.settle(local, &id, cause, &mut changes);
        }
        changes
    }

    pub(crate) fn suspects(&self) -> Vec<EndpointId> {
        let mut suspects: Vec<EndpointId> = Vec::new();
        for (place, source) in self.feeds.iter().enumerate() {
            if self.counts(place + 1) {
                suspects.extend(source.mirror.suspects());
            }
        }
        // One that an earlier source vouches for is no suspect.
        suspects.retain(|id| {
            let describer = self
                .feeds
                .iter()
                .enumerate()
                .find(|(place, source)| self.counts(place + 1) && source.mirror.shown(id).is_some());
            describer.is_some_and(|(_, source)| {
                let shown = source.mirror.shown(id);
                source.mirror.is_suspect(id) && same(shown, self.merged.get(id))
            })
        });
        suspects.sort_unstable();
        suspects.dedup();
        suspects
    }

    /// What the sources know together.
    pub(crate) fn state(&self, now: Timestamp, local: &Local<'_>, ever: bool) -> SourceState {
        let all: Vec<(bool, SourceState, usize)> = self
            .statuses(now, local)
            .into_iter()
            .map(|status| (status.used, status.state, status.endpoints))
            .collect();
        if !self.merged.is_empty() {
            let contributing = all.iter().filter(|(used, _, endpoints)| *used && *endpoints > 0);
            let states: Vec<SourceState> = contributing.map(|(_, state, _)| *state).collect();
            let stale = states.iter().filter_map(|state| match state {
                SourceState::Stale { since } => Some(*since),
                _ => None,
            });
            let oldest = stale.min();
            return match oldest {
                Some(since) if !states.contains(&SourceState::Live) => SourceState::Stale { since },
                _ => SourceState::Live,
            };
        }
        let known: Vec<SourceState> =
            all.iter().map(|(_, state, _)| *state).filter(|state| *state != SourceState::Pending).collect();
        if known.is_empty() || (known.len() < all.len() && !ever) {
            return SourceState::Pending;
        }
        let stale = known.iter().find(|state| matches!(state, SourceState::Stale { .. }));
        stale.copied().unwrap_or(SourceState::Absent)
    }

    /// Every source, in order; the leases only if anybody ever registered.
    pub(crate) fn statuses(&self, now: Timestamp, local: &Local<'_>) -> Vec<SourceStatus> {
        let leases = (local.state != SourceState::Pending).then(|| local.status(now, self.counts(0)));
        let feeds = self.feeds.iter().enumerate().map(|(place, source)| SourceStatus {
            used: self.counts(place + 1),
            ..source.mirror.status(now)
        });
        leases.into_iter().chain(feeds).collect()
    }

    fn counts(&self, place: usize) -> bool {
        match &self.active {
            Active::Nobody => false,
            Active::All(places) => places.contains(&place),
            Active::One(only) => *only == place,
        }
    }

    fn settle(
        &mut self,
        local: &Local<'_>,
        id: &EndpointId,
        cause: Option<Cause>,
        changes: &mut Vec<(Arc<Endpoint>, ChangeKind)>,
    ) {
        let wanted = self.winner(local, id);
        let held = self.merged.get(id);
        match (held, wanted) {
            (None, None) => {}
            (Some(held), Some(wanted)) if Arc::ptr_eq(held, &wanted) => {}
            (_, Some(wanted)) => {
                let previous = self.merged.insert(id.clone(), wanted.clone());
                changes.extend(replacement(previous, wanted));
            }
            (Some(_), None) => {
                let kind = ChangeKind::Removed { cause: cause.unwrap_or(Cause::Unknown) };
                changes.extend(self.merged.remove(id).map(|previous| (previous, kind)));
            }
        }
    }

    fn winner(&self, local: &Local<'_>, id: &EndpointId) -> Option<Arc<Endpoint>> {
        let own = || local.records.get(id).map(|record| &record.endpoint).filter(|_| self.counts(0));
        let others = self.feeds.iter().enumerate().filter(|(place, _)| self.counts(place + 1));
        own().or_else(|| others.filter_map(|(_, source)| source.mirror.shown(id)).next()).cloned()
    }

    fn choose(&self, now: Timestamp, local: &Local<'_>) -> Active {
        let mut all = vec![(0, local.state, local.records.len(), false)];
        all.extend(self.feeds.iter().enumerate().map(|(place, source)| {
            let mirror = &source.mirror;
            (place + 1, mirror.state(), mirror.shown_len(), mirror.is_over_age(now))
        }));
        all.retain(|(.., over_age)| !over_age);
        let fresh = |place: usize, state: SourceState| match state {
            SourceState::Live => true,
            SourceState::Absent => place > 0,
            _ => false,
        };
        let one = |found: Option<&(usize, SourceState, usize, bool)>| found.map(|(place, ..)| *place);
        let has = one(all.iter().find(|(_, _, endpoints, _)| *endpoints > 0));
        let only = match self.merge {
            Merge::Union => return Active::All(all.iter().map(|(place, ..)| *place).collect()),
            Merge::Prefer => one(all.iter().find(|(place, state, ..)| fresh(*place, *state))).or(has),
            Merge::FallBack => has,
        };
        only.map_or(Active::Nobody, Active::One)
    }
}

impl Local<'_> {
    pub(crate) fn status(&self, now: Timestamp, used: bool) -> SourceStatus {
        SourceStatus {
            name: SourceName::local(),
            state: self.state,
            used,
            endpoints: self.records.len(),
            revision: None,
            as_of: Some(now),
            older: std::time::Duration::ZERO,
            over_age: false,
            error: None,
            held: self.held,
            rejected: 0,
        }
    }
}

fn same(a: Option<&Arc<Endpoint>>, b: Option<&Arc<Endpoint>>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if Arc::ptr_eq(a, b))
}
