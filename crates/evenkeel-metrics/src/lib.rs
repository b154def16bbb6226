//! What clusters do, for those who watch them.
//!
//! Numbers are pulled: an [`Exporter`] asks each cluster for its report when somebody scrapes, so that picks cost what they did. What
//! happens between two scrapes is counted by [`Counters`], an observer: changes of state and refused picks, never picks that
//! went well. What routes counted (requests, retries, hedges, copies) comes from the report of their router
//! ([`Exporter::add_router`]).
//!
//! ```
//! use evenkeel::{Cluster, Endpoint, Request};
//! use evenkeel_metrics::{Counters, Exporter};
//!
//! let counters = Counters::new();
//! let cluster = Cluster::<()>::builder("users").observer(counters.observer()).build()?;
//! let exporter = Exporter::default();
//! exporter.add(&cluster, &counters);
//!
//! cluster.apply([Endpoint::at("10.0.0.1:80".parse()?)?])?;
//! let _pick = cluster.pick(&Request::new())?;
//! # #[cfg(feature = "prometheus")]
//! assert!(exporter.to_openmetrics().contains("evenkeel_cluster_upstream_rq_active{cluster=\"users\"} 1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | you have | use | feature |
//! |---|---|---|
//! | `prometheus-client` | [`Exporter`] is a `Collector`: `registry.register_collector(Box::new(exporter))` | `prometheus` |
//! | an HTTP server of your own | `Exporter::to_openmetrics`, under `/metrics` | `prometheus` |
//! | OpenTelemetry | `Exporter::observe(&meter)` | `opentelemetry` |
//! | logs | `Events`, an observer | `tracing` |
//! | anything else | [`Exporter::families`] | – |
//!
//! # Names
//!
//! [`Metric`] lists them. In Prometheus they follow Envoy's cluster statistics where there is a like one (`membership_healthy`,
//! `upstream_rq_active`, `outlier_detection_ejections_active`), so that dashboards carry over; in OpenTelemetry its conventions
//! (dots, units in UCUM, no unit in the name).
//!
//! # How many series
//!
//! A cluster has about 25 series, each of its tiers 4, each source of endpoints 5, each endpoint 11, and each route 8 and one for each of
//! its clusters. [`Exporter::with_max_endpoints`] bounds how many
//! endpoints of a cluster are listed; those in trouble come first, and `cluster_endpoints_unlisted` says how many are not there. Names
//! of clusters and causes are bounded by the program, ids of endpoints come from discovery.

#[cfg(feature = "opentelemetry")]
mod by_opentelemetry;
#[cfg(feature = "prometheus")]
mod by_prometheus;
#[cfg(feature = "tracing")]
mod by_tracing;
mod cluster;
mod counters;
mod endpoints;
mod exporter;
mod family;
mod metric;
mod routes;
mod sources;
mod tiers;
mod totals;

#[cfg(feature = "tracing")]
pub use by_tracing::Events;
pub use counters::{Both, Counters};
pub use exporter::Exporter;
pub use family::{Families, Family, Sample};
pub use metric::{Kind, Metric};

/// The page on monitoring, compiled and run.
#[cfg(all(doctest, feature = "opentelemetry", feature = "prometheus"))]
#[doc = include_str!("../../../docs/monitoring.md")]
struct Monitoring;
