use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use evenkeel::{Origin, Outcome, Pick, Timestamp};
use evenkeel_route::retry::Ending;
use tower_service::Service;

use super::{Again, Timer};
use crate::error::{BalanceError, BoxError};
use crate::judge::Judgement;
use crate::track::Track;
use crate::via::Via;

/// How one attempt ended.
pub(super) struct Attempted<T, Req, Res> {
    pub(super) result: Given<T, Res>,
    /// What it is to a plan; `None` if it is the answer.
    pub(super) ending: Option<Ending>,
    /// The request, if no endpoint has got it.
    pub(super) unsent: Option<Req>,
}

/// What is given to the caller, if nothing better comes. The verdict was given already, if there is one yet.
pub(super) enum Given<T, Res> {
    Answer { answer: Res, pick: Pick<T>, outcome: Option<Outcome> },
    Error(BalanceError),
}

impl<T, Res> Given<T, Res> {
    pub(super) fn give<J: Track<T, Res>>(self, track: &J) -> Result<J::Response, BalanceError> {
        match self {
            Self::Answer { answer, pick, outcome } => Ok(track.track(pick, answer, outcome)),
            Self::Error(error) => Err(error),
        }
    }
}

impl<T, V, K, J, C, W> Again<T, V, K, J, C, W> {
    /// Sends a request to the endpoint that was picked for it, until `until`.
    pub(super) async fn attempt<Req, S>(
        &self,
        pick: Pick<T>,
        mut request: Req,
        until: Timestamp,
    ) -> Attempted<T, Req, S::Response>
    where
        V: Via<T, Req, Service = S>,
        S: Service<Req>,
        S::Error: Into<BoxError>,
        J: Track<T, S::Response>,
        W: Timer,
    {
        let via = &self.balance.via;
        let sleep = (until < Timestamp::MAX)
            .then(|| self.timer.sleep(until.saturating_since(self.balance.cluster().now())));
        let mut sleep = pin!(sleep);
        let mut service = via.service(pick.endpoint());
        match before(sleep.as_mut(), poll_fn(|cx| service.poll_ready(cx))).await {
            Some(Ok(())) => {}
            Some(Err(error)) => return self.failed(pick, error.into(), Some(request)),
            None => return self.timed_out(pick, Ending::Refused, Some(request)),
        }
        if let Err(error) = via.aim(pick.endpoint(), &mut request) {
            let result = Given::Error(BalanceError::Inner(error));
            return Attempted { result, ending: Some(Ending::Refused), unsent: Some(request) };
        }
        match before(sleep, service.call(request)).await {
            Some(Ok(answer)) => self.answered(pick, answer),
            Some(Err(error)) => self.failed(pick, error.into(), None),
            None => self.timed_out(pick, Ending::TimedOut, None),
        }
    }

    fn answered<Req, Res>(&self, mut pick: Pick<T>, answer: Res) -> Attempted<T, Req, Res>
    where
        J: Track<T, Res>,
    {
        let Judgement { outcome, ending } = self.balance.track.judge(&answer);
        if let Some(outcome) = outcome {
            pick.record(outcome);
        }
        Attempted { result: Given::Answer { answer, pick, outcome }, ending, unsent: None }
    }

    fn failed<Req, Res>(&self, pick: Pick<T>, error: BoxError, unsent: Option<Req>) -> Attempted<T, Req, Res>
    where
        J: Track<T, Res>,
    {
        let Judgement { outcome, ending } = self.balance.track.judge_error(&*error);
        if let Some(outcome) = outcome {
            pick.finish(outcome);
        }
        // Whatever an error of readiness says, the request was not seen.
        let ending = if unsent.is_some() { Some(Ending::ConnectFailed) } else { ending };
        Attempted { result: Given::Error(BalanceError::Inner(error)), ending, unsent }
    }

    fn timed_out<Req, Res>(
        &self,
        pick: Pick<T>,
        ending: Ending,
        unsent: Option<Req>,
    ) -> Attempted<T, Req, Res> {
        pick.finish(Outcome::failure().with_origin(Origin::Local));
        Attempted { result: Given::Error(BalanceError::TimedOut), ending: Some(ending), unsent }
    }
}

/// What comes of `wanted`, unless the wait is over first.
async fn before<S: Future<Output = ()>, F: Future>(
    mut sleep: Pin<&mut Option<S>>,
    wanted: F,
) -> Option<F::Output> {
    let mut wanted = pin!(wanted);
    poll_fn(|cx| {
        if let Poll::Ready(output) = wanted.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        match sleep.as_mut().as_pin_mut() {
            Some(sleep) => sleep.poll(cx).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}
