//! Clusters and endpoints as the API shows them. Ages and times left are in seconds, latencies in milliseconds, shares from 0 to 1.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel::{
    BreakerState, Cause, CauseReport, ClusterReport, EndpointId, EndpointReport, Freshness, Locality,
    SourceState, SourceStatus, TierReport, Timestamp,
};
use serde::Serialize;

use super::expected;
use super::log::Log;
use super::meter::Reading;
use super::world::{AnyCluster, Beside};

/// A cluster in a line.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    name: String,
    policy: &'static str,
    subset: Option<&'static str>,
    generation: u64,
    known: bool,
    usable: usize,
    endpoints_total: usize,
    in_flight: usize,
    limit: Option<u32>,
    /// Of the last minute; none without meters.
    requests_per_s: Option<f64>,
    panic: bool,
    discovery: Discovery,
    /// Why its newest set of endpoints was not taken, if so.
    refused: Option<String>,
}

/// A cluster whole.
#[derive(Debug, Serialize)]
pub(crate) struct Whole {
    #[serde(flatten)]
    summary: Summary,
    tiers: Vec<TierReport>,
    sources: Vec<Source>,
    endpoints: Vec<One>,
    /// How many endpoints are not listed.
    endpoints_unlisted: usize,
}

/// How fresh the set of endpoints is.
#[derive(Debug, Serialize)]
pub(crate) struct Discovery {
    /// `applied`, `pending`, `live`, `stale` or `absent`.
    state: &'static str,
    age_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Source {
    name: String,
    state: &'static str,
    used: bool,
    endpoints: usize,
    age_s: Option<f64>,
    over_age: bool,
    held: bool,
    rejected: u64,
    error: Option<String>,
    error_age_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct One {
    id: String,
    incarnation: u64,
    address: String,
    priority: u8,
    zone: Option<String>,
    weight: u32,
    in_subset: bool,
    usable: bool,
    /// `healthy`, `outside_subset`, or the first cause.
    state: String,
    state_text: String,
    age_s: Option<f64>,
    left_s: Option<f64>,
    by: Option<String>,
    reason: Option<String>,
    causes: Vec<Because>,
    factor: f64,
    expected_share: f64,
    /// Of the last minute; none without meters, or without requests.
    actual_share: Option<f64>,
    requests_per_s: Option<f64>,
    failed_share: Option<f64>,
    in_flight: usize,
    limit: Option<u32>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// What the cluster estimates, if it does.
    latency_ms: Option<f64>,
    breaker: Option<Breaker>,
}

#[derive(Debug, Serialize)]
struct Because {
    cause: String,
    text: String,
    age_s: f64,
    left_s: Option<f64>,
    by: Option<String>,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Breaker {
    state: &'static str,
    left_s: Option<f64>,
    by: Option<String>,
}

/// A cluster at one moment.
pub(crate) struct Seen {
    now: Timestamp,
    report: ClusterReport,
    freshness: Freshness,
    beside: BTreeMap<EndpointId, Beside>,
    refused: Option<String>,
}

impl Seen {
    pub(crate) fn of(cluster: &dyn AnyCluster, refused: Option<String>) -> Self {
        let report = cluster.report();
        let beside = cluster.beside().into_iter().map(|one| (one.id.clone(), one)).collect();
        // The present last: nothing has an age below zero.
        Self { report, beside, refused, freshness: cluster.freshness(), now: cluster.now() }
    }

    pub(crate) fn summary(&self) -> Summary {
        let report = &self.report;
        let rates: Vec<f64> = self.readings().map(|reading| reading.per_second).collect();
        Summary {
            name: report.name.clone(),
            policy: report.policy,
            subset: report.subset,
            generation: report.generation,
            known: report.known,
            usable: report.usable,
            endpoints_total: report.endpoints.len(),
            in_flight: report.endpoints.iter().map(|endpoint| endpoint.in_flight).sum(),
            limit: report.limit,
            requests_per_s: (!rates.is_empty()).then(|| rounded(rates.iter().sum())),
            panic: report.tiers.iter().any(|tier| tier.panic),
            discovery: Discovery::of(self.freshness, self.now),
            refused: self.refused.clone(),
        }
    }

    /// `max` endpoints at most: those in trouble first if there are more, but in their order.
    pub(crate) fn whole(&self, max: usize, log: &Log) -> Whole {
        let report = &self.report;
        let shares = expected::shares(report, |endpoint| self.zone(&endpoint.id));
        let picks: u64 = self.readings().map(|reading| reading.picks).sum();
        let mut places: Vec<usize> = (0..report.endpoints.len()).collect();
        if places.len() > max {
            places.sort_by_key(|&at| report.endpoints[at].usable && report.endpoints[at].cause.is_none());
            places.truncate(max);
            places.sort_unstable();
        }
        let one = |&at: &usize| self.one(&report.endpoints[at], shares[at], picks, log);
        Whole {
            summary: self.summary(),
            tiers: report.tiers.clone(),
            sources: report.sources.iter().map(|source| Source::of(source, self.now)).collect(),
            endpoints: places.iter().map(one).collect(),
            endpoints_unlisted: report.endpoints.len() - places.len(),
        }
    }

    pub(crate) fn weights(&self) -> impl Iterator<Item = (&EndpointId, u32)> {
        self.report.endpoints.iter().map(|endpoint| (&endpoint.id, endpoint.weight.get()))
    }

    fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.beside.values().filter_map(|one| one.reading.as_ref())
    }

    fn zone(&self, id: &EndpointId) -> Option<&Locality> {
        self.beside.get(id)?.locality.as_ref()
    }

    fn one(&self, endpoint: &EndpointReport, expected_share: f64, picks: u64, log: &Log) -> One {
        let now = self.now;
        let reading = self.beside.get(&endpoint.id).and_then(|one| one.reading);
        let causes: Vec<_> = endpoint.causes.iter().map(|cause| Because::of(cause, now)).collect();
        let first = causes.first();
        let (state, state_text) = match (endpoint.cause, endpoint.in_subset) {
            (Some(cause), _) => (code(cause), cause.to_string()),
            (None, false) if !endpoint.usable => {
                ("outside_subset".to_owned(), "outside the subset".to_owned())
            }
            (None, _) => ("healthy".to_owned(), "healthy".to_owned()),
        };
        let ends = reading.map(|reading| reading.ends).filter(|ends| ends.total() > 0);
        One {
            id: endpoint.id.to_string(),
            incarnation: endpoint.incarnation,
            address: endpoint.address.to_string(),
            priority: endpoint.priority.get(),
            zone: self.zone(&endpoint.id).map(place),
            weight: endpoint.weight.get(),
            in_subset: endpoint.in_subset,
            usable: endpoint.usable,
            state,
            state_text,
            age_s: first.map(|cause| cause.age_s),
            left_s: first.and_then(|cause| cause.left_s),
            by: first.and_then(|cause| cause.by.clone()),
            reason: first.and_then(|cause| cause.reason.clone()),
            causes,
            factor: rounded(endpoint.factor),
            expected_share,
            actual_share: reading.filter(|_| picks > 0).map(|reading| reading.picks as f64 / picks as f64),
            requests_per_s: reading.map(|reading| rounded(reading.per_second)),
            failed_share: ends.map(|ends| ends.failures as f64 / ends.total() as f64),
            in_flight: endpoint.in_flight,
            limit: endpoint.limit,
            p50_ms: reading.and_then(|reading| reading.p50).map(millis),
            p99_ms: reading.and_then(|reading| reading.p99).map(millis),
            latency_ms: endpoint.latency.map(millis),
            breaker: endpoint.breaker.map(|state| Breaker {
                by: match state {
                    BreakerState::ForcedOpen { .. } => log.forced_by(&self.report.name, endpoint.id.as_str()),
                    _ => None,
                },
                ..Breaker::of(state, now)
            }),
        }
    }
}

impl Discovery {
    fn of(freshness: Freshness, now: Timestamp) -> Self {
        let (state, at) = match freshness {
            Freshness::Applied => ("applied", None),
            Freshness::Live { as_of } => ("live", as_of),
            Freshness::Stale { since } => ("stale", Some(since)),
            Freshness::Absent => ("absent", None),
            _ => ("pending", None),
        };
        Self { state, age_s: at.map(|at| age(at, now)) }
    }
}

impl Source {
    fn of(source: &SourceStatus, now: Timestamp) -> Self {
        Self {
            name: source.name.to_string(),
            state: match source.state {
                SourceState::Live => "live",
                SourceState::Stale { .. } => "stale",
                SourceState::Absent => "absent",
                _ => "pending",
            },
            used: source.used,
            endpoints: source.endpoints,
            age_s: source.age(now).map(seconds),
            over_age: source.over_age,
            held: source.held.is_some(),
            rejected: source.rejected,
            error: source.error.as_ref().map(|error| error.text.to_string()),
            error_age_s: source.error.as_ref().map(|error| age(error.at, now)),
        }
    }
}

impl Because {
    fn of(cause: &CauseReport, now: Timestamp) -> Self {
        let known =
            |text: &Option<Box<str>>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            cause: code(cause.cause),
            text: cause.cause.to_string(),
            age_s: age(cause.since, now),
            left_s: cause.until.and_then(|until| left(until, now)),
            by: known(&cause.by),
            reason: known(&cause.reason),
        }
    }
}

impl Breaker {
    fn of(state: BreakerState, now: Timestamp) -> Self {
        let (state, until) = match state {
            BreakerState::Closed => ("closed", None),
            BreakerState::Open { until } => ("open", Some(until)),
            BreakerState::HalfOpen => ("half_open", None),
            BreakerState::ForcedOpen { until } => ("forced_open", until),
            BreakerState::Disabled { until } => ("disabled", until),
            BreakerState::DryRun { .. } => ("dry_run", None),
        };
        Self { state, left_s: until.and_then(|until| left(until, now)), by: None }
    }
}

/// As it is written in reports.
fn code(cause: Cause) -> String {
    let named = serde_json::to_value(cause).ok();
    named.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_else(|| cause.to_string())
}

fn place(at: &Locality) -> String {
    let parts = [at.region(), at.zone(), at.sub_zone()];
    let known = parts.iter().rposition(|part| !part.is_empty()).map_or(0, |last| last + 1);
    parts[..known].join("/")
}

fn age(since: Timestamp, now: Timestamp) -> f64 {
    seconds(now.saturating_since(since))
}

/// None if there is no end in sight.
fn left(until: Timestamp, now: Timestamp) -> Option<f64> {
    (until < Timestamp::MAX).then(|| seconds(until.saturating_since(now)))
}

fn seconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64())
}

fn millis(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

/// To three places: more is noise.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
