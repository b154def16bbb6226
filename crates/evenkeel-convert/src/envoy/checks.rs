//! `health_checks`.

use std::time::Duration;

use evenkeel::ClusterConfig;
use evenkeel_health::{CheckConfig, RiseFallConfig, Start};
use evenkeel_probe::{GrpcProbe, HttpProbe, Payload, ProbeConfig, Statuses, TcpProbe};
use evenkeel_types::Ratio;

use super::node::Node;
use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::setup::CheckSetup;

pub(super) fn checks(
    table: &mut Table<'_>,
    cluster: &mut ClusterConfig,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let path = table.path("health_checks");
    for (number, node) in table.list("health_checks")?.iter().enumerate() {
        let mut check = Table::new(node, format!("{path}[{number}]"))?;
        if number > 0 {
            conversion.report.none(
                &node.place,
                check.path(""),
                "a cluster has one check here: add further targets to the prober",
            );
            continue;
        }
        let needed = |check: &Table<'_>, field: &str| {
            ConvertError::unexpected(check.place(), check.path(field), "this field is needed")
        };
        let timeout = check.time("timeout")?.ok_or_else(|| needed(&check, "timeout"))?;
        let interval = check.time("interval")?.ok_or_else(|| needed(&check, "interval"))?;
        let mut threshold = |field: &str| -> Result<u8, ConvertError> {
            let value = check.number(field)?.ok_or_else(|| needed(&check, field))?;
            u8::try_from(value).ok().filter(|&value| value > 0).ok_or_else(|| {
                ConvertError::value(
                    check.place(),
                    check.path(field),
                    value.to_string(),
                    "1 to 255 is allowed here",
                )
            })
        };
        let (rise, fall) = (threshold("healthy_threshold")?, threshold("unhealthy_threshold")?);
        let Some(probe) = probe(&mut check, timeout, conversion)? else { continue };
        let thresholds = RiseFallConfig { rise, fall, start: Start::Down };
        cluster.health = thresholds;
        let jitter = check.time("interval_jitter")?.unwrap_or_default();
        let share = jitter.as_secs_f64() / interval.as_secs_f64().max(1e-9) / 2.0;
        let percent = check.number("interval_jitter_percent")?.unwrap_or(0);
        let share = share + f64::from(percent) / 200.0;
        if share > 0.5 {
            let detail = "jitter of the schedule: half of the interval to both sides is the most";
            conversion.report.differs(&node.place, check.path("interval_jitter"), detail);
        }
        let schedule = CheckConfig {
            thresholds,
            interval,
            fast_interval: check.time("unhealthy_edge_interval")?,
            down_interval: check.time("unhealthy_interval")?,
            no_traffic_interval: Some(
                check.time("no_traffic_interval")?.unwrap_or(Duration::from_secs(60)).max(interval),
            ),
            timeout: Some(timeout),
            jitter: Ratio::new(share.min(0.5)).unwrap_or(Ratio::ZERO),
            ..CheckConfig::default()
        };
        let detail =
            format!("checks.{}: an endpoint that was never checked is down, as in Envoy", cluster.name);
        conversion.report.taken(&node.place, check.path(""), detail);
        check.rest(&mut conversion.report, |field| match field {
            "alt_port" => "set port of the check",
            "healthy_edge_interval" => "one interval serves both edges: fast_interval",
            "reuse_connection" => "set reuse_connection of the probe",
            "initial_jitter" => "checks are spread by themselves",
            "event_log_path" | "event_logger" | "event_service" | "always_log_health_check_failures" => {
                "evenkeel-metrics tells of changes"
            }
            "tls_options" | "transport_socket_match_criteria" => "set tls of the probe",
            _ => "checks have no such setting",
        });
        conversion.setup.checks.insert(cluster.name.clone(), CheckSetup { probe, schedule, port: None });
    }
    Ok(())
}

fn probe(
    check: &mut Table<'_>,
    timeout: Duration,
    conversion: &mut Conversion,
) -> Result<Option<ProbeConfig>, ConvertError> {
    if let Some(mut http) = check.table("http_health_check")? {
        let mut probe = HttpProbe { timeout, ..HttpProbe::path(http.needed("path")?) };
        probe.host = http.text("host")?.map(str::to_owned);
        if let Some(method) = http.text("method")? {
            probe.method = method.to_owned();
        }
        let path = http.path("expected_statuses");
        probe.expected =
            statuses(http.list("expected_statuses")?, &path, conversion)?.unwrap_or_else(|| one(200));
        let path = http.path("retriable_statuses");
        probe.retriable = statuses(http.list("retriable_statuses")?, &path, conversion)?.unwrap_or_default();
        probe.degraded_header = Some("x-envoy-degraded".to_owned());
        probe.reuse_connection = check.boolean("reuse_connection")?.unwrap_or(true);
        http.rest(&mut conversion.report, |_| "the check by HTTP has no such setting");
        return Ok(Some(ProbeConfig::Http(probe)));
    }
    if let Some(mut tcp) = check.table("tcp_health_check")? {
        let mut probe = TcpProbe { timeout, ..TcpProbe::default() };
        if let Some(mut send) = tcp.table("send")? {
            probe.send = payload(&mut send)?;
            send.rest(&mut conversion.report, |_| "what is sent is written in hex: text");
        }
        let path = tcp.path("receive");
        for (number, node) in tcp.list("receive")?.iter().enumerate() {
            let mut expected = Table::new(node, format!("{path}[{number}]"))?;
            if number > 0 {
                let detail = "a check expects one text: the first, so it is easier to pass";
                conversion.report.none(&node.place, expected.path(""), detail);
                continue;
            }
            probe.expect = payload(&mut expected)?;
            expected.rest(&mut conversion.report, |_| "what is expected is written in hex: text");
        }
        tcp.rest(&mut conversion.report, |_| "the check by TCP has no such setting");
        return Ok(Some(ProbeConfig::Tcp(probe)));
    }
    if let Some(mut grpc) = check.table("grpc_health_check")? {
        let probe = GrpcProbe {
            timeout,
            service: grpc.text("service_name")?.unwrap_or("").to_owned(),
            authority: grpc.text("authority")?.map(str::to_owned),
            ..GrpcProbe::default()
        };
        grpc.rest(&mut conversion.report, |_| "the check by gRPC has no such setting");
        return Ok(Some(ProbeConfig::Grpc(probe)));
    }
    conversion.report.none(check.place(), check.path(""), "checks are by HTTP, TCP or gRPC, or by a command");
    Ok(None)
}

fn payload(table: &mut Table<'_>) -> Result<Option<Payload>, ConvertError> {
    let path = table.path("text");
    table
        .text("text")?
        .map(|text| {
            Payload::from_hex(text)
                .map_err(|error| ConvertError::value(table.place(), path, text, error.to_string()))
        })
        .transpose()
}

fn one(status: u16) -> Statuses {
    Statuses::range(status, status).unwrap_or_default()
}

/// Half-open ranges.
fn statuses(
    list: &[Node],
    path: &str,
    conversion: &mut Conversion,
) -> Result<Option<Statuses>, ConvertError> {
    let mut texts = Vec::new();
    for node in list {
        let mut range = Table::new(node, path)?;
        let start = range.number("start")?.unwrap_or(0);
        let end = range.number("end")?.unwrap_or(0);
        texts.push(format!("{start}-{}", end.saturating_sub(1)));
        range.rest(&mut conversion.report, |_| "a range has a start and an end");
    }
    let Some(first) = list.first() else { return Ok(None) };
    let text = texts.join(", ");
    text.parse().map(Some).map_err(|_| first.wrong(path, "ranges within 100 to 599 are allowed"))
}
