use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use evenkeel::{Cluster, ClusterReport};
use parking_lot::Mutex;

use crate::counters::Counters;
use crate::family::Families;
use crate::totals::Totals;
use crate::{cluster, endpoints, sources};

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
}

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
            exported.counters.add(&report.name, &mut families);
            endpoints::add(&report, self.max_endpoints, &mut families);
            sources::add(&report, &mut families);
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
