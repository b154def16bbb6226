use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evenkeel::{Outcome, Pick};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::judge::{BodyEnd, HttpJudge};
use crate::judge::Judgement;
use crate::track::Track;

/// A request is in flight until the body of its answer is through.
///
/// The verdict is given when the head is there, if the head tells, else at the end; the latency is the time until the head in either case. A body that is dropped before its end
/// ends the request; if there was no verdict, it gives none.
///
/// A connection that is upgraded (a WebSocket) is not seen: its answer has no body, so the request ends with the head.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnBody<J>(pub J);

impl<T, B, J> Track<T, Response<B>> for OnBody<J>
where
    B: Body,
    J: HttpJudge + Clone,
{
    type Response = Response<GuardedBody<B, T, J>>;

    fn judge(&self, answer: &Response<B>) -> Judgement {
        self.0.head(answer.status(), answer.headers())
    }

    fn judge_error(&self, error: &(dyn Error + 'static)) -> Judgement {
        self.0.error(error)
    }

    fn track(&self, mut pick: Pick<T>, answer: Response<B>, outcome: Option<Outcome>) -> Self::Response {
        #[cfg(feature = "orca")]
        super::reported::tell(&pick, answer.headers());
        let mut latency = None;
        match outcome {
            Some(outcome) => pick.record(outcome),
            // How long a stream lasts says nothing of the server.
            None => latency = pick.elapsed(),
        }
        let judge = self.0.clone();
        answer.map(|body| {
            let mut guarded = GuardedBody { body, pick: Some(pick), judge, latency };
            guarded.look();
            guarded
        })
    }
}

pin_project! {
    /// The body of an answer, which keeps its request in flight until it is through or dropped.
    pub struct GuardedBody<B, T, J> {
        #[pin]
        body: B,
        pick: Option<Pick<T>>,
        judge: J,
        // Until the head, of an answer whose verdict is still to come.
        latency: Option<Duration>,
    }
}

impl<B, T, J> GuardedBody<B, T, J> {
    /// Whether the request is still in flight.
    #[must_use]
    pub const fn is_guarded(&self) -> bool {
        self.pick.is_some()
    }

    /// The body; the request ends here.
    pub fn into_inner(self) -> B {
        self.body
    }
}

impl<B: Body, T, J: HttpJudge> GuardedBody<B, T, J> {
    /// Ends the request of a body that has nothing more to say: not everybody polls such a one.
    fn look(&mut self) {
        if self.body.is_end_stream() {
            end(&mut self.pick, &self.judge, self.latency, BodyEnd::Whole { trailers: None });
        }
    }
}

fn end<T, J: HttpJudge>(pick: &mut Option<Pick<T>>, judge: &J, latency: Option<Duration>, how: BodyEnd<'_>) {
    if let Some(pick) = pick.take() {
        #[cfg(feature = "orca")]
        if let BodyEnd::Whole { trailers: Some(trailers) } = how {
            super::reported::tell(&pick, trailers);
        }
        // Without effect if the head has told.
        let outcome = judge.end(how);
        pick.finish(latency.map_or(outcome, |latency| outcome.with_latency(latency)));
    }
}

impl<B: Body, T, J: HttpJudge> Body for GuardedBody<B, T, J> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        match &frame {
            None => end(this.pick, this.judge, *this.latency, BodyEnd::Whole { trailers: None }),
            Some(Err(_)) => end(this.pick, this.judge, *this.latency, BodyEnd::Broken),
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    end(this.pick, this.judge, *this.latency, BodyEnd::Whole { trailers: Some(trailers) });
                } else if this.body.is_end_stream() {
                    end(this.pick, this.judge, *this.latency, BodyEnd::Whole { trailers: None });
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B, T, J> fmt::Debug for GuardedBody<B, T, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedBody").field("is_guarded", &self.is_guarded()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use bytes::Bytes;
    use evenkeel::{Cluster, Endpoint, LatencyConfig, ManualClock, Timestamp};
    use http::HeaderMap;

    use super::*;
    use crate::grpc::GrpcJudge;

    /// Trailers, and nothing before them.
    struct Trailers(Option<HeaderMap>);

    impl Body for Trailers {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
        }
    }

    /// Takes the first, and writes down what endpoints report.
    #[cfg(feature = "orca")]
    #[derive(Debug)]
    struct Ear(Arc<parking_lot::Mutex<Vec<(f64, f64)>>>);

    #[cfg(feature = "orca")]
    impl evenkeel::Policy for Ear {
        fn pick(&self, _: &dyn evenkeel::View, _: &mut dyn evenkeel::Caller) -> Option<usize> {
            Some(0)
        }

        fn wants(&self) -> evenkeel::Wants {
            evenkeel::Wants::REPORTS
        }

        fn on_event(&self, event: evenkeel::Event) {
            if let evenkeel::Event::Reported(_, report) = event {
                self.0.lock().push((report.queries_per_second, report.utilisation));
            }
        }
    }

    #[cfg(feature = "orca")]
    #[test]
    fn reports_in_heads_and_trailers_reach_the_policy() {
        let heard = Arc::<parking_lot::Mutex<Vec<_>>>::default();
        let ear = evenkeel::PolicyConfig::custom(Ear(Arc::clone(&heard)));
        let cluster = Cluster::<()>::builder("calls").policy(ear).build().expect("settings are in range");
        let endpoint = Endpoint::at("10.0.0.1:1".parse().expect("an address")).expect("an endpoint");
        cluster.apply([endpoint]).expect("one endpoint");
        let field =
            |name: &str, value: &str| (name.parse().expect("a name"), value.parse().expect("a value"));
        for (value, is_read) in [("TEXT rps_fractional=3,cpu_utilization=0.5", true), ("TEXT eps=-1", false)]
        {
            let pick = cluster.pick(&evenkeel::Request::new()).expect("it is usable");
            let trailers =
                HeaderMap::from_iter([field("grpc-status", "0"), field("endpoint-load-metrics", value)]);
            let mut answer = Response::new(Trailers(Some(trailers)));
            let head = "TEXT rps_fractional=4,application_utilization=0.9";
            answer
                .headers_mut()
                .extend([field("endpoint-load-metrics", head)].map(|(name, value)| (Some(name), value)));
            let mut answer = OnBody(GrpcJudge).track(pick, answer, None);
            let frame = Pin::new(answer.body_mut()).poll_frame(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
            let expected: &[_] = if is_read { &[(4.0, 0.9), (3.0, 0.5)] } else { &[(4.0, 0.9)] };
            assert_eq!(std::mem::take(&mut *heard.lock()), expected, "{value}");
        }
    }

    #[test]
    fn a_long_stream_is_no_slow_answer() {
        let clock = Arc::new(ManualClock::default());
        let builder = Cluster::<()>::builder("calls").latency(LatencyConfig::default());
        let cluster = builder.clock(Arc::clone(&clock)).build().expect("settings are in range");
        let endpoint = Endpoint::at("10.0.0.1:1".parse().expect("an address")).expect("an endpoint");
        cluster.apply([endpoint]).expect("one endpoint");
        let pick = cluster.pick(&evenkeel::Request::new()).expect("it is usable");
        clock.set(Timestamp::from_millis(10));
        let trailers =
            HeaderMap::from_iter([("grpc-status".parse().expect("a name"), "0".parse().expect("a value"))]);
        let mut answer = OnBody(GrpcJudge).track(pick, Response::new(Trailers(Some(trailers))), None);
        clock.set(Timestamp::from_secs(3600));
        let frame = Pin::new(answer.body_mut()).poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(frame, Poll::Ready(Some(Ok(_)))) && !answer.body().is_guarded());
        let latency = cluster.report().endpoints[0].latency;
        assert_eq!(latency, Some(Duration::from_millis(10)));
    }
}
