use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_breaker::{Force, ForceError, Owner, State as BreakerState, Transition};
use evenkeel_health::{AdminState, CheckResult, CheckState, Note, NoteError, Opinion, Status, Turn};
use evenkeel_types::Verdict;

use crate::cluster::Cluster;
use crate::live::{Live, News};
use crate::node::Node;
use crate::snapshot::Part;
use thiserror::Error;

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
        self.say_aloud(Opinion::Admin(state), Note::default());
        self.status()
    }

    /// The operator's word for a while: after `limit` it ends by itself, as if [`AdminState::Ready`] had been said. Reports
    /// tell who said it, why, and until when.
    ///
    /// # Errors
    ///
    /// [`NoteError`] if `by` is longer than 64 bytes or `reason` longer than 200, or one has a control character.
    pub fn set_admin_for(
        &self,
        state: AdminState,
        limit: Duration,
        by: &str,
        reason: &str,
    ) -> Result<Status, NoteError> {
        let until = self.control.now().saturating_add(limit);
        self.say_aloud(Opinion::Admin(state), Note::expiring(until).by(by)?.because(reason)?);
        Ok(self.status())
    }

    /// Forces the endpoint's breaker, for so long if there is a limit: open for an endpoint that is known to be sick, closed
    /// where the breaker is known to be wrong, or a dry run. Reports show it as a state of the breaker.
    ///
    /// # Errors
    ///
    /// [`NoBreaker`](ForceBreakerError::NoBreaker) if the cluster has none; else what the breaker says.
    pub fn force_breaker(
        &self,
        force: Force,
        owner: Owner,
        limit: Option<Duration>,
    ) -> Result<BreakerState, ForceBreakerError> {
        let breaker = self.breaker().ok_or(ForceBreakerError::NoBreaker)?;
        let transition = breaker.force(force, owner, limit, self.control.now())?;
        Ok(self.breaker_was_forced(transition))
    }

    /// Ends what [`force_breaker`](Self::force_breaker) began.
    ///
    /// # Errors
    ///
    /// [`NoBreaker`](ForceBreakerError::NoBreaker) if the cluster has none.
    pub fn unforce_breaker(&self) -> Result<BreakerState, ForceBreakerError> {
        let breaker = self.breaker().ok_or(ForceBreakerError::NoBreaker)?;
        Ok(self.breaker_was_forced(breaker.unforce(self.control.now())))
    }

    fn breaker_was_forced(&self, transition: Option<Transition>) -> BreakerState {
        if let Some(transition) = transition {
            self.tell(&self.after_breaker(transition));
        }
        self.breaker().map_or(BreakerState::Closed, |breaker| {
            // A limit in time needs somebody who looks at it.
            if let Some(end) = breaker.next_deadline() {
                self.arm(end);
            }
            breaker.state()
        })
    }

    /// The result of one active check. Rise and fall decide when it turns the endpoint up or down.
    pub fn record_check(&self, passed: bool) -> Status {
        let mut news = News::default();
        {
            let mut machine = self.rise_fall.lock();
            let turn = if passed { machine.pass() } else { machine.fail() };
            let state = turn.map(|turn| match turn {
                Turn::Up => CheckState::Up,
                Turn::Down => CheckState::Down,
            });
            // Said under the lock: of two results the later one has the last word.
            if let Some(state) = state {
                self.say(Opinion::Check(state), Note::default(), &mut news);
            }
        }
        self.tell(&news);
        self.heard_check(if passed { CheckResult::Pass } else { CheckResult::Fail })
    }

    /// The result of one check whose verdicts come by [`set_check`](Self::set_check): it turns nobody up or down, and is
    /// what [`ReturnBy`](crate::ReturnBy) counts where ejected endpoints come back by checks. Tell every result, and not
    /// changes alone; where the outlier rules ask for no checks it does nothing.
    pub fn heard_check(&self, result: CheckResult) -> Status {
        if let Some(outliers) = &self.control.outliers {
            let news = outliers.on_check(self, result, self.control.now());
            self.tell(&news);
        }
        self.status()
    }

    /// Has `hear` called with the verdict of each request that is picked here from now on, by the thread that gives it, outside
    /// all locks: be quick. It replaces who heard before. Requests without a verdict are not heard of.
    ///
    /// For evidence that belongs elsewhere, such as `observe` of an active check. From the first call on, every request of
    /// the cluster is asked whether somebody hears it, also where nothing but the policy takes part in picks.
    pub fn hear_verdicts(&self, hear: impl Fn(Verdict) + Send + Sync + 'static) {
        self.set_hearer(Some(Box::new(hear)));
    }

    /// Ends what [`hear_verdicts`](Self::hear_verdicts) began.
    pub fn ignore_verdicts(&self) {
        self.set_hearer(None);
    }

    /// Whether a drain of your own holds it, as [`Drain`](evenkeel_health::Drain) says: no new picks, and requests in flight go on.
    /// Apart from the operator's word, so that neither ends the other's.
    pub fn set_draining(&self, draining: bool) -> Status {
        self.say_aloud(Opinion::Draining(draining), Note::default());
        self.status()
    }

    /// Whether its heartbeats are missed, as [`PhiAccrual`](evenkeel_health::PhiAccrual) says: no picks then.
    pub fn set_suspected(&self, suspected: bool) -> Status {
        self.say_aloud(Opinion::Suspected(suspected), Note::default());
        self.status()
    }

    /// Whether it came and went too often, as [`FlapDamper`](evenkeel_health::FlapDamper) says: no picks then.
    pub fn set_flap_damped(&self, damped: bool) -> Status {
        self.say_aloud(Opinion::FlapDamped(damped), Note::default());
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
        self.say_aloud(Opinion::Check(state), Note::default());
        self.status()
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

/// A breaker cannot be forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ForceBreakerError {
    /// The endpoints of this cluster have no breakers.
    #[error("the cluster has no breakers: set breaker in its configuration")]
    NoBreaker,
    /// The breaker refuses.
    #[error(transparent)]
    Refused(#[from] ForceError),
}
