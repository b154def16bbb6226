use std::io;

use thiserror::Error;

use crate::excerpt::Excerpt;

/// Why a check did not pass.
///
/// All but [`Local`](Self::Local) and what an agent could not say count against the endpoint. The text from outside in it
/// is cut and cleaned ([`Excerpt`]).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The network says that there is no way to it.
    #[error("host or network unreachable")]
    Unreachable,
    /// The peer cut the connection off.
    #[error("connection reset")]
    Reset,
    /// The peer closed the connection before its answer was complete.
    #[error("connection closed before the answer was complete")]
    Closed,
    /// Time was up; what was going on then.
    #[error("timed out: {0}")]
    TimedOut(Phase),
    /// The name of the endpoint has no address.
    #[error("name not resolved: {0}")]
    Resolve(Excerpt),
    /// Another error of the operating system.
    #[error("input or output failed: {0}")]
    Io(Excerpt),
    /// An HTTP status that is not expected.
    #[error("wrong status: {0}")]
    WrongStatus(u16),
    /// The answer does not hold what it should; how it begins.
    #[error("wrong answer: {0:?}")]
    WrongBody(Excerpt),
    /// The handshake failed: a certificate that is not trusted, not valid now, or of another name, among others.
    #[error("TLS: {0}")]
    Tls(Excerpt),
    /// The answer is not of the protocol that was asked for, or it is too large.
    #[error("protocol: {0}")]
    Protocol(Excerpt),
    /// The gRPC service says that it does not serve. The number is its `ServingStatus`: 2 is `NOT_SERVING`.
    #[error("not serving (status {0})")]
    NotServing(i32),
    /// The gRPC call ended with this status: 5 is an unknown service, 12 a server without the health protocol.
    #[error("gRPC status {code}: {message}")]
    GrpcStatus {
        /// The number of the status.
        code: u32,
        /// What the server says of it.
        message: Excerpt,
    },
    /// The command ended with this code; what it said.
    #[error("exit code {code}: {output}")]
    Exit {
        /// The exit code.
        code: i32,
        /// How its output begins.
        output: Excerpt,
    },
    /// The command was ended by a signal that is not ours.
    #[error("ended by signal {signal}: {output}")]
    Signal {
        /// The number of the signal.
        signal: i32,
        /// How its output begins.
        output: Excerpt,
    },
    /// The command could not be started.
    #[error("command not started: {0}")]
    Spawn(Excerpt),
    /// The agent says that the endpoint is down; its description.
    #[error("agent says down: {0}")]
    AgentDown(Excerpt),
    /// We could not check: no file descriptor, no port, no memory, no place to ask the resolver on *our* side, a program that
    /// does not start in time or whose end cannot be seen. It says nothing about the endpoint and does not count against it.
    #[error("not checked, for want of resources here: {0}")]
    Local(Excerpt),
    /// The check itself broke. A bug in this crate: please report it.
    #[error("the check itself failed")]
    Internal,
}

impl Reason {
    /// One word, for the label of a metric.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::TimedOut(_) => "timed_out",
            Self::Resolve(_) => "resolve",
            Self::Io(_) => "io",
            Self::WrongStatus(_) => "wrong_status",
            Self::WrongBody(_) => "wrong_body",
            Self::Tls(_) => "tls",
            Self::Protocol(_) => "protocol",
            Self::NotServing(_) => "not_serving",
            Self::GrpcStatus { .. } => "grpc_status",
            Self::Exit { .. } => "exit",
            Self::Signal { .. } => "signal",
            Self::Spawn(_) => "spawn",
            Self::AgentDown(_) => "agent_down",
            Self::Local(_) => "local",
            Self::Internal => "internal",
        }
    }

    /// Whether it says nothing about the endpoint.
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self, Self::Local(_) | Self::Internal)
    }

    pub(crate) fn protocol(text: &str) -> Self {
        Self::Protocol(Excerpt::of(text))
    }

    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ if is_shortage(error) => Self::Local(Excerpt::shown(error)),
            _ => Self::Io(Excerpt::shown(error)),
        }
    }
}

/// What a check was doing when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for the resolver.
    #[error("resolving the name")]
    Resolve,
    /// Waiting for the connection.
    #[error("connecting")]
    Connect,
    /// In the TLS handshake.
    #[error("in the TLS handshake")]
    Tls,
    /// Waiting for the answer, or for its rest.
    #[error("waiting for the answer")]
    Answer,
    /// Waiting for the command to end.
    #[error("waiting for the command")]
    Command,
}

/// Whether this machine has run out of something: descriptors, ports, buffers, memory, processes.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse | io::ErrorKind::OutOfMemory
    ) || (cfg!(unix) && error.raw_os_error().is_some_and(|code| SHORTAGES.contains(&code)))
}

/// `ENFILE` and `EMFILE` everywhere, `ENOBUFS` as Linux and as the BSDs number it.
const SHORTAGES: &[i32] = if cfg!(target_os = "linux") { &[23, 24, 105] } else { &[23, 24, 55] };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_here_is_told_from_a_failure_there() {
        assert_eq!(Reason::of_io(&io::Error::from_raw_os_error(111)), Reason::Refused);
        for code in SHORTAGES {
            assert!(Reason::of_io(&io::Error::from_raw_os_error(*code)).is_ours(), "{code}");
        }
        assert!(Reason::of_io(&io::ErrorKind::AddrNotAvailable.into()).is_ours());
        assert!(!Reason::of_io(&io::ErrorKind::PermissionDenied.into()).is_ours());
    }
}
