use std::time::Duration;

use evenkeel_adapter::{BaseUrl, Call, CallError, Client, LeaseStore, Method, RegistrarHandle};
use evenkeel_registry::{Action, Answer, LeaseToken, TroubleKind};
use evenkeel_types::{Announced, Endpoint};
use serde_json::json;

use crate::entry::{check_id, registration, status};
use crate::follower::encoded;
use crate::{ConsulError, ConsulRegistrarConfig};

/// Keeps an endpoint registered at an agent of Consul, by a TTL check.
///
/// It is registered at the agent and not in the catalogue, which the agent would repair (hashicorp/consul#7513). The
/// service id is the endpoint's. Heartbeats say what the endpoint announces: passing, warning if degraded, critical if
/// starting or down. A drain, or a weight of zero, which Consul does not know, is the service's maintenance mode. An
/// agent that has forgotten the check answers the next heartbeat so, and the service is registered again.
#[derive(Clone, Copy, Debug)]
pub struct ConsulRegistrar;

impl ConsulRegistrar {
    /// Starts a registrar, not ready yet, on one thread.
    ///
    /// # Errors
    ///
    /// [`ConsulError`] with the field that cannot stand. That Consul cannot be reached is no error here.
    pub fn start(endpoint: Endpoint, config: ConsulRegistrarConfig) -> Result<RegistrarHandle, ConsulError> {
        config.validate()?;
        registration(&config, &endpoint, endpoint.weight().get()).map_err(ConsulError::Endpoint)?;
        let (client, base) = config.connection.connect()?;
        let interrupt = client.clone();
        let (keep, seed) = (config.registrar.clone(), config.seed);
        let store = Store {
            client,
            base,
            id: endpoint.id().to_string(),
            weight: endpoint.weight().get().max(1),
            status: status(endpoint.announced()),
            registered: false,
            maintenance: None,
            config,
        };
        RegistrarHandle::spawn("evenkeel-consul-registrar", endpoint, keep, seed, store, move || {
            interrupt.stop();
        })
        .map_err(ConsulError::Spawn)
    }
}

struct Store {
    config: ConsulRegistrarConfig,
    client: Client,
    base: BaseUrl,
    id: String,
    /// The last weight above zero: what a drain keeps.
    weight: u32,
    status: &'static str,
    registered: bool,
    /// Whether the service is in maintenance mode; `None` if not known.
    maintenance: Option<bool>,
}

impl LeaseStore for Store {
    fn perform(&mut self, action: &Action) -> Answer {
        let done = match action {
            Action::Grant { ttl } => {
                // There is no lease in Consul: the check begins with the registration.
                return Answer::Granted { lease: LeaseToken::new(check_id(&self.id)), ttl: *ttl };
            }
            Action::Write { endpoint, .. } => self.write(endpoint),
            Action::Renew { new_stream, .. } => {
                if *new_stream {
                    self.client.renew();
                }
                self.beat()
            }
            Action::Remove { .. } => self
                .put(format!("/v1/agent/service/deregister/{}", encoded(&self.id)), String::new())
                .map(|()| {
                    (self.registered, self.maintenance) = (false, None);
                    Answer::Removed
                }),
            _ => return Answer::Failed { kind: TroubleKind::Malformed },
        };
        match done {
            Ok(answer) => answer,
            Err(Refused::Unknown) => {
                (self.registered, self.maintenance) = (false, None);
                Answer::LeaseLost
            }
            Err(Refused::Trouble(error)) => Answer::Failed { kind: error.kind },
        }
    }
}

/// Why the agent did not do it.
enum Refused {
    /// It does not know the service or the check.
    Unknown,
    Trouble(CallError),
}

impl Store {
    fn write(&mut self, endpoint: &Endpoint) -> Result<Answer, Refused> {
        let drains = endpoint.weight().is_drain() || endpoint.announced() == Announced::Draining;
        if !drains {
            self.weight = endpoint.weight().get();
        }
        if !(drains && self.registered) {
            let body = registration(&self.config, endpoint, self.weight).map_err(|error| {
                Refused::Trouble(CallError::new(TroubleKind::Malformed, error.to_string()))
            })?;
            self.put("/v1/agent/service/register?replace-existing-checks=true".to_owned(), body)?;
            self.registered = true;
        }
        self.status = status(endpoint.announced());
        if self.maintenance != Some(drains) {
            let id = encoded(&self.id);
            let path = format!("/v1/agent/service/maintenance/{id}?enable={drains}&reason=drain");
            self.put(path, String::new())?;
            self.maintenance = Some(drains);
        }
        Ok(Answer::Written)
    }

    fn beat(&mut self) -> Result<Answer, Refused> {
        let path = format!("/v1/agent/check/update/{}", encoded(&check_id(&self.id)));
        self.put(path, json!({ "Status": self.status, "Output": "evenkeel" }).to_string())?;
        Ok(Answer::Renewed { ttl: self.config.registrar.ttl })
    }

    fn put(&self, path: String, body: String) -> Result<(), Refused> {
        let call = Call { method: Method::Put, path, body };
        let headers = self.config.connection.headers();
        let answer =
            self.client.call(&self.base, &call, &headers, Duration::ZERO).map_err(Refused::Trouble)?;
        let unknown = || {
            let text = String::from_utf8_lossy(&answer.body);
            text.contains("does not have associated TTL") || text.contains("Unknown check")
        };
        match answer.status {
            200 => Ok(()),
            404 => Err(Refused::Unknown),
            500 if unknown() => Err(Refused::Unknown),
            _ => Err(Refused::Trouble(answer.trouble())),
        }
    }
}
