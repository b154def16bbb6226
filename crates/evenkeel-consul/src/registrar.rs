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
/// starting or down. A drain, or a weight of zero, which Consul does not know, is the service's maintenance mode, with
/// the reason `evenkeel-drain`. A maintenance for another reason is an operator's: it is neither ended nor written over. An
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
            words: None,
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
    /// What went wrong with the last order.
    words: Option<String>,
}

impl LeaseStore for Store {
    fn perform(&mut self, action: &Action) -> Answer {
        self.words = None;
        let done = match action {
            Action::Grant { ttl } => {
                // There is no lease in Consul: the check begins with the registration.
                return Answer::Granted { lease: LeaseToken::new(check_id(&self.id)), ttl: *ttl };
            }
            Action::Write { endpoint, .. } => self.write(endpoint),
            Action::Renew { new_stream, .. } => {
                if *new_stream && let Err(error) = self.client.renew() {
                    self.words = Some(error.to_string());
                }
                self.beat()
            }
            Action::Remove { .. } => self
                .put(format!("/v1/agent/service/deregister/{}", encoded(&self.id)), String::new())
                .map(|()| {
                    self.registered = false;
                    Answer::Removed
                }),
            _ => return Answer::Failed { kind: TroubleKind::Malformed },
        };
        match done {
            Ok(answer) => answer,
            Err(Refused::Unknown) => {
                self.registered = false;
                Answer::LeaseLost
            }
            Err(Refused::Trouble(mut error)) => {
                self.client.renew_after(&mut error);
                self.words = Some(error.text);
                Answer::Failed { kind: error.kind }
            }
        }
    }

    fn take_words(&mut self) -> Option<String> {
        self.words.take()
    }
}

/// What the agent says of a service, as far as its maintenance goes.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(default)]
    checks: Option<Vec<HealthCheck>>,
}

#[derive(serde::Deserialize)]
struct HealthCheck {
    #[serde(rename = "CheckID", default)]
    id: String,
    #[serde(rename = "Notes", default)]
    notes: String,
}

/// The reason of our own maintenance, by which it is known again after a restart.
const REASON: &str = "evenkeel-drain";

/// Whether maintenance is to be switched, given the reason of the one that the service is in, if it is in one. Not if it
/// stands for a reason that is not ours: that is somebody's decision.
fn switched(found: Option<&str>, drains: bool) -> Option<bool> {
    match (found, drains) {
        (None, true) => Some(true),
        (Some(REASON), false) => Some(false),
        (None, false) | (Some(_), _) => None,
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
        let found = self.maintenance()?;
        if !(drains && self.registered) {
            let body = registration(&self.config, endpoint, self.weight).map_err(|error| {
                Refused::Trouble(CallError::new(TroubleKind::Malformed, error.to_string()))
            })?;
            // A maintenance is a check too, and would be replaced by nothing.
            let replace = if found.is_none() { "?replace-existing-checks=true" } else { "" };
            self.put(format!("/v1/agent/service/register{replace}"), body)?;
            self.registered = true;
        }
        self.status = status(endpoint.announced());
        if let Some(enable) = switched(found.as_deref(), drains) {
            let id = encoded(&self.id);
            let path = format!("/v1/agent/service/maintenance/{id}?enable={enable}&reason={REASON}");
            self.put(path, String::new())?;
        }
        Ok(Answer::Written)
    }

    /// The reason of the maintenance that the service is in, if it is in one.
    fn maintenance(&self) -> Result<Option<String>, Refused> {
        let path = format!("/v1/agent/health/service/id/{}?format=json", encoded(&self.id));
        let call = Call { method: Method::Get, path, body: String::new() };
        let headers = self.config.connection.headers();
        let answer =
            self.client.call(&self.base, &call, &headers, Duration::ZERO).map_err(Refused::Trouble)?;
        // Warning and critical services have a body too.
        let health = match answer.status {
            404 => return Ok(None),
            200 | 429 | 503 => serde_json::from_slice::<Health>(&answer.body),
            _ => return Err(Refused::Trouble(answer.trouble())),
        };
        let health = health.map_err(|_| Refused::Trouble(answer.trouble()))?;
        let id = format!("_service_maintenance:{}", self.id);
        let mut checks = health.checks.into_iter().flatten();
        Ok(checks.find(|check| check.id == id).map(|check| check.notes))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_maintenance_is_ended() {
        for (found, drains, order) in [
            (None, false, None),
            (None, true, Some(true)),
            (Some(REASON), false, Some(false)),
            (Some(REASON), true, None),
            (Some("disk is full"), false, None),
            (Some("disk is full"), true, None),
            (Some(""), false, None),
        ] {
            assert_eq!(switched(found, drains), order, "{found:?}, drains: {drains}");
        }
    }
}
