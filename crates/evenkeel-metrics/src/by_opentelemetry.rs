use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;

use crate::exporter::Exporter;
use crate::family::{Families, Sample};
use crate::metric::{Kind, Metric};

impl Exporter {
    /// Makes an observable instrument of every metric. They live as long as the meter's provider; what a cluster does not have
    /// (a limit, a breaker) is not observed.
    ///
    /// All instruments that are collected together share one report of each cluster, at most 100 ms old.
    pub fn observe(&self, meter: &Meter) {
        let latest = Arc::new(Latest { exporter: self.clone(), families: Mutex::new(None) });
        for &metric in Metric::ALL {
            let latest = Arc::clone(&latest);
            match metric.kind() {
                Kind::Counter => {
                    let instrument = meter.u64_observable_counter(metric.opentelemetry());
                    let instrument = instrument.with_description(metric.help()).with_unit(metric.unit());
                    let _instrument = instrument
                        .with_callback(move |to| {
                            latest.each(metric, |value, labels| to.observe(value as u64, labels));
                        })
                        .build();
                }
                Kind::Gauge => {
                    let instrument = meter.f64_observable_gauge(metric.opentelemetry());
                    let instrument = instrument.with_description(metric.help()).with_unit(metric.unit());
                    let _instrument = instrument
                        .with_callback(move |to| {
                            latest.each(metric, |value, labels| to.observe(value, labels));
                        })
                        .build();
                }
            }
        }
    }
}

/// What was exported last, for the instruments of one collection.
struct Latest {
    exporter: Exporter,
    families: Mutex<Option<(Instant, Arc<Families>)>>,
}

impl Latest {
    fn each(&self, metric: Metric, mut observe: impl FnMut(f64, &[KeyValue])) {
        for sample in self.families().of(metric) {
            observe(sample.value, &attributes(metric, sample));
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an adapter; how old a report may be is no decision about requests"
    )]
    fn families(&self) -> Arc<Families> {
        let mut latest = self.families.lock();
        match &*latest {
            Some((made, families)) if made.elapsed() < SHARED_FOR => Arc::clone(families),
            _ => {
                let families = Arc::new(self.exporter.families());
                *latest = Some((Instant::now(), Arc::clone(&families)));
                families
            }
        }
    }
}

/// Labels under names as OpenTelemetry has them.
fn attributes(metric: Metric, sample: &Sample) -> Vec<KeyValue> {
    let names = metric.labels().iter().map(|&label| match label {
        "cluster" => "evenkeel.cluster.name",
        "endpoint" => "evenkeel.endpoint.id",
        "router" => "evenkeel.router.name",
        "route" => "evenkeel.route.name",
        "address" => "server.address",
        "source" => "evenkeel.discovery.source",
        "cause" => "evenkeel.cause",
        "state" => "evenkeel.state",
        "reason" => "error.type",
        other => other,
    });
    names.zip(&sample.labels).map(|(name, value)| KeyValue::new(name, value.clone().into_owned())).collect()
}

const SHARED_FOR: Duration = Duration::from_millis(100);
