use std::sync::Arc;

use evenkeel_types::{Difference, Endpoint, EndpointId};

use crate::ServiceName;

/// One endpoint of one service came, went or changed.
///
/// Changes are returned by the call that made them, or by a [`Watch`](crate::Watch) as the difference from what the
/// reader holds. Identity is the id together with the incarnation: a new process under an old id is a removal
/// ([`Cause::Replaced`]) followed by an addition, so that nothing learnt about the old one is carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The service.
    pub service: ServiceName,
    /// The generation of the snapshot that first shows this; all changes of one swap share it.
    pub generation: u64,
    /// The endpoint as it is now; if it was removed, as it was last.
    pub endpoint: Arc<Endpoint>,
    /// What happened to it.
    pub kind: ChangeKind,
}

impl Change {
    /// The id of the endpoint.
    #[must_use]
    pub fn id(&self) -> &EndpointId {
        self.endpoint.id()
    }
}

/// What happened to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed {
        /// Why.
        cause: Cause,
    },
    /// It is the same process, described otherwise.
    Updated {
        /// In what the descriptions differ, so that consumers rebuild only what they must; never empty.
        what: Difference,
    },
}

impl ChangeKind {
    pub(crate) fn cause(self) -> Option<Cause> {
        match self {
            Self::Removed { cause } => Some(cause),
            Self::Added | Self::Updated { .. } => None,
        }
    }
}

/// Why an endpoint is gone.
///
/// Proof differs: who deregistered is gone for certain, who expired may only be cut off from the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Cause {
    /// It said goodbye.
    Deregistered,
    /// Its lease ran out without a renewal.
    Expired,
    /// A new process took its id, or its address.
    Replaced,
    /// The source proved that there is nobody.
    Absent,
    /// Its source no longer lists it and does not say why, or two snapshots were compared that do not tell.
    Unknown,
}
