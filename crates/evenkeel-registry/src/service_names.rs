use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ServiceName;

/// The names of all services that a registry knows: immutable, numbered, shared, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ServiceNames {
    generation: u64,
    #[cfg_attr(feature = "serde", serde(serialize_with = "names_as_list"))]
    names: Arc<[ServiceName]>,
}

impl ServiceNames {
    /// `names` must be sorted without duplicates.
    pub(crate) fn new(generation: u64, names: Arc<[ServiceName]>) -> Self {
        Self { generation, names }
    }

    /// The number of this list: one more than its predecessor's, 0 as long as there was no service.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The names, sorted. A service stays listed when its last endpoint has left, until it is forgotten.
    #[must_use]
    pub fn names(&self) -> &Arc<[ServiceName]> {
        &self.names
    }

    /// What happened between an older list and this one: first what was forgotten, then what appeared; O(n log n).
    #[must_use]
    pub fn changes_since(&self, older: &Self) -> Vec<NameChange> {
        let (old, new) = (BTreeSet::from_iter(&*older.names), BTreeSet::from_iter(&*self.names));
        let forgotten = old.difference(&new).map(|name| NameChange::Forgotten((*name).clone()));
        forgotten.chain(new.difference(&old).map(|name| NameChange::Appeared((*name).clone()))).collect()
    }
}

/// A service came or went as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameChange {
    /// Somebody registered under a name that was not known.
    Appeared(ServiceName),
    /// The name was forgotten.
    Forgotten(ServiceName),
}

#[cfg(feature = "serde")]
fn names_as_list<S: serde::Serializer>(names: &Arc<[ServiceName]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter())
}
