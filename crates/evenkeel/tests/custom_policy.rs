//! A policy from outside: HAProxy's leastconn, which keeps an order and lives by release events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use evenkeel::{Cluster, Endpoint, EndpointId, Outcome, Policy, PolicyConfig, Request, Weight};
use evenkeel_balance::{Caller, Event, InvalidPolicy, Members, View, Wants, laws};

/// Endpoints ordered by (connections + 1) × 4096 ÷ weight, 0 while idle; ties by when they were put back.
#[derive(Debug, Default)]
struct LeastConn {
    /// Shared with its successors, since events reach it until they are in use.
    order: Arc<Mutex<Order>>,
    positions: BTreeMap<u64, usize>,
}

#[derive(Debug, Default)]
struct Order {
    servers: BTreeMap<u64, Server>,
    clock: u64,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    weight: u64,
    connections: u64,
    put_back: u64,
}

impl Server {
    fn key(&self) -> (u64, u64) {
        let load = if self.connections == 0 { 0 } else { (self.connections + 1) * 4096 / self.weight.max(1) };
        (load, self.put_back)
    }
}

impl Order {
    fn change(&mut self, token: u64, change: impl FnOnce(&mut u64)) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(server) = self.servers.get_mut(&token) {
            change(&mut server.connections);
            server.put_back = clock;
        }
    }
}

impl Policy for LeastConn {
    fn pick(&self, view: &dyn View, _: &mut dyn Caller) -> Option<usize> {
        let order = self.order.lock().ok()?;
        let open = order.servers.iter().filter_map(|(token, server)| {
            let position = *self.positions.get(token)?;
            view.is_open(position).then_some((server.key(), position))
        });
        open.min().map(|(_, position)| position)
    }

    fn wants(&self) -> Wants {
        Wants::EVENTS
    }

    fn on_event(&self, event: Event) {
        let Ok(mut order) = self.order.lock() else { return };
        match event {
            Event::Picked(token) => order.change(token, |connections| *connections += 1),
            Event::Released(token) => {
                order.change(token, |connections| *connections = connections.saturating_sub(1));
            }
            _ => {}
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let mut order = self.order.lock().map_err(|_| InvalidPolicy::Custom("a thread panicked".into()))?;
        let mut positions = BTreeMap::new();
        for (position, &weight) in members.weights().iter().enumerate() {
            let token = members.token(position);
            let fresh = Server { weight: 0, connections: 0, put_back: position as u64 };
            order.servers.entry(token).or_insert(fresh).weight = weight.into();
            positions.insert(token, position);
        }
        Ok(Some(Arc::new(Self { order: Arc::clone(&self.order), positions })))
    }
}

fn id(name: &str) -> EndpointId {
    name.parse().expect("a valid id")
}

fn endpoint(name: &str, weight: u32) -> Endpoint {
    let address = "10.0.0.1:80".parse().expect("an address");
    Endpoint::new(id(name), address).with_weight(Weight::new(weight))
}

fn cluster() -> Cluster<()> {
    let policy = PolicyConfig::custom(LeastConn::default());
    let cluster = Cluster::builder("test").policy(policy).seed(1).build().expect("valid settings");
    cluster.apply([endpoint("a", 1), endpoint("b", 2)]).expect("a valid set");
    cluster
}

struct Shared(Arc<dyn Policy>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Policy for Shared {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        self.0.pick(view, caller)
    }
}

#[test]
fn it_passes_the_laws() {
    laws::check("leastconn", laws::Shares::Other, &|members| {
        let built = LeastConn::default().rebuild(members).expect("nothing to refuse");
        Box::new(Shared(built.expect("it has tables")))
    });
}

#[test]
fn it_hears_picks_and_releases() {
    let cluster = cluster();
    let held: Vec<_> = (0..6).map(|_| cluster.pick(&Request::new()).unwrap()).collect();
    assert_eq!((cluster.in_flight(&id("a")), cluster.in_flight(&id("b"))), (Some(2), Some(4)));
    for pick in held {
        pick.finish(Outcome::success());
    }
    let first = cluster.pick(&Request::new()).unwrap();
    let second = cluster.pick(&Request::new()).unwrap();
    assert_ne!(first.endpoint().id(), second.endpoint().id(), "all counts are back at zero");
}

#[test]
fn its_counts_are_carried_over_updates() {
    let cluster = cluster();
    let held: Vec<_> = (0..6).map(|_| cluster.pick(&Request::new()).unwrap()).collect();
    cluster.upsert(endpoint("c", 1)).unwrap();
    for _ in 0..2 {
        let pick = cluster.pick(&Request::new()).unwrap();
        assert_eq!(pick.endpoint().id(), id("c"), "the only idle one");
    }
    cluster.remove(&id("a")).unwrap();
    drop(held);
    let ids: Vec<_> = (0..2).map(|_| cluster.pick(&Request::new()).unwrap()).collect();
    assert_ne!(ids[0].endpoint().id(), ids[1].endpoint().id());
}

/// Breaks the contract: whatever the mask says, it answers 7.
#[derive(Debug)]
struct Lawless;

impl Policy for Lawless {
    fn pick(&self, _: &dyn View, _: &mut dyn Caller) -> Option<usize> {
        Some(7)
    }
}

#[test]
fn a_policy_that_breaks_the_laws_fails_its_own_pick_not_the_request() {
    let cluster = cluster();
    cluster.set_policy(PolicyConfig::custom(Lawless)).unwrap();
    cluster.drain(&id("a")).unwrap();
    assert!((0..20).all(|_| cluster.pick(&Request::new()).unwrap().endpoint().id() == id("b")));
}

/// Refuses to serve more than two.
#[derive(Debug)]
struct Picky;

impl Policy for Picky {
    fn pick(&self, view: &dyn View, _: &mut dyn Caller) -> Option<usize> {
        view.mask().iter().find(|&position| view.admits(position))
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        match members.weights().len() {
            0..=2 => Ok(None),
            count => Err(InvalidPolicy::Custom(format!("at most 2 endpoints are allowed, not {count}"))),
        }
    }
}

#[test]
fn a_policy_that_refuses_a_set_leaves_the_old_one() {
    let cluster = cluster();
    cluster.set_policy(PolicyConfig::custom(Picky)).unwrap();
    let error = cluster.upsert(endpoint("c", 1)).unwrap_err();
    assert_eq!(error.to_string(), "policy: at most 2 endpoints are allowed, not 3");
    assert!(cluster.apply(["a", "b", "c"].map(|name| endpoint(name, 9))).is_err());
    assert_eq!(cluster.len(), 2);
    let weights: Vec<u32> = cluster.report().endpoints.iter().map(|endpoint| endpoint.weight.get()).collect();
    assert_eq!(weights, [1, 2], "a refused update changes nothing");
    assert!(cluster.drain(&id("c")).is_err());
}
