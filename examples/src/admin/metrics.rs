use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use evenkeel::Observer;
use evenkeel_metrics::{Counters, Exporter};

use super::world::AnyCluster;

/// The counters of all clusters, by name: what happened between two scrapes of `/metrics`.
///
/// Give [`observer`](Self::observer) to each cluster when it is built, and the whole to
/// [`Admin::with_metrics`](super::Admin::with_metrics). Cloning gives another handle to the same counters.
///
/// ```
/// use evenkeel_config::{Loaded, Running, Syntax};
/// use evenkeel_examples::admin::Metrics;
///
/// let metrics = Metrics::default();
/// let loaded = Loaded::parse("[[clusters]]\nname = \"users\"", Syntax::Toml)?;
/// let watched = metrics.clone();
/// let running = Running::<()>::start_observed(loaded, |_| (), move |name| watched.observer(name))?;
/// # let _ = running;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<String, Counters>>>);

impl Metrics {
    /// The counters of the cluster of this name: the same each time.
    #[must_use]
    pub fn counters(&self, cluster: &str) -> Counters {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(cluster.to_owned()).or_default().clone()
    }

    /// An observer for a cluster of this name.
    #[must_use]
    pub fn observer(&self, cluster: &str) -> Box<dyn Observer> {
        Box::new(self.counters(cluster))
    }
}

/// One exporter for as long as an admin lives: it remembers what it has told of clusters that a reload replaced, so no counter falls.
pub(crate) struct Page(Mutex<Exporter>);

impl Page {
    pub(crate) fn new(max_endpoints: usize) -> Self {
        Self(Mutex::new(Exporter::with_max_endpoints(max_endpoints)))
    }

    /// All that there is now, in the OpenMetrics text format. One scrape at a time; no cluster is kept from one to the next.
    pub(crate) fn text(&self, clusters: &[Arc<dyn AnyCluster>], metrics: &Metrics) -> String {
        let exporter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for cluster in clusters {
            cluster.export(&exporter, &metrics.counters(cluster.name()));
        }
        let text = exporter.to_openmetrics();
        for cluster in clusters {
            exporter.remove(cluster.name());
        }
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
