use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use evenkeel_health::{AdminState, CheckState, Status, Turn};

use crate::cluster::Cluster;
use crate::live::Live;
use crate::node::Node;
use crate::snapshot::Part;

/// An endpoint of a cluster, to watch it and to say what is known about it from outside.
///
/// It names one incarnation: what a late check of an old process says never reaches the new process of the same name.
/// Holding one counts no request and keeps the payload alive; it stays valid, without effect on picks, after the endpoint
/// has left.
///
/// ```
/// use evenkeel::{Cluster, Endpoint};
/// let cluster = Cluster::<()>::builder("users").build()?;
/// cluster.apply([Endpoint::at("10.0.0.1:80".parse()?)?])?;
/// for endpoint in cluster.endpoints() {
///     let passed = true; // connect to endpoint.address() and see
///     assert!(endpoint.record_check(passed).usable());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Handle<T> {
    node: Arc<Node<T>>,
}

impl<T> Handle<T> {
    pub(crate) const fn new(node: Arc<Node<T>>) -> Self {
        Self { node }
    }

    /// Requests in flight there.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.node.in_flight()
    }

    /// The operator's word: ready, drain or maintenance. Only another such word changes it back.
    pub fn set_admin(&self, state: AdminState) -> Status {
        let change = self.standing.set_admin(state);
        self.after_flip(change);
        change.after
    }

    /// The result of one active check. Rise and fall decide when it turns the endpoint up or down.
    pub fn record_check(&self, passed: bool) -> Status {
        let change = {
            let mut machine = self.rise_fall.lock();
            let turn = if passed { machine.pass() } else { machine.fail() };
            turn.map(|turn| {
                self.standing.set_check(match turn {
                    Turn::Up => CheckState::Up,
                    Turn::Down => CheckState::Down,
                })
            })
        };
        if let Some(change) = change {
            self.after_flip(change);
        }
        self.status()
    }

    /// What the endpoint can carry of its weight, 0 to 1, as an agent on it reports: `75%` of HAProxy's agent check, a load
    /// balancer's own estimate. It counts as a factor, so no table is built anew, and stays until it is set again.
    ///
    /// What is no number is 1; zero is as little as can be, and not a drain: for that set the weight, or the operator's word.
    pub fn set_reported(&self, share: f64) {
        let share = if share.is_nan() { 1.0 } else { share.max(f64::MIN_POSITIVE) };
        self.node.live.set_reported(share);
    }

    /// The verdict of a check machine that runs elsewhere. Use this or [`record_check`](Self::record_check), not both: the
    /// one does not know what the other has counted.
    pub fn set_check(&self, state: CheckState) -> Status {
        let change = self.standing.set_check(state);
        self.after_flip(change);
        change.after
    }
}

impl<T> Deref for Handle<T> {
    type Target = Live<T>;

    fn deref(&self) -> &Live<T> {
        &self.node.live
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { node: Arc::clone(&self.node) }
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("endpoint", &**self).field("in_flight", &self.in_flight()).finish()
    }
}

impl<T> Cluster<T> {
    /// Every endpoint, usable or not, tier by tier. O(n).
    #[must_use]
    pub fn endpoints(&self) -> Vec<Handle<T>> {
        self.shared.current.load().nodes().map(|node| Handle::new(Arc::clone(node))).collect()
    }

    /// The endpoints of this client's subset, tier by tier; all of them without a subset. These are the ones to connect to
    /// and to check. O(n).
    #[must_use]
    pub fn subset(&self) -> Vec<Handle<T>> {
        let snapshot = self.shared.current.load();
        let inside = snapshot.tiers().filter(|tier| tier.part == Part::Inside);
        inside.flat_map(|tier| tier.nodes.iter()).map(|node| Handle::new(Arc::clone(node))).collect()
    }
}
