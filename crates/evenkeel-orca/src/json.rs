//! The JSON of protocol buffers: names in either case, what is unknown is passed by.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

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

fn number_or_text<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(f64),
        Text(String),
    }
    match Either::deserialize(from)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
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
    /// 64 bits, which this form writes as text.
    #[serde(deserialize_with = "number_or_text")]
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
