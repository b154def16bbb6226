use std::sync::atomic::Ordering;

use evenkeel::router::RouterReport;
use evenkeel::{Cluster, ClusterReport};
use evenkeel_probe::ProberReport;
use serde::Serialize;

use super::inner::Inner;

/// Everything at one moment, for status pages and metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunningReport {
    /// How often the configuration was replaced.
    pub reloads: u64,
    /// The clusters, by name; each tells of its endpoints, and of its sources.
    pub clusters: Vec<ClusterReport>,
    /// The router of requests.
    pub http: RouterReport,
    /// Sources whose newest set was refused, and why.
    pub refused: Vec<SourceReport>,
    /// The prober, if there are checks.
    pub prober: Option<ProberReport>,
    /// Endpoints that cannot be checked, and why.
    pub unchecked: Vec<String>,
}

/// A set that its cluster did not take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SourceReport {
    /// The cluster.
    pub cluster: String,
    /// Why.
    pub reason: String,
}

impl RunningReport {
    pub(crate) fn of<T: Send + Sync + 'static>(inner: &Inner<T>) -> Self {
        let state = inner.state.load_full();
        // A reload that is under way is waited for: reports are for people.
        let parts = inner.parts.lock();
        let refused = parts.iter().filter_map(|(name, part)| {
            let error = part.following.as_ref()?.last_error()?;
            Some(SourceReport { cluster: name.clone(), reason: error.to_string() })
        });
        let refused = refused.collect();
        drop(parts);
        let (prober, unchecked) = inner.checks.report();
        Self {
            reloads: inner.reloads.load(Ordering::Relaxed),
            clusters: state.clusters.values().map(Cluster::report).collect(),
            http: inner.http.report(),
            refused,
            prober,
            unchecked,
        }
    }
}
