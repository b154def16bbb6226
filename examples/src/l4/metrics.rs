use std::collections::BTreeMap;
use std::fmt;

use evenkeel::Observer;
use evenkeel_metrics::{Counters, Exporter};
use parking_lot::Mutex;

use super::shared::Shared;

/// What is counted for each cluster, over all reloads.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<String, Counters>>);

impl Metrics {
    fn counters(&self, cluster: &str) -> Counters {
        self.0.lock().entry(cluster.to_owned()).or_default().clone()
    }

    /// Hears what changes in a cluster of this name.
    pub(crate) fn observer(&self, cluster: &str) -> Box<dyn Observer> {
        Box::new(self.counters(cluster).observer())
    }

    /// Everything at this moment, in the form of OpenMetrics.
    pub(crate) fn write(&self, shared: &Shared, exporter: &Exporter) -> String {
        for cluster in shared.running.clusters() {
            exporter.add(&cluster, &self.counters(cluster.name()));
        }
        let mut text = exporter.to_openmetrics();
        let end = text.rfind("# EOF").unwrap_or(text.len());
        text.truncate(end);
        shared.counters.write(&mut text);
        text.push_str("# EOF\n");
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metrics").field(&self.0.lock().keys().collect::<Vec<_>>()).finish()
    }
}
