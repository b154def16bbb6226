//! `xds.data.orca.v3.OrcaLoadReport`, with the field numbers of `xds/data/orca/v3/orca_load_report.proto` of
//! <https://github.com/cncf/xds>.

use std::collections::BTreeMap;

use prost::Message;

use crate::{OrcaError, OrcaReport};

pub(crate) fn read(bytes: &[u8]) -> Result<OrcaReport, OrcaError> {
    let wire = Wire::decode(bytes).map_err(|error| OrcaError::Proto { why: error.to_string() })?;
    let queries = if wire.rps_fractional != 0.0 { wire.rps_fractional } else { wire.rps as f64 };
    Ok(OrcaReport {
        cpu_utilization: wire.cpu_utilization,
        mem_utilization: wire.mem_utilization,
        application_utilization: wire.application_utilization,
        rps_fractional: queries,
        eps: wire.eps,
        request_cost: wire.request_cost,
        utilization: wire.utilization,
        named_metrics: wire.named_metrics,
    })
}

#[cfg(test)]
pub(crate) fn bytes(report: &OrcaReport) -> Vec<u8> {
    let report = report.clone();
    let wire = Wire {
        cpu_utilization: report.cpu_utilization,
        mem_utilization: report.mem_utilization,
        rps: 0,
        request_cost: report.request_cost,
        utilization: report.utilization,
        rps_fractional: report.rps_fractional,
        eps: report.eps,
        named_metrics: report.named_metrics,
        application_utilization: report.application_utilization,
    };
    wire.encode_to_vec()
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(double, tag = "1")]
    cpu_utilization: f64,
    #[prost(double, tag = "2")]
    mem_utilization: f64,
    /// The predecessor of `rps_fractional`.
    #[prost(uint64, tag = "3")]
    rps: u64,
    #[prost(btree_map = "string, double", tag = "4")]
    request_cost: BTreeMap<String, f64>,
    #[prost(btree_map = "string, double", tag = "5")]
    utilization: BTreeMap<String, f64>,
    #[prost(double, tag = "6")]
    rps_fractional: f64,
    #[prost(double, tag = "7")]
    eps: f64,
    #[prost(btree_map = "string, double", tag = "8")]
    named_metrics: BTreeMap<String, f64>,
    #[prost(double, tag = "9")]
    application_utilization: f64,
}
