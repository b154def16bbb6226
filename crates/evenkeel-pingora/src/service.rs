//! What runs in the background: pingora's discovery and pingora's health checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use evenkeel::CheckState;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use pingora_load_balancing::Backend;
use pingora_load_balancing::health_check::HealthCheck;
use tokio::time::{Instant, sleep_until};

use crate::balancer::Balancer;

/// Results in a row that speak against what a backend is taken for, by its address.
pub(crate) type Tallies = BTreeMap<String, Tally>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    healthy: bool,
    against: usize,
}

impl Tally {
    /// Nothing known: taken for healthy, as pingora does.
    const NEW: Self = Self { healthy: true, against: 0 };

    /// Takes in a result. Returns whether the health flips: after `threshold` results against it in a row, at least one.
    fn observe(&mut self, healthy: bool, threshold: usize) -> bool {
        if healthy == self.healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        if self.against < threshold.max(1) {
            return false;
        }
        *self = Self { healthy, against: 0 };
        true
    }
}

impl Balancer {
    /// Checks every backend once. Does nothing without a health check.
    pub async fn run_health_check(&self) {
        let Some(check) = self.health_check() else { return };
        let backends: Vec<Backend> =
            self.cluster().endpoints().iter().map(|endpoint| endpoint.payload().clone()).collect();
        self.forget_all_but(&backends);
        let checks = backends.iter().map(|backend| self.check(check, backend));
        if self.parallel_health_check {
            all(checks.map(|check| Box::pin(check) as Checking<'_>).collect()).await;
        } else {
            for check in checks {
                check.await;
            }
        }
    }

    async fn check(&self, check: &(dyn HealthCheck + Send + Sync), backend: &Backend) {
        let healthy = check.check(backend).await.is_ok();
        let threshold = check.health_threshold(healthy);
        let (flips, taken_for_healthy) = {
            let mut tallies = self.tallies.lock();
            let tally = tallies.entry(backend.addr.to_string()).or_insert(Tally::NEW);
            (tally.observe(healthy, threshold), tally.healthy)
        };
        // Not only when it flips: a backend that left and came back is a new endpoint, of which no check has spoken.
        if let Some(handle) = self.handle(backend)
            && (handle.status().check() == CheckState::Down) == taken_for_healthy
        {
            handle.set_check(if taken_for_healthy { CheckState::Up } else { CheckState::Down });
        }
        if flips {
            check.health_status_change(backend, healthy).await;
        }
    }

    /// The old set stays when discovery fails. What is wrong is logged once, and not again in each round until it changes.
    async fn update_aloud(&self) {
        let before = self.last_update_error();
        match (self.update().await, before) {
            (Err(error), before) if before.as_deref() != Some(&*error.to_string()) => {
                log::warn!(target: "evenkeel", "{}: backends stay as they were: {error}", self.cluster().name());
            }
            (Ok(()), Some(_)) => {
                log::info!(target: "evenkeel", "{}: discovery answers again", self.cluster().name());
            }
            _ => {}
        }
    }

    fn forget_all_but(&self, backends: &[Backend]) {
        let known: BTreeSet<String> = backends.iter().map(|backend| backend.addr.to_string()).collect();
        self.tallies.lock().retain(|address, _| known.contains(address));
    }
}

type Checking<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Polls all until all are done, whenever one wakes.
async fn all(mut checks: Vec<Checking<'_>>) {
    std::future::poll_fn(|context| {
        checks.retain_mut(|check| check.as_mut().poll(context).is_pending());
        if checks.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Asks discovery and checks health until the server shuts down. An error of discovery keeps the old set, and the next round asks
/// again; it is logged (crate `log`, target `evenkeel`) and stands in [`Balancer::last_update_error`]. The service is also the one that lets the cluster's deadlines pass.
#[async_trait]
impl BackgroundService for Balancer {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let (mut next_update, mut next_check) = (Some(Instant::now()), Some(Instant::now()));
        loop {
            let now = Instant::now();
            if next_update.is_some_and(|at| at <= now) {
                self.update_aloud().await;
                next_update = after(self.update_frequency);
            }
            if next_check.is_some_and(|at| at <= now) {
                self.run_health_check().await;
                next_check = after(self.health_check_frequency);
            }
            self.cluster().tick();
            let next = [next_update, next_check].into_iter().flatten().min();
            let next = next.unwrap_or_else(|| Instant::now() + TICK).min(Instant::now() + TICK);
            tokio::select! {
                () = sleep_until(next) => {}
                _ = shutdown.changed() => {}
            }
            if *shutdown.borrow() {
                return;
            }
        }
    }
}

fn after(frequency: Option<Duration>) -> Option<Instant> {
    Instant::now().checked_add(frequency?)
}

/// How often the cluster's deadlines are looked at, where no pick does it.
const TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_flips_after_so_many_results_in_a_row() {
        let mut tally = Tally::NEW;
        let results =
            [(true, false), (false, false), (true, false), (false, false), (false, true), (false, false)];
        for (step, (healthy, flips)) in results.into_iter().enumerate() {
            assert_eq!(tally.observe(healthy, 2), flips, "{step}");
        }
        assert!(tally.observe(true, 1), "one is enough on the way back");
        assert!(tally.observe(false, 0), "a threshold of zero is one");
    }
}
