use std::time::Duration;

use evenkeel_adapter::{Answer, BaseUrl, Call, CallError, Client, ClientSettings, Lines, Secret};
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
        Ok(Self { client, endpoints, at, login, token: None })
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

    pub(crate) fn call(&mut self, call: &Call) -> Result<Vec<u8>, Refused> {
        self.ask(|session, headers| {
            let answer = session.client.call(session.member(), call, headers, Duration::ZERO)?;
            if answer.status == 200 { Ok(answer.body) } else { Err(refusal(session.member(), &answer)) }
        })
    }

    pub(crate) fn open(&mut self, call: &Call, silence: Duration) -> Result<Lines, Refused> {
        self.ask(|session, headers| Ok(session.client.open(session.member(), call, headers, silence)?))
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
        let answer = self.client.call(self.member(), &call, &[], Duration::ZERO)?;
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
    // Some of these have the code of an invalid argument (`api/v3rpc/rpctypes/error.go`).
    let denied = ["authentication", "auth token", "user name", "permission denied"];
    let denied = denied.iter().any(|part| text.contains(part));
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
