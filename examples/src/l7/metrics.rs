//! `GET /metrics`: what workers count, and what `evenkeel-metrics` tells of clusters.

use std::fmt::Write;
use std::sync::Arc;

use evenkeel_config::Running;
use evenkeel_metrics::Exporter;

use super::access_log::AccessLog;
use super::counts::{CAUSES, Count, Counts};
use super::upstream::Upstream;
use super::worker::Worker;

/// Where all numbers come together.
pub struct Metrics {
    /// Of clusters: one for as long as the proxy lives, or counters would fall.
    pub clusters: Exporter,
    /// All workers.
    pub workers: Vec<Arc<Worker>>,
    /// The access log.
    pub log: Option<AccessLog>,
}

impl Metrics {
    /// Exports the clusters that there are at each scrape, and what the routes count.
    pub fn follow(&self, running: &Arc<Running<Upstream>>) {
        let running = Arc::downgrade(running);
        let routed = running.clone();
        self.clusters
            .add_all(move || running.upgrade().map(|running| running.clusters()).unwrap_or_default());
        self.clusters.add_all_routers(move || {
            routed
                .upgrade()
                .map(|running| vec![("http".to_owned(), running.router().clone())])
                .unwrap_or_default()
        });
    }

    /// All of it, in the OpenMetrics format.
    pub fn to_openmetrics(&self) -> String {
        let mut text = String::new();
        self.own(&mut text);
        text + &self.clusters.to_openmetrics()
    }

    fn sum(&self, of: impl Fn(&Counts) -> &Count) -> u64 {
        self.workers.iter().map(|worker| of(&worker.counts).get()).fold(0, u64::wrapping_add)
    }

    fn own(&self, text: &mut String) {
        let mut counter = |name: &str, help: &str, samples: &[(String, u64)]| {
            let _ = writeln!(text, "# HELP l7_{name} {help}\n# TYPE l7_{name} counter");
            for (labels, value) in samples {
                let _ = writeln!(text, "l7_{name}_total{labels} {value}");
            }
        };
        let answers: Vec<_> = (1..6)
            .map(|class| (format!("{{class=\"{class}xx\"}}"), self.sum(|counts| &counts.answers[class])))
            .collect();
        counter("answers", "Answers to clients", &answers);
        let causes: Vec<_> = CAUSES
            .iter()
            .enumerate()
            .map(|(at, word)| (format!("{{cause=\"{word}\"}}"), self.sum(|counts| &counts.causes[at])))
            .collect();
        counter("refusals", "Answers in the words of the proxy", &causes);
        let plain = |value| [(String::new(), value)];
        counter("connections", "Connections of clients", &plain(self.sum(|counts| &counts.accepted)));
        counter(
            "upstream_connections",
            "Connections to endpoints",
            &plain(self.sum(|counts| &counts.opened)),
        );
        counter("attempts_again", "Retries and hedges", &plain(self.sum(|counts| &counts.again)));
        counter("copies", "Copies that were sent", &plain(self.sum(|counts| &counts.copied)));
        counter(
            "copies_left_out",
            "Copies that were not sent",
            &plain(self.sum(|counts| &counts.not_copied)),
        );
        counter(
            "bodies_broken",
            "Bodies of endpoints that broke off",
            &plain(self.sum(|counts| &counts.broken)),
        );
        counter(
            "clients_too_slow",
            "Connections closed for slowness",
            &plain(self.sum(|counts| &counts.too_slow)),
        );
        counter(
            "clients_left",
            "Requests whose client left before the answer",
            &plain(self.sum(|counts| &counts.left)),
        );
        counter(
            "connections_garbled",
            "Connections closed for what was no request",
            &plain(self.sum(|counts| &counts.garbage)),
        );
        counter("body_bytes", "Bytes of bodies to clients", &plain(self.sum(|counts| &counts.bytes)));
        let lost = self.log.as_ref().map_or(0, AccessLog::lost);
        counter("log_lines_lost", "Lines of the access log that were lost", &plain(lost));
        for (name, help, value) in [
            ("clients", "Connections of clients now", self.sum(|counts| &counts.clients)),
            ("tunnels", "Tunnels now", self.sum(|counts| &counts.tunnels)),
        ] {
            let _ = writeln!(text, "# HELP l7_{name} {help}\n# TYPE l7_{name} gauge\nl7_{name} {value}");
        }
    }
}
