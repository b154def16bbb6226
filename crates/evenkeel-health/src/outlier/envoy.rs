//! Envoy's outlier detection, by its own rules.
//!
//! For those who migrate, and for comparison; [`OutlierDetector`](super::OutlierDetector) is the one to choose. Where Envoy
//! surprises, this does so too:
//!
//! - A refused or unenforced ejection starts the run again.
//! - `100 (ejected + 1) / hosts <= max_ejection_percent` with 10 % ejects nobody below ten hosts, unless
//!   `always_eject_one_host`.
//! - Hosts come back at a sweep only, at full weight, and the multiplier falls by one a sweep without evidence.
//! - The success rate is compared with `mean - factor × stdev`, the deviation of the population: at four hosts a factor of
//!   1.9 cannot fire, and one very bad host widens its own bound.
//! - A passing active check brings a host back at once (`successful_active_health_check_uneject_host`).
//!
//! Differences: Envoy visits hosts in the order of a hash map, this in the order of their tokens; Envoy ejects a moment
//! after a run is met, on its main thread, this at once; a host that the success rate has just ejected is not ejected a
//! second time by the failure percentage. Source: Envoy 1.40, `source/common/upstream/outlier_detection_impl.cc`,
//! `api/envoy/config/cluster/v3/outlier_detection.proto`.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_types::{RandomSource, SplitMix64, Timestamp};
use thiserror::Error;

use crate::regressions::Regressions;

/// The fields of Envoy's `OutlierDetection`, with its names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EnvoyOutlierConfig {
    /// Failures in a row. Default 5.
    pub consecutive_5xx: u32,
    /// From sweep to sweep, above zero. Default 10 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub interval: Duration,
    /// An ejection lasts so long for each that came before it, and itself; above zero. Default 30 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub base_ejection_time: Duration,
    /// The longest, at least the base. Default `None`: 300 s or the base, whichever is longer.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub max_ejection_time: Option<Duration>,
    /// Up to so much is added, in whole milliseconds. Default 0.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max_ejection_time_jitter: Duration,
    /// Default 10.
    pub max_ejection_percent: u32,
    /// Default `false`.
    pub always_eject_one_host: bool,
    /// Default 100.
    pub enforcing_consecutive_5xx: u32,
    /// Default 100.
    pub enforcing_success_rate: u32,
    /// Hosts with enough requests. Default 5.
    pub success_rate_minimum_hosts: u32,
    /// Requests of a host in an interval. Default 100.
    pub success_rate_request_volume: u32,
    /// In thousandths. Default 1900.
    pub success_rate_stdev_factor: u32,
    /// Default 5.
    pub consecutive_gateway_failure: u32,
    /// Default 0: counted, not enforced.
    pub enforcing_consecutive_gateway_failure: u32,
    /// Default `false`.
    pub split_external_local_origin_errors: bool,
    /// Default 5.
    pub consecutive_local_origin_failure: u32,
    /// Default 100.
    pub enforcing_consecutive_local_origin_failure: u32,
    /// Default 100.
    pub enforcing_local_origin_success_rate: u32,
    /// In percent, inclusive. Default 85.
    pub failure_percentage_threshold: u32,
    /// Default 0: counted, not enforced.
    pub enforcing_failure_percentage: u32,
    /// Default 0.
    pub enforcing_failure_percentage_local_origin: u32,
    /// Default 5.
    pub failure_percentage_minimum_hosts: u32,
    /// Default 50.
    pub failure_percentage_request_volume: u32,
    /// Default `true`.
    pub successful_active_health_check_uneject_host: bool,
}

impl Default for EnvoyOutlierConfig {
    fn default() -> Self {
        Self {
            consecutive_5xx: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: None,
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one_host: false,
            enforcing_consecutive_5xx: 100,
            enforcing_success_rate: 100,
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 100,
            success_rate_stdev_factor: 1900,
            consecutive_gateway_failure: 5,
            enforcing_consecutive_gateway_failure: 0,
            split_external_local_origin_errors: false,
            consecutive_local_origin_failure: 5,
            enforcing_consecutive_local_origin_failure: 100,
            enforcing_local_origin_success_rate: 100,
            failure_percentage_threshold: 85,
            enforcing_failure_percentage: 0,
            enforcing_failure_percentage_local_origin: 0,
            failure_percentage_minimum_hosts: 5,
            failure_percentage_request_volume: 50,
            successful_active_health_check_uneject_host: true,
        }
    }
}

/// A field that Envoy refuses too.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvoyOutlierConfigError {
    /// A percentage above 100.
    #[error("{field} is {value}: allowed are 0 to 100")]
    Percent {
        /// Which field.
        field: &'static str,
        /// What it is.
        value: u32,
    },
    /// A time of zero.
    #[error("{field} is zero: it must be above zero")]
    Zero {
        /// Which field.
        field: &'static str,
    },
    /// The longest ejection is shorter than the first.
    #[error("max_ejection_time is {max:?}, shorter than base_ejection_time, {base:?}")]
    MaxBelowBase {
        /// The longest.
        max: Duration,
        /// The first.
        base: Duration,
    },
}

impl EnvoyOutlierConfig {
    fn check(&self) -> Result<(), EnvoyOutlierConfigError> {
        use EnvoyOutlierConfigError as Bad;
        for (field, value) in [
            ("max_ejection_percent", self.max_ejection_percent),
            ("enforcing_consecutive_5xx", self.enforcing_consecutive_5xx),
            ("enforcing_success_rate", self.enforcing_success_rate),
            ("enforcing_consecutive_gateway_failure", self.enforcing_consecutive_gateway_failure),
            ("enforcing_consecutive_local_origin_failure", self.enforcing_consecutive_local_origin_failure),
            ("enforcing_local_origin_success_rate", self.enforcing_local_origin_success_rate),
            ("failure_percentage_threshold", self.failure_percentage_threshold),
            ("enforcing_failure_percentage", self.enforcing_failure_percentage),
            ("enforcing_failure_percentage_local_origin", self.enforcing_failure_percentage_local_origin),
        ] {
            if value > 100 {
                return Err(Bad::Percent { field, value });
            }
        }
        for (field, time) in [("interval", self.interval), ("base_ejection_time", self.base_ejection_time)] {
            if time.is_zero() {
                return Err(Bad::Zero { field });
            }
        }
        match self.max_ejection_time {
            Some(max) if max < self.base_ejection_time => {
                Err(Bad::MaxBelowBase { max, base: self.base_ejection_time })
            }
            _ => Ok(()),
        }
    }

    fn max_time(&self) -> Duration {
        self.max_ejection_time.unwrap_or(self.base_ejection_time.max(Duration::from_secs(300)))
    }
}

/// Why Envoy ejects: the types of its event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "SCREAMING_SNAKE_CASE"))]
pub enum EnvoyReason {
    /// `CONSECUTIVE_5XX`
    #[cfg_attr(feature = "serde", serde(rename = "CONSECUTIVE_5XX"))]
    Consecutive5xx,
    /// `CONSECUTIVE_GATEWAY_FAILURE`
    ConsecutiveGatewayFailure,
    /// `SUCCESS_RATE`
    SuccessRate,
    /// `CONSECUTIVE_LOCAL_ORIGIN_FAILURE`
    ConsecutiveLocalOriginFailure,
    /// `SUCCESS_RATE_LOCAL_ORIGIN`
    SuccessRateLocalOrigin,
    /// `FAILURE_PERCENTAGE`
    FailurePercentage,
    /// `FAILURE_PERCENTAGE_LOCAL_ORIGIN`
    FailurePercentageLocalOrigin,
}

impl EnvoyReason {
    /// Its name in Envoy's event log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "CONSECUTIVE_5XX",
            Self::ConsecutiveGatewayFailure => "CONSECUTIVE_GATEWAY_FAILURE",
            Self::SuccessRate => "SUCCESS_RATE",
            Self::ConsecutiveLocalOriginFailure => "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
            Self::SuccessRateLocalOrigin => "SUCCESS_RATE_LOCAL_ORIGIN",
            Self::FailurePercentage => "FAILURE_PERCENTAGE",
            Self::FailurePercentageLocalOrigin => "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
        }
    }
}

/// What a request met, in Envoy's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvoyResult {
    /// An HTTP answer of this status.
    Status(u16),
    /// No connection.
    ConnectFailed,
    /// Our own timeout.
    Timeout,
    /// A connection, of which the answer comes later: clears a run of local failures, if those are split off.
    ConnectSuccess,
    /// A connection, for protocols without answers.
    ConnectSuccessFinal,
    /// A good exchange of a protocol that is not HTTP.
    RequestSuccess,
    /// A bad one.
    RequestFailed,
}

/// A line of Envoy's event log, or an ejection that found no room.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub enum EnvoyEvent<K> {
    /// A rule was met and there was room.
    Eject {
        /// Which host.
        host: K,
        /// Which rule.
        reason: EnvoyReason,
        /// Whether it is out; else the rule is only counted.
        enforced: bool,
        /// Its ejections so far, this one included.
        ejections: u64,
    },
    /// It is back.
    Uneject {
        /// Which host.
        host: K,
    },
    /// A rule was met and there was no room: `ejections_overflow`.
    Overflow {
        /// Which host.
        host: K,
        /// Which rule.
        reason: EnvoyReason,
    },
}

/// Envoy's outlier detection of one cluster.
#[derive(Debug)]
pub struct EnvoyOutlier<K> {
    config: EnvoyOutlierConfig,
    hosts: BTreeMap<K, Host>,
    ejected: usize,
    draws: SplitMix64,
    next_sweep: Timestamp,
    now: Timestamp,
    regressions: Regressions,
    /// Below it the last sweep ejected.
    threshold: Option<f64>,
}

#[derive(Debug, Default)]
struct Host {
    consecutive_5xx: u32,
    consecutive_gateway: u32,
    consecutive_local: u32,
    external: Rate,
    local: Rate,
    ejected_at: Option<Timestamp>,
    unejected_at: Option<Timestamp>,
    ejections: u64,
    backoff: u32,
    jitter: Duration,
    is_ejected: bool,
}

/// The bucket that is written, and the one before it.
#[derive(Debug, Default)]
struct Rate {
    requests: u64,
    successes: u64,
    last_requests: u64,
    last_successes: u64,
}

impl Rate {
    fn add(&mut self, successes: u64) {
        self.requests = self.requests.saturating_add(1);
        self.successes = self.successes.saturating_add(successes);
    }

    fn swap(&mut self) {
        (self.last_requests, self.last_successes) = (self.requests, self.successes);
        (self.requests, self.successes) = (0, 0);
    }

    /// In percent.
    fn success_rate(&self) -> Option<f64> {
        (self.last_requests > 0).then(|| self.last_successes as f64 * 100.0 / self.last_requests as f64)
    }
}

impl<K: Copy + Ord> EnvoyOutlier<K> {
    /// No host yet; the first sweep is due one interval from `now`.
    ///
    /// # Errors
    ///
    /// [`EnvoyOutlierConfigError`], if Envoy would refuse the configuration.
    pub fn new(
        config: EnvoyOutlierConfig,
        seed: u64,
        now: Timestamp,
    ) -> Result<Self, EnvoyOutlierConfigError> {
        config.check()?;
        let next_sweep = now.saturating_add(config.interval);
        Ok(Self {
            config,
            hosts: BTreeMap::new(),
            ejected: 0,
            draws: SplitMix64::new(seed),
            next_sweep,
            now,
            regressions: Regressions::NONE,
            threshold: None,
        })
    }

    /// Goes by other settings from now on, as Envoy does when one of its runtime keys (`outlier_detection.…`) changes: the next
    /// judgement reads them. Counts, ejections and the sweep that is due stay.
    ///
    /// # Errors
    ///
    /// [`EnvoyOutlierConfigError`]; then nothing changes.
    pub fn set_config(&mut self, config: EnvoyOutlierConfig) -> Result<(), EnvoyOutlierConfigError> {
        config.check()?;
        self.config = config;
        Ok(())
    }

    /// Watches a host; nothing if it does so already.
    pub fn insert(&mut self, host: K) {
        self.hosts.entry(host).or_default();
    }

    /// Forgets a host.
    pub fn remove(&mut self, host: K) {
        let was_ejected = self.hosts.remove(&host).is_some_and(|host| host.is_ejected);
        self.ejected -= usize::from(was_ejected);
    }

    /// Counts what a request met.
    pub fn put(&mut self, host: K, result: EnvoyResult, now: Timestamp) -> Vec<EnvoyEvent<K>> {
        self.regressions.note(now, self.now);
        self.now = self.now.max(now);
        let mut events = Vec::new();
        if self.config.split_external_local_origin_errors {
            match result {
                EnvoyResult::Status(code) => self.put_code(host, code, &mut events),
                EnvoyResult::ConnectSuccess | EnvoyResult::ConnectSuccessFinal => self.local_success(host),
                EnvoyResult::Timeout | EnvoyResult::ConnectFailed => self.local_failure(host, &mut events),
                EnvoyResult::RequestFailed => self.put_code(host, 503, &mut events),
                EnvoyResult::RequestSuccess => {
                    self.put_code(host, 200, &mut events);
                    self.local_success(host);
                }
            }
        } else {
            let code = match result {
                EnvoyResult::Status(code) => code,
                EnvoyResult::ConnectSuccess => return events,
                EnvoyResult::ConnectSuccessFinal | EnvoyResult::RequestSuccess => 200,
                EnvoyResult::Timeout => 504,
                EnvoyResult::ConnectFailed => 503,
                EnvoyResult::RequestFailed => 500,
            };
            self.put_code(host, code, &mut events);
        }
        events
    }

    fn put_code(&mut self, host: K, code: u16, events: &mut Vec<EnvoyEvent<K>>) {
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        let failed = (500..600).contains(&code);
        entry.external.add(u64::from(!failed));
        if !failed {
            (entry.consecutive_5xx, entry.consecutive_gateway) = (0, 0);
            return;
        }
        let is_gateway = (502..=504).contains(&code);
        entry.consecutive_gateway = if is_gateway { entry.consecutive_gateway.saturating_add(1) } else { 0 };
        entry.consecutive_5xx = entry.consecutive_5xx.saturating_add(1);
        let of_gateway = is_gateway && entry.consecutive_gateway == self.config.consecutive_gateway_failure;
        let of_5xx = entry.consecutive_5xx == self.config.consecutive_5xx;
        if of_gateway {
            self.on_run(host, EnvoyReason::ConsecutiveGatewayFailure, events);
        }
        if of_5xx {
            self.on_run(host, EnvoyReason::Consecutive5xx, events);
        }
    }

    fn local_success(&mut self, host: K) {
        if let Some(entry) = self.hosts.get_mut(&host) {
            entry.local.add(1);
            entry.consecutive_local = 0;
        }
    }

    fn local_failure(&mut self, host: K, events: &mut Vec<EnvoyEvent<K>>) {
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        entry.local.add(0);
        entry.consecutive_local = entry.consecutive_local.saturating_add(1);
        if entry.consecutive_local == self.config.consecutive_local_origin_failure {
            self.on_run(host, EnvoyReason::ConsecutiveLocalOriginFailure, events);
        }
    }

    fn on_run(&mut self, host: K, reason: EnvoyReason, events: &mut Vec<EnvoyEvent<K>>) {
        if self.hosts.get(&host).is_none_or(|entry| entry.is_ejected) {
            return;
        }
        self.eject(host, reason, events);
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        match reason {
            EnvoyReason::Consecutive5xx => entry.consecutive_5xx = 0,
            EnvoyReason::ConsecutiveGatewayFailure => entry.consecutive_gateway = 0,
            _ => entry.consecutive_local = 0,
        }
    }

    /// The result of an active check that passed.
    pub fn on_check_passed(&mut self, host: K, now: Timestamp) -> Vec<EnvoyEvent<K>> {
        self.regressions.note(now, self.now);
        self.now = self.now.max(now);
        let mut events = Vec::new();
        if self.config.successful_active_health_check_uneject_host {
            self.uneject(host, &mut events);
        }
        events
    }

    /// The interval timer: does nothing before [`next_deadline`](Self::next_deadline).
    pub fn sweep(&mut self, now: Timestamp) -> Vec<EnvoyEvent<K>> {
        self.regressions.note(now, self.now);
        self.now = self.now.max(now);
        let now = self.now;
        let mut events = Vec::new();
        if now < self.next_sweep {
            return events;
        }
        self.next_sweep = now.saturating_add(self.config.interval);
        for host in self.in_order() {
            if self.is_due(host) {
                self.uneject(host, &mut events);
            }
        }
        for entry in self.hosts.values_mut() {
            entry.external.swap();
            entry.local.swap();
        }
        self.threshold = None;
        self.judge(|entry| &entry.external, Kind::External, &mut events);
        self.judge(|entry| &entry.local, Kind::Local, &mut events);
        let interval = self.config.interval;
        for entry in self.hosts.values_mut().filter(|entry| !entry.is_ejected) {
            if entry.unejected_at.is_some_and(|at| now.saturating_since(at) >= interval) {
                entry.backoff = entry.backoff.saturating_sub(1);
            }
        }
        events
    }

    fn judge(&mut self, rate: fn(&Host) -> &Rate, kind: Kind, events: &mut Vec<EnvoyEvent<K>>) {
        let config = &self.config;
        let enough = |count: usize, least: u32| count >= least as usize;
        if !enough(self.hosts.len(), config.success_rate_minimum_hosts)
            && !enough(self.hosts.len(), config.failure_percentage_minimum_hosts)
        {
            return;
        }
        let with_volume = |volume: u32| -> Vec<(K, f64)> {
            let in_hosts = self.hosts.iter().filter(|(_, entry)| !entry.is_ejected);
            in_hosts
                .filter(|(_, entry)| rate(entry).last_requests >= u64::from(volume))
                .filter_map(|(&host, entry)| Some((host, rate(entry).success_rate()?)))
                .collect()
        };
        let of_rate = with_volume(config.success_rate_request_volume);
        let of_percentage = with_volume(config.failure_percentage_request_volume);
        if !of_rate.is_empty() && enough(of_rate.len(), config.success_rate_minimum_hosts) {
            let threshold = success_rate_threshold(&of_rate, config.success_rate_stdev_factor);
            if kind == Kind::External {
                self.threshold = Some(threshold);
            }
            for (host, _) in of_rate.into_iter().filter(|&(_, rate)| rate < threshold) {
                self.eject(host, kind.success_rate(), events);
            }
        }
        let least = self.config.failure_percentage_minimum_hosts;
        if !of_percentage.is_empty() && enough(of_percentage.len(), least) {
            let threshold = f64::from(self.config.failure_percentage_threshold);
            for (host, _) in of_percentage.into_iter().filter(|&(_, rate)| 100.0 - rate >= threshold) {
                if !self.is_ejected(host) {
                    self.eject(host, kind.failure_percentage(), events);
                }
            }
        }
    }

    fn eject(&mut self, host: K, reason: EnvoyReason, events: &mut Vec<EnvoyEvent<K>>) {
        let percent = 100.0 * (self.ejected + 1) as f64 / self.hosts.len() as f64;
        let has_room = percent <= f64::from(self.config.max_ejection_percent)
            || (self.config.always_eject_one_host && self.ejected == 0);
        if !has_room {
            events.push(EnvoyEvent::Overflow { host, reason });
            return;
        }
        let enforced = self.enforces(reason);
        let Some(entry) = self.hosts.get_mut(&host) else { return };
        if enforced {
            self.ejected += 1;
            entry.is_ejected = true;
            entry.ejections += 1;
            entry.ejected_at = Some(self.now);
            let most =
                u64::try_from(self.config.max_ejection_time_jitter.as_millis()).unwrap_or(u64::MAX - 1);
            entry.jitter = Duration::from_millis(self.draws.next_u64() % most.saturating_add(1));
            let base = self.config.base_ejection_time;
            if base.saturating_mul(entry.backoff) < self.config.max_time().saturating_add(base) {
                entry.backoff = entry.backoff.saturating_add(1);
            }
        }
        events.push(EnvoyEvent::Eject { host, reason, enforced, ejections: entry.ejections });
    }

    fn enforces(&mut self, reason: EnvoyReason) -> bool {
        let config = &self.config;
        let percent = match reason {
            EnvoyReason::Consecutive5xx => config.enforcing_consecutive_5xx,
            EnvoyReason::ConsecutiveGatewayFailure => config.enforcing_consecutive_gateway_failure,
            EnvoyReason::SuccessRate => config.enforcing_success_rate,
            EnvoyReason::ConsecutiveLocalOriginFailure => config.enforcing_consecutive_local_origin_failure,
            EnvoyReason::SuccessRateLocalOrigin => config.enforcing_local_origin_success_rate,
            EnvoyReason::FailurePercentage => config.enforcing_failure_percentage,
            EnvoyReason::FailurePercentageLocalOrigin => config.enforcing_failure_percentage_local_origin,
        };
        match percent {
            0 => false,
            100 => true,
            percent => self.draws.next_u64() % 100 < u64::from(percent),
        }
    }

    fn is_due(&self, host: K) -> bool {
        let Some(entry) = self.hosts.get(&host).filter(|entry| entry.is_ejected) else { return false };
        let time = self.config.base_ejection_time.saturating_mul(entry.backoff).min(self.config.max_time());
        let since = entry.ejected_at.unwrap_or(Timestamp::ORIGIN);
        time.saturating_add(entry.jitter) <= self.now.saturating_since(since)
    }

    fn uneject(&mut self, host: K, events: &mut Vec<EnvoyEvent<K>>) {
        let now = self.now;
        let Some(entry) = self.hosts.get_mut(&host).filter(|entry| entry.is_ejected) else { return };
        self.ejected -= 1;
        entry.is_ejected = false;
        entry.unejected_at = Some(now);
        (entry.consecutive_5xx, entry.consecutive_gateway, entry.consecutive_local) = (0, 0, 0);
        events.push(EnvoyEvent::Uneject { host });
    }

    fn in_order(&self) -> Vec<K> {
        self.hosts.keys().copied().collect()
    }

    /// How often a call came with an earlier time than one before it. Such a call counts as if it had come at the latest one.
    #[must_use]
    pub const fn clock_regressions(&self) -> u64 {
        self.regressions.count()
    }

    /// The success rate, in percent, below which the last sweep ejected; `None` if it judged no rates. Of what endpoints answered;
    /// where errors of local origin are split off, those have a threshold of their own.
    #[must_use]
    pub const fn success_rate_threshold(&self) -> Option<f64> {
        self.threshold
    }

    /// When the next sweep is due.
    #[must_use]
    pub const fn next_deadline(&self) -> Timestamp {
        self.next_sweep
    }

    /// Whether a host is out.
    #[must_use]
    pub fn is_ejected(&self, host: K) -> bool {
        self.hosts.get(&host).is_some_and(|entry| entry.is_ejected)
    }

    /// How many are out.
    #[must_use]
    pub const fn ejected(&self) -> usize {
        self.ejected
    }

    /// How often a host was ejected, and its multiplier now.
    #[must_use]
    pub fn ejections(&self, host: K) -> Option<(u64, u32)> {
        self.hosts.get(&host).map(|entry| (entry.ejections, entry.backoff))
    }

    /// When a host may come back at the earliest.
    #[must_use]
    pub fn due(&self, host: K) -> Option<Timestamp> {
        let entry = self.hosts.get(&host).filter(|entry| entry.is_ejected)?;
        let time = self.config.base_ejection_time.saturating_mul(entry.backoff).min(self.config.max_time());
        Some(entry.ejected_at?.saturating_add(time.saturating_add(entry.jitter)))
    }

    /// How many hosts are watched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    External,
    Local,
}

impl Kind {
    const fn success_rate(self) -> EnvoyReason {
        match self {
            Self::External => EnvoyReason::SuccessRate,
            Self::Local => EnvoyReason::SuccessRateLocalOrigin,
        }
    }

    const fn failure_percentage(self) -> EnvoyReason {
        match self {
            Self::External => EnvoyReason::FailurePercentage,
            Self::Local => EnvoyReason::FailurePercentageLocalOrigin,
        }
    }
}

/// Below this success rate (in percent) Envoy ejects: the mean less so many thousandths of the population's deviation.
fn success_rate_threshold<K>(rates: &[(K, f64)], factor: u32) -> f64 {
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean) * (rate - mean)).sum::<f64>() / count;
    mean - f64::from(factor) / 1000.0 * variance.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_source() {
        let rates: Vec<((), f64)> = [50.0, 100.0, 100.0, 100.0, 100.0].map(|rate| ((), rate)).to_vec();
        assert_eq!(success_rate_threshold(&rates, 1900), 52.0);
    }
}
