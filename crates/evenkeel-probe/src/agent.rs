use std::time::Duration;

use evenkeel_health::{AdminState, CheckResult};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::advice::Advice;
use crate::answer::Answer;
use crate::connect::{Closing, Stream, connect};
use crate::error::ProbeConfigError;
use crate::excerpt::Excerpt;
use crate::limits::{self, DEFAULT_TIMEOUT};
use crate::payload::Payload;
use crate::probe::Context;
use crate::reason::{Phase, Reason};

/// Asks an agent beside the endpoint how it does: HAProxy's `agent-check`.
///
/// The prober connects, perhaps sends a line, and reads the first line of the answer ([`AgentAnswer`]). `up` passes,
/// `down` fails at once, and an answer without either, an unreadable one, or none at all (nobody listens, too slow) is no
/// verdict: whether the endpoint works is the business of its ordinary check. So give the agent a target of its own
/// beside that one. The target's address is that of the agent.
///
/// Source: `agent-check` in section 5.2 of <https://docs.haproxy.org/3.2/configuration.html>.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct AgentProbe {
    /// The longest wait for the name and the connection. Default `None`: `timeout` alone.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub connect_timeout: Option<Duration>,
    /// The longest time for all of it, 1 ms to 1 h. Default 1 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub timeout: Duration,
    /// What is sent first, HAProxy's `agent-send`. Default: nothing.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub send: Option<Payload>,
}

impl Default for AgentProbe {
    fn default() -> Self {
        Self { connect_timeout: None, timeout: DEFAULT_TIMEOUT, send: None }
    }
}

impl AgentProbe {
    pub(crate) fn validate(&self) -> Result<(), ProbeConfigError> {
        limits::check_timeouts(
            ("agent.connect_timeout", self.connect_timeout),
            ("agent.timeout", self.timeout),
        )
    }

    pub(crate) async fn run(&self, context: &Context<'_>) -> Result<Answer, Reason> {
        let mut stream = connect(context, self.connect_timeout, Closing::AtOnce).await?;
        context.progress.enter(Phase::Answer);
        if let Some(send) = &self.send {
            stream.write_all(send.as_bytes()).await.map_err(|error| Reason::of_io(&error))?;
        }
        let line = first_line(&mut stream).await?;
        Ok(AgentAnswer::read(&line).into())
    }
}

/// What an agent said.
///
/// One line of words, divided by spaces, tabs or commas, in any order and in any case:
///
/// | word | means |
/// |---|---|
/// | `75%` | the weight, in percent of the configured one; 0 to 25600 |
/// | `maxconn:30` | the most connections |
/// | `up` | it works |
/// | `down`, `failed` (`fail`), `stopped` | it does not; wins over `up` |
/// | `ready`, `drain`, `maint` | the administrative state; of several, the most severe |
/// | `#…` | the rest of the line is a description |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentAnswer {
    /// Whether it works, if it said so.
    pub up: Option<bool>,
    /// What it wishes besides.
    pub advice: Advice,
    /// What stands behind `#`.
    pub description: Option<Excerpt>,
    /// The first word that is none of these. The others count all the same.
    pub unknown: Option<Excerpt>,
}

impl AgentAnswer {
    /// Reads the first line of `bytes`. Any bytes are an answer, if only one with an unknown word.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let mut said = Self::default();
        let words = match line.iter().position(|&byte| byte == b'#') {
            Some(at) => {
                said.description = Some(Excerpt::of(&line[at + 1..]));
                &line[..at]
            }
            None => line,
        };
        for word in words.split(|byte| matches!(byte, b' ' | b'\t' | b',')).filter(|word| !word.is_empty()) {
            said.take(word);
        }
        said
    }

    fn take(&mut self, word: &[u8]) {
        let lower = word.to_ascii_lowercase();
        match lower.as_slice() {
            b"up" => self.up = Some(self.up.unwrap_or(true)),
            b"down" | b"fail" | b"failed" | b"stopped" => self.up = Some(false),
            b"ready" => self.administer(AdminState::Ready),
            b"drain" => self.administer(AdminState::Drain),
            b"maint" => self.administer(AdminState::Maintenance),
            other => {
                let known = self.take_number(other);
                if !known && self.unknown.is_none() {
                    self.unknown = Some(Excerpt::of(word));
                }
            }
        }
    }

    fn administer(&mut self, state: AdminState) {
        let severity = |state| match state {
            AdminState::Ready => 0,
            AdminState::Drain => 1,
            AdminState::Maintenance => 2,
        };
        let before = self.advice.admin.unwrap_or(AdminState::Ready);
        self.advice.admin = Some(if severity(state) > severity(before) { state } else { before });
    }

    /// Whether it is a number with a meaning.
    fn take_number(&mut self, word: &[u8]) -> bool {
        let number = |digits: &[u8]| -> Option<u32> {
            let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
        };
        if let Some(digits) = word.strip_suffix(b"%") {
            let percent = number(digits).filter(|&percent| percent <= MOST_PERCENT);
            self.advice.weight_percent =
                percent.and_then(|percent| percent.try_into().ok()).or(self.advice.weight_percent);
            return percent.is_some();
        }
        let connections = word.strip_prefix(b"maxconn:").and_then(number);
        self.advice.max_connections = connections.or(self.advice.max_connections);
        connections.is_some()
    }
}

impl From<AgentAnswer> for Answer {
    fn from(said: AgentAnswer) -> Self {
        let unknown = said
            .unknown
            .map(|word| Reason::Protocol(Excerpt::of(format!("agent says {word:?}: not a word"))));
        let description = said.description.unwrap_or_else(|| Excerpt::of("without a description"));
        let (result, reason) = match said.up {
            Some(true) => (Some(CheckResult::Pass), unknown),
            Some(false) => (Some(CheckResult::FailAtOnce), Some(Reason::AgentDown(description))),
            None => (None, unknown),
        };
        Self { result, reason, advice: said.advice }
    }
}

/// The first line, with what came behind it; the end of the stream ends a line too.
async fn first_line(stream: &mut Stream) -> Result<Vec<u8>, Reason> {
    let mut held = Vec::new();
    let mut piece = [0; 256];
    loop {
        let length = stream.read(&mut piece).await.map_err(|error| Reason::of_io(&error))?;
        held.extend_from_slice(&piece[..length]);
        if length == 0 && held.is_empty() {
            return Err(Reason::Closed);
        }
        if length == 0 || piece[..length].iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return Ok(held);
        }
        if held.len() > MAX_LINE {
            return Err(Reason::protocol("the agent's line is longer than 1024 bytes"));
        }
    }
}

/// 256 times the configured weight: HAProxy's weights end at 256, and relative ones are capped there.
const MOST_PERCENT: u32 = 25_600;

/// All words together have some 60 bytes; the rest is description.
const MAX_LINE: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(
        line: &str,
        up: Option<bool>,
        weight: Option<u16>,
        admin: Option<AdminState>,
        most: Option<u32>,
    ) {
        let said = AgentAnswer::read(line.as_bytes());
        assert_eq!(said.up, up, "{line}");
        let advice = Advice { weight_percent: weight, admin, max_connections: most };
        assert_eq!(said.advice, advice, "{line}");
        assert_eq!(said.unknown, None, "{line}");
    }

    #[test]
    fn the_words_of_the_manual() {
        use AdminState::{Drain, Maintenance, Ready};
        check("75%\n", None, Some(75), None, None);
        check("UP,50%\tmaxconn:30 ready\r\n", Some(true), Some(50), Some(Ready), Some(30));
        check("up drain", Some(true), None, Some(Drain), None);
        check("maint drain", None, None, Some(Maintenance), None);
        check("down", Some(false), None, None, None);
        check("failed", Some(false), None, None, None);
        check("stopped up", Some(false), None, None, None);
        check("", None, None, None, None);
        check("up\ndown", Some(true), None, None, None);
        check("150%", None, Some(150), None, None);
    }

    #[test]
    fn descriptions_and_unknown_words_are_told() {
        let said = AgentAnswer::read(b"down #disk, full up\n");
        assert_eq!((said.up, said.description.as_deref()), (Some(false), Some("disk, full up")));
        for word in ["50", "-1%", "+5%", "%", "99999%", "maxconn:", "maxconn:x", "upp", "maxconn:4294967296"]
        {
            let said = AgentAnswer::read(format!("{word} 10%").as_bytes());
            assert_eq!(said.unknown.as_deref(), Some(word));
            assert_eq!(said.advice.weight_percent, Some(10), "the others count all the same");
        }
    }

    #[test]
    fn only_up_and_down_are_verdicts() {
        let result = |line: &str| Answer::from(AgentAnswer::read(line.as_bytes())).result;
        assert_eq!(result("up"), Some(CheckResult::Pass));
        assert_eq!(result("down"), Some(CheckResult::FailAtOnce));
        assert_eq!(result("50% drain"), None);
        assert_eq!(result("what"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let said = AgentAnswer::read(&bytes);
            prop_assert!(said.advice.weight_percent.is_none_or(|percent| u32::from(percent) <= MOST_PERCENT));
        }

        #[test]
        fn words_in_any_order_and_number_are_read(
            words in proptest::collection::vec("up|down|drain|ready|maint|[0-9]{1,7}%|maxconn:[0-9]{1,12}|#|[a-z%]{1,4}", 0..12),
            divider in "[ \t,]{1,3}",
        ) {
            let line = words.join(&divider);
            let said = AgentAnswer::read(line.as_bytes());
            let spoken = words.iter().take_while(|word| *word != "#");
            let down = spoken.clone().any(|word| word == "down");
            let up = spoken.clone().any(|word| word == "up");
            prop_assert!(!down || said.up == Some(false));
            prop_assert!(down || !up || said.up == Some(true));
            prop_assert_eq!(said.description.is_some(), words.iter().any(|word| word == "#"));
        }
    }
}
