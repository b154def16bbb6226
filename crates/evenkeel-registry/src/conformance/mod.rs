//! The suite that every discovery adapter passes, against its real store. Feature `conformance`.
//!
//! An adapter's test implements [`StoreUnderTest`]: how to write to the store behind the adapter's back, how to stop,
//! kill and restart it, how to let time pass. [`run`] plays the cases and gives a [`Report`]; a store that cannot do a
//! thing says so with a reason, which the report shows.
//!
//! In every case, all the time: no id twice, generations rise, the changes of the watch lead from each set to the next,
//! and a set that was not empty is never seen empty. At the end of each case the set is that of the store.
//!
//! | case | what is done | what must be seen |
//! |---|---|---|
//! | `initial_set` | three entries | all of them |
//! | `add` | one more | it, and nothing else changed |
//! | `weight_only` | another weight | one `Updated` with the weight alone |
//! | `remove` | one entry deleted | gone |
//! | `malformed_among_good` | one entry of nonsense, one good one | the good one, and a reject counted |
//! | `crash_of_a_registrant` | a registrant killed | gone within the time to live |
//! | `drain_before_leaving` | a registrant drained | draining first, then gone |
//! | `compaction` | the history dropped while the adapter watches | the next change all the same |
//! | `stopped_store` | SIGSTOP, later SIGCONT | stale within the keepalive bound, the set kept; then live |
//! | `restarted_with_older_data` | killed, restarted from a copy | the older set |
//! | `restarted_empty` | killed, restarted with nothing | the set held, with reason and bound; then what is written anew |
//! | `a_thousand` | 1000 entries | all of them |
//! | `start_from_a_disk` | the store stopped, a new adapter started from a saved set | the saved set, stale; then live |

mod cases;
mod eyes;

use std::fmt;
use std::time::Duration;

use evenkeel_types::{Endpoint, EndpointId};

pub use eyes::Eyes;

use crate::{Saved, Watch};

/// A store with an adapter in front of it, as the suite handles it.
///
/// Everything but [`put`](Self::put), [`remove`](Self::remove) and [`wait`](Self::wait) may be [`Refusal::Unsupported`],
/// and is unless written.
pub trait StoreUnderTest {
    /// Lets time pass, really or virtually, and sees to it that the registry is ticked meanwhile.
    fn wait(&mut self, time: Duration);

    /// Writes an entry, as an operator's tool does: without a lease, new or in place of an old one.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn put(&mut self, endpoint: &Endpoint) -> Done;

    /// Deletes an entry.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn remove(&mut self, id: &EndpointId) -> Done;

    /// Writes many entries, if the store has a faster way than one by one.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn put_many(&mut self, endpoints: &[Endpoint]) -> Done {
        endpoints.iter().try_for_each(|endpoint| self.put(endpoint))
    }

    /// Gives an entry another weight; unsupported for stores without weights.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn change_weight(&mut self, endpoint: &Endpoint) -> Done {
        self.put(endpoint)
    }

    /// Writes an entry that cannot be read, under a key of the service.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn put_malformed(&mut self) -> Done {
        Err(Refusal::Unsupported("entries cannot be malformed"))
    }

    /// Starts a registrant by the adapter's own registrar.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn register(&mut self, endpoint: &Endpoint) -> Done {
        let _ = endpoint;
        Err(Refusal::Unsupported("the adapter does not register"))
    }

    /// Ends the registrant without a goodbye: no more renewals, the connection stays or breaks.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn crash(&mut self, id: &EndpointId) -> Done {
        let _ = id;
        Err(Refusal::Unsupported("the adapter does not register"))
    }

    /// Drains the registrant.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn drain(&mut self, id: &EndpointId) -> Done {
        let _ = id;
        Err(Refusal::Unsupported("the adapter does not register"))
    }

    /// Drops the store's history, so that the position of a watch that has to resume is too old.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn compact(&mut self) -> Done {
        Err(Refusal::Unsupported("the store keeps no history"))
    }

    /// Stops the store as SIGSTOP does: connections stay open, nothing answers.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn stop(&mut self) -> Done {
        Err(Refusal::Unsupported("the store cannot be stopped"))
    }

    /// Lets a stopped store go on.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn go_on(&mut self) -> Done {
        Err(Refusal::Unsupported("the store cannot be stopped"))
    }

    /// Keeps a copy of the store's data for [`restart_older`](Self::restart_older).
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn checkpoint(&mut self) -> Done {
        Err(Refusal::Unsupported("the store's data cannot be copied"))
    }

    /// Kills the store and starts it with the data of the checkpoint.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn restart_older(&mut self) -> Done {
        Err(Refusal::Unsupported("the store's data cannot be copied"))
    }

    /// Kills the store and starts it without data.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn restart_empty(&mut self) -> Done {
        Err(Refusal::Unsupported("the store cannot be emptied"))
    }

    /// The set that the adapter would keep on a disk.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn save(&mut self) -> Result<Saved, Refusal> {
        Err(Refusal::Unsupported("the adapter keeps no set on a disk"))
    }

    /// Drops registry and adapter, and starts new ones from a saved set, while the store may be stopped.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn restart_adapter(&mut self, saved: &Saved) -> Result<Watch, Refusal> {
        let _ = saved;
        Err(Refusal::Unsupported("the adapter keeps no set on a disk"))
    }

    /// How the adapter shows an entry, if not as it was given; only id, addresses and weight are compared. For stores
    /// that have no ids or weights.
    fn shown(&self, endpoint: &Endpoint) -> Endpoint {
        endpoint.clone()
    }

    /// Within how long things must be seen.
    fn limits(&self) -> Limits {
        Limits::default()
    }
}

/// Within how long things must be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How often the suite looks. The default is 20 ms.
    pub step: Duration,
    /// A change in the store. The default is 5 s, long for a watch; give two intervals for a poll.
    pub change: Duration,
    /// A thousand entries. The default is 30 s.
    pub bulk: Duration,
    /// A stopped store shows as stale: the keepalive bound of the adapter. The default is 10 s.
    pub stale: Duration,
    /// A registrant that crashed is gone: time to live, and what the store adds. The default is 30 s.
    pub expiry: Duration,
    /// How long the shrink guard may keep an endpoint that is gone. The default is 61 s, its default window.
    pub guard: Duration,
    /// The adapter is connected again after the store is back: its longest wait between tries. The default is 30 s.
    pub reconnect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            step: Duration::from_millis(20),
            change: Duration::from_secs(5),
            bulk: Duration::from_secs(30),
            stale: Duration::from_secs(10),
            expiry: Duration::from_secs(30),
            guard: Duration::from_secs(61),
            reconnect: Duration::from_secs(30),
        }
    }
}

/// What became of a request to the store.
pub type Done = Result<(), Refusal>;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot, for this reason; the case is skipped, and the report says so.
    Unsupported(&'static str),
    /// It should have, and did not.
    Failed(String),
}

/// What came of all cases.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order in which they were run.
    pub cases: Vec<(&'static str, Verdict)>,
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All was seen that must be.
    Passed,
    /// The store cannot do it.
    Skipped(&'static str),
    /// Something was not seen, or something that must not be.
    Failed(String),
}

impl Report {
    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.cases.iter().filter_map(|(name, verdict)| match verdict {
            Verdict::Failed(why) => Some((*name, why.as_str())),
            Verdict::Passed | Verdict::Skipped(_) => None,
        })
    }

    /// Whether none failed.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failures().next().is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, verdict) in &self.cases {
            match verdict {
                Verdict::Passed => writeln!(f, "{name:<28} passed")?,
                Verdict::Skipped(why) => writeln!(f, "{name:<28} skipped: {why}")?,
                Verdict::Failed(why) => writeln!(f, "{name:<28} FAILED: {why}")?,
            }
        }
        Ok(())
    }
}

/// Plays all cases, in order, against an empty store. `watch` watches the service into which the adapter mirrors, with
/// default guards.
#[must_use]
pub fn run(store: &mut dyn StoreUnderTest, watch: Watch) -> Report {
    let mut report = Report::default();
    let mut eyes = Eyes::new(watch);
    for (name, case) in cases::ALL {
        let verdict = match case(store, &mut eyes) {
            Ok(()) => Verdict::Passed,
            Err(Refusal::Unsupported(why)) => Verdict::Skipped(why),
            Err(Refusal::Failed(why)) => Verdict::Failed(why),
        };
        let failed = matches!(verdict, Verdict::Failed(_));
        report.cases.push((name, verdict));
        if failed {
            eyes.start_over();
        }
    }
    report
}
