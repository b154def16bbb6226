use std::sync::Arc;

use evenkeel::Observer;
use evenkeel_config::Running;
use evenkeel_metrics::Exporter;

use super::shared::Shared;

/// What is counted for each cluster, over all reloads: one exporter for as long as the proxy lives, or counters would fall.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Exporter);

impl Metrics {
    /// Hears what changes in a cluster of this name.
    pub(crate) fn observer(&self, cluster: &str) -> Box<dyn Observer> {
        Box::new(self.0.counters(cluster))
    }

    /// Exports the clusters that there are at each scrape.
    pub(crate) fn follow<T: Send + Sync + 'static>(&self, running: &Arc<Running<T>>) {
        // Not kept alive: its observers are ours.
        let running = Arc::downgrade(running);
        self.0.add_all(move || running.upgrade().map(|running| running.clusters()).unwrap_or_default());
    }

    /// Everything at this moment, in the form of OpenMetrics.
    pub(crate) fn write(&self, shared: &Shared) -> String {
        let mut text = self.0.to_openmetrics();
        let end = text.rfind("# EOF").unwrap_or(text.len());
        text.truncate(end);
        shared.counters.write(&mut text);
        text.push_str("# EOF\n");
        text
    }
}
