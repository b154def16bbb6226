//! What an update changed, what it leaves to be dropped, and who hears of it.

use std::sync::Arc;

use evenkeel_balance::{BuiltIn, PolicyConfig};
use evenkeel_types::EndpointId;

use crate::control::Control;
use crate::node::Node;
use crate::observer::Notice;
use crate::shared::{Shared, Told};
use crate::snapshot::Snapshot;

/// What an update changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Applied {
    /// The generation of the snapshot that is in use now.
    pub generation: u64,
    /// Endpoints that are new: unknown ids, and known ones in a new incarnation.
    pub added: Vec<EndpointId>,
    /// Endpoints that left.
    pub removed: Vec<EndpointId>,
    /// Endpoints whose description changed.
    pub updated: Vec<EndpointId>,
    /// Whether the policy is new.
    pub policy_changed: bool,
    /// Whether the subset is chosen in another way.
    pub subset_changed: bool,
    /// Whether endpoints that stay stand in another order.
    pub reordered: bool,
}

impl Applied {
    /// Whether everything was so already.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        let same_members = self.added.is_empty() && self.removed.is_empty() && self.updated.is_empty();
        same_members && !self.policy_changed && !self.subset_changed && !self.reordered
    }
}

/// What must not be dropped under the lock: user code could run.
pub(crate) struct Leftover<T> {
    pub(crate) snapshots: Vec<Arc<Snapshot<T>>>,
    pub(crate) nodes: Vec<Arc<Node<T>>>,
    pub(crate) payloads: Vec<T>,
    pub(crate) policies: Vec<PolicyConfig>,
    pub(crate) built: Vec<BuiltIn>,
    pub(crate) told: Vec<Told<T>>,
}

impl<T> Leftover<T> {
    pub(crate) const fn new() -> Self {
        Self {
            snapshots: Vec::new(),
            nodes: Vec::new(),
            payloads: Vec::new(),
            policies: Vec::new(),
            built: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Runs what may run user code: drops, policies, the observer.
    pub(crate) fn let_go(self, control: &Control) {
        self.told.into_iter().for_each(|told| told.tell(control));
    }
}

pub(crate) fn tell<T>(shared: &Shared<T>, applied: &Applied) {
    if let Some(observer) = &shared.control.observer
        && !applied.is_noop()
    {
        observer.notice(&Notice::Applied(applied.clone()));
    }
}
