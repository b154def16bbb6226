use std::fmt;
use std::sync::Arc;

use bitflags::bitflags;
use evenkeel_types::Endpoint;

use crate::{Caller, Event, InvalidPolicy, View};

/// A way to pick one of many: implement it for a policy of your own.
///
/// The façade builds a policy for a set of endpoints with [`rebuild`](Self::rebuild) when membership or weights change,
/// off the pick path, and calls [`pick`](Self::pick) from any number of threads. Health does not rebuild: it masks. Run
/// the laws (feature `laws`) on your policy; the contract of `pick` is theirs.
pub trait Policy: Send + Sync + fmt::Debug {
    /// An open position, or `None` if none is open.
    ///
    /// Must not block for long and should not allocate. A policy that can return something that is not open, or `None`
    /// while something is, breaks the laws; the façade tests what it gets and fails the pick rather than the request.
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize>;

    /// What this policy needs to be told.
    fn wants(&self) -> Wants {
        Wants::empty()
    }

    /// Something happened to an endpoint. Called only for what [`wants`](Self::wants) asks for; on the request path, so a policy that keeps a sequence or an order takes one short lock here and in `pick`.
    fn on_event(&self, event: Event) {
        let _ = event;
    }

    /// The successor of this policy for other members: keep what belongs to endpoints that stay (by
    /// [`Members::token`]), drop the rest. `None` means that this very object serves any members, as a policy without
    /// tables does.
    ///
    /// Called, like [`wants`](Self::wants), while the cluster's updates are locked: do not call the cluster from it.
    ///
    /// Events go on reaching this policy until the successor is in use. So *share* counts with it (an `Arc`), do not copy
    /// them, or what ends in between is counted for ever.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`] if it cannot serve these members; the cluster then keeps what it had.
    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let _ = members;
        Ok(None)
    }
}

bitflags! {
    /// What a policy needs to be told.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Wants: u8 {
        /// It reads [`View::load`]. A policy that does not lets the façade stripe the counts of small clusters.
        const LOADS = 1;
        /// It keeps a sequence or an order: it hears of [`Event::Picked`], [`Event::Released`], [`Event::Failed`],
        /// [`Event::Up`] and [`Event::Down`].
        const EVENTS = 1 << 1;
        /// It reads [`Caller::key`].
        const KEY = 1 << 2;
        /// It reads [`Caller::now`].
        const CLOCK = 1 << 3;
        /// It learns from how requests went: it hears of [`Event::Observed`].
        const OBSERVED = 1 << 4;
        /// It learns from what endpoints report: it hears of [`Event::Reported`].
        const REPORTS = 1 << 5;
        /// It reads [`Caller::source`].
        const SOURCE = 1 << 6;
        /// A pick moves something of its own (a place in an order, a count of keys), so it must not be asked what it would
        /// pick: explanations leave it alone.
        const SEQUENCE = 1 << 7;
    }
}

/// The endpoints that a policy is built for, position by position.
pub trait Members {
    /// The weights; as many as there are positions.
    fn weights(&self) -> &[u32];

    /// The lasting number of the endpoint at a position: never reused, the same over updates.
    fn token(&self, position: usize) -> u64;

    /// The description of the endpoint at a position.
    fn endpoint(&self, position: usize) -> Arc<Endpoint>;
}

/// Members from a plain list; the token is the position.
#[derive(Clone, Debug, Default)]
pub struct MemberList {
    endpoints: Vec<Arc<Endpoint>>,
    weights: Vec<u32>,
}

impl MemberList {
    /// These endpoints, in this order.
    #[must_use]
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let endpoints: Vec<_> = endpoints.into_iter().map(Arc::new).collect();
        let weights = endpoints.iter().map(|endpoint| endpoint.weight().get()).collect();
        Self { endpoints, weights }
    }
}

impl Members for MemberList {
    fn weights(&self) -> &[u32] {
        &self.weights
    }

    fn token(&self, position: usize) -> u64 {
        position as u64
    }

    fn endpoint(&self, position: usize) -> Arc<Endpoint> {
        Arc::clone(&self.endpoints[position])
    }
}
