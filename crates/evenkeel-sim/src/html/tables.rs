//! Numbers with their intervals.

use std::fmt::Write as _;

use super::{escape, short};
use crate::replay::Comparison;
use crate::report::{CaseReport, PolicyReport};
use crate::statistics::Interval;

struct Metric {
    name: &'static str,
    title: &'static str,
    /// What it is multiplied by.
    times: f64,
}

const METRICS: [Metric; 10] = [
    Metric { name: "mean_ms", title: "mean, ms", times: 1.0 },
    Metric { name: "p50_ms", title: "p50, ms", times: 1.0 },
    Metric { name: "p90_ms", title: "p90, ms", times: 1.0 },
    Metric { name: "p99_ms", title: "p99, ms", times: 1.0 },
    Metric { name: "p999_ms", title: "p99.9, ms", times: 1.0 },
    Metric { name: "errors", title: "errors, %", times: 100.0 },
    Metric { name: "goodput", title: "goodput, %", times: 100.0 },
    Metric { name: "max_over_mean", title: "max ÷ mean share", times: 1.0 },
    Metric { name: "extra", title: "extra requests, %", times: 100.0 },
    Metric { name: "keys_moved", title: "keys moved, %", times: 100.0 },
];

/// Every policy, every metric.
pub(super) fn policies(case: &CaseReport) -> String {
    let mut text = String::from(
        "<div class=wide><table><caption>Means over seeds, with 95 % intervals</caption><thead><tr><th scope=col>policy",
    );
    for metric in &METRICS {
        let _ = write!(text, "<th scope=col>{}", metric.title);
    }
    text += "</thead><tbody>\n";
    for policy in &case.policies {
        let _ = write!(text, "<tr><th scope=row>{}", escape(&policy.policy));
        for metric in &METRICS {
            let cell =
                policy.summary.get(metric.name).map_or_else(String::new, |own| interval(own, metric.times));
            let _ = write!(text, "<td>{cell}");
        }
        text += &unstable(policy);
        text.push('\n');
    }
    text + "</tbody></table></div>\n"
}

fn unstable(policy: &PolicyReport) -> String {
    policy.warning().map_or_else(String::new, |words| {
        format!("<tr><td colspan={} class=bad>{}", METRICS.len() + 1, escape(&words))
    })
}

/// Each policy against the first.
pub(super) fn differences(case: &CaseReport) -> String {
    let Some(first) = case.differences.first() else { return String::new() };
    let mut text = format!(
        "<div class=wide><table><caption>Against {}, seed by seed: in percent, with 95 % intervals; bold where the interval \
         excludes zero</caption><thead><tr><th scope=col>policy",
        escape(&first.against)
    );
    for metric in &METRICS[..5] {
        let _ = write!(text, "<th scope=col>{}", metric.title.trim_end_matches(", ms"));
    }
    text += "</thead><tbody>\n";
    for own in &case.differences {
        let _ = write!(text, "<tr><th scope=row>{}", escape(&own.policy));
        for metric in &METRICS[..5] {
            let cell = own.relative.get(metric.name).map_or_else(String::new, |relative| {
                let says = format!("{:+.1}", relative.mean * 100.0);
                let says = if relative.excludes(0.0) { format!("<b>{says}</b>") } else { says };
                format!("{says}{}", range(relative, 100.0))
            });
            let _ = write!(text, "<td>{cell}");
        }
        text.push('\n');
    }
    text + "</tbody></table></div>\n"
}

/// The log beside the policies.
pub(super) fn comparison(comparison: &Comparison, case: &CaseReport) -> String {
    let measured = &comparison.measured;
    let mut text = String::from(
        "<div class=wide><table><caption>Measured and simulated, in milliseconds</caption><thead><tr><th scope=col>\
         <th scope=col>mean<th scope=col>p50<th scope=col>p90<th scope=col>p99<th scope=col>p99.9<th scope=col>errors, %\
         <th scope=col>distance<th scope=col>most apart</thead><tbody>\n",
    );
    let _ = write!(text, "<tr class=own><th scope=row>measured");
    for value in [measured.mean_ms, measured.p50_ms, measured.p90_ms, measured.p99_ms, measured.p999_ms] {
        let _ = write!(text, "<td>{}", short(value));
    }
    let _ = writeln!(text, "<td>{}<td><td>", short(measured.errors * 100.0));
    for own in &comparison.policies {
        let _ = write!(text, "<tr><th scope=row>{}", escape(&own.policy));
        for metric in ["mean_ms", "p50_ms", "p90_ms", "p99_ms", "p999_ms"] {
            let value = case.policy(&own.policy).map_or(f64::NAN, |policy| policy.mean(metric));
            let _ = write!(text, "<td>{}", short(value));
        }
        let errors = case.policy(&own.policy).map_or(f64::NAN, |policy| policy.mean("errors"));
        let _ = writeln!(
            text,
            "<td>{}<td>{}<td class=words>{}",
            short(errors * 100.0),
            interval(&own.distance, 1.0),
            own.most_apart()
        );
    }
    text + "</tbody></table></div>\n"
}

fn interval(own: &Interval, times: f64) -> String {
    format!("{}{}", short(own.mean * times), range(own, times))
}

fn range(own: &Interval, times: f64) -> String {
    if own.low == own.high {
        return String::new();
    }
    format!("<br><small>{} to {}</small>", short(own.low * times), short(own.high * times))
}
