//! `metric=value`, separated by commas.

use std::collections::BTreeSet;

use crate::{OrcaError, OrcaReport};

pub(crate) fn read(value: &[u8]) -> Result<OrcaReport, OrcaError> {
    let text = String::from_utf8_lossy(value);
    let mut report = OrcaReport::default();
    let mut said = BTreeSet::new();
    for part in text.split(',') {
        let (metric, number) = metric(part)?;
        if !said.insert(metric.to_owned()) {
            return Err(wrong(metric, "it is said twice"));
        }
        put(&mut report, metric, number)?;
    }
    Ok(report)
}

fn metric(part: &str) -> Result<(&str, f64), OrcaError> {
    let Some((metric, value)) = part.split_once('=') else {
        return Err(wrong(part.trim(), "its value is missing: write metric=value"));
    };
    let metric = metric.trim();
    if metric.is_empty() {
        return Err(wrong(metric, "it has no name"));
    }
    let number = value.trim().parse().map_err(|_| wrong(metric, "its value is no number"))?;
    Ok((metric, number))
}

fn put(report: &mut OrcaReport, metric: &str, number: f64) -> Result<(), OrcaError> {
    let single = match metric {
        "cpu_utilization" => &mut report.cpu_utilization,
        "mem_utilization" => &mut report.mem_utilization,
        "application_utilization" => &mut report.application_utilization,
        // Its predecessor counts where it says nothing itself, whichever comes first.
        "rps_fractional" if number == 0.0 => return Ok(()),
        "rps_fractional" => &mut report.rps_fractional,
        "rps" if report.rps_fractional != 0.0 => return Ok(()),
        "rps" => &mut report.rps_fractional,
        "eps" => &mut report.eps,
        _ => return put_named(report, metric, number),
    };
    *single = number;
    Ok(())
}

fn put_named(report: &mut OrcaReport, metric: &str, number: f64) -> Result<(), OrcaError> {
    let Some((map, name)) = metric.split_once('.') else { return Err(unknown(metric)) };
    let map = match map {
        "named_metrics" => &mut report.named_metrics,
        "utilization" => &mut report.utilization,
        "request_cost" => &mut report.request_cost,
        _ => return Err(unknown(metric)),
    };
    if name.is_empty() {
        return Err(wrong(metric, "it has no name"));
    }
    map.insert(name.to_owned(), number);
    Ok(())
}

fn unknown(metric: &str) -> OrcaError {
    wrong(
        metric,
        "there is no such metric: those of a server's own are named_metrics.NAME, utilization.NAME and request_cost.NAME",
    )
}

fn wrong(metric: &str, why: &'static str) -> OrcaError {
    OrcaError::Metric { metric: metric.to_owned(), why }
}
