use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use evenkeel::{
    BreakerConfig, Clock, Cluster, Driver, Following, MonotonicClock, Outcome, PickError, Registry, Request,
    Rule, ServiceName, Tried,
};
use hyper::body::Bytes;

use crate::ledger::{Ledger, Try};
use crate::upstream::{CallError, Upstream};

/// Follows the registry, picks, and sends: the same code in a client of the one pattern and in the proxy of the other.
#[derive(Debug)]
pub(crate) struct Resolver {
    cluster: Cluster<Upstream>,
    clock: MonotonicClock,
    ledger: Arc<Ledger>,
    _following: Following<Upstream>,
    _driver: Driver,
}

impl Resolver {
    pub(crate) fn new(
        registry: &Registry,
        service: &ServiceName,
        clock: MonotonicClock,
        ledger: Arc<Ledger>,
        seed: u64,
    ) -> Result<Self, Box<dyn Error>> {
        // Instances that crash are found before their lease runs out.
        let breaker = BreakerConfig {
            rules: vec![Rule::Consecutive { failures: 2 }],
            open_for: Duration::from_millis(300),
            ..BreakerConfig::default()
        };
        let cluster = Cluster::builder(service.as_str()).breaker(breaker).seed(seed).clock(clock).build()?;
        let opened = Arc::clone(&ledger.opened);
        let following = cluster.follow(registry, service, move |endpoint| {
            Upstream::new(endpoint.address().clone(), Arc::clone(&opened))
        });
        ledger.followers.fetch_add(1, Ordering::Relaxed);
        let driver = cluster.drive(Duration::from_millis(100))?;
        Ok(Self { cluster, clock, ledger, _following: following, _driver: driver })
    }

    /// Sends one request, on to other instances if one does not answer.
    pub(crate) async fn get(&self) -> Result<Bytes, ResolveError> {
        let mut tried = Tried::default();
        let mut last = None;
        while tried.len() < MOST_TRIES {
            let pick = match self.cluster.pick(&Request::new().excluding(&tried)) {
                Ok(pick) => pick,
                Err(error) => return Err(last.unwrap_or(ResolveError::NoInstance(error))),
            };
            tried.add(&pick);
            let (instance, at) = (pick.endpoint().id(), self.clock.now());
            let answer = pick.payload().get().await;
            let went_well = answer.is_ok();
            pick.finish(if went_well { Outcome::success() } else { Outcome::failure() });
            self.ledger.note_try(Try { instance, at, went_well });
            match answer {
                Ok(body) => return Ok(body),
                Err(error) => last = Some(ResolveError::Failed { tries: tried.len(), error }),
            }
        }
        Err(last.unwrap_or(ResolveError::NoTry))
    }
}

/// No instance answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("no instance: {0}")]
    NoInstance(PickError),
    #[error("no answer after {tries} tries; the last: {error}")]
    Failed { tries: usize, error: CallError },
    #[error("nobody was tried")]
    NoTry,
}

const MOST_TRIES: usize = 3;
