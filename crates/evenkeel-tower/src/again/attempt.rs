use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use evenkeel::{Origin, Outcome, Pick, Timestamp, Tried};
use evenkeel_route::retry::Ending;
use parking_lot::Mutex;
use tower_service::Service;

use super::{Again, Timer};
use crate::error::{BalanceError, BoxError};
use crate::judge::Judgement;
use crate::key::Keys;
use crate::seek::{Found, Seek};
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
    /// Leaves the limits, while something better is awaited.
    pub(super) fn free_slots(&mut self) {
        if let Self::Answer { pick, .. } = self {
            pick.free_slots();
        }
    }

    pub(super) fn give<J: Track<T, Res>>(self, track: &J) -> Result<J::Response, BalanceError> {
        match self {
            Self::Answer { answer, pick, outcome } => Ok(track.track(pick, answer, outcome)),
            Self::Error(error) => Err(error),
        }
    }
}

impl<T, V, K, J, C, W> Again<T, V, K, J, C, W> {
    /// Sends a request to the endpoint that was picked for it, until `until`; or, if that one is not ready, to whoever is first
    /// of those that are asked besides. They are added to `tried`.
    pub(super) async fn attempt<Req, S>(
        &self,
        pick: Pick<T>,
        request: Req,
        until: Timestamp,
        tried: &Mutex<Tried>,
    ) -> Attempted<T, Req, S::Response>
    where
        V: Via<T, Req, Service = S> + Clone,
        S: Service<Req>,
        S::Error: Into<BoxError>,
        K: Keys<Req> + Clone,
        J: Track<T, S::Response> + Clone,
        W: Timer,
    {
        let via = &self.balance.via;
        let sleep = (until < Timestamp::MAX)
            .then(|| self.timer.sleep(until.saturating_since(self.balance.cluster().now())));
        let mut sleep = pin!(sleep);
        let found = match self.ask(pick, request) {
            Asked::Ready(found) => found,
            Asked::Seek(mut seek) => {
                let found = poll_fn(|cx| seek.poll(cx, &mut tried.lock()));
                match before(sleep.as_mut(), found).await {
                    Some(Ok(found)) => found,
                    // Whatever errors of readiness say, the request was not seen.
                    Some(Err(error)) => {
                        return unsent(error, Ending::ConnectFailed, seek.into_request());
                    }
                    None => return unsent(BalanceError::TimedOut, Ending::Refused, seek.time_out()),
                }
            }
        };
        let Found { mut service, pick, mut request } = found;
        if let Err(error) = via.aim(pick.endpoint(), &mut request) {
            return unsent(BalanceError::Inner(error), Ending::Refused, Some(request));
        }
        match before(sleep, service.call(request)).await {
            Some(Ok(answer)) => self.answered(pick, answer),
            Some(Err(error)) => self.failed(pick, error.into()),
            None => {
                pick.finish(Outcome::failure().with_origin(Origin::Local));
                let result = Given::Error(BalanceError::TimedOut);
                Attempted { result, ending: Some(Ending::TimedOut), unsent: None }
            }
        }
    }

    /// Asks the endpoint that was picked whether it is ready. Nobody is woken by this look: a seek asks again.
    fn ask<Req, S>(&self, pick: Pick<T>, request: Req) -> Asked<T, V, K, J, Req>
    where
        V: Via<T, Req, Service = S> + Clone,
        S: Service<Req>,
        S::Error: Into<BoxError>,
        K: Keys<Req> + Clone,
        J: Track<T, S::Response> + Clone,
    {
        let mut service = self.balance.via.service(pick.endpoint());
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Asked::Ready(Found { service, pick, request }),
            ready => Asked::Seek(Seek::new(self.balance.clone(), request, service, pick, ready)),
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

    fn failed<Req, Res>(&self, pick: Pick<T>, error: BoxError) -> Attempted<T, Req, Res>
    where
        J: Track<T, Res>,
    {
        let Judgement { outcome, ending } = self.balance.track.judge_error(&*error);
        if let Some(outcome) = outcome {
            pick.finish(outcome);
        }
        Attempted { result: Given::Error(BalanceError::Inner(error)), ending, unsent: None }
    }
}

/// Who was picked is ready, or somebody is to be sought.
enum Asked<T, V, K, J, Req>
where
    V: Via<T, Req>,
{
    Ready(Found<T, V::Service, Req>),
    Seek(Seek<T, V, K, J, Req>),
}

fn unsent<T, Req, Res>(error: BalanceError, ending: Ending, request: Option<Req>) -> Attempted<T, Req, Res> {
    Attempted { result: Given::Error(error), ending: Some(ending), unsent: request }
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
