use std::time::{Duration, Instant};

use evenkeel_adapter::{Answer, BaseUrl, Call, CallError, Client, ClientSettings, Clock, Lines, Secret};
use evenkeel_registry::TroubleKind;

use crate::wire::{Refusal, Token};
use crate::{EtcdConnection, EtcdError, request};

/// Calls to a cluster: one member at a time, with a token if etcd asks for one.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    endpoints: Vec<BaseUrl>,
    at: usize,
    login: Option<(String, Secret)>,
    token: Option<Secret>,
    /// When calls must have ended, if somebody waits no longer.
    until: Option<Instant>,
}

/// A status that is no success, in etcd's words (gRPC codes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// What was asked for does not exist.
    NotFound,
    /// The revision was compacted.
    Compacted,
    /// Anything else.
    Trouble(CallError),
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Self {
        Self::Trouble(error)
    }
}

impl From<Refused> for CallError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Trouble(error) => error,
            Refused::NotFound => CallError::new(TroubleKind::Malformed, "etcd: not found"),
            Refused::Compacted => CallError::new(TroubleKind::Gap, "etcd: the revision was compacted"),
        }
    }
}

impl Session {
    pub(crate) fn new(connection: &EtcdConnection, seed: u64) -> Result<Self, EtcdError> {
        let endpoints = connection.validate()?;
        let settings = ClientSettings {
            connect_timeout: connection.connect_timeout,
            request_timeout: connection.request_timeout,
            max_answer_bytes: connection.max_answer_bytes,
            tls: &connection.tls,
        };
        let client = Client::new(&settings).map_err(EtcdError::Tls)?;
        let count = u64::try_from(endpoints.len()).unwrap_or(1).max(1);
        let at = usize::try_from(seed % count).unwrap_or(0);
        let login = connection.user.clone().zip(connection.password.clone());
        Ok(Self { client, endpoints, at, login, token: None, until: None })
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// How many members there are.
    pub(crate) fn members(&self) -> usize {
        self.endpoints.len()
    }

    /// Goes on with the next member.
    pub(crate) fn next_member(&mut self) {
        self.at = (self.at + 1) % self.endpoints.len().max(1);
    }

    /// After trouble: forgets connections, reads certificates anew, and goes on with the next member.
    pub(crate) fn recover(&mut self, error: &mut CallError) {
        self.client.renew_after(error);
        self.next_member();
    }

    /// From now on, all calls together take no longer than this.
    pub(crate) fn limit(&mut self, time: Duration) {
        self.until = Clock::instant().checked_add(time);
    }

    fn left(&self) -> Result<Duration, CallError> {
        let Some(until) = self.until else { return Ok(Duration::MAX) };
        let left = until.saturating_duration_since(Clock::instant());
        let over = || CallError::new(TroubleKind::Timeout, format!("{}: no time is left", self.member()));
        if left.is_zero() { Err(over()) } else { Ok(left) }
    }

    pub(crate) fn call(&mut self, call: &Call) -> Result<Vec<u8>, Refused> {
        self.ask(|session, headers| {
            let answer = session.client.call_within(session.member(), call, headers, session.left()?)?;
            if answer.status == 200 { Ok(answer.body) } else { Err(refusal(session.member(), &answer)) }
        })
    }

    pub(crate) fn open(&mut self, call: &Call, silence: Duration) -> Result<Lines, Refused> {
        self.ask(|session, headers| {
            let opened = session.client.open(session.member(), call, headers, silence);
            opened.map_err(|mut error| {
                if error.text.starts_with("status 400") && names_auth(&error.text) {
                    error.kind = TroubleKind::Denied;
                }
                error.into()
            })
        })
    }

    /// Asks, and once more with a new token if the old one does not count any more.
    fn ask<T>(&mut self, ask: impl Fn(&Self, &[(&str, &str)]) -> Result<T, Refused>) -> Result<T, Refused> {
        let had_token = self.token.is_some();
        self.log_in()?;
        let asked = self.with_token(&ask);
        match asked {
            Err(Refused::Trouble(error)) if error.kind == TroubleKind::Denied && had_token => {
                self.token = None;
                self.log_in()?;
                self.with_token(&ask)
            }
            other => other,
        }
    }

    fn with_token<T>(
        &self,
        ask: &impl Fn(&Self, &[(&str, &str)]) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        match &self.token {
            Some(token) => ask(self, &[("authorization", token.reveal())]),
            None => ask(self, &[]),
        }
    }

    fn log_in(&mut self) -> Result<(), Refused> {
        let Some((user, password)) = self.login.as_ref().filter(|_| self.token.is_none()) else {
            return Ok(());
        };
        let call = request::authenticate(user, password.reveal());
        let answer = self.client.call_within(self.member(), &call, &[], self.left()?)?;
        if answer.status != 200 {
            return Err(refusal(self.member(), &answer));
        }
        let token: Token = serde_json::from_slice(&answer.body).map_err(|error| {
            CallError::new(
                TroubleKind::Malformed,
                format!("{}: token cannot be read: {error}", self.member()),
            )
        })?;
        self.token = Some(Secret::new(token.token));
        Ok(())
    }

    fn member(&self) -> &BaseUrl {
        &self.endpoints[self.at]
    }
}

/// What etcd's refusal means; codes are those of gRPC.
fn refusal(member: &BaseUrl, answer: &Answer) -> Refused {
    let Ok(refusal) = serde_json::from_slice::<Refusal>(&answer.body) else {
        let error = answer.trouble();
        return Refused::Trouble(CallError::new(error.kind, format!("{member}: {}", error.text)));
    };
    let text: String = refusal.message.chars().take(200).collect();
    if text.contains("has been compacted") {
        return Refused::Compacted;
    }
    if refusal.code == 5 {
        return Refused::NotFound;
    }
    let denied = matches!(answer.status, 400 | 401 | 403) && names_auth(&text);
    let kind = match refusal.code {
        7 | 16 => TroubleKind::Denied,
        _ if denied => TroubleKind::Denied,
        4 => TroubleKind::Timeout,
        8 => TroubleKind::Overloaded,
        _ => match answer.trouble().kind {
            TroubleKind::Malformed => TroubleKind::Server,
            kind => kind,
        },
    };
    Refused::Trouble(CallError::new(kind, format!("{member}: {text}")))
}

/// Whether a refusal is about who we are. Some of them have the code of an invalid argument, so the words must do
/// (`api/v3rpc/rpctypes/error.go`): a token from before any change of users or roles is refused for ever with "revision
/// of auth store is old".
fn names_auth(text: &str) -> bool {
    ["auth", "user name", "permission denied"].iter().any(|part| text.contains(part))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a server of a test has a thread of its own")]
pub(crate) mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// A gateway that gives these answers in turn, each after a pause, and tells what it was asked.
    pub(crate) fn gateway(answers: Vec<(u16, &'static str, Duration)>) -> (EtcdConnection, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoints = vec![format!("http://{}", listener.local_addr().unwrap())];
        let (asked, questions) = channel();
        std::thread::spawn(move || {
            for (status, body, pause) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") {
                    let start = head.len();
                    assert!(reader.read_line(&mut head).unwrap() > 0);
                    if let Some(value) = head[start..].to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut question = vec![0; length];
                reader.read_exact(&mut question).unwrap();
                let _ = asked.send(head + &String::from_utf8(question).unwrap());
                std::thread::sleep(pause);
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all((head + body).as_bytes());
            }
        });
        (EtcdConnection { endpoints, ..EtcdConnection::default() }, questions)
    }

    #[test]
    fn a_token_older_than_a_change_of_auth_is_dropped() {
        let now = Duration::ZERO;
        let old = r#"{"error":"etcdserver: revision of auth store is old","code":3,"message":"etcdserver: revision of auth store is old"}"#;
        let (mut connection, questions) = gateway(vec![
            (200, r#"{"token":"first"}"#, now),
            (200, "{}", now),
            (400, old, now),
            (200, r#"{"token":"second"}"#, now),
            (200, "{}", now),
        ]);
        (connection.user, connection.password) = (Some("u".to_owned()), Some(Secret::new("p".to_owned())));
        let mut session = Session::new(&connection, 0).unwrap();
        assert!(session.call(&request::count("s/")).is_ok());
        assert!(session.call(&request::count("s/")).is_ok(), "one more login is enough");
        let asked: Vec<_> = questions.try_iter().collect();
        assert!(asked[1].contains("first") && asked[4].contains("second"), "{asked:?}");
    }

    #[test]
    fn refusals_that_name_auth_are_denials() {
        for (status, code, text, kind) in [
            (400, 3, "etcdserver: revision of auth store is old", TroubleKind::Denied),
            (400, 3, "etcdserver: authentication failed, invalid user ID or password", TroubleKind::Denied),
            (400, 3, "etcdserver: user name is empty", TroubleKind::Denied),
            (401, 16, "etcdserver: invalid auth token", TroubleKind::Denied),
            (403, 7, "etcdserver: permission denied", TroubleKind::Denied),
            (400, 3, "etcdserver: key is not provided", TroubleKind::Server),
            (503, 14, "etcdserver: no leader", TroubleKind::Server),
        ] {
            let body = format!(r#"{{"code":{code},"message":"{text}"}}"#);
            let body: &'static str = body.leak();
            let (connection, _questions) = gateway(vec![(status, body, Duration::ZERO)]);
            let mut session = Session::new(&connection, 0).unwrap();
            let refused = session.call(&request::count("s/")).unwrap_err();
            assert_eq!(CallError::from(refused).kind, kind, "{text}");
        }
    }
}
