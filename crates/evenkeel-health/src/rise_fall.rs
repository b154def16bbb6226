//! Consecutive passes and failures in one byte.

use thiserror::Error;

/// How many results in a row turn an endpoint, and what it counts as before the first.
///
/// ```
/// use evenkeel_health::{RiseFall, RiseFallConfig, Turn};
///
/// let mut health = RiseFall::new(&RiseFallConfig { rise: 2, fall: 3, ..RiseFallConfig::default() })?;
/// assert_eq!(health.pass(), Some(Turn::Up), "the first verdict decides alone");
/// assert_eq!([health.fail(), health.fail()], [None, None]);
/// assert_eq!(health.fail(), Some(Turn::Down), "the third failure in a row");
/// # Ok::<(), evenkeel_health::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RiseFallConfig {
    /// Passes in a row that revive an endpoint which is down.
    ///
    /// Default 2, as HAProxy: one pass may be the luck of a server that is still restarting.
    #[cfg_attr(feature = "serde", serde(alias = "healthy_threshold"))]
    pub rise: u8,
    /// Failures in a row that take an endpoint down which is up.
    ///
    /// Default 3, as HAProxy: one lost packet or one collection pause is no outage.
    #[cfg_attr(feature = "serde", serde(alias = "unhealthy_threshold"))]
    pub fall: u8,
    /// What it counts as before the first result. Default [`Start::FirstVerdict`].
    #[cfg_attr(feature = "serde", serde(alias = "init_state"))]
    pub start: Start,
}

impl Default for RiseFallConfig {
    fn default() -> Self {
        Self { rise: 2, fall: 3, start: Start::FirstVerdict }
    }
}

/// What an endpoint counts as before its first result.
///
/// All but [`FirstVerdict`](Self::FirstVerdict) and [`FirstPass`](Self::FirstPass) are the values of `init-state` in
/// HAProxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Start {
    /// Unchecked: usable, and the first result alone decides, whatever it is.
    ///
    /// This is Envoy's rule that the first check is enough, without its pessimism before it. It is the default
    /// because a process that has just started would otherwise refuse all traffic until its own checks ran, and because
    /// a broken endpoint is found by one failure and not by three.
    #[default]
    FirstVerdict,
    /// Up, and one failure takes it down.
    Up,
    /// Down, and one pass revives it: for a process that must not send to what it never saw working.
    Down,
    /// Up as after many passes: `fall` failures take it down.
    FullyUp,
    /// Down as after many failures: `rise` passes revive it.
    FullyDown,
    /// Down, and the first pass revives it, however many failures come before.
    ///
    /// A new target of AWS needs one pass, <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html>.
    /// [`Down`](Self::Down) forgets that after the first failure, as Envoy does with a host that fails its first check.
    #[cfg_attr(feature = "serde", serde(alias = "one_pass"))]
    FirstPass,
}

/// A change from up to down or back, or the first verdict on an unchecked endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turn {
    /// It is up now.
    Up,
    /// It is down now.
    Down,
}

/// The thresholds of a [`RiseFall`] do not make sense together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `rise` is 0, so that an endpoint could come back without a pass. Use 1 for "at once".
    #[error("rise is 0: at least one pass must revive an endpoint")]
    ZeroRise,
    /// `fall` is 0, so that an endpoint could go down without a failure. Use 1 for "at once".
    #[error("fall is 0: at least one failure must take an endpoint down")]
    ZeroFall,
    /// The counter is one byte: lower one of the thresholds.
    #[error("rise {rise} and fall {fall} are too large: together they may be 256 at most")]
    TooLarge {
        /// The configured passes.
        rise: u8,
        /// The configured failures.
        fall: u8,
    },
}

/// HAProxy's rise/fall machine: one counter `h` in `0 ..= rise + fall - 1`, up if and only if `h >= rise`.
///
/// ```text
/// state              pass        fail          fail_at_once   fail_to_the_brink
/// unchecked          top   Up    0      Down   0      Down    0     Down
/// 0 <= h < rise - 1  h + 1       0             0              0
/// h = rise - 1       top   Up    0             0              0
/// h = rise           top         0      Down   0      Down    0     Down
/// rise < h <= top    top         h - 1         0      Down    rise
/// ```
///
/// `top` is `rise + fall - 1`. A result against the trend throws away all progress, hence "in a row". The two ends are
/// *settled*, all between is in transition, which is when a check should run more often.
///
/// The endpoint in one byte is the idea of the `health` field of HAProxy's `struct check`; `rise`, `fall` and
/// `init-state` are described in the configuration manual, section 5.2 "Server and default-server options":
/// <https://docs.haproxy.org/3.2/configuration.html#5.2>. The first row is the rule of Envoy that an endpoint's first
/// check decides alone, <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking>.
///
/// Every operation is a handful of instructions on three bytes and two flags; there is no clock in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RiseFall {
    counter: u8,
    rise: u8,
    top: u8,
    checked: bool,
    /// Whether the first pass is still to come that revives it alone.
    awaits_pass: bool,
}

impl RiseFall {
    /// A machine in the state that `config.start` names.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a threshold is zero or their sum is above 256.
    pub const fn new(config: &RiseFallConfig) -> Result<Self, ConfigError> {
        let RiseFallConfig { rise, fall, start } = *config;
        if rise == 0 {
            return Err(ConfigError::ZeroRise);
        }
        if fall == 0 {
            return Err(ConfigError::ZeroFall);
        }
        let Some(top) = rise.checked_add(fall - 1) else {
            return Err(ConfigError::TooLarge { rise, fall });
        };
        let counter = match start {
            Start::FirstVerdict | Start::Up => rise,
            Start::Down | Start::FirstPass => rise - 1,
            Start::FullyUp => top,
            Start::FullyDown => 0,
        };
        let checked = !matches!(start, Start::FirstVerdict);
        Ok(Self { counter, rise, top, checked, awaits_pass: matches!(start, Start::FirstPass) })
    }

    /// Counts a pass.
    ///
    /// `Some` if this one turned the endpoint up, or was the first verdict.
    pub const fn pass(&mut self) -> Option<Turn> {
        let turned = !self.checked || !self.is_up();
        self.checked = true;
        self.awaits_pass = false;
        self.counter = match self.counter.checked_add(1) {
            Some(more) if more < self.rise => more,
            _ => self.top,
        };
        if turned && self.is_up() { Some(Turn::Up) } else { None }
    }

    /// Counts a failure.
    ///
    /// `Some` if this one took the endpoint down, or was the first verdict.
    pub const fn fail(&mut self) -> Option<Turn> {
        if self.checked && self.counter > self.rise {
            self.counter -= 1;
            return None;
        }
        self.fail_at_once()
    }

    /// Counts a failure that needs no confirmation: down at once, whatever `fall` says.
    ///
    /// For evidence that no lost packet explains, such as an explicit "not serving". `Some` if the endpoint was up.
    pub const fn fail_at_once(&mut self) -> Option<Turn> {
        let turned = self.is_up();
        self.checked = true;
        self.counter = if self.awaits_pass { self.rise - 1 } else { 0 };
        if turned { Some(Turn::Down) } else { None }
    }

    /// Counts as if all but the last of `fall` failures had been seen: up by one, or down if it was up by one before.
    ///
    /// HAProxy's `sudden-death`. `Some` if the endpoint was up.
    pub const fn fail_to_the_brink(&mut self) -> Option<Turn> {
        if self.checked && self.counter > self.rise {
            self.counter = self.rise;
            return None;
        }
        self.fail()
    }

    /// Forgets every result: unchecked again, and the next verdict decides alone.
    ///
    /// For results that have grown too old to mean anything.
    pub const fn forget(&mut self) {
        self.checked = false;
        self.awaits_pass = false;
        self.counter = self.rise;
    }

    /// The same verdict under the thresholds of `other`, at the end of its counter; unchecked if it is.
    pub(crate) const fn under(self, other: Self) -> Self {
        let counter = match (self.checked, self.is_up()) {
            (false, _) => other.rise,
            (true, true) => other.top,
            (true, false) if self.awaits_pass => other.rise - 1,
            (true, false) => 0,
        };
        Self { counter, checked: self.checked, awaits_pass: self.awaits_pass, ..other }
    }

    /// Whether the endpoint counts as up; an unchecked one does.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.counter >= self.rise
    }

    /// Whether any verdict has been given, by a result or by the configured start.
    #[must_use]
    pub const fn is_checked(&self) -> bool {
        self.checked
    }

    /// Whether the counter rests at one of its ends, so that no quick second look is needed.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.checked && (self.counter == 0 || self.counter == self.top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(rise: u8, fall: u8, start: Start) -> RiseFall {
        RiseFall::new(&RiseFallConfig { rise, fall, start }).unwrap()
    }

    /// Feeds `results` (`S` pass, `F` failure, `X` failure at once) and compares what is up after each.
    fn check(start: Start, rise: u8, fall: u8, results: &str, up_after: &str) {
        let mut health = machine(rise, fall, start);
        let seen: String = results
            .chars()
            .map(|result| {
                let was = (health.is_checked(), health.is_up());
                let turn = match result {
                    'S' => health.pass(),
                    'F' => health.fail(),
                    _ => health.fail_at_once(),
                };
                assert_eq!(turn.is_some(), was != (true, health.is_up()), "{start:?} {results}");
                if health.is_up() { 'u' } else { 'd' }
            })
            .collect();
        assert_eq!(seen, up_after, "{start:?} rise {rise} fall {fall}: {results}");
    }

    #[test]
    fn only_results_in_a_row_turn() {
        check(Start::FullyUp, 2, 3, "FFSFF", "uuuuu");
        check(Start::FullyUp, 2, 3, "FFSFFF", "uuuuud");
        check(Start::FullyUp, 2, 3, "FFSFFFSFSS", "uuuuuddddu");
        check(Start::FullyUp, 1, 1, "FSF", "dud");
        check(Start::FullyUp, 2, 3, "XSS", "ddu");
    }

    #[test]
    fn the_start_says_how_much_the_first_result_counts() {
        check(Start::Up, 2, 3, "F", "d");
        check(Start::Up, 2, 3, "SFF", "uuu");
        check(Start::Down, 2, 3, "S", "u");
        check(Start::Down, 2, 3, "FSS", "ddu");
        check(Start::FullyDown, 3, 3, "SSS", "ddu");
        check(Start::FullyUp, 3, 3, "FFF", "uud");
        check(Start::FirstVerdict, 2, 3, "SFFF", "uuud");
        check(Start::FirstVerdict, 2, 3, "FSS", "ddu");
        check(Start::FirstPass, 5, 2, "FFFSFFS", "ddduudd");
        check(Start::FirstPass, 1, 1, "FSFS", "dudu");
    }

    #[test]
    fn the_first_verdict_is_a_turn_either_way() {
        assert_eq!(machine(2, 3, Start::FirstVerdict).pass(), Some(Turn::Up));
        assert_eq!(machine(2, 3, Start::FirstVerdict).fail(), Some(Turn::Down));
        assert_eq!(machine(2, 3, Start::FirstVerdict).fail_at_once(), Some(Turn::Down));
        let mut forgotten = machine(2, 3, Start::FullyDown);
        forgotten.forget();
        assert!(forgotten.is_up() && !forgotten.is_checked() && !forgotten.is_settled());
        assert_eq!(forgotten.pass(), Some(Turn::Up));
    }

    /// The table of the type's documentation, every state and event of rise 2, fall 3 (`top` is 4).
    #[test]
    fn the_table_holds_for_every_state_and_event() {
        use Turn::{Down, Up};
        type Step = (u8, Option<Turn>);
        let down = (0, Some(Down));
        let table: [(Option<u8>, Step, Step, Step, Step); 6] = [
            (None, (4, Some(Up)), down, down, down),
            (Some(0), (1, None), (0, None), (0, None), (0, None)),
            (Some(1), (4, Some(Up)), (0, None), (0, None), (0, None)),
            (Some(2), (4, None), down, down, down),
            (Some(3), (4, None), (2, None), down, (2, None)),
            (Some(4), (4, None), (3, None), down, (2, None)),
        ];
        for (state, pass, fail, at_once, to_the_brink) in table {
            let from = RiseFall {
                counter: state.unwrap_or(2),
                rise: 2,
                top: 4,
                checked: state.is_some(),
                awaits_pass: false,
            };
            let after = |act: fn(&mut RiseFall) -> Option<Turn>| {
                let mut health = from;
                let turn = act(&mut health);
                assert!(health.checked);
                (health.counter, turn)
            };
            assert_eq!(after(RiseFall::pass), pass, "pass from {state:?}");
            assert_eq!(after(RiseFall::fail), fail, "fail from {state:?}");
            assert_eq!(after(RiseFall::fail_at_once), at_once, "fail_at_once from {state:?}");
            assert_eq!(after(RiseFall::fail_to_the_brink), to_the_brink, "fail_to_the_brink from {state:?}");
            assert_eq!(from.is_settled(), matches!(state, Some(0 | 4)), "{state:?}");
        }
    }

    #[test]
    fn refuses_thresholds_that_cannot_be_counted() {
        let refused = |rise, fall| RiseFall::new(&RiseFallConfig { rise, fall, start: Start::Up }).err();
        assert_eq!(refused(0, 3), Some(ConfigError::ZeroRise));
        assert_eq!(refused(3, 0), Some(ConfigError::ZeroFall));
        assert_eq!(refused(200, 57), Some(ConfigError::TooLarge { rise: 200, fall: 57 }));
        assert_eq!(refused(200, 56), None);
        assert_eq!(refused(255, 1), None);
    }

    #[test]
    fn the_largest_counter_does_not_overflow() {
        let mut health = machine(255, 1, Start::FullyDown);
        assert!((0..254).all(|_| health.pass().is_none()));
        assert_eq!(health.pass(), Some(Turn::Up));
        assert_eq!(health.pass(), None);
        assert_eq!(health.fail(), Some(Turn::Down));
    }
}
