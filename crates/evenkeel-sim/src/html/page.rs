//! The page.

use std::fmt::Write as _;

use super::{DRAWN, curves, endpoints, escape, short, tables};
use crate::replay::Comparison;
use crate::report::{CaseReport, Report};

/// A report as a page; beside what was measured, if it is the replay of a log.
#[must_use]
pub fn render(report: &Report, comparison: Option<&Comparison>) -> String {
    let name = escape(&report.scenario);
    let mut text = format!(
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n<meta name=color-scheme content=\"light dark\">\n\
         <title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n"
    );
    for (about, title) in [(&report.about, ""), (&report.source, "Source: ")] {
        if !about.is_empty() {
            let _ = writeln!(text, "<p>{title}{}</p>", escape(about));
        }
    }
    if let Some(comparison) = comparison {
        text += &log(comparison);
    }
    let is_sweep = report.cases.len() > 1;
    if is_sweep {
        text += "<nav aria-label=Cases><ul>";
        for (number, case) in report.cases.iter().enumerate() {
            let _ = write!(text, "<li><a href=\"#case{number}\">{}</a>", escape(&case.label));
        }
        text += "</ul></nav>\n";
    }
    for (number, case) in report.cases.iter().enumerate() {
        let title = if case.label.is_empty() { "Results".to_owned() } else { escape(&case.label) };
        let _ = writeln!(text, "<section id=case{number}>\n<h2>{title}</h2>");
        text += &one_case(case, number, comparison);
        text += "</section>\n";
    }
    text + "</main>\n</body>\n</html>\n"
}

fn one_case(case: &CaseReport, number: usize, comparison: Option<&Comparison>) -> String {
    let seeds = case.policies.first().map_or(0, |policy| policy.runs.len());
    let requests = case.policies.first().and_then(|policy| policy.runs.first()).map_or(0, |run| run.requests);
    let mut text = format!(
        "<p>Load: {} % of what the servers can do. {seeds} {}, {requests} requests counted in the first.</p>\n",
        short(case.load * 100.0),
        if seeds == 1 { "seed" } else { "seeds" }
    );
    if case.is_overloaded {
        text +=
            "<p class=bad>More is asked than the servers can do: queues grow until something sheds.</p>\n";
    }
    if let Some(comparison) = comparison {
        text += &tables::comparison(comparison, case);
    }
    text += &tables::policies(case);
    text += &tables::differences(case);
    if number >= MOST_CASES {
        return text + "<p>Further plots are left out, to keep this page small.</p>\n";
    }
    if case.policies.len() > DRAWN {
        let _ = writeln!(text, "<p>Drawn are the first {DRAWN} policies.</p>");
    }
    text += &curves::draw(case, &format!("c{number}"), comparison.map(|comparison| &comparison.measured));
    let over_time =
        case.policies.iter().take(DRAWN).enumerate().filter_map(|(policy_number, policy)| {
            endpoints::draw(policy, &format!("c{number}p{policy_number}"))
        });
    let over_time: String = over_time.collect();
    if !over_time.is_empty() && number < MOST_SERIES {
        text += "<h3>Endpoints over time</h3>\n<p>Of one run of each policy, with its warm-up.</p>\n";
        text += &over_time;
    }
    text
}

/// What the log is, and what can be read from it.
fn log(comparison: &Comparison) -> String {
    let mut text = String::from("<section>\n<h2>The log</h2>\n<ul>");
    for fact in comparison.facts() {
        let _ = write!(text, "<li>{}", escape(&fact));
    }
    text += "</ul>\n";
    for caution in comparison.cautions() {
        let _ = writeln!(text, "<p class=note>{}</p>", escape(&caution));
    }
    text + "</section>\n"
}

/// Cases with plots, and with plots of endpoints.
const MOST_CASES: usize = 24;
const MOST_SERIES: usize = 4;

/// The colours are those of Okabe and Ito, which can be told apart with any kind of sight, lighter where the page is dark.
const STYLE: &str = "
:root{color-scheme:light dark;--fg:#1b1f24;--bg:#fff;--dim:#57606a;--rule:#d8dee4;--bad:#b3261e;--note:#f3f6f9;--heat:#0b5cad;
--c0:#0072b2;--c1:#d55e00;--c2:#00815c;--c3:#b5478b;--c4:#9a6b00;--c5:#2a8fc7;--c6:#7b4fc9;--c7:#5f6b3a}
@media(prefers-color-scheme:dark){:root{--fg:#e6e8eb;--bg:#14171b;--dim:#9da7b3;--rule:#333a42;--bad:#ff8a80;--note:#1d2229;
--heat:#6cb6ff;--c0:#5db4f0;--c1:#ff9552;--c2:#3fcf9f;--c3:#e59ac9;--c4:#f0c14b;--c5:#8fd3ff;--c6:#b9a1ff;--c7:#b7c47a}}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;line-height:1.25;overflow-wrap:anywhere}h2{font-size:1.25rem;margin-top:2rem}h3{font-size:1.05rem}
.wide{overflow-x:auto}table{border-collapse:collapse;margin:1rem 0;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--dim);padding:.25rem 0}
th,td{border-bottom:1px solid var(--rule);padding:.3rem .6rem;text-align:right;vertical-align:top;white-space:nowrap}
th:first-child{text-align:left}thead th{color:var(--dim);font-weight:600}tr.own{background:var(--note)}
small{color:var(--dim)}.bad{color:var(--bad)}td.bad{text-align:left}td.words{text-align:left;white-space:normal;min-width:13rem}.note{background:var(--note);border-left:4px solid var(--c4);padding:.6rem .9rem}
figure{margin:1.5rem 0}figcaption{font-weight:600}figure>svg{width:100%;height:auto;display:block}
svg text{font:11px system-ui,sans-serif;fill:var(--dim)}.tx{text-anchor:middle}.ty{text-anchor:end}
.grid{stroke:var(--rule);stroke-width:1;fill:none}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1);stroke-dasharray:9 3}.c2{stroke:var(--c2);stroke-dasharray:3 2}.c3{stroke:var(--c3);stroke-dasharray:10 3 2 3}
.c4{stroke:var(--c4)}.c5{stroke:var(--c5);stroke-dasharray:6 5}.c6{stroke:var(--c6);stroke-dasharray:2 4}.c7{stroke:var(--c7);stroke-dasharray:12 4 3 4 3 4}
.own{stroke:var(--fg)}.line.own{stroke-width:2.6}.band{stroke:none;fill-opacity:.14}.band.own{fill:var(--fg)}
.band.c0{fill:var(--c0)}.band.c1{fill:var(--c1)}.band.c2{fill:var(--c2)}.band.c3{fill:var(--c3)}.band.c4{fill:var(--c4)}.band.c5{fill:var(--c5)}.band.c6{fill:var(--c6)}.band.c7{fill:var(--c7)}
.heat{stroke:var(--heat);fill:none}.h1{stroke-opacity:.1}.h2{stroke-opacity:.2}.h3{stroke-opacity:.32}.h4{stroke-opacity:.44}.h5{stroke-opacity:.57}.h6{stroke-opacity:.7}.h7{stroke-opacity:.85}
.thick{stroke-width:10}
.legend,nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;list-style:none;margin:.3rem 0 0;padding:0;font-size:.88rem}.legend svg{vertical-align:middle;margin-right:.4rem}
details{border-top:1px solid var(--rule);padding:.6rem 0}summary{cursor:pointer;font-weight:600}
a{color:var(--c0)}@media print{details{break-inside:avoid}}
";
