use std::sync::atomic::Ordering;

use evenkeel_health::{Cause, Status};
use evenkeel_route::affinity::{AffinityRules, EndpointState, OnLost, Stay};
use evenkeel_types::EndpointId;
use thiserror::Error;

use crate::cluster::Cluster;
use crate::entry::Entry;
use crate::error::PickError;
use crate::grant::Grant;
use crate::lanes;
use crate::live::Live;
use crate::moment::Moment;
use crate::node::Node;
use crate::pick::Pick;
use crate::request::{Request, Strictness};
use crate::snapshot::{Snapshot, Tier};
use crate::way::Marks;

/// An endpoint that was asked for by name does not get the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PickAtError {
    /// It cannot take the request, and this is what the rules say about that.
    #[error("the endpoint is {state:?}, so the user is to {then:?}")]
    Lost {
        /// How it is.
        state: EndpointState,
        /// What to do.
        then: OnLost,
    },
    /// The cluster takes no request at all, or the request was sent there before.
    #[error(transparent)]
    Pick(#[from] PickError),
}

impl<T> Cluster<T> {
    /// Picks the endpoint of this name, if `rules` let it have the request: for sticky sessions and lists of endpoints.
    ///
    /// The policy is not asked. Limits, budget, breaker and the count of requests in flight are as in [`pick`](Self::pick).
    /// A draining endpoint can keep its users; what picks otherwise know of it does not change. An endpoint that the request
    /// excludes counts as unhealthy. O(log n), without lock or allocation but for the first call, which makes an index.
    ///
    /// # Errors
    ///
    /// [`PickAtError`]: pick another one, as told.
    pub fn pick_at(
        &self,
        id: &EndpointId,
        request: &Request<'_>,
        rules: &AffinityRules,
    ) -> Result<Pick<T>, PickAtError> {
        let shared = &*self.shared;
        if !shared.is_addressed.load(Ordering::Relaxed) {
            shared.is_addressed.store(true, Ordering::Relaxed);
        }
        let moment = Moment::new(&shared.control);
        shared.tick_if_due(&moment);
        let snapshot = shared.current.load();
        let (node, tier) = find(&snapshot, id, shared.control.hash_key)
            .ok_or_else(|| lost(rules.on_gone, EndpointState::Gone))?;
        if let Some(refusal) = refusal(state_of(&node.live, request), rules) {
            return Err(refusal);
        }
        let mut entry = Entry::free(&shared.control);
        if !shared.control.is_plain() && shared.control.guards_entry() {
            shared.enter(request, &moment, &mut entry)?;
        }
        let grant = if shared.control.is_plain() { Some(Grant::none()) } else { node.live.admit(&moment) };
        let Some(grant) = grant else {
            let state =
                if node.live.is_saturated() { EndpointState::Saturated } else { EndpointState::Unhealthy };
            // Refused between the question and now; whoever stays in any state is still refused.
            return Err(refusal(state, rules).unwrap_or_else(|| lost(OnLost::Lend, state)));
        };
        let mut marks = Marks::empty();
        marks.set(Marks::DEGRADED, node.live.status().is_degraded());
        let way = tier.way.with(marks);
        Ok(shared.hold(node, tier, grant, entry.go(), lanes::ordinal(), &moment, way))
    }

    /// How the endpoint of this name is to requests that ask for it. Spends nothing.
    #[must_use]
    pub fn state_at(&self, id: &EndpointId, request: &Request<'_>) -> EndpointState {
        let snapshot = self.shared.current.load();
        find(&snapshot, id, self.shared.control.hash_key)
            .map_or(EndpointState::Gone, |(node, _)| state_of(&node.live, request))
    }
}

fn find<'s, T>(
    snapshot: &'s Snapshot<T>,
    id: &EndpointId,
    hash_key: (u64, u64),
) -> Option<(&'s Node<T>, &'s Tier<T>)> {
    snapshot.named(id, hash_key).map(|(node, tier)| (&**node, tier))
}

fn refusal(state: EndpointState, rules: &AffinityRules) -> Option<PickAtError> {
    match rules.stay(state) {
        Stay::There => None,
        Stay::Lost(then) => Some(lost(then, state)),
    }
}

const fn lost(then: OnLost, state: EndpointState) -> PickAtError {
    PickAtError::Lost { state, then }
}

fn state_of<T>(live: &Live<T>, request: &Request<'_>) -> EndpointState {
    let status = live.status();
    if request.strictness() == Strictness::Exclude && request.tried().contains(&live.token) {
        EndpointState::Unhealthy
    } else if !status.usable() {
        if is_draining(status) { EndpointState::Draining } else { EndpointState::Unhealthy }
    } else if live.is_saturated() {
        EndpointState::Saturated
    } else if !live.would_admit() {
        EndpointState::Unhealthy
    } else if status.is_degraded() {
        EndpointState::Degraded
    } else {
        EndpointState::Usable
    }
}

/// Whether a drain is all that keeps new users away.
fn is_draining(status: Status) -> bool {
    let drains = |cause| {
        matches!(cause, Cause::AdminDrain | Cause::ZeroWeight | Cause::Draining | Cause::AnnouncedDraining)
    };
    status.causes().filter(|cause| cause.is_blocking()).all(drains)
}
