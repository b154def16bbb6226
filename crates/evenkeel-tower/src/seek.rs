use std::task::{Context, Poll};

use evenkeel::{Pick, Tried};
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
    tried: Tried,
    asked: Vec<(V::Service, Pick<T>)>,
    /// How many more may be asked.
    left: u32,
    /// Of whoever failed last.
    error: Option<BalanceError>,
}

/// Who takes the request.
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
        let mut tried = Tried::default();
        tried.add(&pick);
        let left = balance.elsewhere;
        let mut seek = Self { balance, request: Some(request), tried, asked: Vec::new(), left, error: None };
        match ready {
            Poll::Ready(Err(error)) => seek.failed(pick, error.into()),
            _ => seek.asked.push((service, pick)),
        }
        seek
    }

    pub(crate) const fn track(&self) -> &J {
        &self.balance.track
    }

    /// Asks on.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Found<T, S, Req>, BalanceError>> {
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
            if !self.ask_another() {
                break;
            }
        }
        if self.asked.is_empty() { Poll::Ready(Err(self.give_up())) } else { Poll::Pending }
    }

    /// Hands the request to one who is ready for it; the others are let go.
    fn take(&mut self, service: S, pick: Pick<T>) -> Result<Found<T, S, Req>, BalanceError> {
        self.asked.clear();
        let Some(mut request) = self.request.take() else { return Err(self.give_up()) };
        self.balance.via.aim(pick.endpoint(), &mut request).map_err(BalanceError::Inner)?;
        Ok(Found { service, pick, request })
    }

    fn failed(&mut self, pick: Pick<T>, error: BoxError) {
        if let Some(outcome) = self.balance.track.judge_error(&*error).outcome {
            pick.finish(outcome);
        }
        self.error = Some(BalanceError::Inner(error));
    }

    fn ask_another(&mut self) -> bool {
        let Some(request) = self.request.as_ref().filter(|_| self.left > 0) else { return false };
        self.left -= 1;
        match self.balance.pick(request, How::Elsewhere(&self.tried)) {
            Ok(pick) => {
                self.tried.add(&pick);
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
