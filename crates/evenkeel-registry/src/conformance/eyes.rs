use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_types::{Endpoint, EndpointId};

use super::{Done, Limits, Refusal, StoreUnderTest};
use crate::{Change, ChangeKind, Snapshot, Watch};

/// Looks at a watch, and finds fault with what must never be seen.
#[derive(Debug)]
pub struct Eyes {
    pub(super) watch: Watch,
    /// What should be in the store.
    pub(super) expected: BTreeMap<EndpointId, Endpoint>,
    /// What the watch's changes have led to.
    told: BTreeMap<EndpointId, Endpoint>,
    generation: u64,
    /// All changes since somebody looked.
    pub(super) changes: Vec<Change>,
}

impl Eyes {
    /// Eyes on a watch from which nothing was taken yet.
    #[must_use]
    pub fn new(watch: Watch) -> Self {
        Self { watch, expected: BTreeMap::new(), told: BTreeMap::new(), generation: 0, changes: Vec::new() }
    }

    /// Looks once.
    ///
    /// # Errors
    ///
    /// [`Refusal::Failed`] with what must not be seen.
    pub fn look(&mut self) -> Done {
        let Some((snapshot, changes)) = self.watch.take() else { return Ok(()) };
        let had = self.told.len();
        let bad = |what: String| Err(Refusal::Failed(what));
        if snapshot.generation() <= self.generation {
            return bad(format!("generation {} after {}", snapshot.generation(), self.generation));
        }
        self.generation = snapshot.generation();
        for change in &changes {
            self.tell(change)?;
        }
        self.changes.extend(changes);
        let ids: Vec<_> = snapshot.endpoints().iter().map(|endpoint| endpoint.id()).collect();
        if !ids.is_sorted_by(|a, b| a < b) {
            return bad("an id twice, or ids out of order".to_owned());
        }
        if !snapshot.endpoints().iter().map(AsRef::as_ref).eq(self.told.values()) {
            return bad("the changes do not lead to the set: a gap".to_owned());
        }
        if had > 0 && ids.is_empty() {
            return bad(format!("an empty set, after one of {had}"));
        }
        Ok(())
    }

    /// Looks again and again until `seen`, for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Failed`] with `what` if the time is over, or as [`look`](Self::look).
    pub fn until(
        &mut self,
        store: &mut dyn StoreUnderTest,
        limit: Duration,
        what: &str,
        seen: impl Fn(&Self, &Snapshot) -> bool,
    ) -> Done {
        let step = store.limits().step.max(Duration::from_millis(1));
        let mut waited = Duration::ZERO;
        loop {
            self.look()?;
            if seen(self, &self.watch.latest()) {
                return Ok(());
            }
            if waited >= limit {
                let sources = self.watch.sources();
                let listed: Vec<_> = self.told.keys().take(8).collect();
                return Err(Refusal::Failed(format!(
                    "{what}: not within {limit:?}; {} endpoints are seen, such as {listed:?}, sources are {sources:?}",
                    self.told.len()
                )));
            }
            store.wait(step);
            waited += step;
        }
    }

    /// Waits until the set is that of the store, for at most one of its limits.
    ///
    /// # Errors
    ///
    /// As [`until`](Self::until).
    pub fn until_equal(&mut self, store: &mut dyn StoreUnderTest, limit: fn(Limits) -> Duration) -> Done {
        let limit = limit(store.limits());
        let wanted: BTreeMap<_, _> =
            self.expected.values().map(|e| store.shown(e)).map(|e| (e.id().clone(), e)).collect();
        self.until(store, limit, "the set of the store", |_, snapshot| equal(&wanted, snapshot))
    }

    /// After a failure: what is seen now is the start of the next case.
    pub(super) fn start_over(&mut self) {
        let _ = self.watch.take();
        let latest = self.watch.latest();
        self.generation = self.watch.generation();
        self.told = latest.endpoints().iter().map(|e| (e.id().clone(), Endpoint::clone(e))).collect();
        self.changes.clear();
    }

    fn tell(&mut self, change: &Change) -> Done {
        let id = change.id();
        let known = self.told.contains_key(id);
        let fits = match change.kind {
            ChangeKind::Added => !known,
            ChangeKind::Removed { .. } | ChangeKind::Updated { .. } => known,
        };
        if !fits {
            return Err(Refusal::Failed(format!(
                "{id}: {:?} does not follow from what was told",
                change.kind
            )));
        }
        match change.kind {
            ChangeKind::Removed { .. } => _ = self.told.remove(id),
            _ => _ = self.told.insert(id.clone(), Endpoint::clone(&change.endpoint)),
        }
        Ok(())
    }
}

fn equal(wanted: &BTreeMap<EndpointId, Endpoint>, snapshot: &Snapshot) -> bool {
    let same = |a: &Endpoint, b: &Endpoint| {
        a.id() == b.id() && a.addresses().eq(b.addresses()) && a.weight() == b.weight()
    };
    let seen = snapshot.endpoints();
    seen.len() == wanted.len() && wanted.values().zip(seen.iter()).all(|(a, b)| same(a, b))
}
