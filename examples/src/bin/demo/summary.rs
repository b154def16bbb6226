//! What is printed at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::{EndpointId, Ratio};

use crate::checks::{Check, Verdict};
use crate::load::Seen;
use crate::story::{Act, Cast};
use crate::table::{duration, shares_between};

/// The state of affairs when an act began.
#[derive(Clone, Debug)]
pub(crate) struct Chapter {
    pub(crate) at: Duration,
    pub(crate) act: Option<Act>,
    /// Tries by backend so far.
    pub(crate) tries: BTreeMap<EndpointId, u64>,
}

/// One line for each act: what it was, and what it did to the share of the backend that it was about.
///
/// `chapters` starts with a chapter without an act, for the calm before the first, and ends with one for the end.
pub(crate) fn effects(cast: &Cast, chapters: &[Chapter]) -> Vec<String> {
    let act_of = |window: &[Chapter]| window[1].act;
    let windows = chapters.windows(3).filter_map(|window| Some((act_of(window)?, window)));
    windows
        .map(|(act, window)| {
            let subject = cast.subject(act);
            let share = |from: &Chapter, to: &Chapter| {
                shares_between(&from.tries, &to.tries).get(subject).copied().unwrap_or(0.0) * 100.0
            };
            let (before, after) = (share(&window[0], &window[1]), share(&window[1], &window[2]));
            let what = cast.tell(act).to_string();
            format!("{:>6.1} s  {what:<61} {before:>4.1} % -> {after:>4.1} %", window[1].at.as_secs_f64())
        })
        .collect()
}

/// The numbers of the whole run.
pub(crate) fn numbers(seen: &Seen, retries: u64) -> Vec<String> {
    let quantile = |q: Result<Ratio, _>| duration(q.ok().and_then(|q| seen.latency(q)));
    let [p50, p90, p99] = [50, 90, 99].map(|percent| quantile(Ratio::percent(percent)));
    let (p999, most) = (quantile(Ratio::new(0.999)), quantile(Ok(Ratio::ONE)));
    vec![
        format!(
            "  {} requests answered, {} lost; {retries} tries went wrong and were retried elsewhere",
            seen.answered(),
            seen.lost().len()
        ),
        format!(
            "  latency from when each was due: p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, longest {most}"
        ),
    ]
}

/// One line for each check.
pub(crate) fn verdicts(checks: &[Check]) -> Vec<String> {
    checks
        .iter()
        .map(|check| {
            let (word, detail) = match &check.verdict {
                Verdict::Kept(detail) => ("ok", detail),
                Verdict::Broken(detail) => ("FAILED", detail),
                Verdict::Untested(detail) => ("untested", detail),
            };
            format!("  {word:<8}  {}: {detail}", check.promise)
        })
        .collect()
}
