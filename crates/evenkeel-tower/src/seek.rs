use std::task::{Context, Poll};

use evenkeel::{Origin, Outcome, Pick, Tried};
use tower_service::Service;

use crate::balance::{Balance, How};
use crate::error::{BalanceError, BoxError};
use crate::key::Keys;
use crate::track::Track;
use crate::via::Via;

/// A request that nobody could take at once, and those who were asked. All of them count it as in flight until one takes it.
pub(crate) struct Seek<T, V, K, J, Req>
where
    V: Via<T, Req>,
{
    balance: Balance<T, V, K, J>,
    request: Option<Req>,
    asked: Vec<(V::Service, Pick<T>)>,
    /// How many more may be asked.
    left: u32,
    /// How many may be waited for at the same time.
    at_once: usize,
    /// Of whoever failed last.
    error: Option<BalanceError>,
}

/// Who takes the request, which is still to be aimed.
pub(crate) struct Found<T, S, Req> {
    pub(crate) service: S,
    pub(crate) pick: Pick<T>,
    pub(crate) request: Req,
}

impl<T, V, K, J, Req, S> Seek<T, V, K, J, Req>
where
    V: Via<T, Req, Service = S>,
    S: Service<Req>,
    S::Error: Into<BoxError>,
    K: Keys<Req>,
    J: Track<T, S::Response>,
{
    /// Begins with one that was asked, who answered `ready`.
    pub(crate) fn new(
        balance: Balance<T, V, K, J>,
        request: Req,
        service: S,
        pick: Pick<T>,
        ready: Poll<Result<(), S::Error>>,
    ) -> Self {
        let (left, at_once) = (balance.elsewhere, balance.at_once as usize);
        let mut seek =
            Self { balance, request: Some(request), asked: Vec::new(), left, at_once, error: None };
        match ready {
            Poll::Ready(Err(error)) => seek.failed(pick, error.into()),
            _ => seek.asked.push((service, pick)),
        }
        seek
    }

    pub(crate) const fn balance(&self) -> &Balance<T, V, K, J> {
        &self.balance
    }

    /// Asks on, nobody of those that were `tried`, to whom it adds whoever it asks.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        tried: &mut Tried,
    ) -> Poll<Result<Found<T, S, Req>, BalanceError>> {
        let mut next = 0;
        loop {
            while let Some((service, _)) = self.asked.get_mut(next) {
                let Poll::Ready(ready) = service.poll_ready(cx) else {
                    next += 1;
                    continue;
                };
                let (service, pick) = self.asked.swap_remove(next);
                match ready {
                    Ok(()) => return Poll::Ready(self.take(service, pick)),
                    Err(error) => self.failed(pick, error.into()),
                }
            }
            if self.asked.len() >= self.at_once || !self.ask_another(tried) {
                break;
            }
        }
        if self.asked.is_empty() { Poll::Ready(Err(self.give_up())) } else { Poll::Pending }
    }

    /// Hands the request to one who is ready for it; the others are let go.
    fn take(&mut self, service: S, pick: Pick<T>) -> Result<Found<T, S, Req>, BalanceError> {
        self.asked.clear();
        let Some(request) = self.request.take() else { return Err(self.give_up()) };
        Ok(Found { service, pick, request })
    }

    /// Nobody was ready in time, which is a failure of all that were asked. The request comes back: nobody has it.
    pub(crate) fn time_out(mut self) -> Option<Req> {
        for (_, pick) in self.asked.drain(..) {
            pick.finish(Outcome::failure().with_origin(Origin::Local));
        }
        self.request
    }

    /// The request, which nobody has taken.
    pub(crate) fn into_request(self) -> Option<Req> {
        self.request
    }

    fn failed(&mut self, pick: Pick<T>, error: BoxError) {
        if let Some(outcome) = self.balance.track.judge_error(&*error).outcome {
            pick.finish(outcome);
        }
        self.error = Some(BalanceError::Inner(error));
    }

    fn ask_another(&mut self, tried: &mut Tried) -> bool {
        let Some(request) = self.request.as_ref().filter(|_| self.left > 0) else { return false };
        self.left -= 1;
        match self.balance.pick(request, How::Elsewhere(tried)) {
            Ok(pick) => {
                tried.add(&pick);
                self.asked.push((self.balance.via.service(pick.endpoint()), pick));
                true
            }
            Err(_) => {
                self.left = 0;
                false
            }
        }
    }

    fn give_up(&mut self) -> BalanceError {
        // There is an error if nobody is asked any more; a future that is polled after its end has none.
        self.error.take().unwrap_or(BalanceError::TimedOut)
    }
}
