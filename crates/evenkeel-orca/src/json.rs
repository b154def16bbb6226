//! The JSON of protocol buffers: names in either case, what is unknown is passed by.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{OrcaError, OrcaReport};

pub(crate) fn read(value: &[u8]) -> Result<OrcaReport, OrcaError> {
    // A list would be read as the fields in their order.
    if !value.trim_ascii_start().starts_with(b"{") {
        return Err(OrcaError::Json { why: "it is no object".to_owned() });
    }
    let fields: Fields =
        serde_json::from_slice(value).map_err(|error| OrcaError::Json { why: error.to_string() })?;
    let queries = if fields.rps_fractional != 0.0 { fields.rps_fractional } else { fields.rps };
    Ok(OrcaReport {
        cpu_utilization: fields.cpu_utilization,
        mem_utilization: fields.mem_utilization,
        application_utilization: fields.application_utilization,
        rps_fractional: queries,
        eps: fields.eps,
        request_cost: fields.request_cost,
        utilization: fields.utilization,
        named_metrics: fields.named_metrics,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(alias = "cpuUtilization")]
    cpu_utilization: f64,
    #[serde(alias = "memUtilization")]
    mem_utilization: f64,
    #[serde(alias = "applicationUtilization")]
    application_utilization: f64,
    rps: f64,
    #[serde(alias = "rpsFractional")]
    rps_fractional: f64,
    eps: f64,
    #[serde(alias = "requestCost")]
    request_cost: BTreeMap<String, f64>,
    utilization: BTreeMap<String, f64>,
    #[serde(alias = "namedMetrics")]
    named_metrics: BTreeMap<String, f64>,
}
