use std::collections::BTreeMap;

use evenkeel_types::{Now, Outcome, Ratio, Timestamp};

use crate::error::{LimitConfigError, check};
use crate::sync::{AtomicU32, Ordering};
use crate::{LimitChange, LimitConfig, Limiter, Refusal, Token};

/// A limit of which parts are promised to kinds of calls: live traffic, batch jobs, a tenant.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct PartitionsConfig {
    /// The limit of all together.
    pub limit: LimitConfig,
    /// What is promised to whom, by name; the sum is at most 1.
    pub shares: BTreeMap<String, Ratio>,
}

/// A [`Limiter`] with partitions: a share binds only when the whole is full, and one's own share is always granted.
///
/// ```text
///                        whole has room     whole is full
/// own share has room     granted            granted, above the limit
/// own share used up      granted            refused
/// ```
///
/// So a kind of calls may use what the others leave, and never loses what it was promised; the price is that calls in
/// flight may exceed the limit, by at most the promised shares that were not in use when it became full. A partition's share is
/// `ceil(limit × share)`, at least one if anything is promised. Source: `AbstractPartitionedLimiter` of
/// Netflix/concurrency-limits.
///
/// ```
/// use evenkeel_limit::{LimitConfig, Partitions, PartitionsConfig};
/// use evenkeel_types::{Ratio, Timestamp};
///
/// let shares = [("batch".to_owned(), Ratio::percent(30)?), ("live".to_owned(), Ratio::percent(70)?)].into();
/// let limit = Partitions::new(&PartitionsConfig { limit: LimitConfig::fixed(10), shares }, 7)?;
/// let (batch, live) = (limit.find("batch").ok_or("batch")?, limit.find("live").ok_or("live")?);
/// let now = Timestamp::from_secs(1);
/// let tokens: Vec<_> = (0..10).map(|_| limit.try_acquire(batch, now)).collect::<Result<_, _>>()?;
/// assert!(limit.try_acquire(batch, now).is_err());
/// assert!(limit.try_acquire(live, now).is_ok());
/// # drop(tokens);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Partitions {
    limiter: Limiter,
    /// Sorted by name; the last has no name and nothing promised.
    parts: Box<[Part]>,
}

#[derive(Debug)]
struct Part {
    name: String,
    share: Ratio,
    in_flight: AtomicU32,
}

/// Which partition, in the [`Partitions`] that gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionId(u32);

/// The permission for one call of a partition.
#[must_use = "a token that is dropped holds its slot for ever: release it"]
#[derive(Debug, PartialEq, Eq)]
pub struct PartitionToken {
    token: Token,
    part: PartitionId,
}

impl Partitions {
    /// Partitions with nothing in flight.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`]: a setting of the limit, or shares of more than 1 together.
    pub fn new(config: &PartitionsConfig, seed: u64) -> Result<Self, LimitConfigError> {
        let sum: u64 = config.shares.values().map(|share| u64::from(share.parts_per_million())).sum();
        check(sum <= 1_000_000, "shares", format_args!("{sum} ppm together"), "at most 1 together")?;
        let limiter = Limiter::new(&config.limit, seed)?;
        let named = config.shares.iter().map(|(name, share)| Part::new(name, *share));
        let parts = named.chain([Part::new("", Ratio::ZERO)]).collect();
        Ok(Self { limiter, parts })
    }

    /// The partition of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<PartitionId> {
        let named = &self.parts[..self.parts.len() - 1];
        let place = named.binary_search_by(|part| part.name.as_str().cmp(name)).ok()?;
        Some(PartitionId(place as u32))
    }

    /// The partition of all other calls: nothing is promised to it.
    #[must_use]
    pub fn others(&self) -> PartitionId {
        PartitionId(self.parts.len() as u32 - 1)
    }

    /// Begins a call of a partition. An id of other `Partitions` counts as [`others`](Self::others) where it is unknown here.
    ///
    /// # Errors
    ///
    /// [`Refusal`], with the numbers of the partition: the whole is full, and its own share is used up.
    pub fn try_acquire(&self, part: PartitionId, now: impl Now) -> Result<PartitionToken, Refusal> {
        let part = PartitionId(part.0.min(self.others().0));
        let mine = &self.parts[part.0 as usize];
        if let Ok(refusal) = self.limiter.peek().err().ok_or(()) {
            return self.acquire_own(part, mine, refusal, now);
        }
        // The clock is read once, so it is read here.
        let now = now.now();
        match self.limiter.try_acquire(now) {
            Ok(token) => {
                mine.in_flight.fetch_add(1, Ordering::Relaxed);
                Ok(PartitionToken { token, part })
            }
            Err(refusal) => self.acquire_own(part, mine, refusal, now),
        }
    }

    /// As [`Limiter::release`].
    pub fn release(&self, token: PartitionToken, outcome: &Outcome, now: impl Now) -> Option<LimitChange> {
        self.leave(token.part);
        self.limiter.release(token.token, outcome, now)
    }

    /// As [`Limiter::give_back`].
    pub fn give_back(&self, token: PartitionToken) {
        self.leave(token.part);
        self.limiter.give_back(token.token);
    }

    /// The limit of all together.
    #[must_use]
    pub const fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// The calls of a partition in flight, and what is promised to it at the present limit.
    #[must_use]
    pub fn count(&self, part: PartitionId) -> (u32, u32) {
        let part = &self.parts[part.0.min(self.others().0) as usize];
        (part.in_flight.load(Ordering::Relaxed), part.promised(self.limiter.limit()))
    }

    /// As [`Limiter::tick`].
    pub fn tick(&self, now: Timestamp) -> Option<LimitChange> {
        self.limiter.tick(now)
    }

    #[cold]
    fn acquire_own(
        &self,
        part: PartitionId,
        mine: &Part,
        refusal: Refusal,
        now: impl Now,
    ) -> Result<PartitionToken, Refusal> {
        let promised = mine.promised(refusal.limit);
        if let Err(in_flight) = mine.take_below(promised) {
            return Err(Refusal { limit: promised, in_flight, ..refusal });
        }
        match self.limiter.acquire_over(now) {
            Ok(token) => Ok(PartitionToken { token, part }),
            Err(refusal) => {
                self.leave(part);
                Err(refusal)
            }
        }
    }

    fn leave(&self, part: PartitionId) {
        if let Some(part) = self.parts.get(part.0 as usize) {
            let less = |count: u32| count.checked_sub(1);
            let _ = part.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

impl Part {
    fn new(name: &str, share: Ratio) -> Self {
        Self { name: name.to_owned(), share, in_flight: AtomicU32::new(0) }
    }

    fn promised(&self, limit: u32) -> u32 {
        (u64::from(limit) * u64::from(self.share.parts_per_million())).div_ceil(1_000_000) as u32
    }

    /// Counts a call if there are fewer; otherwise how many there are.
    fn take_below(&self, promised: u32) -> Result<(), u32> {
        let more = |count: u32| (count < promised).then_some(count + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(|_| ())
    }
}
