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
    connect_timeout: Duration,
    tls: TlsConfig,
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
        let connect_timeout = settings.connect_timeout.min(DAY);
        let agent = Agent::new_with_config(agent_config(connect_timeout, settings.tls)?);
        let inner = Inner {
            connect_timeout,
            tls: settings.tls.clone(),
            max_answer: settings.max_answer_bytes,
            timeout: settings.request_timeout,
            agent: Mutex::new(Some(agent)),
        };
        Ok(Self { inner: Arc::new(inner) })
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
        let timeout = self.inner.timeout.saturating_add(store_waits);
        self.call_for(base, call, headers, timeout)
    }

    /// As [`call`](Self::call), for the request timeout or `limit`, whichever is shorter.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub fn call_within(
        &self,
        base: &BaseUrl,
        call: &Call,
        headers: &[(&str, &str)],
        limit: Duration,
    ) -> Result<Answer, CallError> {
        self.call_for(base, call, headers, self.inner.timeout.min(limit))
    }

    fn call_for(
        &self,
        base: &BaseUrl,
        call: &Call,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let timeout = timeout.min(DAY);
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

    /// Forgets all connections, for what hangs may hang for ever, and reads the certificates anew, for they may have been
    /// replaced.
    ///
    /// # Errors
    ///
    /// [`InvalidTls`] if the certificates cannot be read: those that were read last stay, and the connections are
    /// forgotten all the same.
    pub fn renew(&self) -> Result<(), InvalidTls> {
        let config = agent_config(self.inner.connect_timeout, &self.inner.tls);
        let mut agent = self.inner.agent.lock();
        let Some(agent) = &mut *agent else { return Ok(()) };
        let (config, renewed) = match config {
            Ok(config) => (config, Ok(())),
            Err(error) => (agent.config().clone(), Err(error)),
        };
        *agent = Agent::new_with_config(config);
        renewed
    }

    /// As [`renew`](Self::renew), after this trouble: what cannot be read is added to its text.
    pub fn renew_after(&self, error: &mut CallError) {
        if let Err(unread) = self.renew() {
            error.text.push_str(&format!(" (the certificates read last are kept: {unread})"));
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

fn agent_config(connect_timeout: Duration, tls: &TlsConfig) -> Result<ureq::config::Config, InvalidTls> {
    let builder = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("evenkeel/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(connect_timeout))
        .timeout_connect(Some(connect_timeout));
    #[cfg(feature = "tls")]
    let builder = builder.tls_config(tls.load()?);
    #[cfg(not(feature = "tls"))]
    tls.check()?;
    Ok(builder.build())
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

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests {
    use ureq::tls::RootCerts;

    use super::*;

    /// The first authority that the next connection trusts.
    fn trusted(client: &Client) -> Vec<u8> {
        let agent = client.inner.agent.lock().clone().unwrap();
        match agent.config().tls_config().root_certs() {
            RootCerts::Specific(certs) => certs[0].der().to_vec(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn certificates_are_read_anew_and_kept_if_they_cannot_be() {
        let path = std::env::temp_dir().join(format!("evenkeel-adapter-renewed-{}.pem", std::process::id()));
        let write = |base64: &str| {
            let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
            std::fs::write(&path, pem).unwrap();
        };
        write("YWFh");
        let tls = TlsConfig { ca_file: Some(path.clone()), ..TlsConfig::default() };
        let settings = ClientSettings {
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(1),
            max_answer_bytes: 1000,
            tls: &tls,
        };
        let client = Client::new(&settings).unwrap();
        assert_eq!(trusted(&client), b"aaa");
        write("YmJi");
        assert_eq!(client.renew(), Ok(()));
        assert_eq!(trusted(&client), b"bbb");
        std::fs::remove_file(&path).unwrap();
        let mut error = CallError::new(TroubleKind::Denied, "expired");
        client.renew_after(&mut error);
        assert!(
            error.text.starts_with("expired (the certificates read last are kept: tls.ca_file"),
            "{error}"
        );
        assert_eq!(trusted(&client), b"bbb");
        client.stop();
        assert_eq!(client.renew(), Ok(()), "a stopped one stays stopped");
    }
}
