use std::time::Duration;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Ending {
    /// An HTTP answer.
    Http {
        /// Its status.
        status: u16,
        /// What its field `retry-after` asks for.
        retry_after: Option<Duration>,
    },
    /// A gRPC answer.
    Grpc {
        /// Its code, 0 to 16.
        code: u8,
        /// What its field `grpc-retry-pushback-ms` asks for.
        pushback: Option<Duration>,
    },
    /// No connection came about: the request was not seen.
    ConnectFailed,
    /// The endpoint refused it before it looked at it (HTTP/2 `REFUSED_STREAM`, a full queue): the request was not seen.
    Refused,
    /// The connection broke before the answer.
    Reset,
    /// The time for one attempt was over.
    TimedOut,
}

impl Ending {
    /// Whether the endpoint certainly did nothing, so that even what must not be done twice may be sent again.
    #[must_use]
    pub const fn is_unseen(&self) -> bool {
        matches!(self, Self::ConnectFailed | Self::Refused)
    }

    pub(crate) const fn asked_to_wait(&self) -> Option<Duration> {
        match self {
            Self::Http { retry_after, .. } => *retry_after,
            Self::Grpc { pushback, .. } => *pushback,
            _ => None,
        }
    }
}

/// Which endings are worth another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RetryOn {
    /// Statuses of HTTP. Default 502, 503, 504: told by a gateway, or a request for another time. A 500 comes from the
    /// application, which as a rule fails again.
    pub statuses: Vec<StatusRange>,
    /// Codes of gRPC. Default 14, `UNAVAILABLE`, as its specification advises.
    pub grpc_codes: Vec<u8>,
    /// No connection. Default yes.
    pub connect_failed: bool,
    /// Refused unseen. Default yes.
    pub refused: bool,
    /// A broken connection. Default yes.
    pub reset: bool,
    /// The time for one attempt was over. Default no: the endpoint may be slow because it is full.
    pub timed_out: bool,
}

impl Default for RetryOn {
    fn default() -> Self {
        Self {
            statuses: vec![StatusRange { first: 502, last: 504 }],
            grpc_codes: vec![14],
            connect_failed: true,
            refused: true,
            reset: true,
            timed_out: false,
        }
    }
}

/// Statuses from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct StatusRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl RetryOn {
    /// Whether this ending is one of them.
    #[must_use]
    pub fn is_met(&self, ending: &Ending) -> bool {
        match ending {
            Ending::Http { status, .. } => {
                self.statuses.iter().any(|range| (range.first..=range.last).contains(status))
            }
            Ending::Grpc { code, .. } => self.grpc_codes.contains(code),
            Ending::ConnectFailed => self.connect_failed,
            Ending::Refused => self.refused,
            Ending::Reset => self.reset,
            Ending::TimedOut => self.timed_out,
        }
    }
}
