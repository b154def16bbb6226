use std::cmp::Ordering;
use std::iter::Peekable;
use std::sync::Arc;

use evenkeel_types::{Endpoint, EndpointId, Timestamp};

use crate::{Cause, Change, ChangeKind, Selector, ServiceName, SourceStatus};

/// The endpoints of one service at one moment: immutable, numbered, shared.
///
/// Equal generations of one service in one registry are equal snapshots. Endpoints are sorted by id, so that no map's
/// order can reach a decision. With the `serde` feature a snapshot can be written, for logs and admin pages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Snapshot {
    service: ServiceName,
    generation: u64,
    state: SourceState,
    as_of: Timestamp,
    #[cfg_attr(feature = "serde", serde(serialize_with = "endpoints_as_list"))]
    endpoints: Arc<[Arc<Endpoint>]>,
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_list", skip_serializing_if = "is_empty"))]
    suspects: Arc<[EndpointId]>,
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_list", skip_serializing_if = "is_empty"))]
    sources: Arc<[SourceStatus]>,
}

/// What the source of a snapshot knows about the service.
///
/// "Not asked yet" and "none" must not look alike: a client waits for the first and gives up on the second. Finagle
/// draws the same line with `Addr.Pending`, `Addr.Bound` and `Addr.Neg`
/// (<https://twitter.github.io/finagle/guide/Names.html>).
///
/// ```text
///           first registration   last endpoint leaves   forget
/// Pending   Live                 –                      refused
/// Live      stay                 Absent                 refused
/// Absent    Live                 –                      Pending
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum SourceState {
    /// Nobody has registered yet: nothing is known, so the empty set means nothing.
    #[default]
    Pending,
    /// The source knows the set, and there is somebody in it.
    Live,
    /// The source knew the set, and has been in trouble since: nobody vouches for the set now, and it is the best there
    /// is. A set read from a disk starts so.
    Stale {
        /// Since when.
        since: Timestamp,
    },
    /// The source knows that there is nobody: all who had registered have left, each for a reason that a
    /// [`Change`] told.
    Absent,
}

impl Snapshot {
    /// What is known about a service before anything is known.
    #[must_use]
    pub fn pending(service: ServiceName) -> Self {
        Self::new(service, 0, SourceState::Pending, Timestamp::ORIGIN, Arc::default())
    }

    /// `endpoints` must be sorted by id without duplicates.
    pub(crate) fn new(
        service: ServiceName,
        generation: u64,
        state: SourceState,
        as_of: Timestamp,
        endpoints: Arc<[Arc<Endpoint>]>,
    ) -> Self {
        debug_assert!(endpoints.is_sorted_by(|a, b| a.id() < b.id()), "endpoints are sorted by id");
        Self {
            service,
            generation,
            state,
            as_of,
            endpoints,
            suspects: Arc::default(),
            sources: Arc::default(),
        }
    }

    /// `suspects` must be sorted.
    pub(crate) fn with_suspects(self, suspects: Arc<[EndpointId]>) -> Self {
        Self { suspects, ..self }
    }

    pub(crate) fn with_sources(self, sources: Arc<[SourceStatus]>) -> Self {
        Self { sources, ..self }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The number of this snapshot: one more than its predecessor's, and 0 while nobody has registered. The first is 1,
    /// or more in a registry that has forgotten services, so that no number is given twice under one name.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What the source knows.
    #[must_use]
    pub fn state(&self) -> SourceState {
        self.state
    }

    /// When the source last said that the set is exactly this: the time of the change that made this generation. The
    /// registry itself is the source, so its latest snapshot is current however long ago that was. While nobody has
    /// registered, it is the origin of time.
    #[must_use]
    pub fn as_of(&self) -> Timestamp {
        self.as_of
    }

    /// The endpoints, sorted by id. Cloning the `Arc` shares the list.
    #[must_use]
    pub fn endpoints(&self) -> &Arc<[Arc<Endpoint>]> {
        &self.endpoints
    }

    /// The endpoint of this id, in O(log n).
    #[must_use]
    pub fn endpoint(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.binary_search_by(|endpoint| endpoint.id().cmp(id)).ok().map(|i| &self.endpoints[i])
    }

    /// Endpoints that a source dropped together with many others, without proof: use them after all others. Sorted.
    #[must_use]
    pub fn suspects(&self) -> &Arc<[EndpointId]> {
        &self.suspects
    }

    /// Whether the endpoint of this id is a [suspect](Self::suspects), in O(log n).
    #[must_use]
    pub fn is_suspect(&self, id: &EndpointId) -> bool {
        self.suspects.binary_search(id).is_ok()
    }

    /// What each source of the service knew when this snapshot was made, in order of preference. Empty for a service
    /// that lives by leases in this registry alone.
    #[must_use]
    pub fn sources(&self) -> &Arc<[SourceStatus]> {
        &self.sources
    }

    /// The endpoints that fit, sorted by id, in O(n).
    pub fn select<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = &'a Arc<Endpoint>> {
        self.endpoints.iter().filter(|endpoint| selector.matches(endpoint))
    }

    /// What happened between an older snapshot of the same service and this one, by id, in O(n).
    ///
    /// Why an endpoint went is not written in a snapshot: the cause is [`Cause::Replaced`] if its id is in both, else
    /// [`Cause::Unknown`]. A [`Watch`](crate::Watch) knows the cause.
    #[must_use]
    pub fn changes_since(&self, older: &Self) -> Vec<Change> {
        self.changes_with_causes(older, |_| None)
    }

    /// The same, with a memory of causes.
    pub(crate) fn changes_with_causes(
        &self,
        older: &Self,
        known: impl Fn(&EndpointId) -> Option<Cause>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut tell = |endpoint: &Arc<Endpoint>, kind| {
            changes.push(Change {
                service: self.service.clone(),
                generation: self.generation,
                endpoint: endpoint.clone(),
                kind,
            });
        };
        for pair in (Pairs { old: older.endpoints.iter().peekable(), new: self.endpoints.iter().peekable() })
        {
            match pair {
                (None, Some(new)) => tell(new, ChangeKind::Added),
                (Some(old), None) => {
                    tell(old, ChangeKind::Removed { cause: known(old.id()).unwrap_or(Cause::Unknown) });
                }
                (Some(old), Some(new)) if Arc::ptr_eq(old, new) => {}
                (Some(old), Some(new)) if old.incarnation() != new.incarnation() => {
                    tell(old, ChangeKind::Removed { cause: known(old.id()).unwrap_or(Cause::Replaced) });
                    tell(new, ChangeKind::Added);
                }
                (Some(old), Some(new)) => {
                    let what = old.difference(new);
                    if !what.is_empty() {
                        tell(new, ChangeKind::Updated { what });
                    }
                }
                (None, None) => {}
            }
        }
        changes
    }
}

/// Walks two lists sorted by id side by side.
struct Pairs<'a, I: Iterator<Item = &'a Arc<Endpoint>>> {
    old: Peekable<I>,
    new: Peekable<I>,
}

impl<'a, I: Iterator<Item = &'a Arc<Endpoint>>> Iterator for Pairs<'a, I> {
    type Item = (Option<&'a Arc<Endpoint>>, Option<&'a Arc<Endpoint>>);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.old.peek(), self.new.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.id().cmp(new.id()),
        };
        Some(match order {
            Ordering::Less => (self.old.next(), None),
            Ordering::Equal => (self.old.next(), self.new.next()),
            Ordering::Greater => (None, self.new.next()),
        })
    }
}

#[cfg(feature = "serde")]
fn as_list<V: serde::Serialize, S: serde::Serializer>(
    values: &Arc<[V]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter())
}

#[cfg(feature = "serde")]
fn is_empty<V>(values: &Arc<[V]>) -> bool {
    values.is_empty()
}

#[cfg(feature = "serde")]
fn endpoints_as_list<S: serde::Serializer>(
    endpoints: &Arc<[Arc<Endpoint>]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(endpoints.iter().map(AsRef::as_ref))
}

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel_types::{Difference, Weight};

    fn endpoint(id: &str, incarnation: u64, weight: u32) -> Arc<Endpoint> {
        let endpoint = Endpoint::new(id.parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        Arc::new(endpoint.with_incarnation(incarnation).with_weight(Weight::new(weight)))
    }

    fn snapshot(generation: u64, endpoints: &[(&str, u64, u32)]) -> Snapshot {
        let endpoints = endpoints.iter().map(|&(id, incarnation, weight)| endpoint(id, incarnation, weight));
        let service = "users".parse().unwrap();
        Snapshot::new(service, generation, SourceState::Live, Timestamp::ORIGIN, endpoints.collect())
    }

    #[test]
    fn a_difference_names_each_kind() {
        let old = snapshot(1, &[("a", 1, 1), ("b", 1, 1), ("c", 1, 1), ("d", 1, 1)]);
        let new = snapshot(5, &[("a", 1, 1), ("b", 1, 2), ("c", 2, 1), ("e", 1, 1)]);
        let told: Vec<_> =
            new.changes_since(&old).into_iter().map(|c| (c.id().to_string(), c.kind)).collect();
        assert_eq!(
            told,
            [
                ("b".to_owned(), ChangeKind::Updated { what: Difference::WEIGHT }),
                ("c".to_owned(), ChangeKind::Removed { cause: Cause::Replaced }),
                ("c".to_owned(), ChangeKind::Added),
                ("d".to_owned(), ChangeKind::Removed { cause: Cause::Unknown }),
                ("e".to_owned(), ChangeKind::Added),
            ]
        );
        assert!(new.changes_since(&new).is_empty());
    }

    #[cfg(feature = "serde")]
    #[test]
    fn json_is_readable() {
        let json = serde_json::to_string(&snapshot(7, &[("a", 1, 3)])).unwrap();
        assert_eq!(
            json,
            r#"{"service":"users","generation":7,"state":"live","as_of":0,"endpoints":[{"id":"a","address":"10.0.0.1:80","incarnation":1,"weight":3}]}"#
        );
    }
}
