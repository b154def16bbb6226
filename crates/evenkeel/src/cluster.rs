use std::fmt;
use std::sync::Arc;

use evenkeel_balance::PolicyConfig;
use evenkeel_balance::subset::SubsetConfig;
use evenkeel_health::{AdminState, Status};
use evenkeel_route::failover::StaticResponse;
use evenkeel_types::{Endpoint, EndpointId, Locality, Timestamp, Weight};

use crate::applied::Applied;
use crate::apply;
use crate::builder::ClusterBuilder;
use crate::config::{BuildError, ClusterConfig};
use crate::edit;
use crate::error::{ApplyError, PickError};
use crate::explain::Explanation;
use crate::freshness::Freshness;
use crate::handle::Handle;
use crate::lanes;
use crate::pick::Pick;
use crate::picker::Picker;
use crate::renewal::{Besides, Renewal};
use crate::report::ClusterReport;
use crate::request::Request;
use crate::shared::Shared;
use crate::subset::{OutsideSubset, Rule};

/// A set of endpoints that serve the same requests, and the way to pick one of them.
///
/// Cheap to clone; all clones are the same cluster. Picking takes no lock and allocates nothing; updates, health and
/// breakers change what is picked from the next pick on. `T` is your own part of an endpoint, made once for each
/// incarnation: a connection pool, a channel, or `()`.
///
/// ```
/// use evenkeel::{Cluster, Endpoint, Outcome, Request};
///
/// let cluster = Cluster::<()>::builder("users").build()?;
/// cluster.apply([
///     Endpoint::at("10.0.0.1:8080".parse()?)?,
///     Endpoint::at("10.0.0.2:8080".parse()?)?,
/// ])?;
///
/// let pick = cluster.pick(&Request::new())?;
/// println!("send the request to {}", pick.endpoint().address());
/// pick.finish(Outcome::success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cluster<T> {
    pub(crate) shared: Arc<Shared<T>>,
}

impl<T> Cluster<T> {
    /// A cluster of this name, with defaults that are about to be changed.
    pub fn builder(name: impl Into<String>) -> ClusterBuilder<T> {
        ClusterBuilder::new(ClusterConfig::new(name))
    }

    pub(crate) fn new(shared: Shared<T>) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.control.name
    }

    /// Picks an endpoint for a request and counts it as in flight there.
    ///
    /// O(1) for the built-in policies, without lock or allocation; about the cost of one `ArcSwap` load and two locked
    /// increments. Asks tiers in the order of priority, plainly healthy endpoints before degraded ones, and never fails
    /// while one endpoint is usable that `request` does not exclude.
    ///
    /// # Errors
    ///
    /// [`PickError`] says in numbers why there is nothing to pick.
    #[inline(always)]
    pub fn pick(&self, request: &Request<'_>) -> Result<Pick<T>, PickError> {
        let shared = &*self.shared;
        let snapshot = shared.current.load();
        shared.pick_from(&snapshot, request, shared.lanes.mine(), lanes::ordinal())
    }

    /// A handle for one thread, which caches the snapshot and has its own generator and cursor: the same answers for
    /// less. Each picker draws from a stream of its own.
    #[must_use]
    pub fn picker(&self) -> Picker<T> {
        Picker::new(self)
    }

    /// As [`picker`](Self::picker), with a stream that the cluster's seed and `lane` alone decide, for simulations and
    /// replays: other pickers are numbered in the order in which a process makes them, which threads can change. Two
    /// pickers of one number draw the same.
    #[must_use]
    pub fn picker_of_lane(&self, lane: u32) -> Picker<T> {
        Picker::numbered(self, lane)
    }

    /// Makes `endpoints` the whole set. Those that are known by id and incarnation keep their payload and all that was
    /// learnt about them; those that are missing leave, and requests in flight there go on.
    ///
    /// Membership and weights change by one swap of one snapshot: no pick sees half of the old set and half of the new
    /// one. What each endpoint is said to be (address, announced health) changes one by one just before. O(n).
    ///
    /// # Errors
    ///
    /// [`ApplyError`], and the cluster keeps what it had: for a duplicate id, a set that is empty without proof (see
    /// [`clear`](Self::clear)), or one that is too large.
    pub fn apply(&self, endpoints: impl IntoIterator<Item = Endpoint<T>>) -> Result<Applied, ApplyError> {
        let wanted = endpoints.into_iter().map(|endpoint| {
            let (endpoint, payload) = endpoint.split();
            (endpoint, Some(payload))
        });
        apply::whole_set(&self.shared, wanted.collect())
    }

    /// As [`apply`](Self::apply) for descriptions without a payload: `make` is called for each new incarnation, once,
    /// outside all locks.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply); nothing is made if the set is refused.
    pub fn apply_with(
        &self,
        endpoints: impl IntoIterator<Item = Endpoint>,
        make: impl FnMut(&Endpoint) -> T,
    ) -> Result<Applied, ApplyError> {
        let endpoints: Vec<Endpoint> = endpoints.into_iter().collect();
        apply::whole_set_with(&self.shared, &endpoints, Besides::default(), make)
    }

    /// Removes every endpoint: the caller's word that there are none.
    pub fn clear(&self) -> Applied {
        apply::clear(&self.shared, None)
    }

    /// Adds one endpoint, or changes the description of a known one. O(1) and the policy's table for a new weight, O(n)
    /// for a new member.
    ///
    /// # Errors
    ///
    /// [`ApplyError::TooMany`]; or the policy refuses the set.
    pub fn upsert(&self, endpoint: Endpoint<T>) -> Result<Applied, ApplyError> {
        let (endpoint, payload) = endpoint.split();
        edit::upsert(&self.shared, endpoint, payload)
    }

    /// Removes one endpoint; requests in flight there go on.
    ///
    /// # Errors
    ///
    /// [`ApplyError::UnknownId`]; or a policy of your own refuses the rest.
    pub fn remove(&self, id: &EndpointId) -> Result<Applied, ApplyError> {
        edit::remove(&self.shared, id)
    }

    /// Changes one weight; zero drains.
    ///
    /// # Errors
    ///
    /// [`ApplyError::UnknownId`]; or a policy of your own refuses the weight.
    pub fn set_weight(&self, id: &EndpointId, weight: Weight) -> Result<Applied, ApplyError> {
        edit::set_weight(&self.shared, id, weight)
    }

    /// Changes the policy. All that was learnt about endpoints stays.
    ///
    /// # Errors
    ///
    /// [`ApplyError::Policy`] if a setting is out of range; the old policy stays.
    pub fn set_policy(&self, policy: PolicyConfig) -> Result<Applied, ApplyError> {
        edit::set_policy(&self.shared, policy)
    }

    /// Uses another part of the endpoints: when the number of peers changes, or the load asks for more. Endpoints, and
    /// what was learnt about them, stay. `outside` is what becomes of the others when nothing inside is
    /// usable; unset, it means what it means in [`ClusterConfig`].
    ///
    /// # Errors
    ///
    /// [`ApplyError::Subset`] if a setting is out of range; the old subset stays.
    pub fn set_subset(
        &self,
        subset: SubsetConfig,
        outside: Option<OutsideSubset>,
    ) -> Result<Applied, ApplyError> {
        let rule = Rule::new(subset, outside, self.shared.seed)?;
        edit::set_subset(&self.shared, Some(rule))
    }

    /// Uses all endpoints from now on.
    ///
    /// # Errors
    ///
    /// [`ApplyError::Policy`] if a policy of your own refuses the whole; the subset stays.
    pub fn clear_subset(&self) -> Result<Applied, ApplyError> {
        edit::set_subset(&self.shared, None)
    }

    /// Changes policy, subset and endpoints together, by one swap: no pick sees one of them with what another was before, and
    /// none is refused for not fitting what goes. `make` is called as in [`apply_with`](Self::apply_with). O(n).
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), [`set_policy`](Self::set_policy) and [`set_subset`](Self::set_subset); nothing has changed then.
    pub fn renew_with(
        &self,
        renewal: Renewal,
        make: impl FnMut(&Endpoint) -> T,
    ) -> Result<Applied, ApplyError> {
        let (besides, endpoints) = renewal.ready(self.shared.seed)?;
        match endpoints {
            Some(endpoints) => apply::whole_set_with(&self.shared, &endpoints, besides, make),
            None => apply::renew(&self.shared, besides),
        }
    }

    /// Knows how many callers stand in each zone, this process among them, from now on: as a peer list or discovery tells.
    /// Zones that are left out have none. Without a locality mode that asks for callers nothing changes.
    ///
    /// O(zones).
    pub fn set_callers(&self, callers: impl IntoIterator<Item = (Locality, u32)>) {
        if let Some(planner) = &self.shared.control.planner {
            planner.set_callers(callers);
            let news = self.shared.rebalance_now();
            self.shared.control.tell_tiers(&news);
        }
    }

    /// What requests of a tier in panic are answered, if [`OnPanic::StaticResponse`](crate::OnPanic) says so.
    #[must_use]
    pub fn panic_response(&self) -> Option<&StaticResponse> {
        self.shared.control.planner.as_ref()?.response()
    }

    /// The endpoint of this id, to watch it and to say what is known about it from outside.
    ///
    /// # Errors
    ///
    /// [`ApplyError::UnknownId`].
    pub fn endpoint(&self, id: &EndpointId) -> Result<Handle<T>, ApplyError> {
        let node = self.shared.state.lock().index.get(id).map(Arc::clone);
        node.map(Handle::new).ok_or_else(|| ApplyError::UnknownId(id.clone()))
    }

    /// No new picks for this endpoint; requests in flight go on. See [`Handle::set_admin`].
    ///
    /// # Errors
    ///
    /// [`ApplyError::UnknownId`].
    pub fn drain(&self, id: &EndpointId) -> Result<Status, ApplyError> {
        Ok(self.endpoint(id)?.set_admin(AdminState::Drain))
    }

    /// Ends a drain, and a maintenance too: the operator's word is "ready" again.
    ///
    /// # Errors
    ///
    /// [`ApplyError::UnknownId`].
    pub fn undrain(&self, id: &EndpointId) -> Result<Status, ApplyError> {
        Ok(self.endpoint(id)?.set_admin(AdminState::Ready))
    }

    /// The result of one active check of whatever has this id now; a prober that may be late uses [`Handle::record_check`].
    ///
    /// # Errors
    ///
    /// [`ApplyError::UnknownId`].
    pub fn record_check(&self, id: &EndpointId, passed: bool) -> Result<Status, ApplyError> {
        Ok(self.endpoint(id)?.record_check(passed))
    }

    /// Lets deadlines pass and frees what updates left behind; returns the next deadline.
    ///
    /// Picks let deadlines pass by themselves, so a forgotten tick strands nobody; without traffic it is the only thing
    /// that does. Call it from a timer, or let [`drive`](Self::drive) do it.
    pub fn tick(&self) -> Option<Timestamp> {
        self.shared.tick()
    }

    /// Whether a pick was asked for since the last call of this; `false` the first time.
    ///
    /// For one who asks now and then, such as a prober that checks an unused cluster less. Picks pay nothing for it until
    /// it is called, and the first pick after a call pays for a short lock. O(1).
    #[must_use]
    pub fn had_traffic(&self) -> bool {
        self.shared.control.timers.had_traffic()
    }

    /// The present by the cluster's clock: what deadlines in errors and reports are measured in.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.shared.control.now()
    }

    /// How many endpoints there are, usable or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.current.load().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many endpoints are usable now. Those that no pick may use, since they are outside the subset, do not count.
    #[must_use]
    pub fn usable(&self) -> usize {
        let snapshot = self.shared.current.load();
        let nodes = snapshot.used().flat_map(|tier| tier.nodes.iter());
        nodes.filter(|node| node.live.standing.is_usable()).count()
    }

    /// The number of the current snapshot: one more with each update that changed something.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.current.load().generation
    }

    /// How fresh the set of endpoints is, as the followed sources tell.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.shared.control.freshness()
    }

    /// Requests in flight at an endpoint; `None` if there is no such endpoint.
    #[must_use]
    pub fn in_flight(&self, id: &EndpointId) -> Option<usize> {
        self.endpoint(id).ok().map(|endpoint| endpoint.in_flight())
    }

    /// What the next pick of this thread would be and why: tiers, masks, weights, candidates. Picks nothing.
    #[must_use]
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        Explanation::of(&self.shared, request, self.shared.lanes.mine())
    }

    /// A view of every endpoint that can be serialised. O(n).
    #[must_use]
    pub fn report(&self) -> ClusterReport {
        ClusterReport::of(&self.shared)
    }
}

impl<T: Default> Cluster<T> {
    /// The cluster that a configuration describes, with its endpoints.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the setting and what is allowed.
    pub fn from_config(mut config: ClusterConfig) -> Result<Self, BuildError> {
        let endpoints = std::mem::take(&mut config.endpoints);
        let cluster = ClusterBuilder::new(config).build()?;
        if !endpoints.is_empty() {
            cluster.apply_with(endpoints, |_| T::default())?;
        }
        Ok(cluster)
    }
}

impl<T> Clone for Cluster<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> fmt::Debug for Cluster<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.name())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
