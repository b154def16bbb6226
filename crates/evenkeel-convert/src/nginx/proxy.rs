use std::time::Duration;

use evenkeel_route::retry::{Backoff, Jitter, RetryConfig, RetryOn, StatusRange};
use evenkeel_route::split::{HeaderChange, HeaderRules};

use super::key;
use super::proxy_ssl::ProxySsl;
use super::tree::Directive;
use super::units::{number, time};
use crate::error::ConvertError;
use crate::on_nothing::on_nothing;
use crate::report::Report;

/// What is inherited from block to block: how requests are handed on.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    retries: RetryOn,
    /// Whether anything is tried again.
    is_off: bool,
    tries: u32,
    read_timeout: Duration,
    headers: HeaderRules,
    /// `proxy_hide_header`: inherited apart from what is added to answers.
    hidden: Vec<HeaderChange>,
    ssl: ProxySsl,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            retries: RetryOn {
                grpc_codes: Vec::new(),
                statuses: Vec::new(),
                timed_out: true,
                ..RetryOn::default()
            },
            is_off: false,
            tries: 0,
            read_timeout: Duration::from_secs(60),
            headers: HeaderRules::default(),
            hidden: Vec::new(),
            ssl: ProxySsl::default(),
        }
    }
}

impl Proxy {
    /// The settings inside a block that holds these directives.
    pub(crate) fn within(&self, block: &[Directive], report: &mut Report) -> Result<Self, ConvertError> {
        let mut inner = self.clone();
        let has = |name: &str| block.iter().any(|directive| directive.name.is(name));
        // Lists are inherited only where none is written.
        if has("proxy_set_header") || has("grpc_set_header") {
            inner.headers.request.clear();
        }
        if has("add_header") {
            inner.headers.response.clear();
        }
        if has("proxy_hide_header") {
            inner.hidden.clear();
        }
        for directive in block {
            inner.take(directive, report)?;
        }
        Ok(inner)
    }

    fn take(&mut self, directive: &Directive, report: &mut Report) -> Result<(), ConvertError> {
        let (place, subject) = (directive.place(), directive.text());
        match directive.name.text.as_str() {
            "proxy_next_upstream" | "grpc_next_upstream" => self.conditions(directive, report)?,
            "proxy_next_upstream_tries" | "grpc_next_upstream_tries" => {
                let word = directive.only()?;
                self.tries = number(&directive.name.text, word, &word.text)?;
                report.taken(place, subject, "retry.attempts");
            }
            "proxy_next_upstream_timeout" | "grpc_next_upstream_timeout" => {
                let word = directive.only()?;
                let allowed = time(&directive.name.text, word)?;
                if allowed.is_zero() {
                    report.taken(place, subject, "no limit, as without it");
                } else {
                    report.none(place, subject, "the time in which further attempts may begin has no setting: bound the whole request with timeout of the route");
                }
            }
            "proxy_read_timeout" | "grpc_read_timeout" => {
                self.read_timeout = time(&directive.name.text, directive.only()?)?;
                report.differs(place, subject, "retry.per_try_timeout, where requests are tried again: for the whole attempt, where nginx counts from one read to the next");
            }
            "proxy_connect_timeout" | "proxy_send_timeout" | "grpc_connect_timeout" | "grpc_send_timeout" => {
                report.none(place, subject, "connections are your client's: set its timeout");
            }
            "proxy_set_header" | "grpc_set_header" => self.request_header(directive, report)?,
            "add_header" => self.response_header(directive, report)?,
            "proxy_hide_header" => {
                let name = directive.only()?.text.clone();
                self.hidden.push(HeaderChange::Remove { name });
                report.taken(place, subject, "headers.response");
            }
            name if ProxySsl::knows(bare(name)) => self.ssl.take(directive, report)?,
            _ => {}
        }
        Ok(())
    }

    /// Whether `within` has taken a directive.
    pub(crate) fn knows(name: &str) -> bool {
        let rest = bare(name);
        let both = [
            "next_upstream",
            "next_upstream_tries",
            "next_upstream_timeout",
            "read_timeout",
            "connect_timeout",
            "send_timeout",
            "set_header",
        ];
        both.contains(&rest) || ProxySsl::knows(rest) || ["add_header", "proxy_hide_header"].contains(&name)
    }

    fn conditions(&mut self, directive: &Directive, report: &mut Report) -> Result<(), ConvertError> {
        let mut on = on_nothing();
        self.is_off = false;
        for word in &directive.args {
            let subject = format!("{} {}", directive.name.text, word.text);
            match word.text.as_str() {
                "error" => {
                    (on.connect_failed, on.refused, on.reset) = (true, true, true);
                    report.taken(&word.place, subject, "retry.on: connect_failed, refused, reset");
                }
                "timeout" => {
                    on.timed_out = true;
                    report.taken(&word.place, subject, "retry.on.timed_out");
                }
                "invalid_header" => {
                    on.reset = true;
                    report.differs(
                        &word.place,
                        subject,
                        "retry.on.reset: an answer that makes no sense counts as a broken connection",
                    );
                }
                "non_idempotent" => {
                    report.none(&word.place, subject, "say for each request that it may be repeated");
                }
                "off" => {
                    self.is_off = true;
                    report.taken(&word.place, subject, "no retry");
                }
                "updating" => report.none(&word.place, subject, "evenkeel has no cache"),
                status => {
                    let code = status.strip_prefix("http_").and_then(|code| code.parse::<u16>().ok());
                    let Some(code) = code.filter(|code| [403, 404, 429, 500, 502, 503, 504].contains(code))
                    else {
                        let allowed =
                            "error, timeout, invalid_header, http_500 and others, non_idempotent or off";
                        return Err(ConvertError::unexpected(&word.place, status, allowed));
                    };
                    on.statuses.push(StatusRange { first: code, last: code });
                    report.taken(&word.place, subject, "retry.on.statuses");
                }
            }
        }
        on.statuses.sort_by_key(|range| range.first);
        on.statuses.dedup();
        self.retries = on;
        Ok(())
    }

    fn request_header(&mut self, directive: &Directive, report: &mut Report) -> Result<(), ConvertError> {
        let [name, value] = directive.args.as_slice() else {
            return Err(ConvertError::unexpected(directive.place(), directive.text(), "a name and a value"));
        };
        let (place, subject) = (directive.place(), directive.text());
        let is_host = name.text.eq_ignore_ascii_case("host");
        if is_host && ["$host", "$http_host"].contains(&value.text.as_str()) {
            report.taken(place, subject, "requests keep their host: evenkeel changes none");
        } else if ["connection", "upgrade", "content-length", "transfer-encoding", "te"]
            .contains(&name.text.to_ascii_lowercase().as_str())
        {
            report.none(place, subject, "it is about one connection: your client sets it");
        } else if key::has_variables(&value.text) {
            report.none(
                place,
                subject,
                "a value that is made of variables: set it where you send the request",
            );
        } else if value.text.is_empty() {
            self.headers.request.push(HeaderChange::Remove { name: name.text.clone() });
            report.taken(place, subject, "headers.request");
        } else {
            let change = HeaderChange::Set { name: name.text.clone(), value: value.text.clone() };
            self.headers.request.push(change);
            report.taken(place, subject, "headers.request");
        }
        Ok(())
    }

    fn response_header(&mut self, directive: &Directive, report: &mut Report) -> Result<(), ConvertError> {
        let (name, value, is_always) = match directive.args.as_slice() {
            [name, value] => (name, value, false),
            [name, value, always] if always.is("always") => (name, value, true),
            _ => {
                let expected = "a name, a value, and perhaps `always`";
                return Err(ConvertError::unexpected(directive.place(), directive.text(), expected));
            }
        };
        let (place, subject) = (directive.place(), directive.text());
        if key::has_variables(&value.text) {
            report.none(place, subject, "a value that is made of variables: set it where you answer");
            return Ok(());
        }
        self.headers.response.push(HeaderChange::Add { name: name.text.clone(), value: value.text.clone() });
        if is_always {
            report.taken(place, subject, "headers.response");
        } else {
            report.differs(
                place,
                subject,
                "headers.response: to every answer, where nginx leaves it out from errors",
            );
        }
        Ok(())
    }

    /// How servers are spoken to where a scheme asks for TLS.
    pub(crate) const fn ssl(&self) -> &ProxySsl {
        &self.ssl
    }

    pub(crate) fn headers(&self) -> HeaderRules {
        let mut headers = self.headers.clone();
        // What the server sent is hidden, not what is added.
        headers.response.splice(0..0, self.hidden.iter().cloned());
        headers
    }

    /// How requests to a cluster of so many servers are tried again.
    pub(crate) fn retry(&self, servers: u32) -> Option<RetryConfig> {
        let attempts = if self.tries == 0 { servers } else { self.tries.min(servers) };
        if self.is_off || attempts < 2 {
            return None;
        }
        Some(RetryConfig {
            attempts: attempts.min(MOST_ATTEMPTS),
            on: self.retries.clone(),
            per_try_timeout: (!self.read_timeout.is_zero()).then_some(self.read_timeout),
            // nginx does not wait; a backoff of nothing is refused.
            backoff: Backoff { base: SHORTEST, max: SHORTEST, jitter: Jitter::None, ..Backoff::default() },
            max_retry_after: Duration::ZERO,
            // Backups come when all others were tried.
            tier_after: 0,
        })
    }
}

/// A directive without the protocol that it is about.
fn bare(name: &str) -> &str {
    name.strip_prefix("proxy_").or_else(|| name.strip_prefix("grpc_")).unwrap_or("")
}

/// What evenkeel allows.
pub(crate) const MOST_ATTEMPTS: u32 = 16;
/// The wait between attempts.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
