//! Sessions: opening them, closing them, and what their errors mean.

use std::time::Duration;

use evenkeel_registry::TroubleKind;
use zookeeper_client::{Client, Connector, Error, SessionState};

use crate::Servers;

/// What went wrong, in our words.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: TroubleKind,
    pub(crate) text: String,
}

impl Trouble {
    pub(crate) fn new(kind: TroubleKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(crate) fn timeout(what: &str, after: Duration) -> Self {
        Self::new(TroubleKind::Timeout, format!("{what}: no answer within {after:?}"))
    }

    pub(crate) fn of(what: &str, error: &Error) -> Self {
        Self::new(kind(error), format!("{what}: {error}"))
    }
}

/// Opens a new session.
pub(crate) async fn open(servers: &Servers, session_timeout: Duration) -> Result<Client, Trouble> {
    let what = servers.addresses.join(",");
    // Each server is tried once; the waits between rounds are ours.
    let mut connector = Client::connector().with_session_timeout(session_timeout).with_fail_eagerly();
    if let Some(credentials) = &servers.credentials {
        let text = format!("{}:{}", credentials.user, credentials.password.as_str());
        connector = connector.with_auth("digest", text.as_bytes());
    }
    let opened = match &servers.tls {
        None => connector.connect(&what).await,
        Some(tls) => encrypted(connector, tls, &what).await?,
    };
    opened.map_err(|error| match error {
        Error::NoHosts => {
            Trouble::new(TroubleKind::Unreachable, format!("{what}: no server takes a session"))
        }
        error => Trouble::of(&what, &error),
    })
}

#[cfg(feature = "tls")]
async fn encrypted(
    connector: Connector,
    tls: &crate::Tls,
    what: &str,
) -> Result<Result<Client, Error>, Trouble> {
    use zookeeper_client::TlsOptions;

    let read = |field: &str, path: &std::path::Path| {
        std::fs::read_to_string(path).map_err(|error| {
            Trouble::new(TroubleKind::Denied, format!("servers.tls.{field}: {}: {error}", path.display()))
        })
    };
    let bad = |field: &str, error: &Error| {
        Trouble::new(TroubleKind::Denied, format!("servers.tls.{field}: {error}"))
    };
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Without a provider for the process, rustls panics in a program that has several of them built in. An error
        // says that somebody else has chosen one meanwhile.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let ca = read("ca_file", &tls.ca_file)?;
    let mut options = TlsOptions::new().with_pem_ca(&ca).map_err(|error| bad("ca_file", &error))?;
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        let (cert, key) = (read("cert_file", cert)?, read("key_file", key)?);
        options = options.with_pem_identity(&cert, &key).map_err(|error| bad("cert_file", &error))?;
    }
    Ok(connector.with_tls(options).secure_connect(what).await)
}

#[cfg(not(feature = "tls"))]
async fn encrypted(
    connector: Connector,
    _: &crate::Tls,
    what: &str,
) -> Result<Result<Client, Error>, Trouble> {
    drop(connector);
    Err(Trouble::new(TroubleKind::Denied, format!("{what}: the feature `tls` is off")))
}

/// Says goodbye, so that the server need not wait for the session to run out; for a moment only.
pub(crate) async fn close(client: Client) {
    let mut states = client.state_watcher();
    drop(client);
    if states.peek_state() == SessionState::SyncConnected {
        let closed = async { while !states.changed().await.is_terminated() {} };
        let _ = tokio::time::timeout(Duration::from_millis(200), closed).await;
    }
}

pub(crate) fn kind(error: &Error) -> TroubleKind {
    match error {
        Error::NoHosts => TroubleKind::Unreachable,
        Error::Timeout => TroubleKind::Timeout,
        Error::ConnectionLoss | Error::SessionExpired | Error::ClientClosed | Error::SessionMoved => {
            TroubleKind::Closed
        }
        Error::NoAuth | Error::AuthFailed | Error::InvalidAcl => TroubleKind::Denied,
        Error::Throttled | Error::QuotaExceeded => TroubleKind::Overloaded,
        Error::UnmarshalError { .. } => TroubleKind::Malformed,
        _ => TroubleKind::Server,
    }
}
