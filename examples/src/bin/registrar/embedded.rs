use std::time::Duration;

use evenkeel::{Clock, Endpoint, Lease, MonotonicClock, Registry, ServiceName};
use evenkeel_adapter::LeaseStore;
use evenkeel_registry::{Action, Answer, LeaseToken, TroubleKind};

/// The registry of this process as a store: what a registrar asks of it is all that any store has to do.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) registry: Registry,
    pub(crate) service: ServiceName,
    pub(crate) clock: MonotonicClock,
    pub(crate) ttl: Duration,
    pub(crate) lease: Option<Lease>,
}

impl LeaseStore for Embedded {
    fn perform(&mut self, action: &Action) -> Answer {
        let now = self.clock.now();
        match action {
            // Lease and entry are one here: the lease comes with the entry.
            Action::Grant { ttl } => {
                self.ttl = *ttl;
                Answer::Granted { lease: LeaseToken::new("embedded"), ttl: *ttl }
            }
            Action::Write { endpoint, .. } => self.write(endpoint),
            Action::Renew { .. } => match self.lease.as_ref().map(|lease| self.registry.renew(now, lease)) {
                Some(Ok(_)) => Answer::Renewed { ttl: self.ttl },
                _ => self.lost(),
            },
            Action::Remove { .. } => {
                // It is no error if the lease has run out: then the entry is gone too.
                let _ = self.lease.take().map(|lease| self.registry.deregister(now, &lease));
                Answer::Removed
            }
            _ => Answer::Failed { kind: TroubleKind::Malformed },
        }
    }
}

impl Embedded {
    fn write(&mut self, endpoint: &Endpoint) -> Answer {
        let (now, endpoint) = (self.clock.now(), endpoint.clone());
        let Some(lease) = &self.lease else {
            return match self.registry.register(now, &self.service, endpoint, Some(self.ttl)) {
                Ok((lease, _)) => {
                    self.lease = Some(lease);
                    Answer::Written
                }
                Err(_) => Answer::Failed { kind: TroubleKind::Denied },
            };
        };
        match self.registry.update(now, lease, endpoint) {
            Ok(_) => Answer::Written,
            Err(_) => self.lost(),
        }
    }

    fn lost(&mut self) -> Answer {
        self.lease = None;
        Answer::LeaseLost
    }
}
