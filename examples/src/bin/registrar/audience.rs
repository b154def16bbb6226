use std::error::Error;
use std::time::Duration;

use evenkeel::{
    Address, Clock, Cluster, Following, MonotonicClock, Outcome, PickError, Registry, Request, ServiceName,
};

use crate::gate;

/// Somebody who knows the registry only, and sends whenever there is somebody to send to.
#[derive(Debug)]
pub(crate) struct Audience {
    cluster: Cluster<Address>,
    registry: Registry,
    clock: MonotonicClock,
    _following: Following<Address>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) answered: u32,
    pub(crate) lost: Vec<String>,
    /// Picks that found nobody, each of which waited: before the service was announced, and after it had left.
    pub(crate) nobody: u32,
}

impl Audience {
    pub(crate) fn new(
        registry: &Registry,
        service: &ServiceName,
        clock: MonotonicClock,
    ) -> Result<Self, Box<dyn Error>> {
        let cluster = Cluster::builder(service.as_str()).clock(clock).build()?;
        let following = cluster.follow(registry, service, |endpoint| endpoint.address().clone());
        Ok(Self { cluster, registry: registry.clone(), clock, _following: following })
    }

    /// Sends one request after the other until the service has been there and is gone.
    pub(crate) async fn listen(self) -> Heard {
        let mut heard = Heard::default();
        loop {
            self.registry.tick(self.clock.now());
            match self.cluster.pick(&Request::new()) {
                Ok(pick) => {
                    let answer = send(pick.payload()).await;
                    pick.finish(if answer.is_ok() { Outcome::success() } else { Outcome::failure() });
                    match answer {
                        Ok(()) => heard.answered += 1,
                        Err(reason) => heard.lost.push(reason),
                    }
                }
                Err(PickError::Empty(_)) if heard.answered > 0 => return heard,
                Err(_) => heard.nobody += 1,
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }
}

async fn send(address: &Address) -> Result<(), String> {
    let Address::Socket(address) = address else { return Err("the address is no socket's".to_owned()) };
    match gate::get(*address, "/work").await? {
        status if status.is_success() => Ok(()),
        status => Err(status.to_string()),
    }
}

const BETWEEN: Duration = Duration::from_millis(5);
