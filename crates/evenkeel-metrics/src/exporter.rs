use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use evenkeel::router::{Router, RouterReport};
use evenkeel::{Cluster, ClusterReport};
use parking_lot::Mutex;

use crate::counters::Counters;
use crate::family::Families;
use crate::totals::Totals;
use crate::{cluster, endpoints, routes, sources, tiers};

/// The clusters whose numbers are exported. Cloning gives another handle to the same list.
#[derive(Clone)]
pub struct Exporter {
    list: Arc<Mutex<List>>,
    max_endpoints: usize,
}

/// Under one lock, since what two exports count at the same time must not be mixed: a number that comes late would be lower than the one
/// before.
#[derive(Default)]
struct List {
    clusters: Vec<Exported>,
    totals: Totals,
    /// The counters of clusters that are exported no longer, by their names.
    retired: BTreeMap<String, Counters>,
    /// Who tells which clusters there are.
    sets: Vec<Box<Reports>>,
    /// Of clusters that somebody tells of, by their names.
    counters: BTreeMap<String, Counters>,
    /// By their names.
    routers: BTreeMap<String, Box<OneRouter>>,
    /// Who tells which routers there are.
    router_sets: Vec<Box<SomeRouters>>,
}

type Reports = dyn Fn() -> Vec<ClusterReport> + Send + Sync;
type OneRouter = dyn Fn() -> RouterReport + Send + Sync;
type SomeRouters = dyn Fn() -> Vec<(String, RouterReport)> + Send + Sync;

struct Exported {
    name: String,
    report: Box<dyn Fn() -> ClusterReport + Send + Sync>,
    counters: Counters,
}

impl Exporter {
    /// How many endpoints of each cluster are listed one by one: by default 200, which makes about 2,000 series. Zero lists none.
    #[must_use]
    pub fn with_max_endpoints(max_endpoints: usize) -> Self {
        Self { list: Arc::default(), max_endpoints }
    }

    /// Exports a cluster from now on, and what its counters have counted. Another cluster of the same name is replaced, so that
    /// no two series are the same; counters go on from where the other one's were, so that none falls. (What detectors of outliers and
    /// sources have counted since the last export is not seen, if the new ones overtake it before the next.)
    pub fn add<T: Send + Sync + 'static>(&self, cluster: &Cluster<T>, counters: &Counters) {
        let (name, cluster) = (cluster.name().to_owned(), cluster.clone());
        let exported = Exported {
            name: name.clone(),
            report: Box::new(move || cluster.report()),
            counters: counters.clone(),
        };
        let replaced = self.list.lock().add(exported);
        drop(replaced); // maybe the last handle to a cluster: not under the lock
    }

    /// Exports whatever clusters there are: `clusters` is asked at every export, and must not call this exporter. For programs whose
    /// clusters come and go, and are built anew under the same name, as those of a configuration that is reloaded. What is
    /// counted between two exports is told by the observers that [`counters`](Self::counters) gives.
    ///
    /// A name that was given to [`add`](Self::add) is exported only there. A series of a cluster that has gone ends; one that comes back
    /// goes on.
    ///
    /// ```
    /// use evenkeel::Cluster;
    /// use evenkeel_metrics::{Exporter, Metric};
    ///
    /// let exporter = Exporter::default();
    /// let build = |name: &str| Cluster::<()>::builder(name).observer(exporter.counters(name)).build();
    /// let all = [build("users")?, build("orders")?];
    /// exporter.add_all(move || all.to_vec());
    /// assert_eq!(exporter.families().of(Metric::Membership).len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_all<T: Send + Sync + 'static>(
        &self,
        clusters: impl Fn() -> Vec<Cluster<T>> + Send + Sync + 'static,
    ) {
        let reports = move || clusters().iter().map(Cluster::report).collect();
        self.list.lock().sets.push(Box::new(reports));
    }

    /// Exports what the routes of a router count, under a name of your choice. Another router of that name is replaced, and its numbers go
    /// on: they never fall. A router that is reloaded stays the same. A route whose action changed begins to count anew: that is noticed, and
    /// added to what was exported before, if it has counted less by the next export than by the last one.
    ///
    /// ```
    /// use evenkeel::Cluster;
    /// use evenkeel::router::{Action, RouteConfig, Router, RouterConfig};
    /// use evenkeel_metrics::{Exporter, Metric};
    ///
    /// let users = Cluster::<()>::builder("users").build()?;
    /// let config = RouterConfig {
    ///     routes: vec![RouteConfig::new("all", Action::Cluster("users".into()))],
    ///     ..RouterConfig::default()
    /// };
    /// let router = Router::new(config, [users])?;
    /// let exporter = Exporter::default();
    /// exporter.add_router("front", &router);
    /// assert_eq!(exporter.families().of(Metric::RouteRetries)[0].labels, ["front", "all"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_router<T: Send + Sync + 'static>(&self, name: &str, router: &Router<T>) {
        let router = router.clone();
        let report: Box<OneRouter> = Box::new(move || router.report());
        let replaced = self.list.lock().routers.insert(name.to_owned(), report);
        drop(replaced); // maybe the last handle to a router: not under the lock
    }

    /// Exports whatever routers there are, each with its name: `routers` is asked at every export, and must not call this exporter. A name
    /// that was given to [`add_router`](Self::add_router) is exported only there.
    pub fn add_all_routers<T: Send + Sync + 'static>(
        &self,
        routers: impl Fn() -> Vec<(String, Router<T>)> + Send + Sync + 'static,
    ) {
        let reports = move || routers().into_iter().map(|(name, router)| (name, router.report())).collect();
        self.list.lock().router_sets.push(Box::new(reports));
    }

    /// Stops exporting the router of this name. Returns whether there was one.
    pub fn remove_router(&self, name: &str) -> bool {
        let removed = self.list.lock().routers.remove(name);
        removed.is_some()
    }

    /// The counters of this name, for [`add_all`](Self::add_all): always the same, so that a cluster that replaces another of its name goes
    /// on counting. They are kept for as long as the exporter: about 30 numbers for each name.
    #[must_use]
    pub fn counters(&self, name: &str) -> Counters {
        let mut list = self.list.lock();
        if let Some(known) = list.counters.get(name) {
            return known.clone();
        }
        list.counters.entry(name.to_owned()).or_default().clone()
    }

    /// Stops exporting the cluster of this name. Returns whether there was one. What it counted is remembered, about 30 numbers, for
    /// another of its name that may come.
    pub fn remove(&self, name: &str) -> bool {
        let removed: Vec<Exported> = {
            let mut list = self.list.lock();
            let removed: Vec<_> = list.clusters.extract_if(.., |known| known.name == name).collect();
            for exported in &removed {
                list.retired.insert(exported.name.clone(), exported.counters.clone());
            }
            removed
        };
        !removed.is_empty()
    }

    /// Everything at this moment. Asks every cluster for its report: O(endpoints), off the path of requests.
    #[must_use]
    pub fn families(&self) -> Families {
        let mut families = Families::default();
        let mut list = self.list.lock();
        for exported in &list.clusters {
            let report = (exported.report)();
            cluster::add(&report, &mut families);
            tiers::add(&report, &mut families);
            exported.counters.add(&report.name, &mut families);
            endpoints::add(&report, self.max_endpoints, &mut families);
            sources::add(&report, &mut families);
        }
        let mut listed: BTreeSet<String> =
            list.clusters.iter().map(|exported| exported.name.clone()).collect();
        for report in list.sets.iter().flat_map(|reports| reports()) {
            if !listed.insert(report.name.clone()) {
                continue;
            }
            cluster::add(&report, &mut families);
            tiers::add(&report, &mut families);
            // Without an observer of ours they are zero, and nothing is left out.
            let counters = list.counters.get(&report.name).cloned().unwrap_or_default();
            counters.add(&report.name, &mut families);
            endpoints::add(&report, self.max_endpoints, &mut families);
            sources::add(&report, &mut families);
        }
        let mut routers: BTreeMap<String, RouterReport> =
            list.routers.iter().map(|(name, report)| (name.clone(), report())).collect();
        for (name, report) in list.router_sets.iter().flat_map(|reports| reports()) {
            routers.entry(name).or_insert(report);
        }
        for (name, report) in &routers {
            routes::add(name, report, &mut families);
        }
        list.totals.raise(&mut families);
        families
    }
}

impl List {
    fn add(&mut self, exported: Exported) -> Option<Exported> {
        let place = self.clusters.iter().position(|known| known.name == exported.name);
        let retired = self.retired.remove(&exported.name);
        let before = place.map(|place| self.clusters[place].counters.clone()).or(retired);
        // The same counters count on.
        if let Some(before) = before.filter(|before| !before.is(&exported.counters)) {
            let mut last = Families::default();
            before.add(&exported.name, &mut last);
            self.totals.close(last);
        }
        match place {
            Some(place) => Some(std::mem::replace(&mut self.clusters[place], exported)),
            None => {
                self.clusters.push(exported);
                None
            }
        }
    }
}

impl Default for Exporter {
    /// Up to 200 endpoints of each cluster are listed.
    fn default() -> Self {
        Self::with_max_endpoints(200)
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.list.lock();
        let names: Vec<_> = list.clusters.iter().map(|exported| &exported.name).collect();
        f.debug_struct("Exporter")
            .field("clusters", &names)
            .field("max_endpoints", &self.max_endpoints)
            .finish()
    }
}
