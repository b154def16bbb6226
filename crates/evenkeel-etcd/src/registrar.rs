use std::time::Duration;

use evenkeel_adapter::{CallError, Client, LeaseStore, RegistrarHandle};
use evenkeel_registry::{Action, Answer, LeaseToken, TroubleKind};
use evenkeel_types::Endpoint;

use crate::entry::{Format, write};
use crate::session::{Refused, Session};
use crate::wire::{Lease, Line, Txn};
use crate::{EtcdError, EtcdRegistrarConfig, request};

/// Keeps an endpoint in etcd under a lease.
///
/// The key is the prefix and the id. A later registration of the same id takes the key over, and the earlier one can
/// then neither renew nor remove it: it hangs on the other lease. Every renewal also looks whether the key hangs on our
/// lease; if somebody deleted it or wrote it without a lease, it is written again under a new one.
#[derive(Clone, Copy, Debug)]
pub struct EtcdRegistrar;

impl EtcdRegistrar {
    /// Starts a registrar, not ready yet, on one thread.
    ///
    /// # Errors
    ///
    /// [`EtcdError`] with the field that cannot stand. That etcd cannot be reached is no error here.
    pub fn start(endpoint: Endpoint, config: EtcdRegistrarConfig) -> Result<RegistrarHandle, EtcdError> {
        config.validate()?;
        let session = Session::new(&config.connection, config.seed)?;
        let interrupt = session.client();
        let store = Store {
            client: session.client(),
            session,
            key: format!("{}{}", config.prefix, endpoint.id()),
            format: config.format,
            // An answer after the order's end would count for nothing.
            patience: config.registrar.request_timeout.mul_f64(0.9),
            last: None,
            before: None,
            words: None,
        };
        let (name, seed) = ("evenkeel-etcd-registrar", config.seed);
        RegistrarHandle::spawn(name, endpoint, config.registrar, seed, store, move || interrupt.stop())
            .map_err(EtcdError::Spawn)
    }
}

struct Store {
    session: Session,
    client: Client,
    key: String,
    format: Format,
    /// How long the calls of one order may take, all together.
    patience: Duration,
    /// The lease under which the key was last written.
    last: Option<u64>,
    /// The lease under which it was written before that.
    before: Option<u64>,
    /// What went wrong with the last order.
    words: Option<String>,
}

impl LeaseStore for Store {
    fn perform(&mut self, action: &Action) -> Answer {
        self.words = None;
        self.session.limit(self.patience);
        match self.attempt(action) {
            Ok(answer) => answer,
            Err(Refused::NotFound) => Answer::LeaseLost,
            Err(other) => {
                let mut error = CallError::from(other);
                self.session.recover(&mut error);
                self.words = Some(error.text);
                Answer::Failed { kind: error.kind }
            }
        }
    }

    fn take_words(&mut self) -> Option<String> {
        self.words.take()
    }

    fn give_back(&mut self, lease: &LeaseToken) {
        if let Ok(id) = number(lease) {
            self.session.limit(self.patience);
            let _ = self.session.call(&request::revoke(id));
        }
    }
}

impl Store {
    fn attempt(&mut self, action: &Action) -> Result<Answer, Refused> {
        match action {
            Action::Grant { ttl } => {
                let granted: Lease = self.ask(&request::grant(secs(*ttl)))?;
                let ttl = u64::try_from(granted.ttl).unwrap_or(0);
                Ok(Answer::Granted { lease: LeaseToken::new(granted.id), ttl: Duration::from_secs(ttl) })
            }
            Action::Write { lease, endpoint } => {
                let id = number(lease)?;
                if let Some(last) = self.last.replace(id).filter(|last| *last != id) {
                    self.before = Some(last);
                }
                self.session.call(&request::put(&self.key, &write(self.format, endpoint), id))?;
                Ok(Answer::Written)
            }
            Action::Renew { lease, new_stream } => {
                if *new_stream && let Err(error) = self.client.renew() {
                    self.words = Some(error.to_string());
                }
                self.renew(number(lease)?)
            }
            Action::Remove { lease } => {
                let written = self.last.take();
                if let Some(id) = written {
                    self.last = Some(id);
                    self.session.call(&request::delete_if_under(&self.key, id))?;
                }
                if let Some(lease) = lease {
                    match self.session.call(&request::revoke(number(lease)?)) {
                        Ok(_) | Err(Refused::NotFound) => {}
                        Err(other) => return Err(other),
                    }
                }
                self.last = None;
                Ok(Answer::Removed)
            }
            _ => Ok(Answer::Failed { kind: TroubleKind::Malformed }),
        }
    }

    fn renew(&mut self, id: u64) -> Result<Answer, Refused> {
        let line: Line<Lease> = self.ask(&request::keep_alive(id))?;
        let Some(renewed) = line.result else {
            return Err(CallError::new(TroubleKind::Server, "etcd: renewal without a result").into());
        };
        let ttl = u64::try_from(renewed.ttl).unwrap_or(0);
        if ttl == 0 || self.last != Some(id) {
            return Ok(Answer::Renewed { ttl: Duration::from_secs(ttl) });
        }
        // The lease is renewed whatever comes of the question about its key; the next renewal asks again.
        let held = self.ask::<Txn>(&request::is_under(&self.key, id));
        match held {
            Ok(held) if self.is_lost(&held) => {
                let _ = self.session.call(&request::revoke(id));
                return Ok(Answer::LeaseLost);
            }
            Ok(_) => {}
            Err(refused) => self.words = Some(CallError::from(refused).text),
        }
        Ok(Answer::Renewed { ttl: Duration::from_secs(ttl) })
    }

    /// Whether nobody keeps the key: it is not there, or hangs on no lease or on an earlier one of ours, by a write that
    /// came late. One under another lease was taken over by a later registration: two that write in turns would never end.
    fn is_lost(&self, held: &Txn) -> bool {
        let lease = held.key().map(|key| key.lease);
        !held.succeeded && (lease.is_none_or(|lease| lease == 0) || lease == self.before)
    }

    fn ask<T: serde::de::DeserializeOwned>(&mut self, call: &evenkeel_adapter::Call) -> Result<T, Refused> {
        let body = self.session.call(call)?;
        serde_json::from_slice(&body).map_err(|error| {
            CallError::new(TroubleKind::Malformed, format!("etcd: answer cannot be read: {error}")).into()
        })
    }
}

fn number(lease: &LeaseToken) -> Result<u64, Refused> {
    let bad = || CallError::new(TroubleKind::Malformed, "etcd: lease is no number");
    lease.as_str().parse().map_err(|_| bad().into())
}

/// Whole seconds, rounded up.
fn secs(ttl: Duration) -> u64 {
    ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::gateway;

    const RENEWED: &str = r#"{"result":{"ID":"7","TTL":"9"}}"#;

    /// What a renewal of lease 7 comes to, and the words for it, if etcd answers so.
    fn renewed(answers: Vec<(u16, &'static str, Duration)>) -> (Answer, Option<String>) {
        let (connection, _questions) = gateway(answers);
        let session = Session::new(&connection, 0).unwrap();
        let mut store = Store {
            client: session.client(),
            session,
            key: "s/a".to_owned(),
            format: Format::Own,
            patience: Duration::from_millis(700),
            last: Some(7),
            before: Some(6),
            words: None,
        };
        let lease = LeaseToken::new(7);
        let answer = store.perform(&Action::Renew { lease, new_stream: false });
        (answer, store.take_words())
    }

    #[test]
    fn a_renewal_counts_whatever_comes_of_the_question_about_the_key() {
        let now = Duration::ZERO;
        let good = Answer::Renewed { ttl: Duration::from_secs(9) };
        assert_eq!(
            renewed(vec![(200, RENEWED, now), (200, r#"{"succeeded":true}"#, now)]),
            (good.clone(), None)
        );
        let (answer, words) =
            renewed(vec![(200, RENEWED, now), (503, r#"{"code":14,"message":"no leader"}"#, now)]);
        assert_eq!(answer, good);
        assert!(words.unwrap().contains("no leader"));
        let late = Duration::from_secs(5);
        let start = evenkeel_adapter::Clock::instant();
        assert_eq!(renewed(vec![(200, RENEWED, now), (200, "{}", late)]).0, good, "within the order's time");
        let took = evenkeel_adapter::Clock::instant().duration_since(start);
        assert!(took < Duration::from_secs(3), "it does not wait for what comes too late");
    }

    #[test]
    fn a_key_that_nobody_keeps_is_written_again() {
        for (txn, lost) in [
            (r#"{"responses":[{"response_range":{}}]}"#, true),
            (r#"{"responses":[{"response_range":{"kvs":[{"key":"YQ==","lease":"0"}]}}]}"#, true),
            (r#"{"responses":[{"response_range":{"kvs":[{"key":"YQ=="}]}}]}"#, true),
            (r#"{"responses":[{"response_range":{"kvs":[{"key":"YQ==","lease":"6"}]}}]}"#, true),
            (r#"{"responses":[{"response_range":{"kvs":[{"key":"YQ==","lease":"8"}]}}]}"#, false),
        ] {
            let now = Duration::ZERO;
            let (answer, _) = renewed(vec![(200, RENEWED, now), (200, txn, now), (200, "{}", now)]);
            assert_eq!(answer == Answer::LeaseLost, lost, "{txn}: {answer:?}");
        }
    }
}
