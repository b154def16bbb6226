use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use evenkeel::{Pick, Tried};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::{BalanceError, BoxError};
use crate::key::Keys;
use crate::seek::{Found, Seek};
use crate::track::Track;
use crate::via::Via;

pin_project! {
    /// The answer to a balanced request. Dropped, it ends the request without a verdict.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<T, V, K, J, Req>
    where
        V: Via<T, Req>,
    {
        #[pin]
        state: State<T, V, K, J, Req>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<T, V, K, J, Req>
    where
        V: Via<T, Req>,
    {
        Sent {
            #[pin]
            answer: <V::Service as Service<Req>>::Future,
            pick: Option<Pick<T>>,
            track: J,
        },
        Seeking { seek: Box<(Seek<T, V, K, J, Req>, Tried)> },
        Failed { error: Option<BalanceError> },
    }
}

impl<T, V, K, J, Req> ResponseFuture<T, V, K, J, Req>
where
    V: Via<T, Req>,
{
    #[inline]
    pub(crate) const fn sent(answer: <V::Service as Service<Req>>::Future, pick: Pick<T>, track: J) -> Self {
        Self { state: State::Sent { answer, pick: Some(pick), track } }
    }

    /// Seeks somebody other than those that were tried.
    pub(crate) fn seeking(seek: Seek<T, V, K, J, Req>, tried: Tried) -> Self {
        Self { state: State::Seeking { seek: Box::new((seek, tried)) } }
    }

    pub(crate) const fn failed(error: BalanceError) -> Self {
        Self { state: State::Failed { error: Some(error) } }
    }
}

impl<T, V, K, J, Req, S> Future for ResponseFuture<T, V, K, J, Req>
where
    V: Via<T, Req, Service = S>,
    S: Service<Req>,
    S::Error: Into<BoxError>,
    K: Keys<Req>,
    J: Track<T, S::Response> + Clone,
{
    type Output = Result<J::Response, BalanceError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Sent { answer, pick, track } => {
                    let answer = ready!(answer.poll(cx));
                    let pick = pick.take().expect("a future is not polled after its end");
                    return Poll::Ready(end(track, pick, answer));
                }
                StateProjection::Seeking { seek } => match ready!(seek.0.poll(cx, &mut seek.1)) {
                    Ok(Found { mut service, pick, mut request }) => {
                        let balance = seek.0.balance();
                        if let Err(error) = balance.via.aim(pick.endpoint(), &mut request) {
                            return Poll::Ready(Err(BalanceError::Inner(error)));
                        }
                        let track = balance.track.clone();
                        let answer = service.call(request);
                        state.set(State::Sent { answer, pick: Some(pick), track });
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                },
                StateProjection::Failed { error } => {
                    return Poll::Ready(Err(error.take().expect("a future is not polled after its end")));
                }
            }
        }
    }
}

/// Judges what came of a request and hands its pick on.
#[inline]
fn end<T, Res, E, J>(track: &J, pick: Pick<T>, answer: Result<Res, E>) -> Result<J::Response, BalanceError>
where
    E: Into<BoxError>,
    J: Track<T, Res>,
{
    match answer {
        Ok(answer) => {
            let outcome = track.judge(&answer).outcome;
            Ok(track.track(pick, answer, outcome))
        }
        Err(error) => {
            let error = error.into();
            if let Some(outcome) = track.judge_error(&*error).outcome {
                pick.finish(outcome);
            }
            Err(BalanceError::Inner(error))
        }
    }
}

impl<T, V, K, J, Req> fmt::Debug for ResponseFuture<T, V, K, J, Req>
where
    V: Via<T, Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Sent { .. } => "sent",
            State::Seeking { .. } => "seeking",
            State::Failed { .. } => "failed",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
