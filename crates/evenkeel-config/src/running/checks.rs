//! Checks follow endpoints: what is in a cluster is checked, and what has left is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use evenkeel::Handle;
use evenkeel_probe::{Prober, ProberConfig, ProberReport, Report, Target};
use evenkeel_types::{Address, EndpointId};
use parking_lot::Mutex;

use super::inner::{Inner, State};
use crate::model::CheckSettings;

#[derive(Default)]
pub(crate) struct Checks(Mutex<Checked>);

#[derive(Default)]
struct Checked {
    prober: Option<Arc<Prober>>,
    config: ProberConfig,
    clusters: BTreeMap<String, Followed>,
}

/// What is checked of a cluster, and of which snapshot.
#[derive(Default)]
struct Followed {
    generation: u64,
    settings: Option<CheckSettings>,
    targets: BTreeMap<EndpointId, (u64, Address)>,
    /// Why endpoints are not checked.
    problems: BTreeMap<EndpointId, String>,
}

impl Checks {
    /// Starts the prober, if there is none with these settings. The old one goes on until [`adopt`](Self::adopt).
    pub(crate) fn prepare(&self, config: Option<&ProberConfig>) -> Result<Option<Arc<Prober>>, String> {
        let checked = self.0.lock();
        match (config, &checked.prober) {
            (None, _) => Ok(None),
            (Some(config), Some(prober)) if checked.config == *config => Ok(Some(Arc::clone(prober))),
            (Some(config), _) => Prober::start(config.clone())
                .map(|prober| Some(Arc::new(prober)))
                .map_err(|error| error.to_string()),
        }
    }

    pub(crate) fn adopt(&self, prober: Option<Arc<Prober>>, config: &ProberConfig) {
        let mut checked = self.0.lock();
        let same = match (&checked.prober, &prober) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        checked.clusters.clear();
        checked.config = config.clone();
        let old = std::mem::replace(&mut checked.prober, prober);
        drop(checked);
        // Its thread is joined, and that may call a sink, which takes no lock of ours.
        drop(old);
    }

    /// A cluster was built anew: its endpoints know nothing of the verdicts yet.
    pub(crate) fn begin_anew(&self, cluster: &str) {
        if let Some(followed) = self.0.lock().clusters.get_mut(cluster) {
            followed.generation = 0;
        }
    }

    pub(crate) fn report(&self) -> (Option<ProberReport>, Vec<String>) {
        let checked = self.0.lock();
        let problems = checked.clusters.iter().flat_map(|(name, followed)| {
            followed.problems.iter().map(move |(id, problem)| format!("{name}/{id}: {problem}"))
        });
        (checked.prober.as_ref().map(|prober| prober.report()), problems.collect())
    }

    /// Brings targets in line with endpoints. O(clusters) if nothing has changed.
    pub(crate) fn follow<T: Send + Sync + 'static>(&self, inner: &Arc<Inner<T>>, state: &State<T>) {
        let checked = &mut *self.0.lock();
        let Some(prober) = checked.prober.clone() else { return };
        let wanted: BTreeMap<&str, &CheckSettings> = state
            .config
            .clusters
            .iter()
            .filter_map(|settings| Some((settings.cluster.name.as_str(), settings.check.as_ref()?)))
            .collect();
        checked.clusters.retain(|name, followed| {
            let stays = wanted.contains_key(name.as_str());
            if !stays {
                followed.targets.keys().for_each(|id| drop(remove(&prober, name, id)));
            }
            stays
        });
        for (name, settings) in wanted {
            let Some(cluster) = state.clusters.get(name) else { continue };
            let followed = checked.clusters.entry(name.to_owned()).or_default();
            let generation = cluster.generation();
            let same = followed.settings.as_ref() == Some(settings);
            // Generations begin at one with the first set; zero is a cluster that was never told, or is to be looked at.
            if same && followed.generation == generation && generation > 0 {
                continue;
            }
            followed.generation = generation;
            followed.settings = Some(settings.clone());
            followed.bring_in_line(inner, &prober, name, &cluster.subset(), same);
        }
    }
}

impl Followed {
    fn bring_in_line<T: Send + Sync + 'static>(
        &mut self,
        inner: &Arc<Inner<T>>,
        prober: &Prober,
        name: &str,
        handles: &[Handle<T>],
        same_settings: bool,
    ) {
        let Some(settings) = self.settings.clone() else { return };
        let mut before = std::mem::take(&mut self.targets);
        self.problems.clear();
        for handle in handles {
            let description = handle.description();
            let id = description.id().clone();
            let new = (description.incarnation(), description.address().clone());
            let old = before.remove(&id);
            let done = match (target(&settings, name, &id, &new.1), old) {
                (Err(problem), _) => Err(problem),
                (Ok(target), Some(old)) if old.0 == new.0 => {
                    let updated = if same_settings && old == new {
                        Ok(())
                    } else {
                        prober.update(target.clone()).map_err(|error| error.to_string())
                    };
                    // What the checks know may be news to a cluster that was built anew.
                    if let Some(known) = prober.target(&target.id) {
                        let _ = handle.set_check(known.state);
                    }
                    updated
                }
                (Ok(target), old) => {
                    if old.is_some() {
                        drop(remove(prober, name, &id));
                    }
                    let sink = sink(Arc::downgrade(inner), name.to_owned(), id.clone());
                    prober.add(target, sink).map_err(|error| error.to_string())
                }
            };
            match done {
                Ok(()) => _ = self.targets.insert(id, new),
                Err(problem) => _ = self.problems.insert(id, problem),
            }
        }
        before.keys().for_each(|id| drop(remove(prober, name, id)));
    }
}

/// One prober checks all clusters, so its targets carry the cluster's name too.
fn target_id(cluster: &str, id: &EndpointId) -> Result<EndpointId, String> {
    format!("{cluster}/{id}").parse().map_err(|error| format!("{error}"))
}

fn remove(prober: &Prober, cluster: &str, id: &EndpointId) -> Option<Target> {
    prober.remove(&target_id(cluster, id).ok()?)
}

fn target(
    settings: &CheckSettings,
    cluster: &str,
    id: &EndpointId,
    address: &Address,
) -> Result<Target, String> {
    let address = match (settings.port, address) {
        (Some(port), Address::Socket(socket)) => {
            let mut socket = *socket;
            socket.set_port(port);
            Address::Socket(socket)
        }
        (Some(port), Address::Host(name, _)) => Address::Host(name.clone(), port),
        (_, other) => other.clone(),
    };
    let mut target = Target::new(target_id(cluster, id)?, address, settings.probe.clone());
    target.check = settings.schedule.clone();
    Ok(target)
}

/// Tells the cluster that has this name at that moment.
fn sink<T: Send + Sync + 'static>(
    inner: Weak<Inner<T>>,
    cluster: String,
    id: EndpointId,
) -> impl Fn(Report) + Send + Sync + 'static {
    move |report: Report| {
        let Some(inner) = inner.upgrade() else { return };
        let state = inner.state.load_full();
        // The last reference may be ours: what it holds must not be dropped on the prober's thread, which would wait for
        // itself. It does not: a prober that is stopped by its own sink leaves its thread alone.
        if let Some(handle) = state.clusters.get(&cluster).and_then(|cluster| cluster.endpoint(&id).ok()) {
            let _ = handle.set_check(report.state);
            if let Some(percent) = report.advice.weight_percent {
                handle.set_reported(f64::from(percent.min(100)) / 100.0);
            }
        }
    }
}
