use std::time::Duration;

use evenkeel_types::{Ratio, Timestamp};

use crate::config::percent;
use crate::error::{LimitConfigError, check, check_span};
use crate::shed::Shed;

/// Whom to shed first.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct PriorityConfig {
    /// Levels of importance, from 0, the most important one; 2 to 8,192. Default 128.
    ///
    /// Many fine levels shed little more than needed: WeChat adds 128 levels of users to each of its kinds of requests.
    pub levels: u32,
    /// A mean wait above this is overload; 1 µs to 1 h. Default 20 ms.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub target: Duration,
    /// It is judged after this time, 1 ms to 1 h. Default 1 s …
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub window: Duration,
    /// … or after so many requests, if that is earlier; 1 to 1,000,000. Default 2,000.
    pub window_requests: u32,
    /// After an overload so much less is let in, above 0 and below 1. Default 0.05.
    pub decrease: Ratio,
    /// Otherwise so much more, above 0. Default 0.01.
    pub increase: Ratio,
}

impl Default for PriorityConfig {
    fn default() -> Self {
        Self {
            levels: 128,
            target: Duration::from_millis(20),
            window: Duration::from_secs(1),
            window_requests: 2000,
            decrease: percent(5),
            increase: percent(1),
        }
    }
}

/// Sheds the least important first, as many as the wait of the others demands: DAGOR.
///
/// ```text
/// end of a window:   overload, if the mean wait was above target
///     expected = let in × (1 - decrease)                   after an overload
///              = let in + increase × came                  otherwise, and at least one more
///     level    = the first at which so many came in this window, with all that are more important
/// ```
///
/// Requests above the level are shed. A step down moves by at least one level that somebody asked for, and a step up by at
/// least one level, so it never sticks; level 0 is never shed. Source: Zhou et al., "Overload control for scaling WeChat
/// microservices", SoCC 2018, whose defaults these are. `&mut`: put it behind the lock of your queue.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorityShed {
    config: PriorityConfig,
    /// Levels up to this one are let in.
    level: u32,
    came: Box<[u32]>,
    total: u64,
    let_in: u64,
    waits: u64,
    waited: Duration,
    /// `None` before the first request.
    since: Option<Timestamp>,
}

/// What is let in has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "nobody else hears of it"]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LevelChange {
    /// The last level that was let in.
    pub from: u32,
    /// The last level that is let in now.
    pub to: u32,
}

impl PriorityShed {
    /// Everything is let in.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &PriorityConfig) -> Result<Self, LimitConfigError> {
        check((2..=8192).contains(&config.levels), "priority.levels", config.levels, "2 to 8192")?;
        let hour = Duration::from_secs(3600);
        let targets = Duration::from_micros(1)..=hour;
        check_span(targets.contains(&config.target), "priority.target", config.target, "1us to 1h")?;
        let windows = Duration::from_millis(1)..=hour;
        check_span(windows.contains(&config.window), "priority.window", config.window, "1ms to 1h")?;
        let requests = config.window_requests;
        check((1..=1_000_000).contains(&requests), "priority.window_requests", requests, "1 to 1000000")?;
        let decrease = config.decrease;
        let is_share = decrease > Ratio::ZERO && decrease < Ratio::ONE;
        check(is_share, "priority.decrease", decrease.as_f64(), "above 0 and below 1")?;
        let increase = config.increase;
        check(increase > Ratio::ZERO, "priority.increase", increase.as_f64(), "above 0, at most 1")?;
        Ok(Self {
            config: config.clone(),
            level: config.levels - 1,
            came: vec![0; config.levels as usize].into(),
            total: 0,
            let_in: 0,
            waits: 0,
            waited: Duration::ZERO,
            since: None,
        })
    }

    /// A request of this level comes; a level that does not exist counts as the least important one.
    ///
    /// # Errors
    ///
    /// [`Shed::LessImportant`].
    pub fn come(&mut self, level: u32, now: Timestamp) -> Result<(), Shed> {
        self.since.get_or_insert(now);
        let level = level.min(self.config.levels - 1);
        let came = &mut self.came[level as usize];
        *came = came.saturating_add(1);
        self.total += 1;
        if level > self.level {
            return Err(Shed::LessImportant);
        }
        self.let_in += 1;
        Ok(())
    }

    /// A request that was let in begins to be served, after so long a wait.
    pub fn waited(&mut self, waited: Duration) {
        self.waits += 1;
        self.waited = self.waited.saturating_add(waited);
    }

    /// Judges the window if it is over. Returns the change, if there is one.
    pub fn tick(&mut self, now: Timestamp) -> Option<LevelChange> {
        let over = self.next_deadline().is_some_and(|deadline| now >= deadline);
        if !over && self.total < u64::from(self.config.window_requests) {
            return None;
        }
        let from = self.level;
        self.level = if self.is_overloaded() { self.lower() } else { self.higher() };
        self.came.fill(0);
        (self.total, self.let_in, self.waits, self.waited) = (0, 0, 0, Duration::ZERO);
        self.since = Some(self.since.unwrap_or(now).max(now));
        (from != self.level).then_some(LevelChange { from, to: self.level })
    }

    /// When the window is over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        Some(self.since?.saturating_add(self.config.window))
    }

    /// The last level that is let in.
    #[must_use]
    pub const fn level(&self) -> u32 {
        self.level
    }

    fn is_overloaded(&self) -> bool {
        self.waits > 0 && self.waited.as_nanos() > self.config.target.as_nanos() * u128::from(self.waits)
    }

    /// Where nobody was let in, the waits were those of an earlier window: nobody is there whom to let in less.
    fn lower(&self) -> u32 {
        if self.let_in == 0 {
            return self.level;
        }
        let wanted = self.let_in - ceil_share(self.let_in, self.config.decrease);
        let mut kept = self.let_in;
        for level in (1..=self.level).rev() {
            kept -= u64::from(self.came[level as usize]).min(kept);
            if kept <= wanted && self.came[level as usize] > 0 {
                return level - 1;
            }
        }
        0
    }

    fn higher(&self) -> u32 {
        let wanted = self.let_in + ceil_share(self.total, self.config.increase).max(1);
        let mut kept = self.let_in;
        for level in self.level + 1..self.config.levels {
            kept += u64::from(self.came[level as usize]);
            if kept >= wanted {
                return level;
            }
        }
        self.config.levels - 1
    }
}

fn ceil_share(count: u64, share: Ratio) -> u64 {
    (u128::from(count) * u128::from(share.parts_per_million())).div_ceil(1_000_000) as u64
}
