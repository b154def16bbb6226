use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::exporter::Exporter;
use crate::family::Family;
use crate::metric::Kind;

impl Collector for Exporter {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let families = self.families();
        families.iter().try_for_each(|family| encode(family, &mut encoder))
    }
}

impl Exporter {
    /// Everything as text in the OpenMetrics format: the answer to `GET /metrics`, with the content type
    /// [`CONTENT_TYPE`](Self::CONTENT_TYPE).
    #[must_use]
    pub fn to_openmetrics(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }

    /// The content type of [`to_openmetrics`](Self::to_openmetrics).
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

fn encode(family: &Family, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let metric = family.metric;
    let kind = match metric.kind() {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    // The encoder ends the sentence itself.
    let mut encoder =
        encoder.encode_descriptor(metric.prometheus(), metric.help().trim_end_matches('.'), None, kind)?;
    for sample in &family.samples {
        let labels: Vec<(&str, &str)> =
            metric.labels().iter().copied().zip(sample.labels.iter().map(AsRef::as_ref)).collect();
        let series = encoder.encode_family(&labels)?;
        match metric.kind() {
            Kind::Counter => ConstCounter::new(sample.value as u64).encode(series)?,
            Kind::Gauge => ConstGauge::new(sample.value).encode(series)?,
        }
    }
    Ok(())
}
