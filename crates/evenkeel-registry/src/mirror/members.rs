use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evenkeel_types::{Address, Announced, Endpoint, EndpointId, Timestamp};

use super::is_proof;
use crate::catalog::replacement;
use crate::event::Coverage;
use crate::{Cause, ChangeKind};

/// What the source says, what readers see, and who is on the way out; all by id.
///
/// Both views share their descriptions, so an endpoint costs one of them, one entry here and one pointer per snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    entries: BTreeMap<EndpointId, Entry>,
    said: usize,
    shown: usize,
    /// Those that are shown and no longer said, and have not been let go.
    waiting: BTreeSet<EndpointId>,
    suspects: usize,
    /// Those whose view may differ from what it should be.
    dirty: BTreeSet<EndpointId>,
    /// Edits since the last showing: an endpoint that changes twice makes the burst go on.
    edits: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    said: Option<Arc<Endpoint>>,
    shown: Option<Arc<Endpoint>>,
    /// When an answer last had it.
    seen: Timestamp,
    leaving: Option<Leaving>,
}

#[derive(Clone, Copy, Debug)]
struct Leaving {
    cause: Cause,
    since: Timestamp,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not decided.
    Waiting,
    /// Kept by the shrink guard, and used last.
    Suspect,
    /// May go with the next showing.
    Go,
}

impl Members {
    pub(super) fn is_empty(&self) -> bool {
        self.said == 0 && self.shown == 0
    }

    pub(super) fn says_nobody(&self) -> bool {
        self.said == 0
    }

    pub(super) fn shown_len(&self) -> usize {
        self.shown
    }

    pub(super) fn said_len(&self) -> usize {
        self.said
    }

    /// How many are kept although the source no longer lists them.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn has_suspects(&self) -> bool {
        self.suspects > 0
    }

    pub(super) fn is_dirty(&self) -> usize {
        if self.dirty.is_empty() { 0 } else { self.edits }
    }

    pub(super) fn shown(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.entries.values().filter_map(|entry| entry.shown.as_ref())
    }

    pub(super) fn shown_of(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        self.entries.get(id)?.shown.as_ref()
    }

    pub(super) fn shown_or_said(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.entries.values().filter_map(|entry| entry.said.as_ref().or(entry.shown.as_ref()))
    }

    pub(super) fn said_of(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        self.entries.get(id)?.said.as_ref()
    }

    pub(super) fn is_suspect(&self, id: &EndpointId) -> bool {
        self.suspects > 0 && self.entries.get(id).is_some_and(Entry::is_suspect)
    }

    pub(super) fn suspects(&self) -> impl Iterator<Item = EndpointId> {
        let suspect = |id: &&EndpointId| self.entries.get(*id).is_some_and(Entry::is_suspect);
        self.waiting.iter().filter(suspect).cloned()
    }

    /// Takes over a whole answer, sorted by id without duplicates.
    pub(super) fn replace(&mut self, answer: Vec<Endpoint>, now: Timestamp, coverage: Coverage) {
        let (gone, changed) = match coverage {
            Coverage::Complete => self.compare(answer, now, |_| true),
            Coverage::Partial { ttl } => {
                self.compare(answer, now, |entry| now >= entry.seen.saturating_add(ttl.saturating_mul(2)))
            }
        };
        for id in gone {
            self.remove(&id, Cause::Unknown, now);
        }
        for endpoint in changed {
            self.upsert(endpoint, now);
        }
    }

    pub(super) fn upsert(&mut self, endpoint: Endpoint, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(endpoint.id()) else {
            let id = endpoint.id().clone();
            let entry = Entry { said: Some(Arc::new(endpoint)), shown: None, seen: now, leaving: None };
            self.entries.insert(id.clone(), entry);
            self.said += 1;
            self.edit(id);
            return;
        };
        entry.seen = now;
        if entry.said.as_deref() == Some(&endpoint) {
            return;
        }
        self.said += usize::from(entry.said.is_none());
        let id = endpoint.id().clone();
        // Who comes back as it was shares the description that readers hold.
        let shown = entry.shown.as_ref().filter(|shown| ***shown == endpoint).cloned();
        entry.said = Some(shown.unwrap_or_else(|| Arc::new(endpoint)));
        self.suspects -= usize::from(entry.is_suspect());
        entry.leaving = None;
        self.waiting.remove(&id);
        self.edit(id);
    }

    /// The source no longer has it. Without proof it waits to be let go.
    pub(super) fn remove(&mut self, id: &EndpointId, cause: Cause, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        self.said -= usize::from(entry.said.take().is_some());
        let suspect = entry.is_suspect();
        let since = entry.leaving.map_or(now, |leaving| leaving.since);
        // Who has announced the drain has said goodbye: that it vanishes is what was to come.
        let proven = is_proof(cause) || entry.shown.as_deref().is_none_or(drains);
        let kept = entry.leaving.map_or(Phase::Waiting, |leaving| leaving.phase);
        entry.leaving = Some(Leaving { cause, since, phase: if proven { Phase::Go } else { kept } });
        self.suspects -= usize::from(suspect && proven);
        if proven {
            self.waiting.remove(id);
            self.edit(id.clone());
        } else if kept != Phase::Go {
            self.waiting.insert(id.clone());
        }
    }

    /// The source says that there is nobody, which has still to be believed.
    pub(super) fn remove_all(&mut self, now: Timestamp) {
        let said: Vec<_> =
            self.entries.iter().filter(|(_, e)| e.said.is_some()).map(|(id, _)| id.clone()).collect();
        for id in said {
            self.remove(&id, Cause::Unknown, now);
        }
    }

    /// Those on the way out, and since when.
    pub(super) fn leaving(&self) -> impl Iterator<Item = (&EndpointId, Timestamp)> {
        let since = |id| self.entries.get(id).and_then(|entry: &Entry| entry.leaving).map(|l| l.since);
        self.waiting.iter().filter_map(move |id| Some((id, since(id)?)))
    }

    pub(super) fn let_go(&mut self, id: &EndpointId) {
        self.go(id, None);
    }

    pub(super) fn let_all_go(&mut self) {
        for id in std::mem::take(&mut self.waiting) {
            self.go(&id, None);
        }
    }

    pub(super) fn prove_all_absent(&mut self) {
        for id in std::mem::take(&mut self.waiting) {
            self.go(&id, Some(Cause::Absent));
        }
    }

    /// Kept, and used last.
    pub(super) fn suspect(&mut self, id: &EndpointId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Some(leaving) = &mut entry.leaving else { return };
        if leaving.phase == Phase::Waiting {
            leaving.phase = Phase::Suspect;
            self.suspects += 1;
            self.edit(id.clone());
        }
    }

    /// Lets go at once whose address belongs to another id now: what is sent there would reach the wrong process.
    pub(super) fn release_reused_addresses(&mut self) {
        if self.waiting.is_empty() || self.said == 0 {
            return;
        }
        let said = self.entries.values().filter_map(|entry| entry.said.as_ref());
        let taken: BTreeSet<&Address> = said.flat_map(|endpoint| endpoint.addresses()).collect();
        let reused = |id: &&EndpointId| {
            self.shown_of(id).is_some_and(|shown| shown.addresses().any(|address| taken.contains(address)))
        };
        let reused: Vec<_> = self.waiting.iter().filter(reused).cloned().collect();
        for id in reused {
            self.go(&id, Some(Cause::Replaced));
        }
    }

    /// Brings what readers see in line.
    pub(super) fn publish(&mut self) -> Vec<(Arc<Endpoint>, ChangeKind)> {
        let mut changes = Vec::new();
        self.edits = 0;
        for id in std::mem::take(&mut self.dirty) {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let wanted = entry.wanted();
            let (had, has) = (entry.shown.is_some(), wanted.is_some());
            self.shown = self.shown + usize::from(has) - usize::from(had);
            let previous = std::mem::replace(&mut entry.shown, wanted.clone());
            match (previous, wanted) {
                (previous, Some(wanted)) => changes.extend(replacement(previous, wanted)),
                (Some(previous), None) => {
                    let cause = entry.leaving.map_or(Cause::Unknown, |leaving| leaving.cause);
                    changes.push((previous, ChangeKind::Removed { cause }));
                }
                (None, None) => {}
            }
            if entry.said.is_none() && entry.shown.is_none() {
                self.entries.remove(&id);
            }
        }
        changes
    }

    fn go(&mut self, id: &EndpointId, cause: Option<Cause>) {
        self.waiting.remove(id);
        let Some(entry) = self.entries.get_mut(id) else { return };
        self.suspects -= usize::from(entry.is_suspect());
        if let Some(leaving) = &mut entry.leaving {
            leaving.phase = Phase::Go;
            leaving.cause = cause.unwrap_or(leaving.cause);
            self.edit(id.clone());
        }
    }

    fn edit(&mut self, id: EndpointId) {
        self.edits += 1;
        self.dirty.insert(id);
    }

    /// Walks a sorted answer beside what is said: who is missing and may go, and what is new or other. Both in O(n),
    /// without a look-up for those that stay as they are.
    fn compare(
        &mut self,
        answer: Vec<Endpoint>,
        now: Timestamp,
        may_go: impl Fn(&Entry) -> bool,
    ) -> (Vec<EndpointId>, Vec<Endpoint>) {
        let mut answer = answer.into_iter().peekable();
        let (mut gone, mut changed) = (Vec::new(), Vec::new());
        for (id, entry) in &mut self.entries {
            changed.extend(std::iter::from_fn(|| answer.next_if(|endpoint| endpoint.id() < id)));
            match answer.next_if(|endpoint| endpoint.id() == id) {
                Some(endpoint) if entry.said.as_deref() == Some(&endpoint) => entry.seen = now,
                Some(endpoint) => changed.push(endpoint),
                None if entry.said.is_some() && may_go(entry) => gone.push(id.clone()),
                None => {}
            }
        }
        changed.extend(answer);
        (gone, changed)
    }
}

impl Entry {
    fn is_suspect(&self) -> bool {
        self.leaving.is_some_and(|leaving| leaving.phase == Phase::Suspect)
    }

    fn wanted(&self) -> Option<Arc<Endpoint>> {
        match (&self.said, self.leaving) {
            (Some(said), _) => Some(said.clone()),
            (None, Some(Leaving { phase: Phase::Go, .. }) | None) => None,
            (None, Some(Leaving { phase: Phase::Waiting, .. })) => self.shown.clone(),
            (None, Some(Leaving { phase: Phase::Suspect, .. })) => self.shown.clone().map(doubted),
        }
    }
}

fn drains(endpoint: &Endpoint) -> bool {
    endpoint.announced() == Announced::Draining || endpoint.weight().get() == 0
}

/// The same with nobody vouching for its health; one that was out of use stays so.
fn doubted(endpoint: Arc<Endpoint>) -> Arc<Endpoint> {
    if matches!(endpoint.announced(), Announced::Up | Announced::Degraded) {
        Arc::new(Endpoint::clone(&endpoint).with_announced(Announced::Unknown))
    } else {
        endpoint
    }
}
