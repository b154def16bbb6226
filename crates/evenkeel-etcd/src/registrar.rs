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
/// then neither renew nor remove it: it hangs on the other lease. Every renewal also looks whether the key is there; if
/// somebody deleted it, it is written again under a new lease.
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
            last: None,
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
    /// The lease under which the key was last written.
    last: Option<u64>,
}

impl LeaseStore for Store {
    fn perform(&mut self, action: &Action) -> Answer {
        match self.attempt(action) {
            Ok(answer) => answer,
            Err(Refused::NotFound) => Answer::LeaseLost,
            Err(other) => {
                self.session.next_member();
                Answer::Failed { kind: CallError::from(other).kind }
            }
        }
    }

    fn give_back(&mut self, lease: &LeaseToken) {
        if let Ok(id) = number(lease) {
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
                self.last = Some(id);
                self.session.call(&request::put(&self.key, &write(self.format, endpoint), id))?;
                Ok(Answer::Written)
            }
            Action::Renew { lease, new_stream } => {
                if *new_stream {
                    self.client.renew();
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
        let there: Txn = self.ask(&request::exists(&self.key))?;
        if !there.succeeded {
            let _ = self.session.call(&request::revoke(id));
            return Ok(Answer::LeaseLost);
        }
        Ok(Answer::Renewed { ttl: Duration::from_secs(ttl) })
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
