use std::time::Duration;

use evenkeel_types::Weight;
use thiserror::Error;

use crate::EvictionLimit;

/// How a [`Mirror`](crate::Mirror) treats what its source says: guards against loss, calm, and bounds.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_registry::{Hold, MirrorConfig};
///
/// let mut trusting = MirrorConfig::default();
/// trusting.empty.hold = Hold::Never; // an empty answer of this source is the truth
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct MirrorConfig {
    /// What to do about an empty answer without proof of absence.
    pub empty: EmptyGuard,
    /// How many may vanish without proof in one stretch of time. The rest become suspects: shown, used after all
    /// others, and let go window by window, in random order. The default is that of [`EvictionLimit`]: more than half
    /// *and* more than three within 60 s is suspicious, and 15 % of the set go per further window. Who was draining
    /// before does not count: that it vanishes is what was announced.
    pub shrink: EvictionLimit,
    /// How changes are gathered.
    pub settle: Settle,
    /// How long an endpoint that vanished without proof is kept, in case it comes back. The default is zero: `settle`
    /// covers what a store rewrites in two steps. Raise it for a source that forgets and remembers.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub flap: Duration,
    /// At which age the set gives way to that of a fall-back source, or without one is no longer used at all. The
    /// default is `None`, never: an old set mostly works, and its age is visible. (Envoy, Finagle and go-kit keep it
    /// too.)
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub max_stale: Option<Duration>,
    /// After how long a silence the source counts as stale without having said so. The default is `None`: adapters
    /// with a keepalive say it themselves. Set it for an adapter that may hang, to a few of its intervals.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration::optional"))]
    pub silent_after: Option<Duration>,
    /// The most endpoints. Known ones stay, further ones are rejected by id from the end of the order. The default is
    /// 10 000, an order of magnitude above large real services.
    pub max_endpoints: usize,
    /// The highest weight; an endpoint above it is rejected. The default is 1 000 000: one slip of a finger must not
    /// draw all traffic to one endpoint, and Consul's, DNS's and HAProxy's ranges end at 65 535 or below.
    pub max_weight: Weight,
    /// How many sets, pages and deltas are taken per second, and as many at once. The default is 1000, above what etcd
    /// sends for a fleet that restarts.
    pub max_events_per_second: u32,
    /// Where the source stands among those of its service: lower ones first, equal ones by name. The default is 100, so
    /// that there is room on both sides; the registry's own leases come before all.
    pub preference: u16,
    /// How many events to keep for [`Mirror::take_log`](crate::Mirror::take_log). The default is 0, none.
    pub log: usize,
    /// Where the draws start that say in which order suspects go. Give each process its own, so that a fleet does not
    /// forget the same endpoints first. The default is 0.
    pub seed: u64,
}

impl Default for MirrorConfig {
    fn default() -> Self {
        Self {
            empty: EmptyGuard::default(),
            shrink: EvictionLimit::default(),
            settle: Settle::default(),
            flap: Duration::ZERO,
            max_stale: None,
            silent_after: None,
            max_endpoints: 10_000,
            max_weight: Weight::new(1_000_000),
            max_events_per_second: 1_000,
            preference: 100,
            log: 0,
            seed: 0,
        }
    }
}

/// What to do about an empty answer without proof of absence.
///
/// Whoever trusts it has outages (alibaba/nacos#10209, apache/dubbo#1508); whoever never does keeps the dead for ever
/// (apache/dubbo#9965, higress-group/higress#4390). So the last set is held with a bound, and let go earlier by proof
/// ([`Event::Absent`](crate::Event::Absent)), or when enough separate answers agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EmptyGuard {
    /// How long. The default is 5 min: a control plane restarts within it, and nobody keeps dead endpoints for longer
    /// than that.
    pub hold: Hold,
    /// So many separate full answers that say the same release the hold. The default is 3.
    pub agreeing: u32,
    /// … if the last came at least so long after the first. The default is 30 s: a burst of polls against one broken
    /// replica is one witness.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub spread: Duration,
}

impl Default for EmptyGuard {
    fn default() -> Self {
        Self { hold: Hold::For(Duration::from_secs(5 * 60)), agreeing: 3, spread: Duration::from_secs(30) }
    }
}

/// How long a set is held against an empty answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Hold {
    /// Not at all: an empty answer is the truth.
    Never,
    /// At most so long.
    For(
        #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
        #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
        Duration,
    ),
    /// Until proof or agreeing answers: only if keeping dead endpoints is better than none.
    Forever,
}

/// How changes are gathered, so that a burst costs a few swaps and not one each.
///
/// The first change is shown at once. What follows waits until it has been quiet for a while, yet not for longer than
/// the bound; additions and removals alike. (envoyproxy/gateway#9773 saved 276 → 154 pushes so.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Settle {
    /// The quiet to wait for; zero shows every change at once. The default is 100 ms: a deployment tool writes its
    /// entries within that, and no person notices it.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub quiet: Duration,
    /// The longest wait of a change. The default is 1 s: a set that never rests must not hide a removal for longer.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub max: Duration,
}

impl Default for Settle {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(100), max: Duration::from_secs(1) }
    }
}

impl MirrorConfig {
    /// Whether the settings can stand; [`Mirror::new`](crate::Mirror::new) asks.
    ///
    /// # Errors
    ///
    /// [`InvalidMirrorConfig`] with the field.
    pub fn validate(&self) -> Result<(), InvalidMirrorConfig> {
        if self.empty.hold == Hold::For(Duration::ZERO) {
            return Err(InvalidMirrorConfig::EmptyHold);
        }
        if self.empty.agreeing < 2 {
            return Err(InvalidMirrorConfig::Agreeing { given: self.empty.agreeing });
        }
        if self.shrink.window.is_zero() {
            return Err(InvalidMirrorConfig::ShrinkWindow);
        }
        if self.settle.quiet > self.settle.max {
            return Err(InvalidMirrorConfig::Settle { quiet: self.settle.quiet, max: self.settle.max });
        }
        for (field, limit) in [("max_stale", self.max_stale), ("silent_after", self.silent_after)] {
            if limit.is_some_and(|limit| limit.is_zero()) {
                return Err(InvalidMirrorConfig::Zero { field });
            }
        }
        let counts = [
            ("max_endpoints", self.max_endpoints == 0),
            ("max_weight", self.max_weight.get() == 0),
            ("max_events_per_second", self.max_events_per_second == 0),
        ];
        match counts.iter().find(|(_, zero)| *zero) {
            Some(&(field, _)) => Err(InvalidMirrorConfig::Zero { field }),
            None => Ok(()),
        }
    }
}

/// Settings of a mirror that cannot stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidMirrorConfig {
    /// A hold of no length.
    #[error("empty.hold is for 0 s: say `never`, or give a time such as 5 min")]
    EmptyHold,
    /// One answer cannot agree with itself.
    #[error("empty.agreeing is {given}: at least 2 answers can agree; for 1 say empty.hold = `never`")]
    Agreeing {
        /// What was given.
        given: u32,
    },
    /// The shares of the shrink guard count over a window.
    #[error("shrink.window is zero: give the time over which the shares count, such as 60 s")]
    ShrinkWindow,
    /// The bound of the wait is below the quiet.
    #[error("settle.quiet of {quiet:?} is above settle.max, which is {max:?}")]
    Settle {
        /// The quiet.
        quiet: Duration,
        /// The bound.
        max: Duration,
    },
    /// A bound that lets nothing in, or a limit that is always reached.
    #[error("{field} is zero: leave it out, or give more")]
    Zero {
        /// Which.
        field: &'static str,
    },
}
