use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};

use crate::MAX_LIMIT;
use crate::config::percent;
use crate::error::{LimitConfigError, check, check_span};
use crate::shed::Shed;

/// How many to serve at once and how many to let wait, for a latency that is aimed at.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LittleConfig {
    /// The mean latency that is aimed at, waiting included; 1 µs to 1 h. Default 1 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub target: Duration,
    /// What a new sample counts for in the averages, above 0. Default 0.01.
    pub gain: Ratio,
    /// Never more at once than this, 1 to 1,000,000. Default 1,000.
    pub max: u32,
}

impl Default for LittleConfig {
    fn default() -> Self {
        Self { target: Duration::from_secs(1), gain: percent(1), max: 1000 }
    }
}

/// Serves `C` at once and lets as many wait as Little's law allows for the latency that is aimed at.
///
/// ```text
/// queue = max(1, floor(C × (target / latency at capacity - 1)))
///
/// a call ends while C are served, and latency / (10 × gain) has passed since the last step:
///     C + 1   if latency < target, and the last step up has paid or the last step down has cost
///     C - 1   otherwise, at least 1
///
/// a step from C' to C pays, or costs, if the throughput moved by more than half of what C / C' would make of it
/// ```
///
/// So it climbs while more at once does more, steps back when it does not, and steps up again when that cost throughput: it stays
/// around the number of places that the server has. Latency at capacity is the average of calls that ended while all `C` places were taken. Source: little-loadshedder 0.2,
/// which this follows; there any difference of throughput decides, so that `C` wanders off above the number of places, and it
/// has no upper bound of `C`. `&mut`: put it behind the lock of your queue.
#[derive(Clone, Debug, PartialEq)]
pub struct LittleQueue {
    config: LittleConfig,
    concurrency: u32,
    serving: u32,
    waiting: u32,
    /// In nanoseconds; zero before the first sample.
    latency: f64,
    /// Calls ended since the last step, and at what rate before that.
    ended: u64,
    rate_before: f64,
    concurrency_before: u32,
    step_at: Timestamp,
    now: Timestamp,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it is counted as being there"]
pub enum Place {
    /// To be served at once.
    Serve,
    /// Into the queue, until [`LittleQueue::next`] says so.
    Wait,
}

impl LittleQueue {
    /// One at once, one waiting.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &LittleConfig) -> Result<Self, LimitConfigError> {
        let targets = Duration::from_micros(1)..=Duration::from_secs(3600);
        check_span(targets.contains(&config.target), "little.target", config.target, "1us to 1h")?;
        check(config.gain > Ratio::ZERO, "little.gain", config.gain.as_f64(), "above 0, at most 1")?;
        check((1..=MAX_LIMIT).contains(&config.max), "little.max", config.max, "1 to 1000000")?;
        Ok(Self {
            config: config.clone(),
            concurrency: 1,
            serving: 0,
            waiting: 0,
            latency: 0.0,
            ended: 0,
            rate_before: 0.0,
            concurrency_before: 0,
            step_at: Timestamp::ORIGIN,
            now: Timestamp::ORIGIN,
        })
    }

    /// A request comes.
    ///
    /// # Errors
    ///
    /// [`Shed::QueueFull`].
    pub fn come(&mut self) -> Result<Place, Shed> {
        if self.serving < self.concurrency && self.waiting == 0 {
            self.serving += 1;
            return Ok(Place::Serve);
        }
        if self.waiting >= self.queue() {
            return Err(Shed::QueueFull);
        }
        self.waiting += 1;
        Ok(Place::Wait)
    }

    /// Whether the first that waits is served now; if so it is counted as being served.
    #[expect(clippy::should_implement_trait, reason = "it is no iterator: the queue is the caller's")]
    pub fn next(&mut self) -> bool {
        let is_served = self.waiting > 0 && self.serving < self.concurrency;
        if is_served {
            self.waiting -= 1;
            self.serving += 1;
        }
        is_served
    }

    /// One that waited has gone.
    pub fn gone(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A call has ended that took so long, waiting left out.
    pub fn end(&mut self, latency: Duration, now: Timestamp) {
        self.now = self.now.max(now);
        let at_capacity = self.serving >= self.concurrency;
        self.serving = self.serving.saturating_sub(1);
        self.ended = self.ended.saturating_add(1);
        if !at_capacity {
            return;
        }
        let sample = latency.as_nanos() as f64;
        let gain = if self.latency == 0.0 { 1.0 } else { self.config.gain.as_f64() };
        self.latency += (sample - self.latency) * gain;
        self.step();
    }

    /// How many are served at once.
    #[must_use]
    pub const fn concurrency(&self) -> u32 {
        self.concurrency
    }

    /// How many may wait.
    #[must_use]
    pub fn queue(&self) -> u32 {
        if self.latency == 0.0 {
            return 1;
        }
        let spare = self.config.target.as_nanos() as f64 / self.latency - 1.0;
        // The conversion saturates.
        ((f64::from(self.concurrency) * spare) as u32).clamp(1, MAX_LIMIT)
    }

    /// How many are served, and how many wait.
    #[must_use]
    pub const fn counts(&self) -> (u32, u32) {
        (self.serving, self.waiting)
    }

    fn step(&mut self) {
        let elapsed = self.now.saturating_since(self.step_at).as_nanos() as f64;
        if elapsed < self.latency / (10.0 * self.config.gain.as_f64()) {
            return;
        }
        let rate = self.ended as f64 / elapsed.max(1.0);
        let (now, before) = (f64::from(self.concurrency), f64::from(self.concurrency_before.max(1)));
        let halfway = self.rate_before * (now + before) / (2.0 * before);
        let onwards = (rate > halfway) == (now > before || self.concurrency_before == 0);
        let up = onwards && self.latency < self.config.target.as_nanos() as f64;
        self.concurrency_before = self.concurrency;
        self.concurrency =
            if up { self.concurrency + 1 } else { self.concurrency - 1 }.clamp(1, self.config.max);
        self.rate_before = rate;
        self.ended = 0;
        self.step_at = self.now;
    }
}
