use std::time::Duration;

use evenkeel_types::Timestamp;

use crate::error::{LimitConfigError, check_span};
use crate::shed::Shed;

/// When a queue is too slow.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct CodelConfig {
    /// Waiting this long is fine; 1 µs to 1 h. Default 5 ms, as in the RFC; a tenth of what a request may take is a good
    /// value for a server.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub target: Duration,
    /// Waiting longer is fine for this long, since that is a burst and not a standing queue; more than the target, up to 1 h.
    /// Default 100 ms.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub interval: Duration,
}

impl Default for CodelConfig {
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100) }
    }
}

/// Sheds from a queue that stays slow: CoDel, RFC 8289, told how long each request has waited when it is taken out.
///
/// ```text
///            wait < target     above for an interval     next drop due
/// Serving    serve             shed one: Shedding, n     –
/// Shedding   serve: Serving    –                         shed: n + 1, next after interval / sqrt(n)
/// ```
///
/// It looks at waiting alone, so it needs no knowledge of the service, and the shortest wait of an interval decides, so a
/// burst is not shed. If shedding begins again soon after it ended, it begins with the frequency it had.
#[derive(Clone, Debug, PartialEq)]
pub struct Codel {
    config: CodelConfig,
    now: Timestamp,
    /// When the wait will have been above the target for an interval.
    above_until: Option<Timestamp>,
    shedding: bool,
    next: Timestamp,
    count: u32,
    last_count: u32,
}

impl Codel {
    /// Serving.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &CodelConfig) -> Result<Self, LimitConfigError> {
        let hour = Duration::from_secs(3600);
        let targets = Duration::from_micros(1)..=hour;
        check_span(targets.contains(&config.target), "codel.target", config.target, "1us to 1h")?;
        let interval = config.interval;
        let is_fine = interval > config.target && interval <= hour;
        check_span(is_fine, "codel.interval", interval, "more than target, at most 1h")?;
        Ok(Self {
            config: config.clone(),
            now: Timestamp::ORIGIN,
            above_until: None,
            shedding: false,
            next: Timestamp::ORIGIN,
            count: 0,
            last_count: 0,
        })
    }

    /// A request is taken out of the queue that has waited so long. An empty queue is told as a wait of zero.
    ///
    /// # Errors
    ///
    /// [`Shed::QueueSlow`]: do not serve it, and take the next one out.
    pub fn take_out(&mut self, waited: Duration, now: Timestamp) -> Result<(), Shed> {
        self.now = self.now.max(now);
        let too_slow = self.has_been_slow(waited);
        if !too_slow {
            self.shedding = false;
            return Ok(());
        }
        if self.shedding {
            if self.now < self.next {
                return Ok(());
            }
            self.count = self.count.saturating_add(1);
            self.next = self.next.saturating_add(self.pause());
            return Err(Shed::QueueSlow);
        }
        self.begin();
        Err(Shed::QueueSlow)
    }

    /// Whether it sheds at present.
    #[must_use]
    pub const fn is_shedding(&self) -> bool {
        self.shedding
    }

    fn has_been_slow(&mut self, waited: Duration) -> bool {
        if waited < self.config.target {
            self.above_until = None;
            return false;
        }
        let until = *self.above_until.get_or_insert(self.now.saturating_add(self.config.interval));
        self.now >= until
    }

    fn begin(&mut self) {
        self.shedding = true;
        let shed_last_time = self.count.saturating_sub(self.last_count);
        let is_soon = self.now.saturating_since(self.next) < self.config.interval.saturating_mul(16);
        self.count = if is_soon && shed_last_time > 1 { shed_last_time } else { 1 };
        self.last_count = self.count;
        self.next = self.now.saturating_add(self.pause());
    }

    fn pause(&self) -> Duration {
        self.config.interval.div_f64(f64::from(self.count.max(1)).sqrt())
    }
}
