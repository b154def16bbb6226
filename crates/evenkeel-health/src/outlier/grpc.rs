//! gRPC's outlier detection, by its own rules (proposal A50).
//!
//! For those who migrate, and for comparison. Where it differs from Envoy's: there are no runs; a sweep judges first and
//! brings back afterwards; the cap is asked *before* an ejection, so that one address goes whatever the percentage is; the
//! failure percentage must be *above* its threshold; ejected addresses are still judged, if late answers give them
//! volume: that starts their ejection anew, one step longer.
//!
//! Differences: addresses are visited in the order of their tokens; such a second ejection does not count a second time
//! against the cap, as it does in grpc-go, where the count then never comes down. Source: grpc/proposal,
//! `A50-xds-outlier-detection.md`; grpc-go, `xds/internal/balancer/outlierdetection/balancer.go`.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_types::{RandomSource, SplitMix64, Timestamp};
use thiserror::Error;

use crate::regressions::Regressions;

/// The fields of `OutlierDetectionLoadBalancingConfig`, with their names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct GrpcOutlierConfig {
    /// From sweep to sweep, above zero. Default 10 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub interval: Duration,
    /// Default 30 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub base_ejection_time: Duration,
    /// Default 300 s; less than the base counts as the base.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_ejection_time: Duration,
    /// Default 10.
    pub max_ejection_percent: u32,
    /// Default `None`: not judged.
    pub success_rate_ejection: Option<GrpcSuccessRate>,
    /// Default `None`: not judged.
    pub failure_percentage_ejection: Option<GrpcFailurePercentage>,
}

impl Default for GrpcOutlierConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 10,
            success_rate_ejection: None,
            failure_percentage_ejection: None,
        }
    }
}

/// Ejects below `mean - stdev_factor / 1000 × stdev`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct GrpcSuccessRate {
    /// Default 1900.
    pub stdev_factor: u32,
    /// Default 100.
    pub enforcement_percentage: u32,
    /// Default 5.
    pub minimum_hosts: u32,
    /// Default 100.
    pub request_volume: u32,
}

impl Default for GrpcSuccessRate {
    fn default() -> Self {
        Self { stdev_factor: 1900, enforcement_percentage: 100, minimum_hosts: 5, request_volume: 100 }
    }
}

/// Ejects above a percentage of failures.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct GrpcFailurePercentage {
    /// Exclusive. Default 85.
    pub threshold: u32,
    /// Default 100.
    pub enforcement_percentage: u32,
    /// Default 5.
    pub minimum_hosts: u32,
    /// Default 50.
    pub request_volume: u32,
}

impl Default for GrpcFailurePercentage {
    fn default() -> Self {
        Self { threshold: 85, enforcement_percentage: 100, minimum_hosts: 5, request_volume: 50 }
    }
}

/// A field that gRPC refuses too.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrpcOutlierConfigError {
    /// A percentage above 100.
    #[error("{field} is {value}: allowed are 0 to 100")]
    Percent {
        /// Which field.
        field: &'static str,
        /// What it is.
        value: u32,
    },
    /// Sweeps without a pause.
    #[error("interval is zero: it must be above zero")]
    ZeroInterval,
}

impl GrpcOutlierConfig {
    fn check(&self) -> Result<(), GrpcOutlierConfigError> {
        let mut percents = vec![("max_ejection_percent", self.max_ejection_percent)];
        if let Some(rule) = &self.success_rate_ejection {
            percents.push(("success_rate_ejection.enforcement_percentage", rule.enforcement_percentage));
        }
        if let Some(rule) = &self.failure_percentage_ejection {
            percents
                .push(("failure_percentage_ejection.enforcement_percentage", rule.enforcement_percentage));
            percents.push(("failure_percentage_ejection.threshold", rule.threshold));
        }
        if let Some(&(field, value)) = percents.iter().find(|(_, value)| *value > 100) {
            return Err(GrpcOutlierConfigError::Percent { field, value });
        }
        if self.interval.is_zero() { Err(GrpcOutlierConfigError::ZeroInterval) } else { Ok(()) }
    }
}

/// An address goes out, or comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum GrpcEvent<K> {
    /// By its success rate.
    SuccessRate(K),
    /// By its failure percentage.
    FailurePercentage(K),
    /// It is back.
    Uneject(K),
}

/// gRPC's outlier detection over the addresses of one priority.
#[derive(Debug)]
pub struct GrpcOutlier<K> {
    config: GrpcOutlierConfig,
    addresses: BTreeMap<K, Address>,
    ejected: usize,
    draws: SplitMix64,
    next_sweep: Timestamp,
    now: Timestamp,
    regressions: Regressions,
    /// Below it the last sweep ejected.
    required: Option<f64>,
}

#[derive(Debug, Default)]
struct Address {
    successes: u64,
    failures: u64,
    last_successes: u64,
    last_failures: u64,
    ejected_at: Option<Timestamp>,
    multiplier: u32,
}

impl Address {
    fn volume(&self) -> u64 {
        self.last_successes.saturating_add(self.last_failures)
    }

    fn success_rate(&self) -> f64 {
        self.last_successes as f64 / self.volume() as f64
    }
}

impl<K: Copy + Ord> GrpcOutlier<K> {
    /// No address yet; the first sweep is due one interval from `now`.
    ///
    /// # Errors
    ///
    /// [`GrpcOutlierConfigError`], if gRPC would refuse the configuration.
    pub fn new(config: GrpcOutlierConfig, seed: u64, now: Timestamp) -> Result<Self, GrpcOutlierConfigError> {
        config.check()?;
        let next_sweep = now.saturating_add(config.interval);
        Ok(Self {
            config,
            addresses: BTreeMap::new(),
            ejected: 0,
            draws: SplitMix64::new(seed),
            next_sweep,
            now,
            regressions: Regressions::NONE,
            required: None,
        })
    }

    /// Watches an address; nothing if it does so already.
    pub fn insert(&mut self, address: K) {
        self.addresses.entry(address).or_default();
    }

    /// Forgets an address.
    pub fn remove(&mut self, address: K) {
        let was_out = self.addresses.remove(&address).is_some_and(|address| address.ejected_at.is_some());
        self.ejected -= usize::from(was_out);
    }

    /// A call ended well.
    pub fn record_success(&mut self, address: K) {
        if let Some(address) = self.addresses.get_mut(&address) {
            address.successes = address.successes.saturating_add(1);
        }
    }

    /// A call ended otherwise.
    pub fn record_failure(&mut self, address: K) {
        if let Some(address) = self.addresses.get_mut(&address) {
            address.failures = address.failures.saturating_add(1);
        }
    }

    /// New settings. If neither rule is left, everybody comes back; the present interval ends when the new length says,
    /// counted from its start.
    ///
    /// # Errors
    ///
    /// [`GrpcOutlierConfigError`]; then nothing changes.
    pub fn set_config(
        &mut self,
        config: GrpcOutlierConfig,
        now: Timestamp,
    ) -> Result<Vec<GrpcEvent<K>>, GrpcOutlierConfigError> {
        config.check()?;
        self.regressions.note(now, self.now);
        self.now = self.now.max(now);
        let started = self.next_sweep.saturating_sub(self.config.interval);
        self.next_sweep = started.saturating_add(config.interval);
        self.config = config;
        let mut events = Vec::new();
        if self.config.success_rate_ejection.is_none() && self.config.failure_percentage_ejection.is_none() {
            for (&token, address) in &mut self.addresses {
                address.multiplier = 0;
                if address.ejected_at.take().is_some() {
                    self.ejected -= 1;
                    events.push(GrpcEvent::Uneject(token));
                }
            }
        }
        Ok(events)
    }

    /// The interval timer: does nothing before [`next_deadline`](Self::next_deadline).
    pub fn sweep(&mut self, now: Timestamp) -> Vec<GrpcEvent<K>> {
        self.regressions.note(now, self.now);
        self.now = self.now.max(now);
        let mut events = Vec::new();
        if self.now < self.next_sweep {
            return events;
        }
        self.next_sweep = self.now.saturating_add(self.config.interval);
        for address in self.addresses.values_mut() {
            (address.last_successes, address.last_failures) = (address.successes, address.failures);
            (address.successes, address.failures) = (0, 0);
        }
        self.required = None;
        self.judge_success_rates(&mut events);
        self.judge_failure_percentages(&mut events);
        self.bring_back(&mut events);
        events
    }

    fn judge_success_rates(&mut self, events: &mut Vec<GrpcEvent<K>>) {
        let Some(rule) = self.config.success_rate_ejection.clone() else { return };
        let judged = self.with_volume(rule.request_volume);
        if judged.is_empty() || judged.len() < rule.minimum_hosts as usize {
            return;
        }
        let rates: Vec<(K, f64)> = judged
            .iter()
            .filter_map(|&token| Some((token, self.addresses.get(&token)?.success_rate())))
            .collect();
        let count = rates.len() as f64;
        let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
        let variance = rates.iter().map(|(_, rate)| (rate - mean) * (rate - mean)).sum::<f64>() / count;
        let required = mean - variance.sqrt() * (f64::from(rule.stdev_factor) / 1000.0);
        self.required = Some(required);
        for (token, rate) in rates {
            if self.is_full() {
                return;
            }
            if rate < required && self.draws(rule.enforcement_percentage) {
                self.eject(token);
                events.push(GrpcEvent::SuccessRate(token));
            }
        }
    }

    fn judge_failure_percentages(&mut self, events: &mut Vec<GrpcEvent<K>>) {
        let Some(rule) = self.config.failure_percentage_ejection.clone() else { return };
        let judged = self.with_volume(rule.request_volume);
        if judged.is_empty() || judged.len() < rule.minimum_hosts as usize {
            return;
        }
        for token in judged {
            if self.is_full() {
                return;
            }
            let Some(address) = self.addresses.get(&token) else { continue };
            let percentage = address.last_failures as f64 / address.volume() as f64 * 100.0;
            if percentage > f64::from(rule.threshold) && self.draws(rule.enforcement_percentage) {
                self.eject(token);
                events.push(GrpcEvent::FailurePercentage(token));
            }
        }
    }

    fn bring_back(&mut self, events: &mut Vec<GrpcEvent<K>>) {
        let config = &self.config;
        let longest = config.base_ejection_time.max(config.max_ejection_time);
        for (&token, address) in &mut self.addresses {
            let Some(since) = address.ejected_at else {
                address.multiplier = address.multiplier.saturating_sub(1);
                continue;
            };
            let time = config.base_ejection_time.saturating_mul(address.multiplier).min(longest);
            if self.now > since.saturating_add(time) {
                address.ejected_at = None;
                self.ejected -= 1;
                events.push(GrpcEvent::Uneject(token));
            }
        }
    }

    fn with_volume(&self, volume: u32) -> Vec<K> {
        let enough = self
            .addresses
            .iter()
            .filter(|(_, address)| address.volume() > 0 && address.volume() >= u64::from(volume));
        enough.map(|(&token, _)| token).collect()
    }

    fn is_full(&self) -> bool {
        self.ejected as f64 / self.addresses.len() as f64 * 100.0
            >= f64::from(self.config.max_ejection_percent)
    }

    fn draws(&mut self, percentage: u32) -> bool {
        self.draws.next_u64() % 100 < u64::from(percentage)
    }

    fn eject(&mut self, token: K) {
        let Some(address) = self.addresses.get_mut(&token) else { return };
        self.ejected += usize::from(address.ejected_at.is_none());
        address.ejected_at = Some(self.now);
        address.multiplier = address.multiplier.saturating_add(1);
    }

    /// How often a call came with an earlier time than one before it. Such a call counts as if it had come at the latest one.
    #[must_use]
    pub const fn clock_regressions(&self) -> u64 {
        self.regressions.count()
    }

    /// The success rate, from 0 to 1, below which the last sweep ejected; `None` if it judged no rates.
    #[must_use]
    pub const fn success_rate_threshold(&self) -> Option<f64> {
        self.required
    }

    /// When the next sweep is due.
    #[must_use]
    pub const fn next_deadline(&self) -> Timestamp {
        self.next_sweep
    }

    /// Whether an address is out.
    #[must_use]
    pub fn is_ejected(&self, address: K) -> bool {
        self.addresses.get(&address).is_some_and(|address| address.ejected_at.is_some())
    }

    /// How many are out.
    #[must_use]
    pub const fn ejected(&self) -> usize {
        self.ejected
    }

    /// The multiplier of an address now.
    #[must_use]
    pub fn multiplier(&self, address: K) -> Option<u32> {
        self.addresses.get(&address).map(|address| address.multiplier)
    }

    /// How many addresses are watched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}
