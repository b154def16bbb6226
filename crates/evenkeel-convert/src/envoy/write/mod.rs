//! Writing a bootstrap of Envoy.

mod check;
mod cluster;
mod listener;
mod route;

use std::time::Duration;

use serde_json::{Value, json};

use crate::conversion::Written;
use crate::report::{Report, Tells};
use crate::setup::Setup;

/// Writes a bootstrap of Envoy, in JSON, which is YAML too.
pub(crate) fn write(setup: &Setup) -> Written {
    let mut writer = Writer { setup, report: Report::default() };
    let listeners: Vec<Value> = setup
        .listeners
        .iter()
        .enumerate()
        .filter_map(|(number, listener)| writer.listener(number, listener))
        .collect();
    let clusters: Vec<Value> = setup.clusters.iter().map(|cluster| writer.cluster(cluster)).collect();
    let root = json!({ "static_resources": { "listeners": listeners, "clusters": clusters } });
    let text = serde_json::to_string_pretty(&root).unwrap_or_default() + "\n";
    Written { text, report: writer.report }
}

struct Writer<'a> {
    setup: &'a Setup,
    report: Report,
}

fn time_text(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        return format!("{}s", time.as_secs());
    }
    let text = format!("{}.{:09}", time.as_secs(), time.subsec_nanos());
    format!("{}s", text.trim_end_matches('0'))
}

impl Tells for Writer<'_> {
    fn report(&mut self) -> &mut Report {
        &mut self.report
    }
}
