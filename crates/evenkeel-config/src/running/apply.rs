//! A reload: everything is checked and built aside, then taken over; what fails on the way is undone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use evenkeel::router::RouterConfig;
use evenkeel::{ApplyError, Cluster, ClusterBuilder, ClusterConfig, Following, Renewal};

use super::diff::Diff;
use super::inner::{Inner, Part, State};
use super::plan::Changes;
use super::sources::Store;
use crate::check::{Faults, check_parts, http_error, stream_error};
use crate::document::Path;
use crate::error::{ConfigErrors, Problem};
use crate::loaded::Loaded;
use crate::model::{ClusterSettings, Config};

/// What was built aside for a cluster.
struct Built<T> {
    cluster: Option<Cluster<T>>,
    /// Of a new cluster, which must have its endpoints before anybody picks from it. Dropped before the sources.
    following: Option<Following<T>>,
    store: Option<Store>,
    changes: Option<Changes>,
}

type Undo<'u> = Vec<Box<dyn FnOnce() + 'u>>;

impl<T: Send + Sync + 'static> Inner<T> {
    pub(crate) fn apply(self: &Arc<Self>, loaded: Loaded, checked: bool) -> Result<Diff, ConfigErrors> {
        let (diff, replaced) = self.go_over(&loaded, checked)?;
        self.leave(Some(replaced), loaded);
        Ok(diff)
    }

    /// Gives what changed, and the configuration that was in force.
    fn go_over(
        self: &Arc<Self>,
        loaded: &Loaded,
        checked: bool,
    ) -> Result<(Diff, Arc<Config>), ConfigErrors> {
        // Only one reload at a time; no pick and no tick takes this lock.
        let mut parts = self.parts.lock();
        if !checked {
            let mut faults = Faults::new(loaded);
            check_parts(loaded, &mut faults);
            faults.end()?;
        }
        let (old, new) = (self.state.load_full(), &*loaded.config);
        let mut faults = Faults::new(loaded);
        let Some(mut built) = self.build(&old.config, new, &parts, &mut faults) else {
            return Err(ended(faults));
        };
        let prober = new.clusters.iter().any(|settings| settings.check.is_some()).then_some(&new.prober);
        let prober = self.checks.prepare(prober).map_err(super::thread_error)?;
        let mut undo: Undo<'_> = Vec::new();
        let done = self.take_over(&old, &loaded.config, &parts, &built, &mut undo, &mut faults);
        if done.is_none() {
            undo.into_iter().rev().for_each(|undo| undo());
            return Err(ended(faults));
        }
        drop(undo);
        // From here on nothing can fail.
        let diff = differences(&old.config, new, &built);
        let left = self.commit(&loaded.config, &mut parts, &mut built);
        self.checks.adopt(prober, &new.prober);
        for (name, built) in &built {
            if built.changes.as_ref().is_some_and(Changes::rebuild) {
                self.checks.begin_anew(name);
            }
        }
        drop(parts);
        // Stops adapters and joins their threads.
        drop(left);
        self.checks.follow(self);
        if !checked {
            self.count_reload();
        }
        Ok((diff, Arc::clone(&old.config)))
    }

    /// New clusters and new sources, beside those that run.
    fn build(
        &self,
        old: &Config,
        new: &Config,
        parts: &BTreeMap<String, Part<T>>,
        faults: &mut Faults<'_>,
    ) -> Option<BTreeMap<String, Built<T>>> {
        let before = by_name(old);
        let mut all = BTreeMap::new();
        for (i, settings) in new.clusters.iter().enumerate() {
            let path = Path::from("clusters").index(i);
            let name = settings.cluster.name.clone();
            let part = parts.get(&name);
            let changes = before.get(name.as_str()).map(|old| Changes::between(old, settings));
            let fresh = part.is_none() || changes.as_ref().is_none_or(Changes::rebuild);
            let new_sources = !settings.discovery.is_empty()
                && (part.is_none_or(|part| part.store.is_none())
                    || changes.as_ref().is_none_or(|changes| changes.sources));
            let store = if new_sources {
                match Store::start(settings, &path, self.hooks.clock, &self.streams) {
                    Ok(store) => Some(store),
                    Err((path, problem)) => {
                        faults.error(&path, problem);
                        return None;
                    }
                }
            } else {
                None
            };
            let cluster = if fresh {
                match self.cluster(settings, part.map(|part| &part.cluster)) {
                    Ok(cluster) => Some(cluster),
                    Err(problem) => {
                        faults.error(&path, problem);
                        return None;
                    }
                }
            } else {
                None
            };
            let followed =
                store.as_ref().or_else(|| part?.store.as_ref().filter(|_| !settings.discovery.is_empty()));
            let following = match (&cluster, followed) {
                (Some(cluster), Some(store)) => Some(self.follow(cluster, store)),
                _ => None,
            };
            if let Some(cluster) = cluster.as_ref().filter(|_| settings.check.is_some()) {
                // Before the first pick, so that nobody picks an endpoint that is known to be down.
                self.checks.brief(cluster);
            }
            all.insert(name, Built { cluster, following, store, changes });
        }
        Some(all)
    }

    /// A cluster. One that has sources begins with the endpoints of the one that it replaces, until its sources have answered.
    fn cluster(
        &self,
        settings: &ClusterSettings,
        replaced: Option<&Cluster<T>>,
    ) -> Result<Cluster<T>, Problem> {
        let config = ClusterConfig { endpoints: Vec::new(), ..settings.cluster.clone() };
        let name = config.name.clone();
        let mut builder = ClusterBuilder::<T>::new(config).clock(self.hooks.clock);
        if let Some(observer) = &self.hooks.observer {
            builder = builder.observer(Observing(observer(&name)));
        }
        let cluster = builder.build().map_err(Problem::invalid)?;
        let mut endpoints = settings.cluster.endpoints.clone();
        if !settings.discovery.is_empty() {
            let known = replaced.map(Cluster::endpoints).unwrap_or_default();
            if !known.is_empty() {
                endpoints = known.iter().map(|handle| (*handle.description()).clone()).collect();
            }
        }
        if !endpoints.is_empty() {
            let make = &self.hooks.make;
            cluster.apply_with(endpoints, |endpoint| make(endpoint)).map_err(Problem::invalid)?;
        }
        Ok(cluster)
    }

    fn follow(&self, cluster: &Cluster<T>, store: &Store) -> Following<T> {
        let make = Arc::clone(&self.hooks.make);
        cluster.follow(&store.registry, &store.service, move |endpoint| make(endpoint))
    }

    /// What can still fail, each with what undoes it.
    fn take_over<'u>(
        &'u self,
        old: &'u State<T>,
        new: &Arc<Config>,
        parts: &BTreeMap<String, Part<T>>,
        built: &BTreeMap<String, Built<T>>,
        undo: &mut Undo<'u>,
        faults: &mut Faults<'_>,
    ) -> Option<()> {
        let before: BTreeMap<&str, &'u ClusterSettings> = by_name(&old.config);
        for (i, settings) in new.clusters.iter().enumerate() {
            let path = Path::from("clusters").index(i);
            let name = settings.cluster.name.as_str();
            let (Some(part), Some(built), Some(&was)) = (parts.get(name), built.get(name), before.get(name))
            else {
                continue;
            };
            if let (None, Some(changes)) = (&built.cluster, &built.changes) {
                self.in_place(&part.cluster, was, settings, changes, &path, undo, faults)?;
            }
        }
        let clusters = || -> Vec<Cluster<T>> {
            let of = |(name, built): (&String, &Built<T>)| {
                built.cluster.clone().or_else(|| Some(parts.get(name)?.cluster.clone()))
            };
            built.iter().filter_map(of).collect()
        };
        let replaced = built.values().any(|built| built.cluster.is_some())
            || old.clusters.keys().any(|name| !built.contains_key(name));
        if replaced || new.http != old.config.http {
            if let Err(error) = self.http.replace_shared(Arc::new(OfRouter(Arc::clone(new))), clusters()) {
                http_error(&error, faults);
                return None;
            }
            undo.push(Box::new(|| {
                // It was in force a moment ago.
                let before = OfRouter(Arc::clone(&old.config));
                let _ = self.http.replace_shared(Arc::new(before), old.clusters.values().cloned());
            }));
        }
        if (replaced || new.stream != old.config.stream)
            && let Err(error) = self.stream.replace(&new.stream, clusters())
        {
            stream_error(&error, faults);
            return None;
        }
        Some(())
    }

    #[expect(clippy::too_many_arguments, reason = "one step of one function")]
    fn in_place<'u>(
        &'u self,
        cluster: &Cluster<T>,
        old: &'u ClusterSettings,
        new: &ClusterSettings,
        changes: &Changes,
        path: &Path,
        undo: &mut Undo<'u>,
        faults: &mut Faults<'_>,
    ) -> Option<()> {
        let list = changes.has("endpoints") && new.discovery.is_empty() && old.discovery.is_empty();
        let what = Renewed {
            policy: changes.has("policy"),
            subset: changes.has("subset") || changes.has("outside_subset"),
            list,
        };
        if let Err(error) = self.renew(cluster, &new.cluster, what) {
            let field = match &error {
                ApplyError::Subset(_) => "subset",
                ApplyError::Policy(_) if what.policy => "policy",
                _ if what.list => "endpoints",
                _ => "subset",
            };
            faults.error(&path.key(field), Problem::invalid(error));
            if list && new.cluster.endpoints.is_empty() {
                // Cleared before the rest was refused.
                let _ = self.renew(cluster, &old.cluster, what);
            }
            return None;
        }
        let cluster = cluster.clone();
        undo.push(Box::new(move || _ = self.renew(&cluster, &old.cluster, what)));
        Some(())
    }

    /// Policy, subset and list together: one alone may not fit what the others were.
    fn renew(&self, cluster: &Cluster<T>, config: &ClusterConfig, what: Renewed) -> Result<(), ApplyError> {
        let mut renewal = Renewal::default();
        if what.policy {
            renewal = renewal.policy(config.policy.clone());
        }
        if what.subset {
            renewal = renewal.subset(config.subset.clone(), config.outside_subset);
        }
        if what.list {
            if config.endpoints.is_empty() {
                // Nobody is there to be picked by whichever policy.
                let _ = cluster.clear();
            } else {
                renewal = renewal.endpoints(config.endpoints.clone());
            }
        }
        let make = &self.hooks.make;
        cluster.renew_with(renewal, |endpoint| make(endpoint)).map(drop)
    }

    fn set_list(&self, cluster: &Cluster<T>, config: &ClusterConfig) -> Result<(), Problem> {
        if config.endpoints.is_empty() {
            let _ = cluster.clear();
            return Ok(());
        }
        let make = &self.hooks.make;
        let applied = cluster.apply_with(config.endpoints.clone(), |endpoint| make(endpoint));
        applied.map(drop).map_err(Problem::invalid)
    }

    /// Takes over what was built; gives what left.
    fn commit(
        &self,
        new: &Arc<Config>,
        parts: &mut BTreeMap<String, Part<T>>,
        built: &mut BTreeMap<String, Built<T>>,
    ) -> Vec<Part<T>> {
        let mut left = Vec::new();
        let stays: BTreeSet<&str> =
            new.clusters.iter().map(|settings| settings.cluster.name.as_str()).collect();
        let gone: Vec<String> = parts.keys().filter(|name| !stays.contains(name.as_str())).cloned().collect();
        left.extend(gone.iter().filter_map(|name| parts.remove(name)));
        for settings in &new.clusters {
            let name = settings.cluster.name.as_str();
            let Some(made) = built.get_mut(name) else { continue };
            match parts.remove(name) {
                None => {
                    let Some(cluster) = made.cluster.take() else { continue };
                    let part = Part { cluster, following: made.following.take(), store: made.store.take() };
                    parts.insert(name.to_owned(), part);
                }
                Some(part) => {
                    let (part, old) = self.renewed(part, made, settings);
                    left.push(old);
                    parts.insert(name.to_owned(), part);
                }
            }
        }
        let clusters = parts.iter().map(|(name, part)| (name.clone(), part.cluster.clone())).collect();
        let registries = parts
            .iter()
            .filter_map(|(name, part)| Some((name.clone(), part.store.as_ref()?.registry.clone())));
        let state = State { config: Arc::clone(new), clusters, registries: registries.collect() };
        self.state.store(Arc::new(state));
        left
    }

    /// The part as it is from now on, and what of it ends.
    fn renewed(&self, old: Part<T>, made: &mut Built<T>, settings: &ClusterSettings) -> (Part<T>, Part<T>) {
        let Part { cluster, following, store } = old;
        let rebuilt = made.cluster.take();
        let current = rebuilt.as_ref().unwrap_or(&cluster).clone();
        let ended = |store| Part { cluster: cluster.clone(), following: None, store };
        if settings.discovery.is_empty() {
            // The list is all there is now. One that stays as it was has been overwritten by sources, which must not do so again.
            let had_sources = store.is_some();
            drop(following);
            let end = ended(store);
            if had_sources && rebuilt.is_none() {
                let _ = self.set_list(&current, &settings.cluster);
            }
            return (Part { cluster: current, following: None, store: None }, end);
        }
        if let Some(new) = made.store.take() {
            drop(following);
            let follows = made.following.take().unwrap_or_else(|| self.follow(&current, &new));
            return (Part { cluster: current, following: Some(follows), store: Some(new) }, ended(store));
        }
        if let Some(store) = &store
            && made.changes.as_ref().is_some_and(|changes| changes.has("endpoints"))
        {
            let _ = store.set_list(settings.cluster.endpoints.clone());
        }
        let following = made.following.take().or(following);
        (Part { cluster: current, following, store }, ended(None))
    }
}

struct Observing(Box<dyn evenkeel::Observer>);

impl evenkeel::Observer for Observing {
    fn notice(&self, notice: &evenkeel::Notice) {
        self.0.notice(notice);
    }
}

/// The router's part of a configuration.
struct OfRouter(Arc<Config>);

impl AsRef<RouterConfig> for OfRouter {
    fn as_ref(&self) -> &RouterConfig {
        &self.0.http
    }
}

/// What of a cluster changes in place.
#[derive(Clone, Copy)]
struct Renewed {
    policy: bool,
    subset: bool,
    list: bool,
}

fn by_name(config: &Config) -> BTreeMap<&str, &ClusterSettings> {
    config.clusters.iter().map(|settings| (settings.cluster.name.as_str(), settings)).collect()
}

fn ended(faults: Faults<'_>) -> ConfigErrors {
    faults.end().err().unwrap_or_else(|| super::thread_error("unknown"))
}

fn differences<T>(old: &Config, new: &Config, built: &BTreeMap<String, Built<T>>) -> Diff {
    let mut diff = Diff::default();
    for settings in &new.clusters {
        let what = format!("cluster {}", settings.cluster.name);
        let Some(built) = built.get(&settings.cluster.name) else { continue };
        let Some(changes) = &built.changes else {
            diff.add(what, "added");
            continue;
        };
        if changes.is_empty() {
            continue;
        }
        if !changes.settings.is_empty() {
            let how = if changes.rebuild() { "built anew" } else { "in place" };
            diff.add(&what, format!("{} changed, {how}", changes.settings.join(", ")));
        }
        if changes.sources {
            diff.add(&what, "discovery changed, the old set stays until the new sources answer");
        }
        if changes.check {
            diff.add(&what, "check changed");
        }
    }
    let stays = by_name(new);
    for name in by_name(old).into_keys().filter(|name| !stays.contains_key(name)) {
        diff.add(format!("cluster {name}"), "removed");
    }
    diff.rest(old, new);
    diff
}

/// Whether going from one to the other would change nothing.
pub(crate) fn is_same(old: &Config, new: &Config) -> bool {
    let before = by_name(old);
    let known = |settings: &ClusterSettings| {
        let was = before.get(settings.cluster.name.as_str());
        was.is_some_and(|was| Changes::between(was, settings).is_empty())
    };
    let mut rest = Diff::default();
    rest.rest(old, new);
    rest.is_empty() && old.clusters.len() == new.clusters.len() && new.clusters.iter().all(known)
}
