use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::answer::Answer;
use crate::connect::{Closing, Stream, connect};
use crate::error::ProbeConfigError;
use crate::excerpt::Excerpt;
use crate::limits::{self, DEFAULT_TIMEOUT};
use crate::payload::Payload;
use crate::probe::Context;
use crate::reason::{Phase, Reason};
use crate::search::Search;

/// Connects, and perhaps sends something and waits for an answer.
///
/// Nothing is read unless something is expected. Every failure counts towards `fall`, a wrong answer too: that is
/// HAProxy's rule, and Envoy waits for the right bytes until time is up, which counts the same.
///
/// Sources: HAProxy's `tcp-check`, <https://docs.haproxy.org/3.2/configuration.html>; Envoy's
/// `HealthCheck.TcpHealthCheck`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct TcpProbe {
    /// The longest wait for the name and the connection. Default `None`: `timeout` alone.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub connect_timeout: Option<Duration>,
    /// The longest time for all of it, 1 ms to 1 h. Default 1 s, half of the default interval: a check has ended before
    /// its next turn.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub timeout: Duration,
    /// What is sent after the connection was made. Default: nothing.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub send: Option<Payload>,
    /// What has to appear in the answer, at any place in it. Default: nothing is waited for.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub expect: Option<Payload>,
    /// How much of the answer is read at most, 1 byte to 1 MiB. Default 16 KiB, the size of HAProxy's buffer. What is
    /// expected has to lie within.
    pub max_answer: usize,
    /// Whether the connection is closed as a client would. Default `false`: it is reset, as HAProxy does, so that no port
    /// of ours stays in TIME_WAIT. Turn it on for servers that log a reset as an error.
    pub close_gently: bool,
}

impl Default for TcpProbe {
    fn default() -> Self {
        Self {
            connect_timeout: None,
            timeout: DEFAULT_TIMEOUT,
            send: None,
            expect: None,
            max_answer: 16 * 1_024,
            close_gently: false,
        }
    }
}

impl TcpProbe {
    pub(crate) fn validate(&self) -> Result<(), ProbeConfigError> {
        limits::check_timeouts(("tcp.connect_timeout", self.connect_timeout), ("tcp.timeout", self.timeout))?;
        limits::check_size("tcp.max_answer", self.max_answer, 1 << 20, "allowed are 1 to 1048576 bytes")?;
        let Some(expect) = &self.expect else { return Ok(()) };
        if expect.as_bytes().is_empty() || expect.as_bytes().len() > self.max_answer {
            let allowed = "it needs 1 byte to max_answer bytes; leave it out to expect nothing";
            return Err(ProbeConfigError::setting("tcp.expect", format_args!("{expect:?}"), allowed));
        }
        Ok(())
    }

    pub(crate) async fn run(&self, context: &Context<'_>) -> Result<Answer, Reason> {
        let closing = if self.close_gently { Closing::Gently } else { Closing::AtOnce };
        let mut stream = connect(context, self.connect_timeout, closing).await?;
        context.progress.enter(Phase::Answer);
        if let Some(send) = &self.send {
            stream.write_all(send.as_bytes()).await.map_err(|error| Reason::of_io(&error))?;
        }
        match &self.expect {
            Some(expect) => await_bytes(&mut stream, Search::new(expect.as_bytes(), self.max_answer)).await,
            None => Ok(Answer::pass()),
        }
    }
}

async fn await_bytes(stream: &mut Stream, mut search: Search<'_>) -> Result<Answer, Reason> {
    let mut piece = [0; 2_048];
    while !search.found() {
        if search.is_full() {
            return Err(Reason::WrongBody(Excerpt::of(search.held())));
        }
        match stream.read(&mut piece).await.map_err(|error| Reason::of_io(&error))? {
            0 if search.held().is_empty() => return Err(Reason::Closed),
            0 => return Err(Reason::WrongBody(Excerpt::of(search.held()))),
            length => search.push(&piece[..length]),
        }
    }
    Ok(Answer::pass())
}
