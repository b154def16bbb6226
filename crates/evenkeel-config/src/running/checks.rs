//! Checks follow endpoints: what is in a cluster is checked, and what has left is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use evenkeel::{Cluster, Handle};
use evenkeel_probe::{Notify, Prober, ProberConfig, ProberReport, Report, Target};
use evenkeel_types::{Address, EndpointId};
use parking_lot::Mutex;

use super::evidence::{self, Traffic};
use super::inner::{Inner, State};
use super::word::{Heard, tell};
use crate::model::{CheckSettings, ClusterSettings};

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
    notify: Notify,
    traffic: Traffic,
    targets: BTreeMap<EndpointId, Known>,
    /// The targets are those of a prober that is gone, whose verdicts stay until there are new ones.
    is_former: bool,
    /// The cluster was built anew, so that it knows nothing.
    is_anew: bool,
    /// Why endpoints are not checked.
    problems: BTreeMap<EndpointId, String>,
}

/// A target, and what its endpoint was told.
struct Known {
    incarnation: u64,
    address: Address,
    heard: Arc<Heard>,
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
        for followed in checked.clusters.values_mut() {
            (followed.is_former, followed.generation) = (true, 0);
        }
        checked.config = config.clone();
        let old = std::mem::replace(&mut checked.prober, prober);
        drop(checked);
        // Its thread is joined, and that may call a sink, which takes no lock of ours.
        drop(old);
    }

    /// A cluster was built anew: its endpoints know nothing of the verdicts yet.
    pub(crate) fn begin_anew(&self, cluster: &str) {
        if let Some(followed) = self.0.lock().clusters.get_mut(cluster) {
            (followed.is_anew, followed.generation) = (true, 0);
        }
    }

    /// Tells a cluster that nobody uses yet what the checks know of its endpoints.
    pub(crate) fn brief<T>(&self, cluster: &Cluster<T>) {
        let checked = self.0.lock();
        let (Some(prober), Some(followed)) = (&checked.prober, checked.clusters.get(cluster.name())) else {
            return;
        };
        for handle in cluster.endpoints() {
            let id = handle.id();
            let same = |known: &&Known| known.incarnation == handle.description().incarnation();
            let known = followed.targets.get(&id).filter(same);
            let target = known.and_then(|_| prober.target(&target_id(cluster.name(), &id).ok()?));
            if let Some(target) = target {
                tell(&handle, target.state, target.advice, &Heard::default());
            }
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
    pub(crate) fn follow<T: Send + Sync + 'static>(&self, inner: &Arc<Inner<T>>) {
        // Read under the lock, so that of two threads none goes back to clusters that have left; dropped after it.
        let state;
        let mut checked = self.0.lock();
        state = inner.state.load_full();
        let checked = &mut *checked;
        let prober = checked.prober.clone();
        if prober.is_none() && checked.clusters.is_empty() {
            return;
        }
        let wanted: BTreeMap<&str, (&ClusterSettings, &CheckSettings)> = state
            .config
            .clusters
            .iter()
            .filter_map(|all| Some((all.cluster.name.as_str(), (all, all.check.as_ref()?))))
            .collect();
        checked.clusters.retain(|name, followed| {
            let stays = prober.is_some() && wanted.contains_key(name.as_str());
            if !stays {
                let targets = std::mem::take(&mut followed.targets);
                end(targets, prober.as_deref(), name, state.clusters.get(name));
            }
            stays
        });
        let Some(prober) = prober else { return };
        for (name, (all, settings)) in wanted {
            let Some(cluster) = state.clusters.get(name) else { continue };
            let followed = checked.clusters.entry(name.to_owned()).or_default();
            let generation = cluster.generation();
            let notify = evidence::notify(all);
            let same = followed.settings.as_ref() == Some(settings) && followed.notify == notify;
            // Generations begin at one with the first set; zero is a cluster that was never told, or is to be looked at.
            if !same || followed.generation != generation || generation == 0 {
                followed.generation = generation;
                followed.settings = Some(settings.clone());
                followed.notify = notify;
                followed.traffic = Traffic::default();
                followed.bring_in_line(inner, &prober, cluster, same);
            }
            if followed.traffic.is_news(cluster, &settings.schedule, inner.hooks.now()) {
                let ids = followed.targets.keys().filter_map(|id| target_id(name, id).ok());
                prober.traffic(&ids.collect::<Vec<_>>());
            }
        }
    }
}

impl Followed {
    fn bring_in_line<T: Send + Sync + 'static>(
        &mut self,
        inner: &Arc<Inner<T>>,
        prober: &Prober,
        cluster: &Cluster<T>,
        same_settings: bool,
    ) {
        let Some(settings) = self.settings.clone() else { return };
        let name = cluster.name();
        let mut before = std::mem::take(&mut self.targets);
        let is_former = std::mem::take(&mut self.is_former);
        let is_anew = std::mem::take(&mut self.is_anew);
        self.problems.clear();
        for handle in cluster.subset() {
            let description = handle.description();
            let id = description.id().clone();
            let (incarnation, address) = (description.incarnation(), description.address().clone());
            let target = match target(&settings, name, &id, &address) {
                Ok(target) => Target { notify: self.notify, ..target },
                Err(problem) => {
                    self.problems.insert(id, problem);
                    continue;
                }
            };
            let (old, other) = match before.remove(&id) {
                Some(old) if old.incarnation == incarnation => (Some(old), None),
                other => (None, other),
            };
            if let Some(other) = other {
                end([(id.clone(), other)], Some(prober), name, None::<&Cluster<T>>);
            }
            let done = match &old {
                Some(old) if !is_former => {
                    let updated = if same_settings && old.address == address {
                        Ok(())
                    } else {
                        prober.update(target.clone())
                    };
                    if is_anew {
                        old.heard.forget();
                    }
                    // What the checks know may be news to a cluster that was built anew.
                    tell_known(&handle, prober, &target.id, &old.heard);
                    evidence::observe(&handle, prober, &target.id, &settings.schedule);
                    updated.map(|()| Arc::clone(&old.heard))
                }
                _ => {
                    // An agent that says the same to another prober says nothing new.
                    let heard = old.as_ref().filter(|_| !is_anew).map(|old| old.heard.taken_over());
                    let heard = Arc::new(heard.unwrap_or_default());
                    let told = Arc::clone(&heard);
                    let sink = sink(Arc::downgrade(inner), name.to_owned(), id.clone(), incarnation, told);
                    let target_id = target.id.clone();
                    prober.add(target, sink).map(|()| {
                        evidence::observe(&handle, prober, &target_id, &settings.schedule);
                        heard
                    })
                }
            };
            match done {
                Ok(heard) => _ = self.targets.insert(id, Known { incarnation, address, heard }),
                Err(problem) => {
                    _ = self.problems.insert(id.clone(), problem.to_string());
                    // Not checked from now on, so nothing is known of it.
                    end(old.map(|old| (id, old)), Some(prober), name, Some(cluster));
                }
            }
        }
        end(before, Some(prober), name, Some(cluster));
    }
}

/// Ends checks. Endpoints that stay in the cluster are as if they had never been checked: nobody else would ever take back
/// what the checks said.
fn end<T>(
    targets: impl IntoIterator<Item = (EndpointId, Known)>,
    prober: Option<&Prober>,
    name: &str,
    cluster: Option<&Cluster<T>>,
) {
    for (id, known) in targets {
        known.heard.end();
        if let Some(prober) = prober {
            drop(remove(prober, name, &id));
        }
        let handle = cluster.and_then(|cluster| cluster.endpoint(&id).ok());
        if let Some(handle) = handle.filter(|handle| handle.description().incarnation() == known.incarnation)
        {
            known.heard.take_back(&handle);
        }
    }
}

/// Says what the prober knows of a target, until that is what it knows: its thread, which says the same by the sink, may have
/// been before us with something newer, and says nothing more until the next change.
fn tell_known<T>(handle: &Handle<T>, prober: &Prober, target: &EndpointId, heard: &Heard) {
    let mut told = None;
    while let Some(known) = prober.target(target).map(|known| (known.state, known.advice)) {
        if told.replace(known) == Some(known) {
            return;
        }
        tell(handle, known.0, known.1, heard);
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
    incarnation: u64,
    heard: Arc<Heard>,
) -> impl Fn(Report) + Send + Sync + 'static {
    let find = move |state: &State<T>| -> Option<Handle<T>> {
        let handle = state.clusters.get(&cluster)?.endpoint(&id).ok()?;
        (handle.description().incarnation() == incarnation).then_some(handle)
    };
    move |report: Report| {
        let Some(inner) = inner.upgrade() else { return };
        let state = inner.state.load_full();
        // The last reference may be ours: what it holds must not be dropped on the prober's thread, which would wait for
        // itself. It does not: a prober that is stopped by its own sink leaves its thread alone.
        let Some(handle) = find(&state).filter(|_| !heard.has_ended()) else { return };
        tell(&handle, report.state, report.advice, &heard);
        evidence::count(&handle, &report);
        if heard.has_ended() {
            // Just now: whoever ended the check may have taken it back before this was said.
            heard.take_back(&handle);
        }
    }
}
