use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::ProbeConfigError;
use crate::limits::{self, DEFAULT_TIMEOUT};
use crate::statuses::Statuses;
use crate::tls::TlsConfig;

/// Asks for a page and looks at the answer.
///
/// | found | counts as |
/// |---|---|
/// | an expected status, and the expected body if there is one | pass; degraded, if `degraded_header` is there |
/// | a retriable status | fail, towards `fall` |
/// | any other status, or another body | fail at once |
/// | no connection, no handshake, no answer in time, one that is not HTTP, head above 16 KiB | fail, towards `fall` |
///
/// That is Envoy's rule: who answers wrongly is believed, who does not answer may have had bad luck. A status that is
/// expected and retriable at once is refused as a setting. Redirects are not followed.
///
/// Sources: Envoy's `HealthCheck.HttpHealthCheck` and its health checking overview; HAProxy's `option httpchk` and
/// `http-check expect`; nginx's `match`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HttpProbe {
    /// The longest wait for the name and the connection. Default `None`: `timeout` alone.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub connect_timeout: Option<Duration>,
    /// The longest time for all of it, 1 ms to 1 h. Default 1 s, half of the default interval.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub timeout: Duration,
    /// Path and query. Default `/`, as every web server has it.
    #[cfg_attr(feature = "serde", serde(alias = "uri"))]
    pub path: String,
    /// The host that is asked for, with a port if it has one. Default: the address of the endpoint.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub host: Option<String>,
    /// The method. Default `GET`: what a client would send. `CONNECT` is no check.
    pub method: String,
    /// Further header fields. Default: none; `user-agent` is `evenkeel-probe` unless it is given.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "BTreeMap::is_empty"))]
    pub headers: BTreeMap<String, String>,
    /// The version of HTTP. Default: 1.1.
    pub version: HttpVersion,
    /// The statuses that pass. Default `200-299`: a redirect says nothing of the place that it leads to. HAProxy and nginx
    /// have 200-399, Envoy and AWS 200.
    #[cfg_attr(feature = "serde", serde(alias = "expected_statuses"))]
    pub expected: Statuses,
    /// The statuses that count towards `fall` instead of failing at once. Default: none, as in Envoy.
    #[cfg_attr(feature = "serde", serde(alias = "retriable_statuses"))]
    pub retriable: Statuses,
    /// What the body must hold. Default: it is not read.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub body: Option<BodyMatch>,
    /// How much of the body is read, 1 byte to 16 MiB. Default 64 KiB. What lies behind is not seen.
    pub max_body: usize,
    /// A header field by which an endpoint that passes says that it works worse than its peers, whatever the value.
    /// Default `None`. Envoy's is `x-envoy-degraded`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub degraded_header: Option<String>,
    /// Whether the connection is kept for the next check. Default `false`: a new one finds out whether the endpoint still
    /// accepts, and keeps no socket for each endpoint. Envoy's default is `true`. With `true`, answers are read to their
    /// end, and a kept connection that the server has closed meanwhile is replaced without a failure.
    pub reuse_connection: bool,
    /// TLS, which makes it HTTPS. Default: none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub tls: Option<TlsConfig>,
}

impl Default for HttpProbe {
    fn default() -> Self {
        Self {
            connect_timeout: None,
            timeout: DEFAULT_TIMEOUT,
            path: "/".to_owned(),
            host: None,
            method: "GET".to_owned(),
            headers: BTreeMap::new(),
            version: HttpVersion::default(),
            expected: Statuses::success(),
            retriable: Statuses::NONE,
            body: None,
            max_body: 64 * 1_024,
            degraded_header: None,
            reuse_connection: false,
            tls: None,
        }
    }
}

impl HttpProbe {
    /// A check of this path.
    #[must_use]
    pub fn path(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    fn validate(&self) -> Result<(), ProbeConfigError> {
        limits::check_timeouts(
            ("http.connect_timeout", self.connect_timeout),
            ("http.timeout", self.timeout),
        )?;
        limits::check_size("http.max_body", self.max_body, 16 << 20, "allowed are 1 to 16777216 bytes")?;
        let refuse = |field, value: &dyn std::fmt::Display, allowed| {
            Err(ProbeConfigError::setting(field, value, allowed))
        };
        if !self.path.starts_with('/') {
            return refuse("http.path", &self.path, "it begins with a slash");
        }
        if self.expected.is_empty() {
            return refuse("http.expected", &self.expected, "at least one status has to pass");
        }
        if let Some(both) = (100..600).find(|&s| self.expected.contains(s) && self.retriable.contains(s)) {
            return refuse("http.retriable", &both, "a status cannot be expected and retriable at once");
        }
        if self.version == HttpVersion::Negotiated && self.tls.is_none() {
            let allowed = "only TLS negotiates a version; without it, choose \"1.1\" or \"2\"";
            return refuse("http.version", &"negotiated", allowed);
        }
        match &self.body {
            Some(BodyMatch::Contains(text)) if text.is_empty() || text.len() > self.max_body => {
                refuse("http.body", text, "it needs 1 byte to max_body bytes; leave it out to expect nothing")
            }
            _ => Ok(()),
        }
    }
}

/// The versions of HTTP that a check speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    #[cfg_attr(feature = "serde", serde(rename = "1.1", alias = "http1"))]
    Http1,
    /// HTTP/2: over TLS by ALPN, else with prior knowledge.
    #[cfg_attr(feature = "serde", serde(rename = "2", alias = "http2", alias = "h2"))]
    Http2,
    /// What the server chooses by ALPN, and 1.1 if it does not. With TLS only.
    #[cfg_attr(feature = "serde", serde(rename = "negotiated"))]
    Negotiated,
}

/// What a body must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum BodyMatch {
    /// This text, at any place.
    Contains(String),
    /// Something that this pattern matches, in the syntax of the crate `regex`, whose search takes linear time. 256 KiB
    /// are the most that a compiled pattern may take.
    Regex(String),
}

#[cfg(feature = "http")]
pub(crate) use check::HttpCheck;
#[cfg(feature = "grpc")]
pub(crate) use check::target;

#[cfg(not(feature = "http"))]
impl HttpProbe {
    pub(crate) fn refuse(&self) -> ProbeConfigError {
        self.validate().err().unwrap_or(ProbeConfigError::FeatureOff {
            field: "http",
            feature: "http",
            unix: false,
        })
    }
}

#[cfg(feature = "http")]
mod check {
    use bytes::Bytes;
    use evenkeel_types::Address;
    use http_body_util::Full;
    use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
    use hyper::{Method, Request, Response, Uri, body::Incoming};
    use parking_lot::Mutex;

    use super::{BodyMatch, HttpProbe, HttpVersion};
    use crate::answer::Answer;
    use crate::body::{Expected, drain};
    use crate::connection::{Connection, Dialer, Versions};
    use crate::error::ProbeConfigError;
    use crate::probe::Context;
    use crate::reason::{Phase, Reason};

    /// The settings, checked and compiled.
    pub(crate) struct HttpCheck {
        config: HttpProbe,
        dialer: Dialer,
        method: Method,
        /// As HTTP/2 wants it, with scheme and authority.
        whole: Uri,
        /// As HTTP/1.1 wants it.
        path: Uri,
        host: HeaderValue,
        headers: HeaderMap,
        degraded: Option<HeaderName>,
        body: Option<Expected>,
        kept: Mutex<Option<Connection>>,
    }

    impl HttpCheck {
        pub(crate) fn new(config: &HttpProbe, address: &Address) -> Result<Self, ProbeConfigError> {
            config.validate()?;
            let versions = match config.version {
                HttpVersion::Http1 => Versions::One,
                HttpVersion::Http2 => Versions::Two,
                HttpVersion::Negotiated => Versions::Either,
            };
            let host = config.host.as_deref();
            let tls = config.tls.as_ref();
            let dialer = Dialer::new(versions, config.connect_timeout, tls, "http.tls", host, address)?;
            let method = Method::from_bytes(config.method.as_bytes()).ok();
            let method = method.filter(|method| *method != Method::CONNECT).ok_or_else(|| {
                ProbeConfigError::setting(
                    "http.method",
                    &config.method,
                    "a method such as GET, HEAD or OPTIONS",
                )
            })?;
            let path: Uri = config.path.parse().map_err(|_| {
                ProbeConfigError::setting("http.path", &config.path, "a path with an optional query, escaped")
            })?;
            let (whole, host) = target("http.host", host, tls.is_some(), address, &config.path)?;
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static("evenkeel-probe"));
            for (name, value) in &config.headers {
                let (name, value) = header("http.headers", name, value)?;
                headers.insert(name, value);
            }
            let degraded = config.degraded_header.as_deref();
            let degraded = degraded.map(|name| header("http.degraded_header", name, "")).transpose()?;
            let body = config.body.as_ref().map(Expected::compile).transpose().map_err(|error| {
                let pattern = if let Some(BodyMatch::Regex(pattern)) = &config.body { pattern } else { "" };
                let value = format!("{pattern} ({error})");
                ProbeConfigError::setting(
                    "http.body.regex",
                    value,
                    "a pattern of the crate regex, 256 KiB compiled",
                )
            })?;
            Ok(Self {
                dialer,
                method,
                whole,
                path,
                host,
                headers,
                degraded: degraded.map(|(name, _)| name),
                body,
                kept: Mutex::new(None),
                config: config.clone(),
            })
        }

        pub(crate) async fn run(&self, context: &Context<'_>) -> Result<Answer, Reason> {
            let kept = self.kept.lock().take().filter(|kept| !kept.is_closed());
            if let Some(kept) = kept {
                context.progress.enter(Phase::Answer);
                // The server may have closed it at this very moment, which is its right. Any other failure counts.
                match self.ask(kept).await {
                    Err(Reason::Closed | Reason::Reset) => {}
                    answer => return answer,
                }
            }
            self.ask(self.dialer.dial(context).await?).await
        }

        async fn ask(&self, mut connection: Connection) -> Result<Answer, Reason> {
            let response = connection.send(self.request(connection.is_http2())).await?;
            let (answer, body) = self.judge(response).await?;
            if let (true, Some(mut body)) = (self.config.reuse_connection, body)
                && drain(&mut body, self.config.max_body).await
                && connection.ready().await
            {
                *self.kept.lock() = Some(connection);
            }
            Ok(answer)
        }

        fn request(&self, http2: bool) -> Request<Full<Bytes>> {
            let mut request = Request::new(Full::new(Bytes::new()));
            *request.method_mut() = self.method.clone();
            *request.headers_mut() = self.headers.clone();
            if http2 {
                *request.uri_mut() = self.whole.clone();
            } else {
                *request.uri_mut() = self.path.clone();
                request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
            }
            request
        }

        async fn judge(&self, response: Response<Incoming>) -> Result<(Answer, Option<Incoming>), Reason> {
            let status = response.status().as_u16();
            if self.config.retriable.contains(status) {
                return Ok((Answer::fail(Reason::WrongStatus(status)), Some(response.into_body())));
            }
            if !self.config.expected.contains(status) {
                return Ok((Answer::fail_at_once(Reason::WrongStatus(status)), Some(response.into_body())));
            }
            let degraded = self.degraded.as_ref().is_some_and(|name| response.headers().contains_key(name));
            let mut body = response.into_body();
            if let Some(expected) = &self.body {
                match expected.is_in(&mut body, self.config.max_body).await {
                    Err(reason @ Reason::WrongBody(_)) => return Ok((Answer::fail_at_once(reason), None)),
                    other => other?,
                }
            }
            Ok((if degraded { Answer::degraded() } else { Answer::pass() }, Some(body)))
        }
    }

    fn header(
        field: &'static str,
        name: &str,
        value: &str,
    ) -> Result<(HeaderName, HeaderValue), ProbeConfigError> {
        let wrong = |allowed| ProbeConfigError::setting(field, format_args!("{name}: {value}"), allowed);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("a header field has a name"))?;
        if OURS.contains(&name.as_str()) {
            return Err(wrong("fields that frame the message are set by the check itself"));
        }
        let value = HeaderValue::from_str(value).map_err(|_| wrong("a value has no control characters"))?;
        Ok((name, value))
    }

    const OURS: [&str; 6] =
        ["connection", "content-length", "keep-alive", "te", "transfer-encoding", "upgrade"];

    /// The whole URI, and the value of `Host`.
    pub(crate) fn target(
        field: &'static str,
        host: Option<&str>,
        tls: bool,
        address: &Address,
        path: &str,
    ) -> Result<(Uri, HeaderValue), ProbeConfigError> {
        let host = match (host, address) {
            (Some(host), _) => host.to_owned(),
            (None, Address::Unix(_)) => "localhost".to_owned(),
            (None, address) => address.to_string(),
        };
        let scheme = if tls { "https" } else { "http" };
        let whole = Uri::builder().scheme(scheme).authority(host.as_str()).path_and_query(path).build();
        match (whole, HeaderValue::from_str(&host)) {
            (Ok(whole), Ok(value)) if !host.contains('@') => Ok((whole, value)),
            _ => Err(ProbeConfigError::setting(
                field,
                host,
                "a host name or an IP address, perhaps with a port",
            )),
        }
    }
}
