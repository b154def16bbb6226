//! What a configuration describes, built and running.

mod apply;
mod checks;
mod diff;
mod evidence;
mod inner;
mod plan;
mod report;
mod sources;
mod streams;
mod ticker;
mod word;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use evenkeel::router::{Router, StreamRouter};
use evenkeel::{Clock, Cluster, MonotonicClock, Observer};
use evenkeel_types::Endpoint;

use crate::check::{Faults, check_parts, http_error, stream_error};
use crate::error::{ConfigError, ConfigErrors, Problem};
use crate::loaded::Loaded;

pub use diff::{Diff, Difference};
use inner::{Inner, State};
pub use report::{RunningReport, SourceReport};
pub(crate) use sources::STATIC;
use ticker::Ticker;

/// What a configuration describes: clusters whose deadlines pass, sources that are followed, checks that are made, and
/// routers over them.
///
/// It has one thread of its own, one of the prober if there are checks, and one or two for each source. All end when it is
/// dropped; clusters and routers that were handed out go on with what they know. `T` is your own part of an endpoint.
///
/// ```
/// use evenkeel::route::matching::Request;
/// use evenkeel::router::Scratch;
/// use evenkeel_config::{Loaded, Running, Syntax};
///
/// let loaded = Loaded::parse(r#"
///     [[http.routes]]
///     name = "everything"
///     action = { cluster = "users" }
///     [[clusters]]
///     name = "users"
///     endpoints = [{ id = "users-1", address = "10.0.0.1:8080" }]
/// "#, Syntax::Toml)?;
/// let running = Running::<()>::start(loaded)?;
///
/// let mut scratch = Scratch::default();
/// let request = Request::new("GET", "example.com", "/users/42");
/// let routed = running.router().route(&request.into(), &mut scratch)?;
/// assert!(routed.into_exchange().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Running<T> {
    inner: Arc<Inner<T>>,
    _ticker: Ticker,
}

/// What no file can hold: how payloads are made, and who hears what changes.
pub(crate) struct Hooks<T> {
    pub(crate) make: Arc<dyn Fn(&Endpoint) -> T + Send + Sync>,
    pub(crate) observer: Option<Arc<MakeObserver>>,
    pub(crate) clock: MonotonicClock,
}

type MakeObserver = dyn Fn(&str) -> Box<dyn Observer> + Send + Sync;

impl<T: Default + Send + Sync + 'static> Running<T> {
    /// Checks, builds and starts everything.
    ///
    /// # Errors
    ///
    /// All that is wrong, with places. Nothing is left running then.
    pub fn start(loaded: impl Into<Loaded>) -> Result<Self, ConfigErrors> {
        Self::start_with(loaded, |_| T::default())
    }
}

impl<T: Send + Sync + 'static> Running<T> {
    /// As [`start`](Self::start). `make` makes the payload of each new incarnation of an endpoint, once, outside all locks, and on
    /// the thread of whoever brings it.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn start_with(
        loaded: impl Into<Loaded>,
        make: impl Fn(&Endpoint) -> T + Send + Sync + 'static,
    ) -> Result<Self, ConfigErrors> {
        Self::begin(loaded.into(), Arc::new(make), None)
    }

    /// As [`start_with`](Self::start_with). `observer` makes for each cluster, by its name, the one who hears what changes
    /// there.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_observed(
        loaded: impl Into<Loaded>,
        make: impl Fn(&Endpoint) -> T + Send + Sync + 'static,
        observer: impl Fn(&str) -> Box<dyn Observer> + Send + Sync + 'static,
    ) -> Result<Self, ConfigErrors> {
        Self::begin(loaded.into(), Arc::new(make), Some(Arc::new(observer)))
    }

    fn begin(
        loaded: Loaded,
        make: Arc<dyn Fn(&Endpoint) -> T + Send + Sync>,
        observer: Option<Arc<MakeObserver>>,
    ) -> Result<Self, ConfigErrors> {
        let hooks = Hooks { make, observer, clock: MonotonicClock::new() };
        let mut faults = Faults::new(&loaded);
        check_parts(&loaded, &mut faults);
        faults.end()?;
        let mut faults = Faults::new(&loaded);
        let (clock, clusters) = (hooks.clock, BTreeMap::<String, Cluster<T>>::new());
        let http = Router::<T>::builder().clock(clock).build(Default::default(), []);
        let stream = StreamRouter::<T>::new(&Default::default(), []);
        let (http, stream) = match (http, stream) {
            (Ok(http), Ok(stream)) => (http, stream),
            (http, stream) => {
                http.err().into_iter().for_each(|error| http_error(&error, &mut faults));
                stream.err().into_iter().for_each(|error| stream_error(&error, &mut faults));
                return Err(faults.end().err().unwrap_or_else(|| thread_error("routers")));
            }
        };
        let state = State { config: Arc::default(), clusters, registries: BTreeMap::new() };
        let inner = Arc::new(Inner::new(hooks, http, stream, state));
        inner.apply(loaded, true)?;
        let ticker = Ticker::start(&inner).map_err(thread_error)?;
        Ok(Self { inner, _ticker: ticker })
    }

    /// Goes over to another configuration.
    ///
    /// Everything is checked and built aside first; then clusters that stay take over policy, subset and endpoints, each by one
    /// swap; then the routers swap their tables. Requests that are under way end with what they began with, and no pick
    /// waits. What is left behind is freed by the thread that ticks, a moment later. A cluster whose settings did not change keeps everything; the README says what else survives.
    ///
    /// # Errors
    ///
    /// All that is wrong, with places, and everything is as it was.
    pub fn apply(&self, loaded: impl Into<Loaded>) -> Result<Diff, ConfigErrors> {
        self.inner.apply(loaded.into(), false)
    }

    /// The router of requests. The same one over all reloads.
    #[must_use]
    pub fn router(&self) -> &Router<T> {
        &self.inner.http
    }

    /// The router of connections. The same one over all reloads.
    #[must_use]
    pub fn stream_router(&self) -> &StreamRouter<T> {
        &self.inner.stream
    }

    /// The cluster of this name. Ask again after a reload: it may be another one.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<Cluster<T>> {
        self.inner.state.load().clusters.get(name).cloned()
    }

    /// All clusters, by name.
    #[must_use]
    pub fn clusters(&self) -> Vec<Cluster<T>> {
        self.inner.state.load().clusters.values().cloned().collect()
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn config(&self) -> Arc<crate::Config> {
        Arc::clone(&self.inner.state.load().config)
    }

    /// Whether this is the configuration that is in force.
    pub(crate) fn is_of(&self, config: &crate::Config) -> bool {
        apply::is_same(&self.config(), config)
    }

    /// Everything at one moment. O(endpoints).
    #[must_use]
    pub fn report(&self) -> RunningReport {
        RunningReport::of(&self.inner)
    }

    /// Lets deadlines pass and brings checks in line with endpoints, as its thread does: for tests that do not wait.
    pub fn tick(&self) {
        let _ = self.inner.tick();
    }
}

impl<T> fmt::Debug for Running<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.inner.state.load().clusters.keys().cloned().collect();
        f.debug_struct("Running").field("clusters", &names).finish_non_exhaustive()
    }
}

pub(crate) fn thread_error(error: impl fmt::Display) -> ConfigErrors {
    ConfigError::new(Problem::Invalid(format!("cannot be started: {error}"))).into()
}

impl<T> Hooks<T> {
    pub(crate) fn now(&self) -> evenkeel_types::Timestamp {
        self.clock.now()
    }
}
