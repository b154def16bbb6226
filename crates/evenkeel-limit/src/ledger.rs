use std::fmt;

use evenkeel_types::{Ratio, Timestamp};
use thiserror::Error;

use crate::config::percent;
use crate::error::LimitConfigError;
use crate::retry_budget::{RetryBudgetConfig, millionths};
use crate::sliding::{Sliding, Spent};

/// What may be sent besides the requests themselves, all kinds together and each.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LedgerConfig {
    /// All kinds together: the one number. Default: a fifth of the requests, and 10 a second, over 10 s.
    pub total: RetryBudgetConfig,
    /// Probes of what is half-open or being measured. Default: up to 0.1 of the requests, leaving nothing: without them nothing
    /// recovers, so they come first.
    pub probe: LedgerKind,
    /// Retries of what has failed. Default: no bound of their own, leaving a tenth.
    pub retry: LedgerKind,
    /// Requests sent to a farther place because a nearer one is full. Default: no bound of their own, leaving a quarter.
    pub spill: LedgerKind,
    /// Second requests for what is slow. Default: up to 0.05 of the requests, leaving a half: they only make good things
    /// better.
    pub hedge: LedgerKind,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            total: RetryBudgetConfig::default(),
            probe: LedgerKind { ratio: Some(0.1), leave: Ratio::ZERO },
            retry: LedgerKind { ratio: None, leave: percent(10) },
            spill: LedgerKind { ratio: None, leave: percent(25) },
            hedge: LedgerKind { ratio: Some(0.05), leave: Ratio::HALF },
        }
    }
}

/// The bounds of one kind.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LedgerKind {
    /// Its own share of the requests, 0 to 1,000, beside the reserve of the total. Default: only the total bounds it.
    pub ratio: Option<f64>,
    /// The part of the total that it must leave for the kinds above it. Default: nothing.
    pub leave: Ratio,
}

impl Default for LedgerKind {
    fn default() -> Self {
        Self { ratio: None, leave: Ratio::ZERO }
    }
}

/// What extra load is for, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Extra {
    /// A probe.
    Probe,
    /// A retry.
    Retry,
    /// A request that a full place hands on to a farther one.
    Spill,
    /// A second request for one that is slow.
    Hedge,
}

impl Extra {
    /// All kinds, the most important first.
    pub const ALL: [Self; 4] = [Self::Probe, Self::Retry, Self::Spill, Self::Hedge];

    const fn counter(self) -> usize {
        match self {
            Self::Probe => 2,
            Self::Retry => 3,
            Self::Spill => 4,
            Self::Hedge => 5,
        }
    }
}

/// One account for retries, hedges, probes and spill: whatever their cause, together they never exceed one number.
///
/// ```text
/// stock   = reserve + requests × total.ratio                over the last ttl
/// allowed: all + 1  ≤ stock × (1 - leave of the kind)       and
///          kind + 1 ≤ reserve + requests × ratio of the kind
/// ```
///
/// Separate budgets add up: a fifth for retries, a twentieth for hedges and whatever probes and spill take all come on the
/// same bad day. Taking has two phases: [`reserve`](Self::reserve) counts it at once, in both places or in none, and
/// [`cancel`](Self::cancel) takes that back if nothing was sent, for instance because no endpoint was left to send it to.
///
/// ```
/// use evenkeel_limit::{Extra, Ledger, LedgerConfig};
/// use evenkeel_types::Timestamp;
///
/// let ledger = Ledger::new(&LedgerConfig::default())?;
/// let now = Timestamp::from_secs(1);
/// (0..1000).for_each(|_| ledger.deposit(now));
/// let reserved = ledger.reserve(Extra::Retry, now)?;
/// // … no other endpoint is usable …
/// ledger.cancel(reserved);
/// assert_eq!(ledger.spent(now), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ledger {
    /// Requests, all extra, then each kind.
    window: Sliding<6>,
    ratio: u64,
    reserve: u128,
    kinds: [Bound; 4],
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    ratio: Option<u64>,
    /// What is not left, in millionths.
    usable: u32,
}

/// A reservation of extra load. To commit is to drop it or to call [`Ledger::commit`]; to cancel is [`Ledger::cancel`].
#[derive(Debug)]
#[must_use = "it counts, unless it is cancelled"]
pub struct Reservation {
    kind: Extra,
    total: Spent,
    own: Spent,
}

impl Reservation {
    const fn spend(self) -> (Extra, Spent, Spent) {
        (self.kind, self.total, self.own)
    }

    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> Extra {
        self.kind
    }
}

/// The account does not allow that extra request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LedgerRefusal {
    /// All extra load together has reached what this kind may bring it to.
    #[error("extra load used up: {spent} of {allowed} in the last seconds")]
    Total {
        /// All kinds together.
        spent: u64,
        /// What this kind may bring that to.
        allowed: u64,
    },
    /// This kind has reached its own bound.
    #[error("extra load of this kind used up: {spent} of {allowed} in the last seconds")]
    Kind {
        /// This kind alone.
        spent: u64,
        /// Its bound.
        allowed: u64,
    },
}

impl Ledger {
    /// An account with its reserve.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &LedgerConfig) -> Result<Self, LimitConfigError> {
        config.total.check("total")?;
        let kinds = [
            Bound::new("probe", &config.probe)?,
            Bound::new("retry", &config.retry)?,
            Bound::new("spill", &config.spill)?,
            Bound::new("hedge", &config.hedge)?,
        ];
        Ok(Self {
            window: Sliding::new(config.total.ttl, 10),
            ratio: millionths("total.ratio", config.total.ratio)?,
            reserve: config.total.reserve(),
            kinds,
        })
    }

    /// Counts a request that is no extra.
    #[inline]
    pub fn deposit(&self, now: Timestamp) {
        self.window.add(REQUESTS, now);
    }

    /// Takes an extra request, from the total and from its kind, or from neither.
    ///
    /// # Errors
    ///
    /// [`LedgerRefusal`], with the numbers.
    pub fn reserve(&self, kind: Extra, now: Timestamp) -> Result<Reservation, LedgerRefusal> {
        let total = self
            .window
            .add_if(TOTAL, now, |spent| u128::from(spent) < self.total_for(kind))
            .ok_or_else(|| self.total_refusal(kind))?;
        let own = self.window.add_if(kind.counter(), now, |spent| u128::from(spent) < self.allowed_for(kind));
        let Some(own) = own else {
            self.window.take_back(TOTAL, total);
            return Err(self.kind_refusal(kind));
        };
        Ok(Reservation { kind, total, own })
    }

    /// Keeps a reservation. The same as dropping it, for those who like to say so.
    pub fn commit(&self, reservation: Reservation) {
        drop(reservation);
    }

    /// Takes a reservation back: nothing was sent.
    pub fn cancel(&self, reservation: Reservation) {
        let (kind, total, own) = reservation.spend();
        self.window.take_back(TOTAL, total);
        self.window.take_back(kind.counter(), own);
    }

    /// All extra requests in the window.
    #[must_use]
    pub fn spent(&self, now: Timestamp) -> u64 {
        self.window.count(TOTAL, now)
    }

    /// The extra requests of a kind in the window.
    #[must_use]
    pub fn spent_on(&self, kind: Extra, now: Timestamp) -> u64 {
        self.window.count(kind.counter(), now)
    }

    /// What all kinds together may take in the window.
    #[must_use]
    pub fn stock(&self, now: Timestamp) -> u64 {
        let _ = self.window.count(REQUESTS, now);
        whole(self.millionths(self.ratio))
    }

    fn millionths(&self, ratio: u64) -> u128 {
        self.reserve + u128::from(self.window.counted(REQUESTS)) * u128::from(ratio)
    }

    /// What this kind may bring the total to.
    fn total_for(&self, kind: Extra) -> u128 {
        let usable = u128::from(self.bound(kind).usable);
        self.millionths(self.ratio) * usable / (PPM * PPM)
    }

    fn allowed_for(&self, kind: Extra) -> u128 {
        self.bound(kind).ratio.map_or(u128::MAX, |ratio| self.millionths(ratio) / PPM)
    }

    const fn bound(&self, kind: Extra) -> Bound {
        self.kinds[kind.counter() - 2]
    }

    #[cold]
    fn total_refusal(&self, kind: Extra) -> LedgerRefusal {
        let allowed = u64::try_from(self.total_for(kind)).unwrap_or(u64::MAX);
        LedgerRefusal::Total { spent: self.window.counted(TOTAL), allowed }
    }

    #[cold]
    fn kind_refusal(&self, kind: Extra) -> LedgerRefusal {
        let allowed = u64::try_from(self.allowed_for(kind)).unwrap_or(u64::MAX);
        LedgerRefusal::Kind { spent: self.window.counted(kind.counter()), allowed }
    }
}

impl Bound {
    fn new(name: &str, config: &LedgerKind) -> Result<Self, LimitConfigError> {
        let ratio = config.ratio.map(|ratio| millionths(&format!("{name}.ratio"), ratio)).transpose()?;
        Ok(Self { ratio, usable: Ratio::ONE.parts_per_million() - config.leave.parts_per_million() })
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("requests", &self.window.counted(REQUESTS))
            .field("extra", &self.window.counted(TOTAL))
            .finish_non_exhaustive()
    }
}

fn whole(millionths: u128) -> u64 {
    u64::try_from(millionths / PPM).unwrap_or(u64::MAX)
}

const REQUESTS: usize = 0;
const TOTAL: usize = 1;
const PPM: u128 = 1_000_000;
