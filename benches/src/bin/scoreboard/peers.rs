//! The peers, called as their documentation says.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use evenkeel::{Cluster, PolicyConfig};
use evenkeel_benches::{KEYS, Weights, endpoint, is_usable};
use evenkeel_pingora::Balancer;
use failsafe::CircuitBreaker;
use pingora_load_balancing::discovery::{ServiceDiscovery, Static};
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent, Random, RoundRobin};
use pingora_load_balancing::{Backend, Backends, LoadBalancer};
use recloser::Recloser;
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Load, PeakEwma, PendingRequests};

use crate::cases::{Cases, repeat};
use crate::memory;
use crate::row::Row;

pub(crate) fn picks(cases: &mut Cases, n: usize, usable: f64) {
    pingora::<RoundRobin>(cases, "pick", "pingora/round_robin", n, usable, Weights::Equal);
    pingora::<Random>(cases, "pick", "pingora/random", n, usable, Weights::Equal);
    pingora::<RoundRobin>(cases, "weighted", "pingora/round_robin", n, usable, Weights::OneToTen);
    pingora::<Random>(cases, "weighted", "pingora/random", n, usable, Weights::OneToTen);
    pingora::<Consistent>(cases, "hash", "pingora/consistent", n, usable, Weights::Equal);
    if usable == 1.0 {
        adapter(cases, "pingora-adapter/round_robin", n, PolicyConfig::round_robin());
        adapter(cases, "pingora-adapter/random", n, PolicyConfig::random());
    }
    // tower's balancer knows no endpoint that is there and unusable.
    if usable == 1.0 {
        tower(cases, "tower/p2c-pending-requests", n, || {
            PendingRequests::new(Echo, CompleteOnResponse::default())
        });
        let default_rtt = Duration::from_millis(1);
        tower(cases, "tower/p2c-peak-ewma", n, || {
            PeakEwma::new(Echo, default_rtt, 1e10, CompleteOnResponse::default())
        });
    }
}

fn pingora<S>(cases: &mut Cases, area: &'static str, subject: &str, n: usize, usable: f64, weights: Weights)
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    if !cases.is_wanted(area, subject) {
        return;
    }
    let backends: BTreeSet<Backend> = (0..n).map(|position| backend(position, weights)).collect();
    let down = backends.iter().enumerate().filter(|(position, _)| !is_usable(*position, usable));
    let down: Vec<Backend> = down.map(|(_, backend)| backend.clone()).collect();
    let balancer = Arc::new(balancer::<S>(Static::new(backends)));
    for backend in &down {
        balancer.backends().set_enable(backend, false);
    }
    cases.add(area, subject, n, usable, || {
        let balancer = Arc::clone(&balancer);
        let mut turn = 0;
        repeat(move || {
            turn += 1;
            balancer.select(KEYS[turn % KEYS.len()], 256).is_some()
        })
    });
}

/// The same call as pingora's own, answered by the adapter.
fn adapter(cases: &mut Cases, subject: &str, n: usize, policy: PolicyConfig) {
    if !cases.is_wanted("pick", subject) {
        return;
    }
    let backends: BTreeSet<Backend> = (0..n).map(|position| backend(position, Weights::Equal)).collect();
    let cluster = Cluster::builder("adapter").policy(policy);
    let balancer = Balancer::with_discovery(Static::new(backends), cluster).expect("valid settings");
    at_once(balancer.update()).expect("a static list can be discovered");
    let balancer = Arc::new(balancer);
    cases.add("pick", subject, n, 1.0, || {
        let balancer = Arc::clone(&balancer);
        let mut turn = 0;
        repeat(move || {
            turn += 1;
            balancer.select(KEYS[turn % KEYS.len()], 256).is_some()
        })
    });
}

fn balancer<S>(discovery: Box<dyn ServiceDiscovery + Send + Sync>) -> LoadBalancer<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let balancer = LoadBalancer::from_backends(Backends::new(discovery));
    at_once(balancer.update()).expect("a static list can be discovered");
    balancer
}

fn backend(position: usize, weights: Weights) -> Backend {
    let address = endpoint(position, weights).address().to_string();
    Backend::new_with_weight(&address, weights.at(position) as usize).expect("an address")
}

/// Runs what never waits.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

/// A service that has answered already.
#[derive(Clone, Copy, Debug)]
struct Echo;

impl Service<()> for Echo {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

/// One balancer for each thread, and one for both in a mutex, since its methods want `&mut self`.
fn tower<S>(cases: &mut Cases, subject: &str, n: usize, make: impl Fn() -> S)
where
    S: Service<(), Response = (), Error = Infallible> + Load + Send + 'static,
    S::Metric: std::fmt::Debug,
    S::Future: Send,
{
    let balance =
        || Balance::<_, ()>::new(ServiceList::new::<()>((0..n).map(|_| make()).collect::<Vec<_>>()));
    cases.add("pick", subject, n, 1.0, || {
        let mut balance = balance();
        repeat(move || call(&mut balance))
    });
    let shared = Arc::new(Mutex::new(balance()));
    cases.add_pair("pick", &format!("{subject}-in-mutex"), n, || {
        let shared = Arc::clone(&shared);
        repeat(move || call(&mut *shared.lock().expect("no call panics")))
    });
}

fn call<B: Service<()>>(balance: &mut B) -> bool {
    let ready = balance.poll_ready(&mut Context::from_waker(Waker::noop()));
    ready.is_ready() && at_once(balance.call(())).is_ok()
}

pub(crate) fn breakers(cases: &mut Cases) {
    let hour = Duration::from_secs(3600);
    let reclosers = Arc::new(Recloser::custom().error_rate(0.5).closed_len(100).open_wait(hour).build());
    cases.add("breaker", "recloser/closed", 0, 1.0, || {
        let recloser = Arc::clone(&reclosers);
        repeat(move || recloser.call(|| Ok::<(), ()>(())).is_ok())
    });
    let open = Arc::new(Recloser::custom().error_rate(0.1).closed_len(2).open_wait(hour).build());
    while matches!(open.call(|| Err::<(), ()>(())), Err(recloser::Error::Inner(()))) {}
    cases.add("breaker", "recloser/rejected", 0, 1.0, || {
        let recloser = Arc::clone(&open);
        repeat(move || recloser.call(|| Ok::<(), ()>(())).is_err())
    });

    let in_a_row = |failures| {
        let policy =
            failsafe::failure_policy::consecutive_failures(failures, failsafe::backoff::constant(hour));
        failsafe::Config::new().failure_policy(policy).build()
    };
    let closed = in_a_row(5);
    cases.add("breaker", "failsafe/consecutive", 0, 1.0, || {
        let breaker = closed.clone();
        repeat(move || breaker.call(|| Ok::<(), ()>(())).is_ok())
    });
    let default = failsafe::Config::new().build();
    cases.add("breaker", "failsafe/default", 0, 1.0, || {
        let breaker = default.clone();
        repeat(move || breaker.call(|| Ok::<(), ()>(())).is_ok())
    });
    let open = in_a_row(1);
    let _ = open.call(|| Err::<(), ()>(()));
    cases.add("breaker", "failsafe/rejected", 0, 1.0, || {
        let breaker = open.clone();
        repeat(move || breaker.call(|| Ok::<(), ()>(())).is_err())
    });
}

/// Discovers backends one of which is another each time.
struct OneMoves {
    before: BTreeSet<Backend>,
    after: BTreeSet<Backend>,
    turn: AtomicUsize,
}

#[async_trait]
impl ServiceDiscovery for OneMoves {
    async fn discover(&self) -> pingora_error::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let backends = if turn.is_multiple_of(2) { &self.before } else { &self.after };
        Ok((backends.clone(), HashMap::new()))
    }
}

pub(crate) fn updates(cases: &mut Cases, n: usize) {
    update::<RoundRobin>(cases, "pingora/round_robin:update", n);
    update::<Consistent>(cases, "pingora/consistent:update", n);
}

fn update<S>(cases: &mut Cases, subject: &str, n: usize)
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    if !cases.is_wanted("update", subject) {
        return;
    }
    let before: BTreeSet<Backend> = (0..n).map(|position| backend(position, Weights::Equal)).collect();
    let after = (1..=n).map(|position| backend(position, Weights::Equal)).collect();
    let balancer = balancer::<S>(Box::new(OneMoves { before, after, turn: AtomicUsize::new(0) }));
    cases.add_single("update", subject, n, 1, repeat(move || at_once(balancer.update()).is_ok()));
}

pub(crate) fn memory(n: usize) -> Vec<Row> {
    let mut built = None;
    let bytes = memory::live_bytes(|| {
        let backends = (0..n).map(|position| backend(position, Weights::Equal)).collect();
        built = Some(balancer::<RoundRobin>(Static::new(backends)));
    });
    drop(built);
    vec![memory::row("pingora/round_robin", n, bytes / n as f64)]
}
