use std::io;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_registry::TroubleKind;
use parking_lot::Mutex;
use thiserror::Error;
use ureq::Agent;
use ureq::http::{Request, Response};

use crate::{BaseUrl, InvalidTls, Lines, TlsConfig};

/// A blocking HTTP/1.1 client for one adapter: every answer is bounded in time and size, and [`stop`](Self::stop) ends
/// whatever it waits for.
///
/// Clones share the connections. No redirects are followed, and no proxy of the environment is used: a store is asked
/// where the settings say.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ureq::config::Config,
    max_answer: usize,
    timeout: Duration,
    /// `None` when it was stopped.
    agent: Mutex<Option<Agent>>,
}

/// The bounds of a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientSettings<'a> {
    /// The longest wait for a name and a connection, TLS included.
    pub connect_timeout: Duration,
    /// The longest wait for an answer, from its start to its end.
    pub request_timeout: Duration,
    /// The largest answer, or line of a stream, in bytes.
    pub max_answer_bytes: usize,
    /// How HTTPS is done.
    pub tls: &'a TlsConfig,
}

/// A request, apart from whom it goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query, from the slash on.
    pub path: String,
    /// The body; empty for none.
    pub body: String,
}

/// The methods that stores use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`, without a body.
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    headers: ureq::http::HeaderMap,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What a status that is no success means. The body, as far as it is text, says the rest.
    #[must_use]
    pub fn trouble(&self) -> CallError {
        let kind = match self.status {
            401 | 403 => TroubleKind::Denied,
            408 | 504 => TroubleKind::Timeout,
            429 => TroubleKind::Overloaded,
            500..=599 => TroubleKind::Server,
            _ => TroubleKind::Malformed,
        };
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(200)]);
        CallError::new(kind, format!("status {}: {}", self.status, body.trim()))
    }
}

/// A call that brought no answer, or a bad one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct CallError {
    /// Of what kind.
    pub kind: TroubleKind,
    /// For people.
    pub text: String,
}

impl CallError {
    /// A failed call.
    #[must_use]
    pub fn new(kind: TroubleKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl ClientSettings<'_> {
    /// The longest timeout that adapters take: what waits for longer is no timeout.
    pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
}

impl Client {
    /// A client without a connection yet.
    ///
    /// # Errors
    ///
    /// [`InvalidTls`].
    ///
    /// Timeouts above a day count as a day, so that no addition to the clock overflows.
    pub fn new(settings: &ClientSettings<'_>) -> Result<Self, InvalidTls> {
        let builder = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(settings.connect_timeout.min(DAY)))
            .timeout_connect(Some(settings.connect_timeout.min(DAY)));
        #[cfg(feature = "tls")]
        let builder = builder.tls_config(settings.tls.load()?);
        #[cfg(not(feature = "tls"))]
        settings.tls.check()?;
        let config = builder.build();
        let agent = Mutex::new(Some(Agent::new_with_config(config.clone())));
        let (max_answer, timeout) = (settings.max_answer_bytes, settings.request_timeout);
        Ok(Self { inner: Arc::new(Inner { config, max_answer, timeout, agent }) })
    }

    /// Asks, and waits for the whole answer: for the request timeout, and so much longer if the store is asked to wait.
    ///
    /// # Errors
    ///
    /// [`CallError`] if there is no whole answer. A status that is no success is an answer.
    pub fn call(
        &self,
        base: &BaseUrl,
        call: &Call,
        headers: &[(&str, &str)],
        store_waits: Duration,
    ) -> Result<Answer, CallError> {
        let timeout = self.inner.timeout.saturating_add(store_waits).min(DAY);
        let mut response = self.send(base, call, headers, Some(timeout), None)?;
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let limit = u64::try_from(self.inner.max_answer).unwrap_or(u64::MAX);
        let body = response.body_mut().with_config().limit(limit).read_to_vec();
        Ok(Answer { status, headers, body: body.map_err(|error| explain(base, &error))? })
    }

    /// Asks for a stream of lines. A read of it gives up after `silence`, and can be repeated.
    ///
    /// # Errors
    ///
    /// [`CallError`], also for a status that is no success, with the first of its body.
    pub fn open(
        &self,
        base: &BaseUrl,
        call: &Call,
        headers: &[(&str, &str)],
        silence: Duration,
    ) -> Result<Lines, CallError> {
        let response = self.send(base, call, headers, None, Some(silence.min(DAY)))?;
        let status = response.status().as_u16();
        let (head, body) = response.into_parts();
        let reader = body.into_with_config().limit(u64::MAX).reader();
        let mut lines = Lines::new(Box::new(reader), base.clone(), self.inner.max_answer);
        if status == 200 {
            return Ok(lines);
        }
        let body = lines.read()?.map(<[u8]>::to_vec).unwrap_or_default();
        Err(Answer { status, body, headers: head.headers }.trouble())
    }

    /// Forgets all connections: what hangs may hang for ever.
    pub fn renew(&self) {
        let mut agent = self.inner.agent.lock();
        if let Some(agent) = &mut *agent {
            *agent = Agent::new_with_config(self.inner.config.clone());
        }
    }

    /// Ends every call and stream, now and from now on.
    pub fn stop(&self) {
        let agent = self.inner.agent.lock().take();
        if let Some(agent) = agent {
            agent.shutdown();
        }
    }

    fn send(
        &self,
        base: &BaseUrl,
        call: &Call,
        headers: &[(&str, &str)],
        timeout: Option<Duration>,
        silence: Option<Duration>,
    ) -> Result<Response<ureq::Body>, CallError> {
        let agent = self.inner.agent.lock().clone();
        let agent = agent.ok_or_else(|| CallError::new(TroubleKind::Closed, "the adapter was stopped"))?;
        let method = match call.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
        };
        let mut request = Request::builder().method(method).uri(format!("{}{}", base.as_str(), call.path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let bad = |error: ureq::http::Error| {
            CallError::new(TroubleKind::Malformed, format!("{base}: request cannot be made: {error}"))
        };
        let sent = if call.method == Method::Get {
            let request = request.body(()).map_err(bad)?;
            agent.run(
                agent.configure_request(request).timeout_global(timeout).timeout_per_read(silence).build(),
            )
        } else {
            let request = request.header("content-type", "application/json");
            let request = request.body(call.body.as_bytes()).map_err(bad)?;
            agent.run(
                agent.configure_request(request).timeout_global(timeout).timeout_per_read(silence).build(),
            )
        };
        sent.map_err(|error| explain(base, &error))
    }
}

const DAY: Duration = Duration::from_secs(86_400);

/// The error in the words of the registry.
pub(crate) fn explain(base: &BaseUrl, error: &ureq::Error) -> CallError {
    use ureq::Error;
    let kind = match error {
        Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => TroubleKind::Unreachable,
        Error::Timeout(_) => TroubleKind::Timeout,
        Error::HostNotFound | Error::ConnectionFailed | Error::BadUri(_) => TroubleKind::Unreachable,
        Error::BodyExceedsLimit(_) | Error::LargeResponseHeader(..) => TroubleKind::TooLarge,
        Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => TroubleKind::Unreachable,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => TroubleKind::Timeout,
            io::ErrorKind::InvalidData => TroubleKind::Denied,
            _ => TroubleKind::Closed,
        },
        Error::Tls(_) => TroubleKind::Denied,
        #[cfg(feature = "tls")]
        Error::Rustls(_) | Error::Pem(_) => TroubleKind::Denied,
        Error::Http(_) | Error::Protocol(_) | Error::StatusCode(_) => TroubleKind::Malformed,
        _ => TroubleKind::Closed,
    };
    CallError::new(kind, format!("{base}: {error}"))
}
