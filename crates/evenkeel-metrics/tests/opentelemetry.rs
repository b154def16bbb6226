//! The same through OpenTelemetry's own reader.

use evenkeel::{Cluster, Endpoint, ManualClock, Request};
use evenkeel_metrics::{Counters, Exporter, Metric};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, InMemoryMetricExporterBuilder, PeriodicReader, SdkMeterProvider, Temporality,
};

#[test]
fn instruments_observe_what_the_exporter_has() {
    let counters = Counters::new();
    let cluster = Cluster::<()>::builder("users")
        .clock(ManualClock::default())
        .observer(counters.observer())
        .build()
        .unwrap();
    assert!(cluster.pick(&Request::new()).is_err());
    cluster.apply([Endpoint::at("10.0.0.1:80".parse().unwrap()).unwrap()]).unwrap();
    let _pick = cluster.pick(&Request::new()).unwrap();
    let exporter = Exporter::default();
    exporter.add(&cluster, &counters);

    let memory = InMemoryMetricExporter::default();
    let provider =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(memory.clone()).build()).build();
    exporter.observe(&provider.meter("evenkeel"));
    provider.force_flush().unwrap();

    let collected = memory.get_finished_metrics().unwrap();
    let metrics: Vec<_> = collected
        .iter()
        .flat_map(opentelemetry_sdk::metrics::data::ResourceMetrics::scope_metrics)
        .flat_map(opentelemetry_sdk::metrics::data::ScopeMetrics::metrics)
        .collect();
    let families = exporter.families();
    assert_eq!(metrics.len(), families.iter().count());
    let active =
        metrics.iter().find(|metric| metric.name() == Metric::RequestsActive.opentelemetry()).unwrap();
    assert_eq!(active.unit(), "{request}");
    let AggregatedMetrics::F64(MetricData::Gauge(gauge)) = active.data() else {
        panic!("a gauge: {active:?}")
    };
    assert_eq!(
        gauge.data_points().map(opentelemetry_sdk::metrics::data::GaugeDataPoint::value).collect::<Vec<_>>(),
        [1.0]
    );
    let refused = metrics.iter().find(|metric| metric.name() == "evenkeel.cluster.picks.refused").unwrap();
    let AggregatedMetrics::U64(MetricData::Sum(sum)) = refused.data() else { panic!("a sum: {refused:?}") };
    assert!(sum.is_monotonic());
    let of = |reason: &str| {
        let has = |point: &&opentelemetry_sdk::metrics::data::SumDataPoint<u64>| {
            point.attributes().any(|pair| pair.key.as_str() == "error.type" && pair.value.as_str() == reason)
        };
        sum.data_points().find(has).map(opentelemetry_sdk::metrics::data::SumDataPoint::value)
    };
    assert_eq!((of("not_known"), of("none_usable")), (Some(1), Some(0)));
}

/// The SDK subtracts what it had from what it is told: a counter that falls would be an enormous number, or a panic.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "waits until a report is too old to be shared; longer does no harm"
)]
fn differences_are_right_when_a_cluster_is_replaced() {
    let exporter = Exporter::default();
    let memory = InMemoryMetricExporterBuilder::new().with_temporality(Temporality::Delta).build();
    let reader = PeriodicReader::builder(memory.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    exporter.observe(&provider.meter("evenkeel"));
    let mut seen = Vec::new();
    for refusals in [5, 2, 0, 3] {
        let counters = Counters::new();
        let builder = Cluster::<()>::builder("users").clock(ManualClock::default());
        let cluster = builder.observer(counters.observer()).build().unwrap();
        exporter.add(&cluster, &counters);
        for _ in 0..refusals {
            assert!(cluster.pick(&Request::new()).is_err());
        }
        memory.reset();
        // Reports are shared for a moment.
        std::thread::sleep(std::time::Duration::from_millis(150));
        provider.force_flush().unwrap();
        let collected = memory.get_finished_metrics().unwrap();
        let refused = collected
            .iter()
            .flat_map(opentelemetry_sdk::metrics::data::ResourceMetrics::scope_metrics)
            .flat_map(opentelemetry_sdk::metrics::data::ScopeMetrics::metrics)
            .find(|metric| metric.name() == "evenkeel.cluster.picks.refused")
            .unwrap();
        let AggregatedMetrics::U64(MetricData::Sum(sum)) = refused.data() else {
            panic!("a sum: {refused:?}")
        };
        seen.push(sum.data_points().map(opentelemetry_sdk::metrics::data::SumDataPoint::value).sum::<u64>());
    }
    assert_eq!(seen, [5, 2, 0, 3]);
}
