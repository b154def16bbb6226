use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel::router::{Router, StreamRouter};
use evenkeel::{Cluster, Following};
use evenkeel_registry::Registry;
use parking_lot::Mutex;

use super::Hooks;
use super::checks::Checks;
use super::sources::Store;
use super::streams::Streams;
use crate::document::Document;
use crate::loaded::Loaded;
use crate::model::Config;

pub(crate) struct Inner<T> {
    pub(crate) hooks: Hooks<T>,
    pub(crate) http: Router<T>,
    pub(crate) stream: StreamRouter<T>,
    pub(crate) state: ArcSwap<State<T>>,
    /// Only one reload at a time.
    pub(crate) parts: Mutex<BTreeMap<String, Part<T>>>,
    pub(crate) checks: Checks,
    pub(crate) streams: Streams,
    pub(crate) reloads: AtomicU64,
    left: Mutex<Vec<Left>>,
}

/// What a reload leaves behind: thousands of routes and the text that they were read from. Freeing them takes as long as comparing
/// them did, so the thread that ticks does it, and nobody who reloads waits for it.
struct Left {
    _configs: [Option<Arc<Config>>; 2],
    _document: Option<Arc<Document>>,
}

/// What everybody reads.
pub(crate) struct State<T> {
    pub(crate) config: Arc<Config>,
    pub(crate) clusters: BTreeMap<String, Cluster<T>>,
    pub(crate) registries: BTreeMap<String, Registry>,
}

/// What a reload needs of a cluster besides.
pub(crate) struct Part<T> {
    pub(crate) cluster: Cluster<T>,
    /// Dropped before the sources, whose end is news that must not reach the cluster any more.
    pub(crate) following: Option<Following<T>>,
    pub(crate) store: Option<Store>,
}

impl<T> Inner<T> {
    pub(crate) fn new(hooks: Hooks<T>, http: Router<T>, stream: StreamRouter<T>, state: State<T>) -> Self {
        Self {
            hooks,
            http,
            stream,
            state: ArcSwap::from_pointee(state),
            parts: Mutex::default(),
            checks: Checks::default(),
            streams: Streams::default(),
            reloads: AtomicU64::new(0),
            left: Mutex::default(),
        }
    }

    /// Keeps what is not needed any more until the next tick.
    pub(crate) fn leave(&self, replaced: Option<Arc<Config>>, loaded: Loaded) {
        let Loaded { config, document } = loaded;
        self.left.lock().push(Left { _configs: [replaced, Some(config)], _document: document });
    }

    /// Frees what reloads left behind.
    fn free(&self) {
        let left = std::mem::take(&mut *self.left.lock());
        drop(left);
        self.http.free_replaced();
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    /// Lets deadlines pass everywhere; says how long nothing is due.
    pub(crate) fn tick(self: &Arc<Self>) -> Duration {
        let state = self.state.load_full();
        let now = self.hooks.now();
        let mut wait = state.config.tick;
        for cluster in state.clusters.values() {
            if let Some(next) = cluster.tick() {
                wait = wait.min(next.saturating_since(now));
            }
        }
        for registry in state.registries.values() {
            if registry.next_deadline().is_some_and(|at| now >= at) {
                let _ = registry.tick(now);
            }
            if let Some(next) = registry.next_deadline() {
                wait = wait.min(next.saturating_since(now));
            }
        }
        self.checks.follow(self);
        self.free();
        wait
    }

    pub(crate) fn count_reload(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }
}
