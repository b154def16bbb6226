//! One immutable view of a router: what a request reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_route::matching::HttpRules;
use evenkeel_route::retry::RetryPolicy;
use evenkeel_route::split::{HeaderEdits, Mirror};
use evenkeel_types::Timestamp;

use super::clusters::Clusters;
use super::config::RouterConfig;
use super::counters::Counters;
use super::hedge::RouteHedge;
use super::key::KeySource;
use super::rate_limit::RateLimit;
use super::sticky::Sticky;
use super::target::Target;
use super::unix::UnixClock;
use crate::clock::Clock;
use crate::lanes::Lanes;

/// What all tables of a router share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) unix: Box<dyn UnixClock>,
    pub(crate) lanes: Lanes,
    pub(crate) seed: u64,
}

impl Core {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn draw(&self) -> u64 {
        self.lanes.mine().draw()
    }
}

/// A configuration of a router, wherever it stands.
pub(crate) type Held = Arc<dyn AsRef<RouterConfig> + Send + Sync>;

pub(crate) struct Table<T> {
    pub(crate) generation: u64,
    pub(crate) core: Arc<Core>,
    /// Shared with whoever holds the configuration that this is a part of.
    pub(crate) config: Held,
    /// As in `config`, where requests read it.
    pub(crate) hash_seed: u64,
    /// As `config.key`, checked.
    pub(crate) key: Box<[KeySource]>,
    pub(crate) rules: Arc<HttpRules>,
    pub(crate) routes: Box<[Route]>,
    pub(crate) numbers: BTreeMap<Arc<str>, u32>,
    pub(crate) clusters: Clusters<T>,
}

#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) target: Target,
    pub(crate) limits: Box<[Arc<RateLimit>]>,
    pub(crate) key: Box<[KeySource]>,
    pub(crate) sticky: Option<Arc<Sticky>>,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) may_repeat_endpoint: bool,
    pub(crate) hedge: Option<Arc<RouteHedge>>,
    pub(crate) mirror: Option<MirrorTo>,
    pub(crate) edits: HeaderEdits,
    pub(crate) timeout: Option<Duration>,
    pub(crate) counters: Arc<Counters>,
}

#[derive(Debug)]
pub(crate) struct MirrorTo {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) cluster: u32,
    pub(crate) host_suffix: Box<str>,
}

impl<T> Table<T> {
    pub(crate) fn config(&self) -> &RouterConfig {
        (*self.config).as_ref()
    }

    pub(crate) fn route(&self, number: u32) -> &Route {
        &self.routes[number as usize]
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Route> {
        self.numbers.get(name).map(|&number| self.route(number))
    }
}

impl<T> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("generation", &self.generation).finish_non_exhaustive()
    }
}
