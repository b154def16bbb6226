//! Why a client gets the proxy's own words instead of an answer of an upstream.

use hyper::StatusCode;

/// Why a client gets the proxy's own words. Each has a word for logs and for the body, and a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The request breaks a rule of HTTP that matters for security.
    BadRequest(&'static str),
    /// A head beyond the limits.
    HeadTooLarge,
    /// A body beyond the limit.
    BodyTooLarge,
    /// The client did not go on with its body.
    ClientTimeout,
    /// The request has come by here before.
    Loop,
    /// `CONNECT`: this proxy opens no tunnels to others.
    NoConnect,
    /// No route takes it.
    NoRoute,
    /// A rate limit is reached.
    Limited,
    /// No endpoint can take it.
    NoEndpoint,
    /// No connection to an endpoint.
    ConnectFailed,
    /// No connection in time.
    ConnectTimeout,
    /// The certificate of the endpoint is not to be trusted; why.
    BadCertificate(&'static str),
    /// The TLS handshake failed otherwise.
    TlsFailed,
    /// The connection ended before an answer.
    Reset,
    /// What came back is no HTTP.
    Garbage,
    /// No answer in time.
    Timeout,
}

impl Cause {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::NoConnect => StatusCode::NOT_IMPLEMENTED,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Limited => StatusCode::TOO_MANY_REQUESTS,
            Self::NoEndpoint => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectFailed | Self::BadCertificate(_) | Self::TlsFailed | Self::Reset | Self::Garbage => {
                StatusCode::BAD_GATEWAY
            }
            Self::ConnectTimeout | Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// One word for logs and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::BodyTooLarge => "body_too_large",
            Self::ClientTimeout => "client_timeout",
            Self::NoConnect => "no_connect",
            Self::Loop => "loop",
            Self::NoRoute => "no_route",
            Self::Limited => "rate_limited",
            Self::NoEndpoint => "no_endpoint",
            Self::ConnectFailed => "upstream_connect_failed",
            Self::ConnectTimeout => "upstream_connect_timeout",
            Self::BadCertificate(_) => "upstream_bad_certificate",
            Self::TlsFailed => "upstream_tls_failed",
            Self::Reset => "upstream_reset",
            Self::Garbage => "upstream_garbage",
            Self::Timeout => "upstream_timeout",
        }
    }

    /// What more there is to say: to the log, and to the client where the fault is its own.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::BadRequest(detail) | Self::BadCertificate(detail) => detail,
            _ => "",
        }
    }

    /// The code of gRPC that says the same, as its document "HTTP to gRPC Status Code Mapping" and Envoy have it.
    #[must_use]
    pub const fn grpc_code(self) -> u8 {
        match self {
            Self::BadRequest(_) | Self::Loop | Self::NoConnect => 13,
            Self::HeadTooLarge | Self::BodyTooLarge => 8,
            Self::ClientTimeout | Self::Timeout => 4,
            Self::NoRoute => 12,
            _ => 14,
        }
    }

    /// Whether the connection to the client is of no further use.
    #[must_use]
    pub const fn closes(self) -> bool {
        matches!(self, Self::BadRequest(_) | Self::HeadTooLarge | Self::BodyTooLarge | Self::ClientTimeout)
    }
}
