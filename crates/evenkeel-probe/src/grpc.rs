use std::time::Duration;

use crate::error::ProbeConfigError;
use crate::limits::{self, DEFAULT_TIMEOUT};
use crate::tls::TlsConfig;

/// Asks `grpc.health.v1.Health/Check` over HTTP/2.
///
/// | answer | counts as |
/// |---|---|
/// | `SERVING` | pass |
/// | any other `ServingStatus` | fail at once |
/// | status `NOT_FOUND`: the server does not know the service | fail at once |
/// | status `UNIMPLEMENTED`: the server has no health service | fail at once |
/// | `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, `ABORTED`, `UNAVAILABLE`: may be better in a moment | fail, towards `fall` |
/// | any other status | fail at once |
/// | no connection, no answer in time, an HTTP status or content that is not gRPC | fail, towards `fall` |
///
/// Envoy judges in the same way, but for the retriable statuses, which it believes at once. gRPC's own client takes
/// `UNIMPLEMENTED` for healthy: there, health checking is a setting of the service and may be ahead of the server; here
/// somebody has asked for this check of this endpoint.
///
/// Source: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct GrpcProbe {
    /// The longest wait for the name and the connection. Default `None`: `timeout` alone.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub connect_timeout: Option<Duration>,
    /// The longest time for all of it, 1 ms to 1 h. Default 1 s. The server is told (`grpc-timeout`).
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub timeout: Duration,
    /// The service that is asked about. Default: the empty name, which stands for the whole server.
    pub service: String,
    /// The authority that is asked for. Default: the address of the endpoint.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub authority: Option<String>,
    /// TLS. Default: none, and HTTP/2 with prior knowledge.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub tls: Option<TlsConfig>,
}

impl Default for GrpcProbe {
    fn default() -> Self {
        Self {
            connect_timeout: None,
            timeout: DEFAULT_TIMEOUT,
            service: String::new(),
            authority: None,
            tls: None,
        }
    }
}

impl GrpcProbe {
    fn validate(&self) -> Result<(), ProbeConfigError> {
        limits::check_timeouts(
            ("grpc.connect_timeout", self.connect_timeout),
            ("grpc.timeout", self.timeout),
        )?;
        if self.service.len() > 1_024 {
            return Err(ProbeConfigError::setting("grpc.service", &self.service, "at most 1024 bytes"));
        }
        Ok(())
    }
}

#[cfg(not(feature = "grpc"))]
impl GrpcProbe {
    pub(crate) fn refuse(&self) -> ProbeConfigError {
        self.validate().err().unwrap_or(ProbeConfigError::FeatureOff {
            field: "grpc",
            feature: "grpc",
            unix: false,
        })
    }
}

#[cfg(feature = "grpc")]
pub(crate) use check::GrpcCheck;

#[cfg(feature = "grpc")]
mod check {
    use bytes::{BufMut, Bytes, BytesMut};
    use evenkeel_types::Address;
    use http_body_util::{BodyExt, Full};
    use hyper::body::Incoming;
    use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
    use hyper::{Method, Request, Response, Uri};
    use prost::Message;

    use super::GrpcProbe;
    use crate::answer::Answer;
    use crate::connection::{Dialer, Versions, reason_of};
    use crate::error::ProbeConfigError;
    use crate::excerpt::Excerpt;
    use crate::http::target;
    use crate::probe::Context;
    use crate::reason::Reason;

    /// `grpc.health.v1.HealthCheckRequest`.
    #[derive(Clone, PartialEq, Message)]
    struct HealthCheckRequest {
        #[prost(string, tag = "1")]
        service: String,
    }

    /// `grpc.health.v1.HealthCheckResponse`.
    #[derive(Clone, PartialEq, Message)]
    struct HealthCheckResponse {
        #[prost(int32, tag = "1")]
        status: i32,
    }

    /// The settings, checked, and the message encoded.
    pub(crate) struct GrpcCheck {
        dialer: Dialer,
        uri: Uri,
        timeout: HeaderValue,
        message: Bytes,
    }

    impl GrpcCheck {
        pub(crate) fn new(config: &GrpcProbe, address: &Address) -> Result<Self, ProbeConfigError> {
            config.validate()?;
            let (host, tls) = (config.authority.as_deref(), config.tls.as_ref());
            let dialer = Dialer::new(Versions::Two, config.connect_timeout, tls, "grpc.tls", host, address)?;
            let (uri, _) = target("grpc.authority", host, tls.is_some(), address, METHOD)?;
            // At most eight digits: an hour in milliseconds has seven.
            let timeout = format!("{}m", config.timeout.as_millis());
            let timeout = HeaderValue::from_str(&timeout)
                .map_err(|_| ProbeConfigError::setting("grpc.timeout", timeout, "allowed are 1 ms to 1 h"))?;
            let request = HealthCheckRequest { service: config.service.clone() };
            Ok(Self { dialer, uri, timeout, message: framed(&request.encode_to_vec()) })
        }

        pub(crate) async fn run(&self, context: &Context<'_>) -> Result<Answer, Reason> {
            let mut connection = self.dialer.dial(context).await?;
            let response = connection.send(self.request()).await?;
            let (message, trailers) = read(response).await?;
            Ok(judge(&message, &trailers))
        }

        fn request(&self) -> Request<Full<Bytes>> {
            let mut request = Request::new(Full::new(self.message.clone()));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = self.uri.clone();
            let headers = request.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert(USER_AGENT, HeaderValue::from_static("evenkeel-probe"));
            headers.insert("grpc-timeout", self.timeout.clone());
            request
        }
    }

    /// The message without its frame, and where the status stands: the trailers, or the head of an answer without a body.
    async fn read(response: Response<Incoming>) -> Result<(BytesMut, HeaderMap), Reason> {
        if !response.status().is_success() {
            return Err(Reason::WrongStatus(response.status().as_u16()));
        }
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if !kind.starts_with(b"application/grpc") {
            return Err(Reason::protocol("the answer is not application/grpc"));
        }
        let (head, mut body) = response.into_parts();
        let mut status = head.headers;
        let mut message = BytesMut::new();
        while let Some(frame) = body.frame().await {
            match frame.map_err(|error| reason_of(&error))?.into_data() {
                Ok(data) if message.len() + data.len() > MAX_MESSAGE => {
                    return Err(Reason::protocol("the answer is larger than 1024 bytes"));
                }
                Ok(data) => message.extend_from_slice(&data),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        status = trailers;
                    }
                }
            }
        }
        Ok((message, status))
    }

    fn judge(message: &[u8], status: &HeaderMap) -> Answer {
        let Some(code) = status.get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok()) else {
            return Answer::fail(Reason::protocol("the answer has no grpc-status"));
        };
        if code != OK {
            let text = status.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
            let reason = Reason::GrpcStatus { code, message: Excerpt::of(text) };
            let passing = RETRIABLE.contains(&code);
            return if passing { Answer::fail(reason) } else { Answer::fail_at_once(reason) };
        }
        match unframed(message).and_then(|message| HealthCheckResponse::decode(message).ok()) {
            None => Answer::fail(Reason::protocol("the answer is not a HealthCheckResponse")),
            Some(response) if response.status == SERVING => Answer::pass(),
            Some(response) => Answer::fail_at_once(Reason::NotServing(response.status)),
        }
    }

    /// A message behind its five bytes: not compressed, and its length.
    fn framed(message: &[u8]) -> Bytes {
        let mut framed = BytesMut::with_capacity(message.len() + 5);
        framed.put_u8(0);
        framed.put_u32(message.len() as u32);
        framed.put_slice(message);
        framed.freeze()
    }

    /// The one message that the frame holds, unless it is compressed, cut off, or more than one.
    fn unframed(bytes: &[u8]) -> Option<&[u8]> {
        let (frame, message) = bytes.split_first_chunk::<5>()?;
        let [compressed, length @ ..] = *frame;
        (compressed == 0 && u32::from_be_bytes(length) as usize == message.len()).then_some(message)
    }

    const METHOD: &str = "/grpc.health.v1.Health/Check";

    /// A `HealthCheckResponse` has two bytes.
    const MAX_MESSAGE: usize = 1_024;

    const OK: u32 = 0;
    const SERVING: i32 = 1;

    /// `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, `ABORTED`, `UNAVAILABLE`: they speak of the moment and not of the service.
    const RETRIABLE: [u32; 4] = [4, 8, 10, 14];

    #[cfg(test)]
    mod tests {
        use super::*;
        use evenkeel_health::CheckResult;
        use proptest::prelude::*;

        fn status(code: &'static str) -> HeaderMap {
            [("grpc-status".parse().unwrap(), HeaderValue::from_static(code))].into_iter().collect()
        }

        #[test]
        fn answers_are_judged_as_the_table_says() {
            let answer = |status: i32| framed(&HealthCheckResponse { status }.encode_to_vec());
            let result = |message: &[u8], code| judge(message, &status(code)).result.unwrap();
            assert_eq!(result(&answer(1), "0"), CheckResult::Pass);
            for other in [0, 2, 3, 99, -1] {
                assert_eq!(result(&answer(other), "0"), CheckResult::FailAtOnce, "{other}");
            }
            assert_eq!(result(&[], "5"), CheckResult::FailAtOnce);
            assert_eq!(result(&[], "12"), CheckResult::FailAtOnce);
            assert_eq!(result(&[], "14"), CheckResult::Fail);
            assert_eq!(result(&answer(1), "x"), CheckResult::Fail);
            assert_eq!(result(&[0, 0, 0, 0, 9, 8], "0"), CheckResult::Fail, "cut off");
            assert_eq!(result(&[1, 0, 0, 0, 0], "0"), CheckResult::Fail, "compressed");
        }

        proptest! {
            #[test]
            fn any_message_is_judged(message in proptest::collection::vec(any::<u8>(), 0..64)) {
                let result = judge(&framed(&message), &status("0")).result;
                let serving = HealthCheckResponse::decode(&message[..]).is_ok_and(|said| said.status == SERVING);
                prop_assert_eq!(result == Some(CheckResult::Pass), serving);
                let _ = judge(&message, &status("0"));
            }
        }
    }
}
