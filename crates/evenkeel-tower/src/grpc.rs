//! gRPC over HTTP/2: verdicts from `grpc-status`, and a channel for generated clients.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use evenkeel::{Origin, Outcome};
use evenkeel_route::retry::Ending;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::BalanceError;
use crate::http::{BodyEnd, HttpJudge, pushback};
use crate::judge::Judgement;

/// Judges by the code of gRPC, wherever it stands: in the head of an answer without messages, else in the trailers.
///
/// | code | verdict |
/// |---|---|
/// | 0 `OK` | success |
/// | 8 `RESOURCE_EXHAUSTED` | overload, for as long as `grpc-retry-pushback-ms` says |
/// | 2 `UNKNOWN`, 4 `DEADLINE_EXCEEDED`, 13 `INTERNAL`, 14 `UNAVAILABLE`, 15 `DATA_LOSS`, and what is no code | failure |
/// | the rest | neutral: the request was at fault, or the caller gave up |
///
/// 12 `UNIMPLEMENTED` is the request's fault too: one client of a method that nobody has yet shall not open all breakers.
/// (Envoy counts it as HTTP's 501, a failure.) An answer of HTTP that is not gRPC's, say of a proxy in between, gets the code
/// that gRPC's "HTTP to gRPC Status Code Mapping" gives it. Trailers without a code are `UNKNOWN`. A stream that breaks off is a
/// failure.
///
/// To a retry only an answer without messages is an ending: of any other the caller has the head already (proposal A6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcJudge;

impl HttpJudge for GrpcJudge {
    fn head(&self, status: StatusCode, headers: &HeaderMap) -> Judgement {
        let code = match (status, code(headers)) {
            (_, Some(code)) => code,
            (StatusCode::OK, None) => return Judgement::later(),
            (status, None) => code_of_http(status),
        };
        let pushback = pushback(headers);
        let mut outcome = outcome(code, pushback);
        if matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT) {
            outcome = outcome.with_origin(Origin::Gateway);
        }
        Judgement { outcome: Some(outcome), ending: Some(Ending::Grpc { code, pushback }) }
    }

    fn end(&self, end: BodyEnd<'_>) -> Outcome {
        match end {
            BodyEnd::Whole { trailers } => {
                let code = trailers.and_then(code).unwrap_or(UNKNOWN);
                outcome(code, trailers.and_then(pushback))
            }
            BodyEnd::Broken => Outcome::failure(),
        }
    }
}

fn code(headers: &HeaderMap) -> Option<u8> {
    let code = headers.get(GRPC_STATUS)?.to_str().ok().and_then(|code| code.parse().ok());
    Some(code.filter(|code| *code <= 16).unwrap_or(UNKNOWN))
}

const fn outcome(code: u8, pushback: Option<Duration>) -> Outcome {
    match code {
        0 => Outcome::success(),
        8 => Outcome::overload(pushback),
        UNKNOWN | 4 | 13 | UNAVAILABLE | 15 => Outcome::failure(),
        _ => Outcome::neutral(),
    }
}

/// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
fn code_of_http(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// A balanced service for clients that were generated for gRPC, those of tonic for instance.
///
/// That nobody could be picked is told in gRPC's words, as an answer with the code `UNAVAILABLE` and the reason as its
/// message. (Handed on as an error it would reach callers as `UNKNOWN`, which nobody retries.) Time limits of our own are
/// `DEADLINE_EXCEEDED`. Errors of the endpoint's service are handed on as they are.
///
/// ```no_run
/// use evenkeel::{Cluster, Endpoint};
/// use evenkeel_tower::{Balance, grpc};
/// use tonic::transport::{Channel, Uri};
/// use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Cluster::<Channel>::builder("users").build()?;
/// let servers = [Endpoint::at("10.0.0.1:50051".parse()?)?, Endpoint::at("10.0.0.2:50051".parse()?)?];
/// cluster.apply_with(servers, |endpoint| {
///     let uri = Uri::builder().scheme("http").authority(endpoint.address().to_string()).path_and_query("/").build();
///     Channel::builder(uri.expect("an address is an authority")).connect_lazy()
/// })?;
/// let channel = grpc::Channel::new(Balance::new(cluster).grpc());
/// let mut client = HealthClient::new(channel);
/// client.check(HealthCheckRequest::default()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Channel<S> {
    service: S,
}

impl<S> Channel<S> {
    /// Over a [`Balance`](crate::Balance) or an [`Again`](crate::Again).
    pub const fn new(service: S) -> Self {
        Self { service }
    }

    /// What is below.
    pub const fn get_ref(&self) -> &S {
        &self.service
    }
}

impl<S, Req, Res> Service<Request<Req>> for Channel<S>
where
    S: Service<Request<Req>, Response = Response<Res>, Error = BalanceError>,
{
    type Response = Response<AnswerBody<Res>>;
    type Error = BalanceError;
    type Future = Answered<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BalanceError>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        Answered { answer: self.service.call(request) }
    }
}

pin_project! {
    /// The answer to a request of a [`Channel`].
    #[derive(Debug)]
    pub struct Answered<F> {
        #[pin]
        answer: F,
    }
}

impl<F, B> Future for Answered<F>
where
    F: Future<Output = Result<Response<B>, BalanceError>>,
{
    type Output = Result<Response<AnswerBody<B>>, BalanceError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(self.project().answer.poll(cx)) {
            Ok(answer) => Ok(answer.map(|body| AnswerBody { body: Some(body) })),
            Err(error) => match error {
                BalanceError::Pick(_) => Ok(refusal(UNAVAILABLE, &error)),
                BalanceError::TimedOut => Ok(refusal(DEADLINE_EXCEEDED, &error)),
                BalanceError::Inner(_) => Err(error),
            },
        })
    }
}

/// An answer without messages, which has code and message in its head.
fn refusal<B>(code: u8, error: &BalanceError) -> Response<AnswerBody<B>> {
    let mut answer = Response::new(AnswerBody { body: None });
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
    if let Ok(message) = HeaderValue::from_str(&escaped(&error.to_string())) {
        headers.insert(GRPC_MESSAGE, message);
    }
    if let Some(error) = error.pick() {
        answer.extensions_mut().insert(error);
    }
    answer
}

/// As `grpc-message` wants it: percent-encoded, but for what prints.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

pin_project! {
    /// The body of an answer, or none.
    #[derive(Debug)]
    pub struct AnswerBody<B> {
        #[pin]
        body: Option<B>,
    }
}

impl<B: Body> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().body.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
const UNKNOWN: u8 = 2;
const DEADLINE_EXCEEDED: u8 = 4;
const UNAVAILABLE: u8 = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use evenkeel::Verdict;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn every_code_in_head_and_trailers() {
        for code in 0..=20_u8 {
            let expected = match code {
                0 => Verdict::Success,
                8 => Verdict::Overload { retry_after: None },
                2 | 4 | 13..=15 | 17.. => Verdict::Failure,
                _ => Verdict::Neutral,
            };
            let mut trailers = HeaderMap::new();
            trailers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
            let head = GrpcJudge.head(StatusCode::OK, &trailers);
            assert_eq!(head.outcome.unwrap().verdict(), expected, "{code}");
            let code = if code > 16 { UNKNOWN } else { code };
            assert_eq!(head.ending, Some(Ending::Grpc { code, pushback: None }));
            let end = GrpcJudge.end(BodyEnd::Whole { trailers: Some(&trailers) });
            assert_eq!(end.verdict(), expected, "{code}");
        }
    }

    #[test]
    fn what_is_no_code_is_a_failure() {
        for end in [
            BodyEnd::Broken,
            BodyEnd::Whole { trailers: None },
            BodyEnd::Whole { trailers: Some(&HeaderMap::new()) },
            BodyEnd::Whole { trailers: Some(&headers(&[("grpc-status", "fine")])) },
            BodyEnd::Whole { trailers: Some(&headers(&[("grpc-status", "-1")])) },
        ] {
            assert_eq!(GrpcJudge.end(end).verdict(), Verdict::Failure, "{end:?}");
        }
        assert_eq!(GrpcJudge.head(StatusCode::OK, &HeaderMap::new()), Judgement::later());
    }

    #[test]
    fn answers_of_plain_http_are_mapped() {
        for (status, code, verdict) in [
            (400, 13, Verdict::Failure),
            (401, 16, Verdict::Neutral),
            (403, 7, Verdict::Neutral),
            (404, 12, Verdict::Neutral),
            (429, 14, Verdict::Failure),
            (500, 2, Verdict::Failure),
            (503, 14, Verdict::Failure),
        ] {
            let head = GrpcJudge.head(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
            assert_eq!(head.outcome.unwrap().verdict(), verdict, "{status}");
            assert_eq!(head.ending, Some(Ending::Grpc { code, pushback: None }), "{status}");
        }
    }

    #[test]
    fn messages_are_escaped() {
        assert_eq!(escaped("50% of ü\n"), "50%25 of %C3%BC%0A");
    }
}
