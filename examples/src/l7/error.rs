//! Why the proxy does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use evenkeel_config::ConfigErrors;
use thiserror::Error;

use super::live::LiveError;
use super::tls::TlsError;

/// Why the proxy does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The part `[program]` of it.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The status page.
    #[error(transparent)]
    Admin(#[from] crate::admin::AdminSettingsError),
    /// A listener for something else.
    #[error("listener {listener}: its protocol is not http: l4_proxy serves the others")]
    NotHttp {
        /// Its name.
        listener: String,
    },
    /// A listener at something else than an IP address.
    #[error("listener {listener}: {address} is no IP address and port")]
    NotIp {
        /// Its name.
        listener: String,
        /// Its address.
        address: String,
    },
    /// The certificate of a listener.
    #[error("listener {listener}: {error}")]
    Tls {
        /// Its name.
        listener: String,
        /// What is wrong.
        error: TlsError,
    },
    /// No socket.
    #[error("cannot listen at {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The access log.
    #[error("program.access_log: {}: {error}", file.display())]
    AccessLog {
        /// The file.
        file: PathBuf,
        /// Why it cannot be written.
        error: io::Error,
    },
    /// The handover.
    #[error("program.handover: {}: {error}", path.display())]
    Handover {
        /// The socket.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// A thread or a runtime.
    #[error("cannot begin: {0}")]
    System(#[from] io::Error),
}
