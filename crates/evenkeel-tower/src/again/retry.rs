use evenkeel::{Pick, PickError, Timestamp, Tried};
use evenkeel_route::retry::{Next, RetryPolicy};
use parking_lot::Mutex;
use tower_service::Service;

use super::attempt::Attempted;
use super::{Again, Copies, Timer};
use crate::balance::How;
use crate::error::{BalanceError, BoxError};
use crate::key::Keys;
use crate::track::Track;
use crate::via::Via;

impl<T, V, K, J, C, W> Again<T, V, K, J, C, W> {
    /// One attempt after the other.
    ///
    /// The answer of a failed attempt is kept until there is a place for the next one. So a caller gets the endpoint's own 503
    /// if the budget is spent, or nobody else is usable, and not our excuse. Its places in limits are given back before the wait, since
    /// nothing is done in it.
    pub(super) async fn retry<Req, S>(
        &self,
        policy: &RetryPolicy,
        request: Req,
    ) -> Result<J::Response, BalanceError>
    where
        V: Via<T, Req, Service = S> + Clone,
        S: Service<Req>,
        S::Error: Into<BoxError>,
        K: Keys<Req> + Clone,
        J: Track<T, S::Response> + Clone,
        C: Copies<Req>,
        W: Timer,
    {
        let cluster = self.balance.cluster();
        let begun = cluster.now();
        let deadline = self.deadline.map(|deadline| begun.saturating_add(deadline));
        let mut plan = policy.begin(begun, deadline, self.copies.may_repeat(&request));
        let tried = Mutex::new(Tried::default());
        let (mut pick, mut request) = self.first(request, deadline.unwrap_or(Timestamp::MAX)).await?;
        loop {
            tried.lock().add(&pick);
            let copy = self.copies.copy(&request);
            let until = plan.attempt_deadline(cluster.now());
            let Attempted { mut result, ending, unsent } = self.attempt(pick, request, until, &tried).await;
            let now = cluster.now();
            let number = u64::from(plan.attempt());
            // The budget is asked by the pick.
            let next = ending.map(|ending| plan.ended(&ending, number, 0, now, self.draw(), || true));
            let (Some(Next::Retry { at }), Some(again)) = (next, unsent.or(copy)) else {
                return result.give(&self.balance.track);
            };
            result.free_slots();
            self.timer.sleep(at.saturating_since(now)).await;
            let next = self.next(&again, &tried.lock());
            match next {
                Ok(next) => (pick, request) = (next, again),
                Err(_) => return result.give(&self.balance.track),
            }
        }
    }

    fn next<Req>(&self, request: &Req, tried: &Tried) -> Result<Pick<T>, PickError>
    where
        K: Keys<Req>,
    {
        let how = if self.same_again { How::Preferring(tried) } else { How::Elsewhere(tried) };
        self.balance.pick(request, how)
    }
}
