//! How do I write a policy of my own?
//!
//! This one keeps its own order: least connections, by events instead of by reading loads. Of equals it takes the one
//! that was picked longest ago. `laws::check` tells whether it is a balancer at all.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evenkeel::{Address, Cluster, Endpoint, Policy, PolicyConfig, Request};
use evenkeel_balance::{Caller, Event, InvalidPolicy, Members, View, Wants, laws};

/// Open connections and the time of the last pick, by token: positions change with updates, tokens never.
type Order = BTreeMap<u64, (u32, u64)>;

#[derive(Debug, Default)]
struct LeastConnections {
    tokens: Vec<u64>,
    /// Shared with successors: requests in flight must be counted down after an update, too.
    order: Arc<Mutex<Order>>,
}

impl LeastConnections {
    fn for_members(members: &dyn Members, order: Arc<Mutex<Order>>) -> Self {
        Self { tokens: (0..members.weights().len()).map(|position| members.token(position)).collect(), order }
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Policy for LeastConnections {
    fn pick(&self, view: &dyn View, _: &mut dyn Caller) -> Option<usize> {
        let order = self.lock();
        let rank = |position: &usize| order.get(&self.tokens[*position]).copied().unwrap_or_default();
        (0..self.tokens.len()).filter(|&position| view.is_open(position)).min_by_key(rank)
    }

    fn wants(&self) -> Wants {
        Wants::EVENTS
    }

    fn on_event(&self, event: Event) {
        let mut order = self.lock();
        match event {
            Event::Picked(token) => {
                let now = order.values().map(|&(_, last)| last).max().unwrap_or(0) + 1;
                let (open, last) = order.entry(token).or_default();
                (*open, *last) = (*open + 1, now);
            }
            Event::Released(token) => {
                if let Some((open, _)) = order.get_mut(&token) {
                    *open = open.saturating_sub(1);
                }
            }
            _ => {}
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(Self::for_members(members, Arc::clone(&self.order)))))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    laws::check("least_connections", laws::Shares::Other, &|members| {
        Box::new(LeastConnections::for_members(members, Arc::default()))
    });
    println!("it keeps the laws\n");

    let policy = PolicyConfig::custom(LeastConnections::default());
    let cluster = Cluster::<()>::builder("users").policy(policy).build()?;
    for port in 8001..=8003 {
        let address: Address = format!("127.0.0.1:{port}").parse()?;
        cluster.upsert(Endpoint::at(address)?)?;
    }
    let mut held: Vec<_> = (0..5).map(|_| cluster.pick(&Request::new())).collect::<Result<_, _>>()?;
    println!("five connections: {}", in_flight(&cluster));
    held.retain(|pick| pick.endpoint().address().port() != Some(8001));
    println!("those to the first are closed: {}", in_flight(&cluster));
    held.push(cluster.pick(&Request::new())?);
    held.push(cluster.pick(&Request::new())?);
    println!("two more go to the least loaded: {}", in_flight(&cluster));
    assert!(!in_flight(&cluster).split(' ').any(|count| count == "0"));
    Ok(())
}

fn in_flight(cluster: &Cluster<()>) -> String {
    let counts = cluster.report().endpoints;
    counts.iter().map(|endpoint| endpoint.in_flight.to_string()).collect::<Vec<_>>().join(" ")
}
