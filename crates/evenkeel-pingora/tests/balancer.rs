//! The drop-in, and policies and registries in pingora's own balancer.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "a helper of tests fails the test")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use evenkeel::{AdminState, CatalogConfig, Cluster, Endpoint, PolicyConfig, Registry, Timestamp, Weight};
use evenkeel_pingora::{BackendError, Balancer, Policy, RegistryDiscovery};
use pingora_core::services::background::BackgroundService;
use pingora_error::Result;
use pingora_load_balancing::discovery::{ServiceDiscovery, Static};
use pingora_load_balancing::health_check::HealthCheck;
use pingora_load_balancing::{Backend, Backends, LoadBalancer};

fn backends(of: &[(&str, usize)]) -> BTreeSet<Backend> {
    of.iter().map(|(address, weight)| Backend::new_with_weight(address, *weight).unwrap()).collect()
}

fn shares(select: impl Fn() -> Option<Backend>) -> BTreeMap<String, usize> {
    (0..600).fold(BTreeMap::new(), |mut shares, _| {
        *shares.entry(select().unwrap().addr.to_string()).or_default() += 1;
        shares
    })
}

#[test]
fn it_selects_as_the_policy_says() {
    let balancer =
        Balancer::try_from_iter(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"], PolicyConfig::round_robin())
            .unwrap();
    let of = shares(|| balancer.select(b"", 256));
    assert_eq!(of.into_values().collect::<Vec<_>>(), [200, 200, 200]);

    let maglev =
        Balancer::try_from_iter(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"], PolicyConfig::maglev())
            .unwrap();
    let first = maglev.select(b"user-42", 256).unwrap();
    assert!((0..100).all(|_| maglev.select(b"user-42", 256).unwrap() == first));
    let other = maglev.select_with(b"user-42", 3, |backend, healthy| healthy && *backend != first).unwrap();
    assert_ne!(other, first);
    assert!(maglev.select_with(b"user-42", 9, |_, _| false).is_none());
}

#[test]
fn a_pick_counts_until_it_is_dropped() {
    let balancer =
        Balancer::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"], PolicyConfig::least_request()).unwrap();
    let first = balancer.pick(b"").unwrap();
    let second = balancer.pick(b"").unwrap();
    assert_ne!(first.payload().addr, second.payload().addr, "the busy one is not chosen");
    drop(first);
    let in_flight: usize =
        balancer.cluster().report().endpoints.iter().map(|endpoint| endpoint.in_flight).sum();
    assert_eq!(in_flight, 1);
}

#[test]
fn what_cannot_be_used_is_named_and_the_old_set_stays() {
    let moving = Arc::new(Moving::default());
    let balancer = Balancer::with_discovery(Box::new(Shared(moving.clone())), Cluster::builder("x")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    moving.set(&[("10.0.0.1:80", 1)], &[]);
    runtime.block_on(balancer.update()).unwrap();
    for (set, expected) in [
        (&[("10.0.0.1:80", 1), ("10.0.0.1:80", 2)][..], "listed twice"),
        (&[("10.0.0.1:80", 1 << 40)][..], "out of range"),
        (&[][..], "empty"),
    ] {
        moving.set(set, &[]);
        let error = runtime.block_on(balancer.update()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(balancer.select(b"", 1).unwrap().addr.to_string(), "10.0.0.1:80");
    }
    let refused = Balancer::try_from_iter(["no port"], PolicyConfig::round_robin());
    assert!(matches!(refused, Err(BackendError::Resolve(_))), "{refused:?}");
}

#[test]
fn discovery_disables_and_weight_zero_drains() {
    let moving = Arc::new(Moving::default());
    let builder = Cluster::builder("x").policy(PolicyConfig::round_robin());
    let balancer = Balancer::with_discovery(Box::new(Shared(moving.clone())), builder).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let all = [("10.0.0.1:80", 1), ("10.0.0.2:80", 0), ("10.0.0.3:80", 1)];
    moving.set(&all, &["10.0.0.3:80"]);
    runtime.block_on(balancer.update()).unwrap();
    assert_eq!(shares(|| balancer.select(b"", 1)).into_keys().collect::<Vec<_>>(), ["10.0.0.1:80"]);
    balancer.cluster().endpoint(&"10.0.0.1:80".parse().unwrap()).unwrap().set_admin(AdminState::Maintenance);
    moving.set(&all, &[]);
    runtime.block_on(balancer.update()).unwrap();
    let of = shares(|| balancer.select(b"", 1));
    assert_eq!(
        of.into_keys().collect::<Vec<_>>(),
        ["10.0.0.3:80"],
        "discovery does not end the operator's word"
    );
}

#[test]
fn health_checks_of_pingora_turn_endpoints() {
    let down = Arc::new(AtomicBool::new(true));
    for parallel in [false, true] {
        let mut balancer =
            Balancer::try_from_iter(["10.0.0.1:80", "10.0.0.2:80"], PolicyConfig::round_robin()).unwrap();
        balancer.set_health_check(Box::new(FirstIsDown(down.clone())));
        balancer.parallel_health_check = parallel;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let usable = |balancer: &Balancer| shares(|| balancer.select(b"", 1)).len();
        down.store(true, Ordering::Relaxed);
        runtime.block_on(balancer.run_health_check());
        assert_eq!(usable(&balancer), 2, "one failure is not enough");
        runtime.block_on(balancer.run_health_check());
        assert_eq!(usable(&balancer), 1);
        down.store(false, Ordering::Relaxed);
        runtime.block_on(balancer.run_health_check());
        assert_eq!(usable(&balancer), 2, "one success is");
    }
}

#[test]
fn a_backend_that_comes_back_while_it_fails_its_checks_stays_out() {
    let moving = Arc::new(Moving::default());
    let builder = Cluster::builder("x").policy(PolicyConfig::round_robin());
    let mut balancer = Balancer::with_discovery(Box::new(Shared(moving.clone())), builder).unwrap();
    balancer.set_health_check(Box::new(FirstIsDown(Arc::new(AtomicBool::new(true)))));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let both = [("10.0.0.1:80", 1), ("10.0.0.2:80", 1)];
    moving.set(&both, &[]);
    runtime.block_on(balancer.update()).unwrap();
    runtime.block_on(balancer.run_health_check());
    runtime.block_on(balancer.run_health_check());
    assert_eq!(balancer.cluster().usable(), 1);
    // It leaves and comes back between two rounds of checks.
    for set in [&both[1..], &both[..]] {
        moving.set(set, &[]);
        runtime.block_on(balancer.update()).unwrap();
    }
    runtime.block_on(balancer.run_health_check());
    assert_eq!(balancer.cluster().usable(), 1, "it is checked and still down");
}

#[test]
fn what_went_wrong_with_the_last_update_can_be_read() {
    let moving = Arc::new(Moving::default());
    let balancer = Balancer::with_discovery(Box::new(Shared(moving.clone())), Cluster::builder("x")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    assert_eq!(balancer.last_update_error(), None);
    // The service meets the error, and nobody has called `update`.
    let (stop, shutdown) = tokio::sync::watch::channel(true);
    drop(stop);
    runtime.block_on(BackgroundService::start(&balancer, shutdown));
    let error = balancer.last_update_error().unwrap();
    assert!(error.contains("empty"), "{error}");
    moving.set(&[("10.0.0.1:80", 1)], &[]);
    runtime.block_on(balancer.update()).unwrap();
    assert_eq!(balancer.last_update_error(), None);
}

#[test]
fn pingoras_own_balancer_with_a_policy_of_ours() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let of = |config: PolicyConfig| {
        let discovery = Static::new(backends(&[("10.0.0.1:80", 1), ("10.0.0.2:80", 2), ("10.0.0.3:80", 3)]));
        let balancer =
            LoadBalancer::<Policy>::from_backends_with_config(Backends::new(discovery), Some(config));
        runtime.block_on(balancer.update()).unwrap();
        balancer
    };
    let balancer = of(PolicyConfig::round_robin());
    let of_round_robin = shares(|| balancer.select(b"", 256));
    assert_eq!(of_round_robin.into_values().collect::<Vec<_>>(), [100, 200, 300]);
    let balancer = of(PolicyConfig::maglev());
    let first = balancer.select(b"user-42", 256).unwrap();
    assert!((0..100).all(|_| balancer.select(b"user-42", 256).unwrap() == first));
    let order: Vec<_> = {
        let order = Mutex::new(Vec::new());
        let nobody = balancer.select_with(b"user-42", 256, |backend, _| {
            order.lock().unwrap().push(backend.addr.to_string());
            false
        });
        assert!(nobody.is_none());
        order.into_inner().unwrap()
    };
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 3, "each once: {order:?}");
    assert_eq!(order[0], first.addr.to_string());
}

#[test]
fn a_registry_in_pingoras_own_balancer() {
    let registry = Registry::new(CatalogConfig::default()).unwrap();
    let service = "users".parse().unwrap();
    let discovery = RegistryDiscovery::new(registry.watch(&service));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(runtime.block_on(discovery.discover()).is_err(), "nothing known is not nobody");
    let endpoint = |id: &str, address: &str| Endpoint::new(id.parse().unwrap(), address.parse().unwrap());
    let register = |endpoint| registry.register(Timestamp::ORIGIN, &service, endpoint, None).unwrap();
    let _leases = [
        register(endpoint("a", "10.0.0.1:80").with_weight(Weight::new(2))),
        register(endpoint("b", "10.0.0.2:80").with_weight(Weight::new(0))),
        register(endpoint("c", "unix:/run/c.sock")),
    ];
    let (found, enabled) = runtime.block_on(discovery.discover()).unwrap();
    assert_eq!(
        found.iter().map(|backend| (backend.addr.to_string(), backend.weight)).collect::<Vec<_>>(),
        [("10.0.0.1:80".to_owned(), 2), ("10.0.0.2:80".to_owned(), 1),]
    );
    assert_eq!(found.first().unwrap().ext.get::<Endpoint>().unwrap().id().as_str(), "a");
    let balancer = LoadBalancer::<Policy>::from_backends(Backends::new(Box::new(discovery)));
    runtime.block_on(balancer.update()).unwrap();
    assert_eq!(shares(|| balancer.select(b"", 256)).into_keys().collect::<Vec<_>>(), ["10.0.0.1:80"]);
    assert_eq!(enabled.values().filter(|enabled| **enabled).count(), 1);
}

/// A discovery whose answer moves.
#[derive(Default)]
struct Moving(Mutex<(BTreeSet<Backend>, HashMap<u64, bool>)>);

struct Shared(Arc<Moving>);

impl Moving {
    fn set(&self, of: &[(&str, usize)], disabled: &[&str]) {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let backends = backends(of);
        let key = |backend: &Backend| {
            let mut hasher = DefaultHasher::new();
            backend.hash(&mut hasher);
            hasher.finish()
        };
        let is_disabled = |backend: &&Backend| disabled.contains(&&*backend.addr.to_string());
        let disabled = backends.iter().filter(is_disabled).map(|backend| (key(backend), false)).collect();
        *self.0.lock().unwrap() = (backends, disabled);
    }
}

#[async_trait]
impl ServiceDiscovery for Shared {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        Ok(self.0.0.lock().unwrap().clone())
    }
}

struct FirstIsDown(Arc<AtomicBool>);

#[async_trait]
impl HealthCheck for FirstIsDown {
    async fn check(&self, target: &Backend) -> Result<()> {
        tokio::task::yield_now().await;
        if self.0.load(Ordering::Relaxed) && target.addr.to_string() == "10.0.0.1:80" {
            return Err(pingora_error::Error::new(pingora_error::ErrorType::ConnectRefused));
        }
        Ok(())
    }
    fn health_threshold(&self, success: bool) -> usize {
        if success { 1 } else { 2 }
    }
}
