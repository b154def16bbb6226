//! The schedule and the verdict of one endpoint.

use std::time::Duration;

use evenkeel_types::{RandomSource, SplitMix64, Timestamp};

use super::config::{CheckConfig, CheckConfigError};
use super::observe::{ObserveConfig, OnError};
use super::probe::Probe;
use super::result::{CheckChange, CheckResult};
use super::schedule::{StartOffset, jittered};
use super::startup::Gate;
use crate::regressions::Regressions;
use crate::rise_fall::RiseFall;
use crate::source::CheckState;

/// The active check of one endpoint: schedule and verdict, without the probing itself.
///
/// ```text
///            pass                 degraded                   fail                   fail at once   stale
/// Starting   Up                   Degraded                   Down, if given up      as fail        Unknown
/// Unknown    Up                   Degraded                   Down                   Down           stay
/// Up         stay                 Degraded                   Down, if fall reached  Down           Unknown
/// Degraded   Up                   stay                       Down, if fall reached  Down           Unknown
/// Down       Up, if rise reached  Degraded, if rise reached  stay                   stay           Unknown
///
///            enough errors of requests, by `observe.on_error`
///            fastinter   fail-check   sudden-death                    mark-down
/// Starting   stay        stay         stay                            stay
/// Unknown    stay        as fail      as fail                         Down
/// Up, Degr.  stay        as fail      one more failure makes it Down  Down
/// Down       stay        stay         stay                            stay
/// ```
///
/// "Stale" is the configured `stale_after` without a result; a configured start (`up`, `down` …) is no result and does
/// not go stale, nor does a start gate that nobody has knocked at. The counting between two verdicts is that of
/// [`RiseFall`].
///
/// The loop around it: wait until [`next_deadline`](Self::next_deadline); [`tick`](Self::tick); if
/// [`start`](Self::start) hands out a [`Probe`], run it; hand what was found to [`finish`](Self::finish). A probe must
/// time out and be reported as [`CheckResult::Fail`]; one that is never reported is no verdict: it is repeated when its
/// time is over, and the verdict goes stale in the end. Probes of one endpoint never overlap, and a late result of a
/// probe that was given up counts for nothing once the next one runs. Every call may bring an older `now` than the one
/// before: the later of the two counts. A forgotten `tick` only delays the report that a verdict went stale;
/// [`state`](Self::state) knows it anyway.
///
/// The first check runs at a [`StartOffset`] within the first interval, every wait strays by the configured jitter, both
/// from one seed that is drawn in `new`: the same seed and events give the same deadlines. All operations are O(1).
///
/// Sources: HAProxy's configuration manual on `inter`, `fastinter`, `downinter`, `observe` (section 5.2) and
/// `spread-checks` (section 3.2), <https://docs.haproxy.org/3.2/configuration.html>; Envoy's health checking overview,
/// <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveCheck {
    config: CheckConfig,
    /// As it was before the first result.
    fresh: RiseFall,
    verdict: RiseFall,
    gate: Gate,
    degraded: bool,
    /// Errors of requests in a row.
    errors: u32,
    last_result: Option<Timestamp>,
    last_traffic: Option<Timestamp>,
    /// The verdict does not go stale before.
    kept_until: Timestamp,
    next_check: Timestamp,
    /// The probe under way, until it is reported.
    probe: Option<Probe>,
    /// How many probes were started.
    started: u64,
    latest: Timestamp,
    regressions: Regressions,
    draws: SplitMix64,
}

impl ActiveCheck {
    /// A check whose first run is due within one interval of `now`, at an offset that `random` decides by one draw.
    ///
    /// # Errors
    ///
    /// [`CheckConfigError`] if the settings do not fit together.
    pub fn new(
        config: CheckConfig,
        now: Timestamp,
        random: &mut (impl RandomSource + ?Sized),
    ) -> Result<Self, CheckConfigError> {
        Self::starting_at(config, StartOffset::Drawn, now, random)
    }

    /// A check whose first run is due at this offset within one interval of `now`. Takes one draw for its jitter.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn starting_at(
        config: CheckConfig,
        offset: StartOffset,
        now: Timestamp,
        random: &mut (impl RandomSource + ?Sized),
    ) -> Result<Self, CheckConfigError> {
        config.validate()?;
        let fresh = RiseFall::new(&config.thresholds)?;
        let mut check = Self {
            fresh,
            verdict: fresh,
            gate: Gate::of(config.startup.as_ref()),
            config,
            degraded: false,
            errors: 0,
            last_result: None,
            last_traffic: None,
            kept_until: Timestamp::from_nanos(0),
            next_check: now,
            probe: None,
            started: 0,
            latest: now,
            regressions: Regressions::NONE,
            draws: SplitMix64::new(random.next_u64()),
        };
        let offset = offset.within(check.interval(), &mut check.draws);
        check.next_check = now.saturating_add(offset);
        Ok(check)
    }

    /// What the check knows at `now`. Pure: a verdict that went stale is unknown, whether or not `tick` was called.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> CheckState {
        if self.is_stale(self.latest.max(now)) { CheckState::Unknown } else { self.known() }
    }

    /// Whether the endpoint is still given time to start: whoever has a probe for that runs it instead of the usual one.
    #[must_use]
    pub const fn is_starting(&self) -> bool {
        self.gate.is_closed()
    }

    /// Whether a check should start at `now`.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> bool {
        self.latest.max(now) >= self.next_start()
    }

    /// Claims the check that is due at `now`: `Some` if the caller should run it.
    ///
    /// Until it is reported, the next one is due when its time is over, so that a lost result does not end the checking.
    pub fn start(&mut self, now: Timestamp) -> Option<Probe> {
        if !self.due(now) {
            return None;
        }
        self.advance(now);
        self.schedule();
        let give_up_at = match self.config.timeout {
            Some(timeout) => self.latest.saturating_add(timeout),
            None => self.next_check,
        };
        self.started = self.started.wrapping_add(1);
        let probe = Probe { number: self.started, give_up_at };
        self.probe = Some(probe);
        Some(probe)
    }

    /// As [`start`](Self::start), for callers that run one probe at a time and report with
    /// [`on_result`](Self::on_result).
    #[must_use = "the check is claimed: run it"]
    pub fn begin(&mut self, now: Timestamp) -> bool {
        self.start(now).is_some()
    }

    /// Takes in what a probe found. `Some` if that changed what the check knows; a probe that is not the latest one, or
    /// was reported before, changes nothing.
    pub fn finish(&mut self, probe: Probe, now: Timestamp, result: CheckResult) -> Option<CheckChange> {
        let is_latest = self.probe.is_some_and(|latest| latest.number == probe.number);
        if is_latest { self.on_result(now, result) } else { self.tick(now) }
    }

    /// Takes in a result, whichever probe it is from. `Some` if it changed what the check knows.
    pub fn on_result(&mut self, now: Timestamp, result: CheckResult) -> Option<CheckChange> {
        self.turn(now, |check| {
            check.probe = None;
            check.count(result);
            check.last_result = Some(check.latest);
            check.schedule();
        })
    }

    /// Takes in how a real request went, if [`observe`](CheckConfig::observe) is set. `Some` if it changed what the check
    /// knows.
    pub fn on_request(&mut self, now: Timestamp, good: bool) -> Option<CheckChange> {
        let ObserveConfig { error_limit, on_error } = self.config.observe.clone()?;
        self.turn(now, |check| {
            if good {
                check.errors = 0;
                return;
            }
            if !check.takes_evidence() {
                return;
            }
            check.errors = check.errors.saturating_add(1);
            if check.errors >= error_limit {
                check.errors = 0;
                check.convict(on_error);
            }
        })
    }

    /// As many calls of [`on_request`](Self::on_request) as make evidence, each with an error: for callers that count the
    /// errors in a row themselves, up to [`error_limit`](ObserveConfig::error_limit), where requests end.
    pub fn on_error_run(&mut self, now: Timestamp) -> Option<CheckChange> {
        let on_error = self.config.observe.as_ref()?.on_error;
        self.turn(now, |check| {
            check.errors = 0;
            if check.takes_evidence() {
                check.convict(on_error);
            }
        })
    }

    /// Keeps a verdict from going stale before `until`, since a check runs, or waits for its turn, and its checker is alive.
    /// [`Timestamp::MAX`] is until further notice; an earlier moment than that of the last call takes it back.
    ///
    /// Without it a check that takes longer than [`stale_after`](CheckConfig::stale_after) makes a verdict unknown while
    /// the next one is being found, which lets requests in where every check fails.
    pub fn keep_until(&mut self, until: Timestamp) {
        self.kept_until = until;
    }

    /// Goes by other settings from now on. `Some` if that changed what the check knows.
    ///
    /// What was found stays: up or down, degraded, the age of the last result, and the counts as far as `rise` and `fall`
    /// are the same; else counting begins anew from where the verdict is settled. An endpoint that no result is known of
    /// begins as the new settings say. The next check comes at a drawn moment within the interval that then counts, or
    /// when it was due before, whichever is earlier: so many endpoints that are given a shorter interval at a time are not
    /// checked at a time. A probe under way goes on.
    ///
    /// # Errors
    ///
    /// [`CheckConfigError`] if the settings do not fit together. Nothing has changed then.
    pub fn set_config(
        &mut self,
        config: CheckConfig,
        now: Timestamp,
    ) -> Result<Option<CheckChange>, CheckConfigError> {
        config.validate()?;
        let fresh = RiseFall::new(&config.thresholds)?;
        Ok(self.turn(now, |check| check.adopt(config, fresh)))
    }

    fn adopt(&mut self, config: CheckConfig, fresh: RiseFall) {
        let old = std::mem::replace(&mut self.config, config);
        self.fresh = fresh;
        let (before, after) = (&old.thresholds, &self.config.thresholds);
        // A gate that has taken failures has a past, but no verdict.
        let is_known = self.last_result.is_some() && !self.gate.is_closed();
        if !is_known {
            if before != after {
                self.verdict = fresh;
            }
            self.gate = self.gate.under(old.startup.as_ref(), self.config.startup.as_ref());
        } else if (before.rise, before.fall) != (after.rise, after.fall) {
            self.verdict = self.verdict.under(fresh);
        }
        let offset = StartOffset::Drawn.within(self.interval(), &mut self.draws);
        self.next_check = self.next_check.min(self.latest.saturating_add(offset));
    }

    /// Says that the cluster had a request at `now`, whichever endpoint it went to. Only of use with a
    /// [`no_traffic_interval`](CheckConfig::no_traffic_interval); the first request after a time without any brings the
    /// next check forward to the usual interval.
    pub fn on_traffic(&mut self, now: Timestamp) {
        if self.config.no_traffic_interval.is_none() {
            return;
        }
        self.advance(now);
        let is_news = !self.has_traffic();
        self.last_traffic = Some(self.latest);
        if is_news {
            self.bring_forward(self.interval());
        }
    }

    /// Forgets everything, since another process took the endpoint's place. `Some` if that changed what the check knows.
    /// The next check is due at once, and the start gate is closed again.
    pub fn restart(&mut self, now: Timestamp) -> Option<CheckChange> {
        self.turn(now, |check| {
            check.verdict = check.fresh;
            check.gate = Gate::of(check.config.startup.as_ref());
            check.degraded = false;
            check.errors = 0;
            check.last_result = None;
            check.probe = None;
            check.next_check = check.latest;
        })
    }

    /// Lets a verdict go stale. `Some` if that changed what the check knows.
    pub fn tick(&mut self, now: Timestamp) -> Option<CheckChange> {
        self.turn(now, |_| ())
    }

    /// When to come back: the next check, or the moment at which the verdict goes stale, whichever is first.
    #[must_use]
    pub fn next_deadline(&self) -> Timestamp {
        let next_start = self.next_start();
        self.stale_at().map_or(next_start, |stale_at| stale_at.min(next_start))
    }

    /// How often a call came with an earlier time than one before it. Such a call counts as if it had come at the latest one.
    #[must_use]
    pub const fn clock_regressions(&self) -> u64 {
        self.regressions.count()
    }

    /// The settings that it goes by.
    #[must_use]
    pub const fn config(&self) -> &CheckConfig {
        &self.config
    }

    /// Lets time pass, then does this, and compares.
    fn turn(&mut self, now: Timestamp, act: impl FnOnce(&mut Self)) -> Option<CheckChange> {
        let before = self.known();
        self.advance(now);
        self.forget_if_stale();
        act(self);
        let after = self.known();
        (before != after).then_some(CheckChange { before, after })
    }

    fn known(&self) -> CheckState {
        match (self.verdict.is_checked(), self.verdict.is_up(), self.degraded) {
            _ if self.gate.is_closed() => CheckState::Starting,
            (false, _, _) => CheckState::Unknown,
            (true, false, _) => CheckState::Down,
            (true, true, true) => CheckState::Degraded,
            (true, true, false) => CheckState::Up,
        }
    }

    fn count(&mut self, result: CheckResult) {
        let startup = self.config.startup.as_ref();
        let _ = match result {
            CheckResult::Pass | CheckResult::Degraded => {
                self.degraded = result == CheckResult::Degraded;
                self.errors = 0;
                self.gate = Gate::Open;
                self.verdict.pass()
            }
            _ if self.gate.is_closed() => {
                if self.gate.fail(startup) {
                    self.verdict.fail_at_once()
                } else {
                    None
                }
            }
            CheckResult::Fail => self.verdict.fail(),
            CheckResult::FailAtOnce => self.verdict.fail_at_once(),
        };
    }

    /// What still comes in at an endpoint that is out began before it was.
    fn takes_evidence(&self) -> bool {
        !matches!(self.known(), CheckState::Down | CheckState::Starting)
    }

    fn convict(&mut self, on_error: OnError) {
        let _ = match on_error {
            OnError::FastInterval => None,
            OnError::FailCheck => self.verdict.fail(),
            OnError::SuddenDeath => self.verdict.fail_to_the_brink(),
            OnError::MarkDown => self.verdict.fail_at_once(),
        };
        if on_error != OnError::FastInterval {
            self.last_result = Some(self.latest);
        }
        self.bring_forward(self.config.fast_interval());
    }

    fn advance(&mut self, now: Timestamp) {
        self.regressions.note(now, self.latest);
        self.latest = self.latest.max(now);
    }

    fn forget_if_stale(&mut self) {
        if self.is_stale(self.latest) {
            self.verdict.forget();
            self.gate = Gate::Open;
            self.degraded = false;
            self.last_result = None;
        }
    }

    fn is_stale(&self, now: Timestamp) -> bool {
        self.stale_at().is_some_and(|stale_at| now >= stale_at)
    }

    /// When the last result stops to count; `None` if there is none, or if that is never.
    fn stale_at(&self) -> Option<Timestamp> {
        let stale_at = self.last_result?.saturating_add(self.config.longest_age()).max(self.kept_until);
        (stale_at < Timestamp::MAX).then_some(stale_at)
    }

    /// When the next check may start: not while one is under way.
    fn next_start(&self) -> Timestamp {
        self.probe.map_or(self.next_check, |probe| self.next_check.max(probe.give_up_at))
    }

    fn schedule(&mut self) {
        let wait = jittered(self.interval(), self.config.jitter, &mut self.draws);
        self.next_check = self.latest.saturating_add(wait);
    }

    fn bring_forward(&mut self, interval: Duration) {
        let wait = jittered(interval, self.config.jitter, &mut self.draws);
        self.next_check = self.next_check.min(self.latest.saturating_add(wait));
    }

    fn interval(&self) -> Duration {
        if !self.verdict.is_settled() {
            return self.config.fast_interval();
        }
        let usual = if self.verdict.is_up() { self.config.interval } else { self.config.down_interval() };
        match self.config.no_traffic_interval {
            // The first result is not waited for longer: until then nobody knows anything, or all are taken for down.
            Some(longer) if self.last_result.is_some() && !self.has_traffic() => usual.max(longer),
            _ => usual,
        }
    }

    fn has_traffic(&self) -> bool {
        self.last_traffic.is_some_and(|last| match self.config.no_traffic_after {
            Some(after) => self.latest < last.saturating_add(after),
            None => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_types::Ratio;

    use super::*;
    use crate::{RiseFallConfig, Start, StartupConfig};

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
                    CheckState::Starting => 's',
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

    /// The second table: every state with every kind of evidence, at two errors in a row.
    #[test]
    fn evidence_of_requests_does_what_is_configured() {
        use CheckState::{Down, Starting, Unknown, Up};
        let after = |on_error, way: &str, startup: Option<StartupConfig>| {
            let observe = Some(ObserveConfig { error_limit: 2, on_error });
            let config = CheckConfig { observe, startup, ..exact(Start::FirstVerdict) };
            let mut check = unseeded(config, at(0));
            for letter in way.chars() {
                let _ = check.on_result(at(1), result_of(letter));
            }
            let before = check.state(at(1));
            assert_eq!(check.on_request(at(1), false), None, "one is not enough");
            assert_eq!(check.on_request(at(1), true), None);
            assert_eq!(check.on_request(at(1), false), None, "a good one cleared the count");
            let change = check.on_request(at(1), false);
            let after = check.state(at(1));
            assert_eq!(change, (before != after).then_some(CheckChange { before, after }));
            let _ = check.on_result(at(1), CheckResult::Fail);
            (after, check.state(at(1)))
        };
        // After the evidence, and after one more failed check.
        for (on_error, up, unknown) in [
            (OnError::FastInterval, (Up, Up), (Unknown, Down)),
            (OnError::FailCheck, (Up, Up), (Down, Down)),
            (OnError::SuddenDeath, (Up, Down), (Down, Down)),
            (OnError::MarkDown, (Down, Down), (Down, Down)),
        ] {
            assert_eq!(after(on_error, "S", None), up, "{on_error:?}");
            assert_eq!(after(on_error, "", None), unknown, "{on_error:?}");
            assert_eq!(after(on_error, "FS", None), (Down, Down), "{on_error:?}: progress is kept or lost");
            assert_eq!(after(on_error, "", Some(StartupConfig::default())), (Starting, Starting));
        }
    }

    #[test]
    fn errors_neither_undo_the_way_up_nor_outlive_a_good_check() {
        let observe = Some(ObserveConfig { error_limit: 2, on_error: OnError::MarkDown });
        let mut check = unseeded(CheckConfig { observe, ..exact(Start::FirstVerdict) }, at(0));
        let _ = check.on_result(at(1), CheckResult::FailAtOnce);
        let _ = check.on_result(at(1), CheckResult::Pass);
        assert_eq!([check.on_request(at(1), false), check.on_request(at(1), false)], [None, None]);
        assert!(check.on_result(at(1), CheckResult::Pass).is_some(), "the second pass in a row revives it");
        let _ = check.on_request(at(1), false);
        let _ = check.on_result(at(1), CheckResult::Pass);
        assert_eq!(check.on_request(at(1), false), None, "the good check cleared the count");
        assert!(check.on_request(at(1), false).is_some());
    }

    #[test]
    fn evidence_brings_the_next_check_forward() {
        let observe = Some(ObserveConfig { error_limit: 1, on_error: OnError::FastInterval });
        let config = CheckConfig { observe, interval: Duration::from_secs(60), ..exact(Start::FirstVerdict) };
        let mut check = unseeded(config, at(0));
        let _ = check.on_result(at(0), CheckResult::Pass);
        assert_eq!(check.next_deadline(), at(60));
        assert_eq!(check.on_request(at(10), false), None);
        assert_eq!(check.next_deadline(), at(11));
    }

    #[test]
    fn a_late_result_of_a_probe_that_was_given_up_is_no_verdict() {
        let config = CheckConfig { timeout: Some(Duration::from_secs(3)), ..exact(Start::FirstVerdict) };
        let mut check = unseeded(config, at(0));
        let first = check.start(at(0)).unwrap();
        assert_eq!(first.give_up_at(), at(3));
        assert!(check.start(at(2)).is_none(), "the interval is over, the probe is not");
        assert_eq!(check.next_deadline(), at(3));
        let second = check.start(at(3)).unwrap();
        assert_eq!(check.finish(first, at(4), CheckResult::Fail), None);
        assert_eq!(check.state(at(4)), CheckState::Unknown);
        assert!(check.finish(second, at(4), CheckResult::Pass).is_some());
        assert_eq!(check.finish(second, at(4), CheckResult::FailAtOnce), None, "reported twice");
        assert_eq!(check.next_deadline(), at(6));
    }

    #[test]
    fn a_cluster_without_traffic_is_checked_less() {
        let no_traffic_interval = Some(Duration::from_secs(60));
        let mut config = CheckConfig { no_traffic_interval, ..exact(Start::FirstVerdict) };
        let mut check = unseeded(config.clone(), at(0));
        let _ = check.on_result(at(0), CheckResult::Pass);
        assert_eq!(check.next_deadline(), at(60));
        check.on_traffic(at(10));
        assert_eq!(check.next_deadline(), at(12), "brought forward");
        let _ = check.on_result(at(1_000), CheckResult::Pass);
        assert_eq!(check.next_deadline(), at(1_002), "once used, always used");
        let _ = check.on_result(at(1_000), CheckResult::Fail);
        assert_eq!(check.next_deadline(), at(1_001), "a doubt is settled fast");

        config.no_traffic_after = Some(Duration::from_secs(30));
        let mut check = unseeded(config, at(0));
        check.on_traffic(at(5));
        let _ = check.on_result(at(34), CheckResult::Pass);
        assert_eq!(check.next_deadline(), at(36));
        let _ = check.on_result(at(35), CheckResult::Pass);
        assert_eq!(check.next_deadline(), at(95), "the last request is 30 s ago");
        let _ = check.on_result(at(95), CheckResult::FailAtOnce);
        assert_eq!(check.next_deadline(), at(155), "down, the longer of the two");
    }

    #[test]
    fn the_first_check_does_not_wait_for_traffic() {
        let no_traffic_interval = Some(Duration::from_secs(60));
        for start in [Start::Down, Start::FullyUp, Start::FirstVerdict] {
            let config = CheckConfig { no_traffic_interval, ..exact(start) };
            // The latest of the offsets that can be drawn.
            let mut check = ActiveCheck::starting_at(
                config,
                StartOffset::Even { place: 9_999, of: 10_000 },
                at(0),
                &mut || 0,
            )
            .unwrap();
            assert!(check.next_deadline() < at(4), "{start:?}");
            let now = check.next_deadline();
            let _ = check.on_result(now, CheckResult::Pass);
            assert!(check.next_deadline() > at(60), "{start:?}: from here on it is unused");
        }
    }

    #[test]
    fn a_run_that_was_counted_elsewhere_is_evidence_too() {
        let observe = Some(ObserveConfig { error_limit: 1_000_000, on_error: OnError::MarkDown });
        let mut check = unseeded(CheckConfig { observe, ..exact(Start::FirstVerdict) }, at(0));
        let _ = check.on_result(at(0), CheckResult::Pass);
        let down = CheckChange { before: CheckState::Up, after: CheckState::Down };
        assert_eq!(check.on_error_run(at(1)), Some(down));
        assert_eq!(check.on_error_run(at(1)), None, "what still comes in began before");
        let mut deaf = unseeded(exact(Start::FirstVerdict), at(0));
        assert_eq!(deaf.on_error_run(at(1)), None, "nobody observes");
    }

    #[test]
    fn a_verdict_is_kept_while_its_checker_is_at_work() {
        let mut check = unseeded(exact(Start::FirstVerdict), at(0));
        let _ = check.on_result(at(0), CheckResult::Fail);
        check.keep_until(Timestamp::MAX);
        assert_eq!((check.tick(at(9_000)), check.state(at(10_000))), (None, CheckState::Down));
        check.keep_until(at(9_002));
        assert_eq!(check.state(at(9_001)), CheckState::Down);
        assert_eq!(check.state(at(9_002)), CheckState::Unknown);
        check.keep_until(at(0));
        assert!(check.tick(at(9_000)).is_some());
    }

    /// Every state, with other settings: what was found stays, and an endpoint without a result begins anew.
    #[test]
    fn other_settings_forget_nothing() {
        use CheckState::{Degraded, Down, Starting, Unknown, Up};
        let slower = |config: CheckConfig| CheckConfig { interval: Duration::from_secs(3), ..config };
        let other_thresholds = |config: CheckConfig| {
            let thresholds = RiseFallConfig { rise: 4, fall: 5, ..config.thresholds };
            CheckConfig { thresholds, ..config }
        };
        let gated = |config: CheckConfig| CheckConfig { startup: Some(StartupConfig::default()), ..config };
        let down = |config: CheckConfig| {
            let thresholds = RiseFallConfig { start: Start::Down, ..config.thresholds };
            CheckConfig { thresholds, ..config }
        };
        // How the state is reached; what it is with another interval, other thresholds, a start gate, another start.
        let table = [
            ("", Unknown, [Unknown, Unknown, Starting, Down]),
            ("S", Up, [Up; 4]),
            ("D", Degraded, [Degraded; 4]),
            ("F", Down, [Down; 4]),
            ("FS", Down, [Down; 4]),
        ];
        for (way, before, expected) in table {
            for (change, after) in expected.into_iter().enumerate() {
                let config = exact(Start::FirstVerdict);
                let mut check = unseeded(config.clone(), at(0));
                for letter in way.chars() {
                    let _ = check.on_result(at(1), result_of(letter));
                }
                let due = check.next_deadline();
                let config = match change {
                    0 => slower(config),
                    1 => other_thresholds(config),
                    2 => gated(config),
                    _ => down(config),
                };
                let told = check.set_config(config.clone(), at(1)).unwrap();
                assert_eq!(check.state(at(1)), after, "{way:?}, change {change}");
                assert_eq!(told, (before != after).then_some(CheckChange { before, after }));
                assert!(check.next_deadline() <= due, "a check is not put off");
                assert_eq!(check.config(), &config);
            }
        }
        // Counts stay where thresholds do, and begin anew at the settled end where they do not.
        let mut check = unseeded(exact(Start::FirstVerdict), at(0));
        for letter in "SFF".chars() {
            let _ = check.on_result(at(1), result_of(letter));
        }
        let mut same = check.clone();
        let _ = same.set_config(slower(exact(Start::FirstVerdict)), at(1)).unwrap();
        assert!(same.on_result(at(1), CheckResult::Fail).is_some(), "the third in a row");
        let _ = check.set_config(other_thresholds(exact(Start::FirstVerdict)), at(1)).unwrap();
        let falls = (0..5).filter(|_| check.on_result(at(1), CheckResult::Fail).is_some()).count();
        assert_eq!((falls, check.state(at(1))), (1, Down), "the fifth");
        // And what is refused changes nothing.
        let known = check.clone();
        assert!(check.set_config(CheckConfig { jitter: Ratio::ONE, ..exact(Start::Up) }, at(1)).is_err());
        assert_eq!(check, known);
    }

    #[test]
    fn a_shorter_interval_is_taken_up_by_many_at_many_moments() {
        let long = CheckConfig { interval: Duration::from_secs(600), ..CheckConfig::default() };
        let mut seeds = SplitMix64::new(1);
        let mut quarters = [0_u32; 4];
        for _ in 0..4_000 {
            let mut check = ActiveCheck::new(long.clone(), at(0), &mut seeds).unwrap();
            let _ = check.on_result(at(0), CheckResult::Pass);
            let _ = check.set_config(CheckConfig::default(), at(0)).unwrap();
            quarters[(check.next_deadline().saturating_since(at(0)).as_millis() / 500) as usize] += 1;
        }
        assert!(quarters.iter().all(|quarter| (890..=1_110).contains(quarter)), "{quarters:?}");
    }

    #[test]
    fn a_starting_endpoint_is_given_time() {
        let startup = Some(StartupConfig { failure_threshold: 3 });
        let config = CheckConfig { startup, ..exact(Start::FirstVerdict) };
        let walk = |results: &str| {
            let mut check = unseeded(config.clone(), at(0));
            assert_eq!(check.state(at(10_000)), CheckState::Starting, "nobody has knocked: it does not age");
            for letter in results.chars() {
                let _ = check.on_result(at(1), result_of(letter));
            }
            (check.state(at(1)), check.is_starting())
        };
        assert_eq!(walk("FX"), (CheckState::Starting, true));
        assert_eq!(walk("FXS"), (CheckState::Up, false));
        assert_eq!(walk("D"), (CheckState::Degraded, false));
        assert_eq!(walk("FFF"), (CheckState::Down, false));
        assert_eq!(walk("FFFS"), (CheckState::Down, false), "from here on, rise counts");
        assert_eq!(walk("SFF"), (CheckState::Up, false));

        let mut check = unseeded(config.clone(), at(0));
        let _ = check.on_result(at(1), CheckResult::Pass);
        let again = CheckChange { before: CheckState::Up, after: CheckState::Starting };
        assert_eq!(check.restart(at(5)), Some(again));
        assert!(check.due(at(5)));
        let _ = check.on_result(at(5), CheckResult::Fail);
        assert_eq!(check.state(at(100)), CheckState::Unknown, "its checker died");
        assert!(check.tick(at(100)).is_some() && !check.is_starting());
    }
}
