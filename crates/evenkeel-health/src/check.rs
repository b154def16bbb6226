//! When to check an endpoint next, what its results mean, and when they mean nothing any more.

use std::time::Duration;

use evenkeel_types::{RandomSource, Ratio, SplitMix64, Timestamp};
use thiserror::Error;

use crate::rise_fall::{ConfigError, RiseFall, RiseFallConfig};
use crate::source::CheckState;

/// How often an endpoint is checked, and how results become a verdict.
///
/// The interval that counts is chosen as HAProxy chooses between `inter`, `fastinter` and `downinter`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct CheckConfig {
    /// How many results in a row turn the endpoint. Default: rise 2, fall 3, the first verdict decides alone.
    pub thresholds: RiseFallConfig,
    /// From one result to the next check, while the endpoint is settled (and the default of the other two).
    ///
    /// Default 2 s, as HAProxy: with `fall` 3, an outage is found after some 6 s, at half a request per second.
    #[cfg_attr(feature = "serde", serde(alias = "inter", with = "evenkeel_types::human_duration"))]
    pub interval: Duration,
    /// The same while the endpoint is not yet checked, or is between two verdicts.
    ///
    /// Default `None`: as `interval`. A shorter one finds the end of a doubt sooner, at a price in requests only then.
    #[cfg_attr(
        feature = "serde",
        serde(
            alias = "fastinter",
            with = "evenkeel_types::human_duration::optional",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub fast_interval: Option<Duration>,
    /// The same while the endpoint is settled down.
    ///
    /// Default `None`: as `interval`. A longer one spares a server that is struggling to start.
    #[cfg_attr(
        feature = "serde",
        serde(
            alias = "downinter",
            with = "evenkeel_types::human_duration::optional",
            skip_serializing_if = "Option::is_none"
        )
    )]
    pub down_interval: Option<Duration>,
    /// How far each wait strays, to both sides, as a share of the interval; at most one half.
    ///
    /// Default 5 %, the upper end of what HAProxy's manual recommends for `spread-checks` ("between 2 and 5"): checks
    /// of many endpoints and many checkers drift apart instead of arriving as a volley. HAProxy itself has 0.
    #[cfg_attr(feature = "serde", serde(alias = "spread_checks"))]
    pub jitter: Ratio,
    /// Without a result for this long, the last one means nothing any more: the endpoint is
    /// [`CheckState::Unknown`], and the next result decides alone, as the first did.
    ///
    /// Default `None`: five times the longest interval, with its jitter. Four lost turns are bad luck, five are a
    /// checker that died, and a checker's death must neither keep a dead endpoint in nor a live one out for ever. It
    /// has to be longer than the longest interval. [`Duration::MAX`] turns it off.
    #[cfg_attr(
        feature = "serde",
        serde(with = "evenkeel_types::human_duration::optional", skip_serializing_if = "Option::is_none")
    )]
    pub stale_after: Option<Duration>,
}

impl Default for CheckConfig {
    fn default() -> Self {
        Self {
            thresholds: RiseFallConfig::default(),
            interval: Duration::from_secs(2),
            fast_interval: None,
            down_interval: None,
            jitter: DEFAULT_JITTER,
            stale_after: None,
        }
    }
}

impl CheckConfig {
    fn validate(&self) -> Result<(), CheckConfigError> {
        let shortest = self.fast_interval().min(self.down_interval()).min(self.interval);
        if shortest.is_zero() {
            return Err(CheckConfigError::ZeroInterval);
        }
        if self.jitter > Ratio::HALF {
            return Err(CheckConfigError::JitterTooLarge(self.jitter));
        }
        let longest = self.longest_interval();
        match self.stale_after {
            Some(stale_after) if stale_after <= longest => {
                Err(CheckConfigError::StaleTooSoon { stale_after, longest })
            }
            _ => Ok(()),
        }
    }

    fn fast_interval(&self) -> Duration {
        self.fast_interval.unwrap_or(self.interval)
    }

    fn down_interval(&self) -> Duration {
        self.down_interval.unwrap_or(self.interval)
    }

    /// The longest wait that jitter can make of any interval.
    fn longest_interval(&self) -> Duration {
        let longest = self.fast_interval().max(self.down_interval()).max(self.interval);
        longest.saturating_add(share_of(longest, self.jitter))
    }

    fn longest_age(&self) -> Duration {
        self.stale_after.unwrap_or_else(|| self.longest_interval().saturating_mul(STALE_INTERVALS))
    }
}

/// The settings of an active check do not make sense together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckConfigError {
    /// The thresholds cannot be counted.
    #[error(transparent)]
    Thresholds(#[from] ConfigError),
    /// An interval is zero, which would check without a pause. Leave `fast_interval` and `down_interval` out to have
    /// them equal to `interval`.
    #[error("a check interval is zero: give the pause between two checks")]
    ZeroInterval,
    /// The jitter is above one half: intervals would no longer tell how often checks run.
    #[error("jitter {} is too large: allowed are 0.0 to 0.5", .0.as_f64())]
    JitterTooLarge(Ratio),
    /// A result would be too old before the next one can be there. Make `stale_after` a few times the longest interval.
    #[error(
        "stale_after {stale_after:?} is not longer than the longest interval with its jitter, {longest:?}"
    )]
    StaleTooSoon {
        /// The configured age.
        stale_after: Duration,
        /// The longest interval, with its jitter.
        longest: Duration,
    },
}

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum CheckResult {
    /// It works.
    Pass,
    /// It works, and says that it is worse than its peers. Counts as a pass; the flag needs no confirmation, as in
    /// Envoy.
    Degraded,
    /// It does not answer (refused, reset, timed out): counts towards `fall`.
    Fail,
    /// It says itself that it does not serve: down at once, whatever `fall` says. In Envoy every failure that is not a
    /// network failure is one, unless its status is marked retriable.
    FailAtOnce,
}

/// A change of what the check knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CheckChange {
    /// What it knew before.
    pub before: CheckState,
    /// What it knows now, to be handed to [`Standing::set_check`](crate::Standing::set_check).
    pub after: CheckState,
}

/// The active check of one endpoint: schedule and verdict, without the probing itself.
///
/// ```text
///            pass                 degraded                   fail                   fail at once   stale
/// Unknown    Up                   Degraded                   Down                   Down           stay
/// Up         stay                 Degraded                   Down, if fall reached  Down           Unknown
/// Degraded   Up                   stay                       Down, if fall reached  Down           Unknown
/// Down       Up, if rise reached  Degraded, if rise reached  stay                   stay           Unknown
/// ```
///
/// "Stale" is the configured `stale_after` without a result; a configured start (`up`, `down` …) is no result and does
/// not go stale. The counting between two verdicts is that of [`RiseFall`].
///
/// The loop around it: wait until [`next_deadline`](Self::next_deadline); [`tick`](Self::tick); if
/// [`begin`](Self::begin) says so, probe; hand what was found to [`on_result`](Self::on_result). A probe must time out
/// and be reported as [`CheckResult::Fail`]; one that is never reported is repeated after an interval and becomes stale
/// in the end. Every call may bring an older `now` than the one before: the later of the two counts. A forgotten `tick`
/// only delays the report that a verdict went stale; [`state`](Self::state) knows it anyway.
///
/// The first check runs at a drawn offset within the first interval, every wait strays by the configured jitter, both
/// from one seed that is drawn in `new`: the same seed and events give the same deadlines. All operations are O(1).
///
/// Sources: HAProxy's configuration manual on `inter`, `fastinter`, `downinter` (section 5.2) and `spread-checks`
/// (section 3.2), <https://docs.haproxy.org/3.2/configuration.html>; Envoy's health checking overview,
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveCheck {
    config: CheckConfig,
    verdict: RiseFall,
    degraded: bool,
    last_result: Option<Timestamp>,
    next_check: Timestamp,
    latest: Timestamp,
    draws: SplitMix64,
}

impl ActiveCheck {
    /// A check whose first run is due within one interval of `now`, at an offset that `random` decides by one draw.
    ///
    /// # Errors
    ///
    /// [`CheckConfigError`] if thresholds, intervals, jitter and staleness do not fit together.
    pub fn new(
        config: CheckConfig,
        now: Timestamp,
        random: &mut (impl RandomSource + ?Sized),
    ) -> Result<Self, CheckConfigError> {
        config.validate()?;
        let mut check = Self {
            verdict: RiseFall::new(&config.thresholds)?,
            config,
            degraded: false,
            last_result: None,
            next_check: now,
            latest: now,
            draws: SplitMix64::new(random.next_u64()),
        };
        let offset = drawn_below(check.interval(), &mut check.draws);
        check.next_check = now.saturating_add(offset);
        Ok(check)
    }

    /// What the check knows at `now`. Pure: a verdict that went stale is unknown, whether or not `tick` was called.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> CheckState {
        if self.is_stale(self.latest.max(now)) { CheckState::Unknown } else { self.known() }
    }

    /// Whether a check should start at `now`.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> bool {
        self.latest.max(now) >= self.next_check
    }

    /// Claims the check that is due at `now`: `true` if the caller should start it.
    ///
    /// Until its result comes, the next one is due an interval later, so that a lost result does not end the checking.
    /// A probe's timeout should therefore be shorter than the interval, or the caller keep to one probe at a time.
    #[must_use = "the check is claimed: run it"]
    pub fn begin(&mut self, now: Timestamp) -> bool {
        let due = self.due(now);
        if due {
            self.advance(now);
            self.schedule();
        }
        due
    }

    /// Takes in a result. `Some` if it changed what the check knows.
    pub fn on_result(&mut self, now: Timestamp, result: CheckResult) -> Option<CheckChange> {
        let before = self.known();
        self.advance(now);
        self.forget_if_stale();
        self.count(result);
        self.last_result = Some(self.latest);
        self.schedule();
        self.change_since(before)
    }

    /// Lets a verdict go stale. `Some` if that changed what the check knows.
    pub fn tick(&mut self, now: Timestamp) -> Option<CheckChange> {
        let before = self.known();
        self.advance(now);
        self.forget_if_stale();
        self.change_since(before)
    }

    /// When to come back: the next check, or the moment at which the verdict goes stale, whichever is first.
    #[must_use]
    pub fn next_deadline(&self) -> Timestamp {
        self.stale_at().map_or(self.next_check, |stale_at| stale_at.min(self.next_check))
    }

    /// The configuration that it was made with.
    #[must_use]
    pub const fn config(&self) -> &CheckConfig {
        &self.config
    }

    fn known(&self) -> CheckState {
        match (self.verdict.is_checked(), self.verdict.is_up(), self.degraded) {
            (false, _, _) => CheckState::Unknown,
            (true, false, _) => CheckState::Down,
            (true, true, true) => CheckState::Degraded,
            (true, true, false) => CheckState::Up,
        }
    }

    fn count(&mut self, result: CheckResult) {
        let _ = match result {
            CheckResult::Pass | CheckResult::Degraded => {
                self.degraded = result == CheckResult::Degraded;
                self.verdict.pass()
            }
            CheckResult::Fail => self.verdict.fail(),
            CheckResult::FailAtOnce => self.verdict.fail_at_once(),
        };
    }

    fn change_since(&self, before: CheckState) -> Option<CheckChange> {
        let after = self.known();
        (before != after).then_some(CheckChange { before, after })
    }

    fn advance(&mut self, now: Timestamp) {
        self.latest = self.latest.max(now);
    }

    fn forget_if_stale(&mut self) {
        if self.is_stale(self.latest) {
            self.verdict.forget();
            self.degraded = false;
            self.last_result = None;
        }
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        self.stale_at().is_some_and(|stale_at| now >= stale_at)
    }

    /// When the last result stops to count; `None` if there is none, or if that is never.
    fn stale_at(&self) -> Option<Timestamp> {
        let stale_at = self.last_result?.saturating_add(self.config.longest_age());
        (stale_at < Timestamp::MAX).then_some(stale_at)
    }

    fn schedule(&mut self) {
        let wait = jittered(self.interval(), self.config.jitter, &mut self.draws);
        self.next_check = self.latest.saturating_add(wait);
    }

    fn interval(&self) -> Duration {
        if !self.verdict.is_settled() {
            self.config.fast_interval()
        } else if self.verdict.is_up() {
            self.config.interval
        } else {
            self.config.down_interval()
        }
    }
}

/// `interval` moved by a uniform draw from `-jitter ..= +jitter` of itself; never zero.
fn jittered(interval: Duration, jitter: Ratio, draws: &mut SplitMix64) -> Duration {
    let spread = share_of(interval, jitter);
    (interval - spread).saturating_add(drawn_below(spread.saturating_mul(2), draws))
}

/// A uniform draw from `0 .. limit`, in nanoseconds.
fn drawn_below(limit: Duration, draws: &mut SplitMix64) -> Duration {
    let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let drawn = (u128::from(draws.next_u64()) * u128::from(nanos)) >> 64;
    Duration::from_nanos(drawn as u64)
}

/// `share` of `duration`, in whole nanoseconds; durations above 584 years count as that.
fn share_of(duration: Duration, share: Ratio) -> Duration {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let part = u128::from(nanos) * u128::from(share.parts_per_million()) / 1_000_000;
    Duration::from_nanos(part as u64)
}

/// 5 %, written as a constant so that no conversion can fail.
const DEFAULT_JITTER: Ratio = match Ratio::percent(5) {
    Ok(ratio) => ratio,
    Err(_) => Ratio::ZERO,
};

/// How many of the longest intervals may pass without a result before the last one stops to count.
const STALE_INTERVALS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Start;

    fn exact(start: Start) -> CheckConfig {
        CheckConfig {
            thresholds: RiseFallConfig { start, ..RiseFallConfig::default() },
            fast_interval: Some(Duration::from_secs(1)),
            down_interval: Some(Duration::from_secs(4)),
            jitter: Ratio::ZERO,
            ..CheckConfig::default()
        }
    }

    /// A check whose first run is due at `now`, without the drawn offset.
    fn unseeded(config: CheckConfig, now: Timestamp) -> ActiveCheck {
        let mut check = ActiveCheck::new(config, now, &mut || 0).unwrap();
        check.next_check = now;
        check
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn result_of(letter: char) -> CheckResult {
        match letter {
            'S' => CheckResult::Pass,
            'D' => CheckResult::Degraded,
            'F' => CheckResult::Fail,
            _ => CheckResult::FailAtOnce,
        }
    }

    /// Feeds one result a second and compares the states after each: `?` unknown, `u` up, `~` degraded, `d` down.
    fn check(start: Start, results: &str, states: &str) {
        let mut check = unseeded(exact(start), at(0));
        let seen: String = (1..)
            .zip(results.chars())
            .map(|(second, letter)| {
                let before = check.state(at(second));
                let change = check.on_result(at(second), result_of(letter));
                let after = check.state(at(second));
                assert_eq!(change, (before != after).then_some(CheckChange { before, after }));
                match after {
                    CheckState::Unknown => '?',
                    CheckState::Up => 'u',
                    CheckState::Degraded => '~',
                    CheckState::Down => 'd',
                }
            })
            .collect();
        assert_eq!(seen, states, "{start:?}: {results}");
    }

    #[test]
    fn results_become_verdicts() {
        check(Start::FullyUp, "FFSFFFSFSS", "uuuuuddddu");
        check(Start::FirstVerdict, "S", "u");
        check(Start::FirstVerdict, "F", "d");
        check(Start::FirstVerdict, "SX", "ud");
        check(Start::Up, "F", "d");
        check(Start::Down, "S", "u");
    }

    #[test]
    fn degraded_is_a_flag_on_a_passing_endpoint() {
        check(Start::FirstVerdict, "D", "~");
        check(Start::FirstVerdict, "SDS", "u~u");
        check(Start::FirstVerdict, "DFFFDD", "~~~dd~");
        check(Start::FirstVerdict, "DFS", "~~u");
    }

    /// Every state with every event: the table of the type's documentation, at rise 2 and fall 3.
    #[test]
    fn the_table_holds_for_every_state_and_event() {
        use CheckState::{Degraded, Down, Unknown, Up};
        // How the state is reached; then what follows pass, degraded, fail, fail at once, stale.
        let table = [
            ("", Unknown, [Up, Degraded, Down, Down, Unknown]),
            ("S", Up, [Up, Degraded, Up, Down, Unknown]),
            ("SFF", Up, [Up, Degraded, Down, Down, Unknown]),
            ("D", Degraded, [Up, Degraded, Degraded, Down, Unknown]),
            ("DFF", Degraded, [Up, Degraded, Down, Down, Unknown]),
            ("F", Down, [Down, Down, Down, Down, Unknown]),
            ("FS", Down, [Up, Degraded, Down, Down, Unknown]),
        ];
        for (way, state, expected) in table {
            let mut reached = unseeded(exact(Start::FirstVerdict), at(0));
            for letter in way.chars() {
                let _ = reached.on_result(at(1), result_of(letter));
            }
            assert_eq!(reached.state(at(1)), state, "{way}");
            for (letter, after) in "SDFX-".chars().zip(expected) {
                let mut check = reached.clone();
                let change = match letter {
                    '-' => check.tick(at(100)),
                    _ => check.on_result(at(1), result_of(letter)),
                };
                assert_eq!(check.state(at(1)), after, "{way} then {letter}");
                let expected = (state != after).then_some(CheckChange { before: state, after });
                assert_eq!(change, expected, "{way} then {letter}");
            }
        }
    }

    #[test]
    fn the_interval_follows_the_state() {
        let mut check = unseeded(exact(Start::FirstVerdict), at(0));
        let mut wait_after = |letter| {
            let now = check.next_check;
            let _ = check.on_result(now, result_of(letter));
            check.next_check.saturating_since(now).as_secs()
        };
        assert_eq!(wait_after('S'), 2, "settled up");
        assert_eq!(wait_after('F'), 1, "in transition");
        assert_eq!(wait_after('F'), 1, "still");
        assert_eq!(wait_after('F'), 4, "settled down");
        assert_eq!(wait_after('S'), 1, "on the way up");
        assert_eq!(wait_after('S'), 2, "settled up");
    }

    #[test]
    fn a_check_is_claimed_once_and_repeated_if_its_result_is_lost() {
        let mut check = unseeded(exact(Start::FirstVerdict), at(10));
        assert!(check.due(at(10)) && check.begin(at(10)));
        assert!(!check.due(at(10)) && !check.begin(at(10)));
        assert_eq!(check.next_deadline(), at(11));
        assert!(check.begin(at(11)), "the first one was never reported");
    }

    #[test]
    fn a_verdict_goes_stale_and_the_next_one_decides_alone() {
        let mut check = unseeded(exact(Start::FullyUp), at(0));
        assert_eq!(check.tick(at(1_000)), None, "a configured start is no result and does not age");
        assert_eq!(check.state(at(1_000)), CheckState::Up);

        let _ = check.on_result(at(1_000), CheckResult::Pass);
        // Five times the longest interval, which is down_interval.
        assert_eq!(check.state(at(1_019)), CheckState::Up);
        assert_eq!(
            check.state(at(1_020)),
            CheckState::Unknown,
            "the deadline is inclusive, without a tick too"
        );
        let gone = CheckChange { before: CheckState::Up, after: CheckState::Unknown };
        assert_eq!(check.tick(at(1_020)), Some(gone));
        assert_eq!(check.tick(at(1_021)), None);

        let down = CheckChange { before: CheckState::Unknown, after: CheckState::Down };
        assert_eq!(check.on_result(at(1_022), CheckResult::Fail), Some(down));
    }

    #[test]
    fn a_forgotten_tick_is_made_up_for_by_the_next_result() {
        let mut check = unseeded(exact(Start::FirstVerdict), at(0));
        let _ = check.on_result(at(0), CheckResult::FailAtOnce);
        let change = check.on_result(at(100), CheckResult::Pass);
        assert_eq!(change, Some(CheckChange { before: CheckState::Down, after: CheckState::Up }));
    }

    #[test]
    fn the_deadline_is_the_next_check_or_staleness() {
        let mut check = unseeded(exact(Start::FirstVerdict), at(0));
        let _ = check.on_result(at(0), CheckResult::Pass);
        assert_eq!(check.next_deadline(), at(2));
        for second in [2, 4, 6, 8, 10, 12, 14, 16, 18] {
            assert!(check.begin(at(second)));
        }
        assert_eq!(check.next_deadline(), at(20));
        check.config.stale_after = Some(Duration::from_millis(19_500));
        assert_eq!(check.next_deadline(), Timestamp::from_millis(19_500));
        check.config.stale_after = Some(Duration::MAX);
        assert_eq!(check.next_deadline(), at(20));
        assert_eq!(check.tick(Timestamp::MAX), None, "never");
    }

    #[test]
    fn jitter_and_offset_spread_evenly_and_stay_inside() {
        let config = CheckConfig { jitter: Ratio::HALF, ..CheckConfig::default() };
        let mut seeds = SplitMix64::new(1);
        let (mut offsets, mut waits) = ([0_u32; 4], [0_u32; 4]);
        for _ in 0..4_000 {
            let mut check = ActiveCheck::new(config.clone(), at(10), &mut seeds).unwrap();
            // Quarters of 0 .. 2 s, and of 1 .. 3 s.
            offsets[(check.next_check.saturating_since(at(10)).as_millis() / 500) as usize] += 1;
            let _ = check.on_result(at(20), CheckResult::Pass);
            waits[(check.next_check.saturating_since(at(21)).as_millis() / 500) as usize] += 1;
        }
        for quarter in offsets.into_iter().chain(waits) {
            // 1000 expected, standard deviation 27: four of them.
            assert!((890..=1_110).contains(&quarter), "{offsets:?} {waits:?}");
        }
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        let refused = |change: fn(&mut CheckConfig)| {
            let mut config = CheckConfig::default();
            change(&mut config);
            ActiveCheck::new(config, at(0), &mut || 0).err()
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|c| c.thresholds.rise = 0), Some(ConfigError::ZeroRise.into()));
        assert_eq!(refused(|c| c.interval = Duration::ZERO), Some(CheckConfigError::ZeroInterval));
        assert_eq!(refused(|c| c.fast_interval = Some(Duration::ZERO)), Some(CheckConfigError::ZeroInterval));
        assert_eq!(refused(|c| c.jitter = Ratio::ONE), Some(CheckConfigError::JitterTooLarge(Ratio::ONE)));
        let (stale_after, longest) = (Duration::from_millis(2_100), Duration::from_millis(2_100));
        assert_eq!(
            refused(|c| c.stale_after = Some(Duration::from_millis(2_100))),
            Some(CheckConfigError::StaleTooSoon { stale_after, longest })
        );
        assert_eq!(refused(|c| c.stale_after = Some(Duration::from_millis(2_101))), None);
        assert_eq!(refused(|c| c.interval = Duration::MAX), None, "absurd, yet harmless");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn reads_the_words_of_the_field() {
        let text =
            r#"{"inter":"5s","fastinter":"500ms","thresholds":{"healthy_threshold":1,"start":"fully_down"}}"#;
        let config: CheckConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.interval, Duration::from_secs(5));
        assert_eq!(config.fast_interval, Some(Duration::from_millis(500)));
        assert_eq!(config.thresholds, RiseFallConfig { rise: 1, fall: 3, start: Start::FullyDown });
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<CheckConfig>(&written).unwrap(), config);
        assert!(serde_json::from_str::<CheckConfig>(r#"{"intervall":"5s"}"#).is_err());
    }
}
