use std::fmt::Write;

use super::band::short;
use super::{Band, Scoreboard};
use crate::report::{CaseReport, Report};

/// The page for users.
pub(super) fn page(board: &Scoreboard) -> String {
    let mut page = HEAD.to_owned();
    page.push_str(GUIDE);
    page.push_str("## What was measured\n\n");
    if board.is_quick {
        page.push_str("This is the short form (`--quick`): fewer seeds, and shorter runs in S3 and S4.\n\n");
    }
    let seeds = "Means over the seeds of each scenario; ± is half of the 95 % interval by Student's t. Latencies are \
                 those of requests that were answered or timed out, in milliseconds.\n";
    page.push_str(seeds);
    for report in &board.reports {
        table(&mut page, report);
    }
    bands(&mut page, board);
    page
}

fn table(page: &mut String, report: &Report) {
    // Writing into a string cannot fail.
    let _ = write!(page, "\n### {}\n\n{}\n\nSource: {}.\n", report.scenario, report.about, report.source);
    for case in &report.cases {
        let title = if case.label.is_empty() { String::new() } else { format!("`{}`: ", case.label) };
        let _ = writeln!(
            page,
            "\n{title}{} seeds\n",
            case.policies.first().map_or(0, |policy| policy.runs.len())
        );
        page.push_str("| policy | mean | p50 | p99 | p99.9 | errors % | max ÷ mean | extra % | probes |\n");
        page.push_str("|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
        for policy in &case.policies {
            row(page, case, &policy.policy);
        }
    }
}

fn row(page: &mut String, case: &CaseReport, name: &str) {
    let Some(policy) = case.policy(name) else { return };
    let mean = |metric| short(policy.mean(metric));
    let half = policy.summary.get("p99_ms").map(|interval| (interval.high - interval.low) / 2.0);
    let half =
        half.filter(|half| half.is_finite()).map_or_else(String::new, |half| format!(" ± {}", short(half)));
    let percent = |metric| short(policy.mean(metric) * 100.0);
    let _ = writeln!(
        page,
        "| {name} | {} | {} | {}{half} | {} | {} | {} | {} | {} |",
        mean("mean_ms"),
        mean("p50_ms"),
        mean("p99_ms"),
        mean("p999_ms"),
        percent("errors"),
        mean("max_over_mean"),
        percent("extra"),
        mean("probes")
    );
}

fn bands(page: &mut String, board: &Scoreboard) {
    page.push_str("\n## Against what was published\n\n");
    page.push_str(BANDS);
    page.push_str("| | what | came out | band | |\n|---|---|---:|---|---|\n");
    for band in &board.bands {
        let verdict = if band.is_met() { "met" } else { "**missed**" };
        let Band { id, what, value, .. } = band;
        let _ = writeln!(page, "| {id} | {what} | {} | {} | {verdict} |", short(*value), band.range());
    }
    let missed: Vec<&Band> = board.missed(false).collect();
    if missed.is_empty() {
        return;
    }
    page.push_str("\n### Why bands are missed\n\n");
    for band in missed {
        let why = band.known.unwrap_or("not known yet");
        let _ = writeln!(page, "- {}, {}: {why}", band.id, band.what);
    }
}

const HEAD: &str = "# Choosing a policy

Made by `cargo run --release -p evenkeel-sim -- scoreboard --markdown docs/choosing-a-policy.md`. What is simulated, and what is
not, is said in [simulator.md](simulator.md); every policy is described in [algorithms.md](algorithms.md).

";

const BANDS: &str = "Bands are the papers' where these give a figure or a formula (S1, S2, S11, S12, the ratios of S3 and S4), else \
                     within 10 % of a reference simulation of the same setting, 30 % for policies that differ that much between seeds. \
                     S5 runs at the load that the reference states; the request rate stated beside it does not fit that load.\n\n";

const GUIDE: &str = include_str!("guide.md");
