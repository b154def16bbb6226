use std::fmt;
use std::sync::Arc;

use evenkeel::{Cluster, ClusterReport};
use parking_lot::RwLock;

use crate::counters::Counters;
use crate::family::Families;
use crate::{cluster, endpoints, sources};

/// The clusters whose numbers are exported. Cloning gives another handle to the same list.
#[derive(Clone)]
pub struct Exporter {
    clusters: Arc<RwLock<Vec<Exported>>>,
    max_endpoints: usize,
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
        Self { clusters: Arc::default(), max_endpoints }
    }

    /// Exports a cluster from now on, and what its counters have counted. Another cluster of the same name is replaced, so that
    /// no two series are the same.
    pub fn add<T: Send + Sync + 'static>(&self, cluster: &Cluster<T>, counters: &Counters) {
        let (name, cluster) = (cluster.name().to_owned(), cluster.clone());
        let exported =
            Exported { name, report: Box::new(move || cluster.report()), counters: counters.clone() };
        let replaced = {
            let mut clusters = self.clusters.write();
            match clusters.iter_mut().find(|known| known.name == exported.name) {
                Some(known) => Some(std::mem::replace(known, exported)),
                None => {
                    clusters.push(exported);
                    None
                }
            }
        };
        drop(replaced); // maybe the last handle to a cluster: not under the lock
    }

    /// Stops exporting the cluster of this name. Returns whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let removed: Vec<Exported> =
            self.clusters.write().extract_if(.., |known| known.name == name).collect();
        !removed.is_empty()
    }

    /// Everything at this moment. Asks every cluster for its report: O(endpoints), off the path of requests.
    #[must_use]
    pub fn families(&self) -> Families {
        let mut families = Families::default();
        for exported in &*self.clusters.read() {
            let report = (exported.report)();
            cluster::add(&report, &mut families);
            exported.counters.add(&report.name, &mut families);
            endpoints::add(&report, self.max_endpoints, &mut families);
            sources::add(&report, &mut families);
        }
        families
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
        let clusters = self.clusters.read();
        let names: Vec<_> = clusters.iter().map(|exported| &exported.name).collect();
        f.debug_struct("Exporter")
            .field("clusters", &names)
            .field("max_endpoints", &self.max_endpoints)
            .finish()
    }
}
