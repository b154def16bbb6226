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

    /// All of it in the OpenMetrics text format.
    pub(crate) fn text(&self, clusters: &[Arc<dyn AnyCluster>], max_endpoints: usize) -> String {
        let exporter = Exporter::with_max_endpoints(max_endpoints);
        for cluster in clusters {
            cluster.export(&exporter, &self.counters(cluster.name()));
        }
        exporter.to_openmetrics()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
