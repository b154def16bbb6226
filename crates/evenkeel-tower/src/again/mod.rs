mod attempt;
mod copies;
mod hedge;
mod retry;
mod timer;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel::{Pick, PickError, Timestamp};
use evenkeel_route::retry::{Hedge, HedgeConfig, HedgeError, RetryConfig, RetryError, RetryPolicy};
use evenkeel_types::SplitMix64;
use tower_service::Service;

pub use copies::{Cloned, Copies, CopyBy};
pub use timer::Timer;
#[cfg(feature = "tokio")]
pub use timer::TokioTimer;

use crate::balance::{Balance, How};
use crate::error::{BalanceError, BoxError};
use crate::key::Keys;
use crate::track::Track;
use crate::via::Via;

/// A balanced service that sends requests again: after failures ([`Balance::retrying`]) or before an answer
/// ([`Balance::hedging`]), each time to another endpoint.
///
/// When, how often and after what wait is up to the plans of `evenkeel-route`; how much of it there may be in all, to the budget
/// of the cluster ([`ClusterBuilder::budget`](evenkeel::ClusterBuilder::budget)), without which nothing bounds it but
/// `attempts`. One of the two and not both, as in gRPC: hedges of retries multiply.
///
/// ```
/// # use std::time::Duration;
/// use evenkeel::{Cluster, LedgerConfig};
/// use evenkeel_route::retry::RetryConfig;
/// use evenkeel_tower::{Balance, Cloned};
/// # #[derive(Clone)] struct Client;
///
/// let cluster = Cluster::<Client>::builder("users").budget(LedgerConfig::default()).build()?;
/// let timer = |wait: Duration| async move { my_runtime::sleep(wait).await };
/// let client = Balance::new(cluster).retrying(&RetryConfig::default(), Cloned, timer)?;
/// # let _ = client.deadline(Duration::from_secs(2));
/// # mod my_runtime { pub async fn sleep(_: std::time::Duration) {} }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Again<T, V, K, J, C, W> {
    balance: Balance<T, V, K, J>,
    plan: Arc<Plan>,
    copies: C,
    timer: W,
    deadline: Option<Duration>,
    patience: Duration,
    same_again: bool,
    draws: Arc<AtomicU64>,
}

enum Plan {
    Retry(RetryPolicy),
    Hedge((HedgeConfig, Duration)),
}

impl<T, V, K, J> Balance<T, V, K, J> {
    /// Sends failed requests again.
    ///
    /// # Errors
    ///
    /// [`RetryError`] if a setting makes no sense.
    pub fn retrying<C, W>(
        self,
        config: &RetryConfig,
        copies: C,
        timer: W,
    ) -> Result<Again<T, V, K, J, C, W>, RetryError> {
        Ok(Again::new(self, Plan::Retry(RetryPolicy::new(config)?), copies, timer))
    }

    /// Sends requests a second time that have no answer after `delay`: a quantile of what such requests take, say that of 95 %.
    ///
    /// # Errors
    ///
    /// [`HedgeError`] if a setting makes no sense.
    pub fn hedging<C, W>(
        self,
        config: &HedgeConfig,
        delay: Duration,
        copies: C,
        timer: W,
    ) -> Result<Again<T, V, K, J, C, W>, HedgeError> {
        Hedge::new(config, delay, Timestamp::ORIGIN)?;
        Ok(Again::new(self, Plan::Hedge((config.clone(), delay)), copies, timer))
    }
}

impl<T, V, K, J, C, W> Again<T, V, K, J, C, W> {
    fn new(balance: Balance<T, V, K, J>, plan: Plan, copies: C, timer: W) -> Self {
        Self {
            balance,
            plan: Arc::new(plan),
            copies,
            timer,
            deadline: None,
            patience: Duration::ZERO,
            same_again: false,
            draws: Arc::default(),
        }
    }

    /// How long a request may take in all, until the head of its answer. Default: for ever.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How long a request waits, before its first attempt, while nobody can take it: until discovery has answered, an endpoint
    /// is back, or a limit lets it in. Default: not at all. What a cluster cannot take is told to whoever calls, and a queue in
    /// front of what is full only makes all of them late. A request that waits is one request to the budget for retries, however
    /// often it looks.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Lets a retry go where it was before, if nobody else is usable. Default: each attempt goes elsewhere or nowhere. For
    /// clusters of one.
    #[must_use]
    pub fn same_again(mut self) -> Self {
        self.same_again = true;
        self
    }

    /// The seed of the jitter in waits. Default 0: give each process another one.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.draws = Arc::new(AtomicU64::new(seed));
        self
    }

    /// The balanced service.
    pub const fn balance(&self) -> &Balance<T, V, K, J> {
        &self.balance
    }

    fn draw(&self) -> u64 {
        SplitMix64::mix(self.draws.fetch_add(SplitMix64::STEP, Ordering::Relaxed))
    }

    /// A place for the first attempt, for which a request may wait. The request comes and goes by value, since many cannot be
    /// shared between threads while they wait.
    async fn first<Req>(&self, request: Req, until: Timestamp) -> Result<(Pick<T>, Req), PickError>
    where
        K: Keys<Req>,
        W: Timer,
    {
        let begun = self.balance.cluster().now();
        let until = until.min(begun.saturating_add(self.patience));
        let (mut wait, mut how) = (FIRST_LOOK, How::First);
        loop {
            let error = match self.balance.pick(&request, how) {
                Ok(pick) => return Ok((pick, request)),
                Err(error) => error,
            };
            let now = self.balance.cluster().now();
            if now >= until {
                return Err(error);
            }
            let sooner = error.retry_at().map(|at| at.saturating_since(now));
            let told = sooner.into_iter().chain(error.free_in()).min().unwrap_or(wait);
            let pause = told.clamp(FIRST_LOOK, wait).min(until.saturating_since(now));
            self.timer.sleep(pause).await;
            how = How::Waiting;
            wait = wait.saturating_mul(2).min(LAST_LOOK);
        }
    }
}

impl<T, V, K, J, C, W, Req, S> Service<Req> for Again<T, V, K, J, C, W>
where
    T: Send + Sync + 'static,
    V: Via<T, Req, Service = S> + Clone + Send + Sync + 'static,
    S: Service<Req> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    S::Response: Send + 'static,
    K: Keys<Req> + Clone + Send + Sync + 'static,
    J: Track<T, S::Response> + Clone + Send + Sync + 'static,
    J::Response: 'static,
    C: Copies<Req> + Clone + Send + Sync + 'static,
    W: Timer + Clone + Send + Sync + 'static,
    Req: Send + 'static,
{
    type Response = J::Response;
    type Error = BalanceError;
    type Future = Pin<Box<dyn Future<Output = Result<J::Response, BalanceError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BalanceError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            match &*this.plan {
                Plan::Retry(policy) => this.retry(policy, request).await,
                Plan::Hedge(hedge) => this.hedge(hedge, request).await,
            }
        })
    }
}

impl<T, V: Clone, K: Clone, J: Clone, C: Clone, W: Clone> Clone for Again<T, V, K, J, C, W> {
    fn clone(&self) -> Self {
        Self {
            balance: self.balance.clone(),
            plan: Arc::clone(&self.plan),
            copies: self.copies.clone(),
            timer: self.timer.clone(),
            deadline: self.deadline,
            patience: self.patience,
            same_again: self.same_again,
            draws: Arc::clone(&self.draws),
        }
    }
}

impl<T, V, K, J, C, W> fmt::Debug for Again<T, V, K, J, C, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Again").field("balance", &self.balance).finish_non_exhaustive()
    }
}

/// Looks come at growing distances, so that a crowd of waiting requests does not spend its time looking.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(250);
