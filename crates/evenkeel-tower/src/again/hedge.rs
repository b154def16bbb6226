use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use evenkeel::{Pick, Timestamp, Tried};
use evenkeel_route::retry::{Hedge, HedgeConfig, HedgeStep};
use parking_lot::Mutex;
use tower_service::Service;

use super::attempt::Attempted;
use super::{Again, Copies, Timer};
use crate::balance::How;
use crate::error::{BalanceError, BoxError};
use crate::key::Keys;
use crate::track::Track;
use crate::via::Via;

type Running<'a, T, Req, Res> = Pin<Box<dyn Future<Output = Attempted<T, Req, Res>> + Send + 'a>>;

impl<T, V, K, J, C, W> Again<T, V, K, J, C, W> {
    /// Attempts side by side. The first answer wins; the others are dropped and end without a verdict.
    pub(super) async fn hedge<Req, S>(
        &self,
        (config, delay): &(HedgeConfig, Duration),
        request: Req,
    ) -> Result<J::Response, BalanceError>
    where
        T: Send + Sync,
        V: Via<T, Req, Service = S> + Clone + Send + Sync,
        S: Service<Req> + Send,
        S::Error: Into<BoxError>,
        S::Future: Send,
        S::Response: Send,
        K: Keys<Req> + Clone + Send + Sync,
        J: Track<T, S::Response> + Clone + Send + Sync,
        C: Copies<Req> + Sync,
        W: Timer + Sync,
        Req: Send,
    {
        let cluster = self.balance.cluster();
        let now = cluster.now();
        let until = self.deadline.map_or(Timestamp::MAX, |deadline| now.saturating_add(deadline));
        let spare = self.copies.may_repeat(&request).then(|| self.copies.copy(&request)).flatten();
        let (first, request) = self.first(request, until).await?;
        let tried = Mutex::new(Tried::default());
        tried.lock().add(&first);
        let Some((spare, mut hedge)) = spare.zip(Hedge::new(config, *delay, cluster.now()).ok()) else {
            return self.attempt(first, request, until, &tried).await.result.give(&self.balance.track);
        };
        let mut running: Vec<Running<'_, T, Req, S::Response>> =
            vec![Box::pin(self.attempt(first, request, until, &tried))];
        loop {
            let wait = hedge.next_deadline().map(|at| at.saturating_since(cluster.now()));
            let ended = next_event(&mut running, wait.map(|wait| self.timer.sleep(wait))).await;
            let mut second = None;
            let mut permit = || {
                second = self.second(&spare, &tried.lock());
                second.is_some()
            };
            let step = match &ended {
                None => hedge.tick(cluster.now(), &mut permit),
                Some(Attempted { ending: Some(ending), .. }) => {
                    hedge.ended(ending, cluster.now(), &mut permit)
                }
                Some(Attempted { ending: None, .. }) => HedgeStep::Answer,
            };
            match (step, ended) {
                (HedgeStep::Send(_), _) => {
                    if let Some((pick, request)) = second {
                        tried.lock().add(&pick);
                        running.push(Box::pin(self.attempt(pick, request, until, &tried)));
                    }
                }
                (HedgeStep::Answer, Some(Attempted { result, .. })) => {
                    drop(running);
                    return result.give(&self.balance.track);
                }
                // One that failed is let go while others run.
                (HedgeStep::Wait | HedgeStep::Answer, _) => {}
            }
        }
    }

    /// A place for another attempt and a copy to send there, if budget and cluster have one.
    fn second<Req>(&self, spare: &Req, tried: &Tried) -> Option<(Pick<T>, Req)>
    where
        K: Keys<Req>,
        C: Copies<Req>,
    {
        let copy = self.copies.copy(spare)?;
        Some((self.balance.pick(spare, How::Hedge(tried)).ok()?, copy))
    }
}

/// The first attempt that ends; `None` if the wait is over before.
async fn next_event<T, Req, Res, S: Future<Output = ()>>(
    running: &mut Vec<Running<'_, T, Req, Res>>,
    sleep: Option<S>,
) -> Option<Attempted<T, Req, Res>> {
    let mut sleep = pin!(sleep);
    poll_fn(|cx| {
        for place in 0..running.len() {
            if let Poll::Ready(ended) = running[place].as_mut().poll(cx) {
                drop(running.swap_remove(place));
                return Poll::Ready(Some(ended));
            }
        }
        match sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
