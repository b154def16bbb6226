use std::error::Error;
use std::io;
use std::time::Duration;

use evenkeel_registry::TroubleKind;
use kube::runtime::watcher;

use crate::access::chain;
use crate::gate::{Fault, Gate};

/// What failed, in the words of the registry.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: TroubleKind,
    pub(crate) text: String,
}

impl Trouble {
    pub(crate) fn new(kind: TroubleKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(crate) fn silent(what: &str, bound: Duration) -> Self {
        Self::new(TroubleKind::Timeout, format!("{what}: nothing heard for {bound:?}"))
    }

    pub(crate) fn of_fault(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge(most) => Self::new(
                TroubleKind::TooLarge,
                format!("answer is larger than {most} bytes: see bounds.max_answer_bytes"),
            ),
            Fault::Broken(why) => Self::new(TroubleKind::Closed, format!("watch broke off: {why}")),
        }
    }

    pub(crate) fn of_watcher(error: &watcher::Error, gate: &Gate) -> Self {
        if let Some(fault) = gate.fault() {
            return Self::of_fault(fault);
        }
        match error {
            watcher::Error::InitialListFailed(error) => Self::of_client("list", error, gate),
            watcher::Error::WatchStartFailed(error) => Self::of_client("watch", error, gate),
            watcher::Error::WatchFailed(error) => Self::of_client("watch", error, gate),
            watcher::Error::WatchError(status) => Self::of_status("watch", status.code, &status.message),
            watcher::Error::NoResourceVersion => {
                Self::new(TroubleKind::Malformed, "an answer without metadata.resourceVersion")
            }
        }
    }

    pub(crate) fn of_client(what: &str, error: &kube::Error, gate: &Gate) -> Self {
        let kind = match error {
            kube::Error::Api(status) => {
                // An answer without a Status of the API has the code of HTTP alone.
                let code = if status.code == 0 { gate.status() } else { status.code };
                return Self::of_status(what, code, &status.message);
            }
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => TroubleKind::Malformed,
            kube::Error::Auth(_)
            | kube::Error::InferConfig(_)
            | kube::Error::InferKubeconfig(_)
            | kube::Error::RustlsTls(_)
            | kube::Error::ProxyProtocolDisabled { .. }
            | kube::Error::ProxyProtocolUnsupported { .. } => TroubleKind::Denied,
            error => of_causes(error),
        };
        Self::new(kind, format!("{what}: {}", chain(error)))
    }

    fn of_status(what: &str, code: u16, message: &str) -> Self {
        let ahead = message.contains("Too large resource version");
        let kind = match code {
            401 | 403 => TroubleKind::Denied,
            410 => TroubleKind::Gap,
            504 if ahead => TroubleKind::Gap,
            408 | 504 => TroubleKind::Timeout,
            429 => TroubleKind::Overloaded,
            500..=599 => TroubleKind::Server,
            _ => TroubleKind::Malformed,
        };
        let message: String = message.chars().take(MAX_MESSAGE).collect();
        Self::new(kind, format!("{what}: status {code}: {}", message.trim()))
    }
}

/// By the first cause that tells.
fn of_causes(error: &kube::Error) -> TroubleKind {
    let mut cause = error.source();
    while let Some(error) = cause {
        if is_tls(error) {
            return TroubleKind::Denied;
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::AddrNotAvailable => return TroubleKind::Unreachable,
                io::ErrorKind::TimedOut => return TroubleKind::Timeout,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => return TroubleKind::Closed,
                _ => {}
            }
        }
        let text = error.to_string();
        if text.contains("dns error") {
            return TroubleKind::Unreachable;
        }
        if text.contains("invalid HTTP") {
            return TroubleKind::Malformed;
        }
        cause = error.source();
    }
    TroubleKind::Closed
}

/// Whether it is of TLS, which errors of IO like to hide.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| is_tls(inner))
}

const MAX_MESSAGE: usize = 160;
