use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle, ThreadId};

use evenkeel_types::EndpointId;
use parking_lot::Mutex;
use tokio::runtime;

use crate::error::{ProbeConfigError, ProbeError};
use crate::evidence::Evidence;
use crate::lookup::Resolver;
use crate::probe::Prepared;
use crate::report::{ProberReport, TargetReport};
use crate::run::{self, Shared};
use crate::schedule::Schedule;
use crate::sink::Sink;
use crate::target::Target;

/// Settings of a prober.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ProberConfig {
    /// The most checks over a network at a time, 1 to 100 000; each takes a socket. Further ones wait in the order of
    /// their deadlines.
    ///
    /// Default 256: a quarter of the usual limit of 1024 descriptors. It allows `max_in_flight / timeout` checks a second
    /// even if every endpoint is a black hole: with the default timeout of 1 s and interval of 2 s, 512 such endpoints.
    pub max_in_flight: usize,
    /// The most commands at a time, 1 to 10 000, which do not count above. Default 8: each is a process or several.
    pub max_commands: usize,
    /// The most targets, 1 to 10 000 000. Default 100 000: more is rather a loop that adds without removing.
    pub max_targets: usize,
    /// The seed of start offsets and jitter. Default `None`: from the operating system, so that probers do not march in
    /// step.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub seed: Option<u64>,
}

impl Default for ProberConfig {
    fn default() -> Self {
        Self { max_in_flight: 256, max_commands: 8, max_targets: 100_000, seed: None }
    }
}

impl ProberConfig {
    /// Whether the settings can stand; [`Prober::start`] asks.
    ///
    /// # Errors
    ///
    /// [`ProbeConfigError`] with the field.
    pub fn validate(&self) -> Result<(), ProbeConfigError> {
        let limits = [
            ("max_in_flight", self.max_in_flight, 100_000, "allowed are 1 to 100000"),
            ("max_commands", self.max_commands, 10_000, "allowed are 1 to 10000"),
            ("max_targets", self.max_targets, 10_000_000, "allowed are 1 to 10000000"),
        ];
        match limits.into_iter().find(|&(_, value, most, _)| value == 0 || value > most) {
            Some((field, value, _, allowed)) => Err(ProbeConfigError::setting(field, value, allowed)),
            None => Ok(()),
        }
    }
}

/// Checks targets, on one thread of its own, until it is stopped or dropped.
///
/// All calls are short and may come from any thread, from a sink too. Besides its thread it has at most eight more for
/// moments: four in which the system's resolver is asked for the addresses of endpoints that are names, and four that start
/// commands.
///
/// Each target has at most one check running. Its schedule and its verdict are those of
/// [`ActiveCheck`](evenkeel_health::ActiveCheck): the first check comes at a drawn offset within the first interval,
/// every wait strays by the jitter, and a turn that comes while the check before still runs is left out and counted.
pub struct Prober {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    id: ThreadId,
}

impl Prober {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Config`] if a limit is out of range, [`ProbeError::Start`] if the operating system gives no thread.
    #[expect(clippy::needless_pass_by_value, reason = "settings are handed over, as everywhere")]
    pub fn start(config: ProberConfig) -> Result<Self, ProbeError> {
        let ProberConfig { max_in_flight, max_commands, max_targets, seed } = config;
        config.validate()?;
        let failed = |error: std::io::Error| ProbeError::Start(error.to_string());
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(THREADS)
            .thread_name("evenkeel-probe-wait")
            .build()
            .map_err(failed)?;
        let seed = seed.unwrap_or_else(seed_of_the_process);
        let shared = Arc::new(Shared::new(Schedule::new(max_in_flight, max_commands, max_targets, seed)));
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("evenkeel-probe".to_owned());
        let thread = thread.spawn(move || run::run(runtime, &theirs)).map_err(failed)?;
        Ok(Self { shared, id: thread.thread().id(), thread: Mutex::new(Some(thread)) })
    }

    /// Begins to check a target. O(log n).
    ///
    /// # Errors
    ///
    /// [`ProbeError::Config`] if a setting is wrong, a certificate cannot be used, or a feature is off;
    /// [`ProbeError::Check`] if the schedule is; [`ProbeError::Duplicate`], [`ProbeError::Full`], [`ProbeError::Stopped`].
    pub fn add(&self, target: Target, sink: impl Sink + 'static) -> Result<(), ProbeError> {
        let prepared = Prepared::new(&target.probe, &target.address)?;
        self.edit(|schedule, now| schedule.add(target, prepared, Arc::new(sink), now))
    }

    /// Gives the target of that id other settings. Counts, advice and the sink stay. O(log n).
    ///
    /// If address or probe change, a running check is given up and a new one is due at once; the verdict stays until that
    /// has ended. If `check` changes, what was found stays too, and an endpoint without a result begins as the new `start` says
    /// ([`ActiveCheck::set_config`](evenkeel_health::ActiveCheck::set_config)). Certificates in files are read anew in any
    /// case.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add), and [`ProbeError::Unknown`]. Nothing has changed then.
    pub fn update(&self, target: Target) -> Result<(), ProbeError> {
        let prepared = Prepared::new(&target.probe, &target.address)?;
        self.edit(|schedule, now| schedule.update(target, prepared, now))
    }

    /// Ends the checks of a target and gives it back; `None` if there is none of that id. A running check is given up: its
    /// socket is closed, its process killed, within moments.
    pub fn remove(&self, id: &EndpointId) -> Option<Target> {
        let removed = self.shared.schedule.lock().remove(id);
        self.shared.wake();
        removed.map(|(target, _)| target)
    }

    /// Says that the cluster of these targets had a request, whichever endpoint it went to: for
    /// [`no_traffic_interval`](evenkeel_health::CheckConfig::no_traffic_interval). Targets that are not there are left out.
    ///
    /// Tell it now and then and not for every request: it takes the prober's lock, for O(log n) with each id. Once is enough
    /// for a check without [`no_traffic_after`](evenkeel_health::CheckConfig::no_traffic_after), else several times within
    /// that.
    pub fn traffic<'i>(&self, ids: impl IntoIterator<Item = &'i EndpointId>) {
        let now = self.shared.now();
        let mut ids = ids.into_iter().peekable();
        while ids.peek().is_some() {
            self.shared.schedule.lock().traffic(ids.by_ref().take(IDS_AT_A_TIME), now);
        }
        self.shared.wake();
    }

    /// Where the requests to a target are told, for [`observe`](evenkeel_health::CheckConfig::observe); `None` if there is
    /// no target of that id.
    #[must_use]
    pub fn evidence(&self, id: &EndpointId) -> Option<Evidence> {
        self.shared.schedule.lock().evidence(id, &self.shared.mailbox)
    }

    /// All targets, in the order of their ids. O(n).
    #[must_use]
    pub fn targets(&self) -> Vec<TargetReport> {
        self.shared.schedule.lock().targets(self.shared.now())
    }

    /// One target.
    #[must_use]
    pub fn target(&self, id: &EndpointId) -> Option<TargetReport> {
        self.shared.schedule.lock().target(id, self.shared.now())
    }

    /// The prober itself.
    #[must_use]
    pub fn report(&self) -> ProberReport {
        self.shared.schedule.lock().report(self.shared.sink_panics.load(Ordering::Relaxed))
    }

    /// Gives up all checks and joins the thread. Afterwards no sink is called, no socket is open and no child is left;
    /// a child that hangs in the kernel is waited for two seconds. Called by a sink, it does not wait for its own thread,
    /// which ends after that call. A second call does nothing.
    pub fn stop(&self) {
        // Removed targets drop their sinks, which is user code: outside the lock.
        let ended = {
            let mut schedule = self.shared.schedule.lock();
            self.shared.stopping.store(true, Ordering::Release);
            schedule.clear()
        };
        drop(ended);
        self.shared.wake();
        if thread::current().id() == self.id {
            return;
        }
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            // Panics are caught inside; one that is not has been printed.
            let _ = thread.join();
        }
    }

    fn edit(
        &self,
        edit: impl FnOnce(&mut Schedule, evenkeel_types::Timestamp) -> Result<(), ProbeError>,
    ) -> Result<(), ProbeError> {
        let now = self.shared.now();
        let mut schedule = self.shared.schedule.lock();
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(ProbeError::Stopped);
        }
        let edited = edit(&mut schedule, now);
        drop(schedule);
        self.shared.wake();
        edited
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Prober {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prober").field("report", &self.report()).finish_non_exhaustive()
    }
}

/// Different in every process and for every prober, as long as nobody sets a seed.
#[expect(clippy::disallowed_methods, reason = "the prober owns the draws; a seed makes them repeatable")]
fn seed_of_the_process() -> u64 {
    std::hash::RandomState::new().hash_one(0_u64)
}

/// Threads for what blocks.
#[cfg(all(feature = "command", unix))]
const THREADS: usize = Resolver::THREADS + crate::starter::Starter::THREADS;
#[cfg(not(all(feature = "command", unix)))]
const THREADS: usize = Resolver::THREADS;

/// Traffic of a large cluster is told in pieces, so that the thread is not held up.
const IDS_AT_A_TIME: usize = 256;
