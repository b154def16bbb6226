use std::sync::Arc;

use super::config::RouterConfig;
use super::error::RouterError;
use super::router::Router;
use super::table::Core;
use super::unix::{SystemUnixClock, UnixClock};
use crate::builder::seed_of_the_process;
use crate::clock::{Clock, MonotonicClock};
use crate::cluster::Cluster;
use crate::lanes::Lanes;

/// The clocks and the seed of a router that is about to be built: what no file can hold.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct RouterBuilder {
    clock: Option<Arc<dyn Clock>>,
    unix: Option<Box<dyn UnixClock>>,
    seed: Option<u64>,
}

impl RouterBuilder {
    /// Where the time comes from: rate limits, time limits, ramps. Default: the operating system's monotonic clock.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Where the time of day comes from, by which cookies expire. Default: the operating system's.
    pub fn unix_clock(mut self, clock: impl UnixClock + 'static) -> Self {
        self.unix = Some(Box::new(clock));
        self
    }

    /// The seed of all draws, and of the hash of rate-limited keys: the same seed, inputs and thread order give the same
    /// decisions. Default: another one in each process.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The router.
    ///
    /// # Errors
    ///
    /// [`RouterError`] names the setting.
    pub fn build<T>(
        self,
        config: RouterConfig,
        clusters: impl IntoIterator<Item = Cluster<T>>,
    ) -> Result<Router<T>, RouterError> {
        let seed = self.seed.unwrap_or_else(seed_of_the_process);
        let core = Core {
            clock: self.clock.unwrap_or_else(|| Arc::new(MonotonicClock::new())),
            unix: self.unix.unwrap_or_else(|| Box::new(SystemUnixClock)),
            lanes: Lanes::new(seed),
            seed,
        };
        Router::with_core(core, config, clusters)
    }
}
