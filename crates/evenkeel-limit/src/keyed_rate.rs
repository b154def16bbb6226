use std::fmt;
use std::hash::Hasher;

use evenkeel_types::Timestamp;
use siphasher::sip::SipHasher13;

use crate::error::{LimitConfigError, check};
use crate::rate::{RateConfig, RateRefusal, Shape, take};
use crate::sync::{AtomicU64, Ordering};

/// A rate for each of many keys.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct KeyedRateConfig {
    /// The rate of each key.
    pub rate: RateConfig,
    /// For so many keys there is room, 8 to 16,777,216, rounded up to a power of two; 16 bytes each. Default 65,536: one
    /// megabyte. Only keys that have asked within the time of a burst need room.
    pub keys: u32,
    /// What happens to a key for which there is no room.
    pub when_full: WhenFull,
}

impl Default for KeyedRateConfig {
    fn default() -> Self {
        Self { rate: RateConfig::default(), keys: 65_536, when_full: WhenFull::default() }
    }
}

/// What happens to a key for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum WhenFull {
    /// It is let through, uncounted: a flood of made-up keys then harms nobody else, and the limits behind this one still
    /// hold.
    #[default]
    Admit,
    /// It is refused until there is room.
    Refuse,
}

/// A [`RateLimit`](crate::RateLimit) for each key, in fixed memory. Shared by all threads, lock-free.
///
/// A bucket that is full again is no different from one that was never used, so its place may go to another key at any
/// time, and nothing need be swept. A key is looked for in eight places, which its hash names; if all are in use by others,
/// [`WhenFull`] decides. Keys are hashed by SipHash-1-3 under the seed, so that a client cannot aim at another's place. Two
/// threads that move two keys into one place in the same moment may lend one of them a token of the other's.
///
/// ```
/// use evenkeel_limit::{KeyedRate, KeyedRateConfig, RateConfig};
/// use evenkeel_types::Timestamp;
///
/// let rate = RateConfig { burst: 1, ..RateConfig::default() };
/// let rates = KeyedRate::new(&KeyedRateConfig { rate, ..KeyedRateConfig::default() }, 7)?;
/// let now = Timestamp::from_secs(1);
/// assert!(rates.try_take(b"10.0.0.1", now).is_ok());
/// assert!(rates.try_take(b"10.0.0.1", now).is_err());
/// assert!(rates.try_take(b"10.0.0.2", now).is_ok());
/// # Ok::<(), evenkeel_limit::LimitConfigError>(())
/// ```
pub struct KeyedRate {
    shape: Shape,
    seed: u64,
    when_full: WhenFull,
    sets: Box<[[Cell; WAYS]]>,
}

struct Cell {
    /// Zero if it was never used.
    key: AtomicU64,
    arrival: AtomicU64,
}

/// One was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Let {
    /// And counted.
    Counted,
    /// And not counted: there was no room for its key.
    Uncounted,
}

impl KeyedRate {
    /// All buckets full.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &KeyedRateConfig, seed: u64) -> Result<Self, LimitConfigError> {
        let shape = config
            .rate
            .shape()
            .map_err(|error| LimitConfigError { field: format!("rate.{}", error.field), ..error })?;
        check((8..=1 << 24).contains(&config.keys), "keys", config.keys, "8 to 16777216")?;
        let sets = config.keys.next_power_of_two() as usize / WAYS;
        let set = || std::array::from_fn(|_| Cell { key: AtomicU64::new(0), arrival: AtomicU64::new(0) });
        let sets = (0..sets).map(|_| set()).collect();
        Ok(Self { shape, seed, when_full: config.when_full, sets })
    }

    /// Takes one of a key's.
    ///
    /// # Errors
    ///
    /// [`RateRefusal`] says from when on to come back.
    pub fn try_take(&self, key: &[u8], now: Timestamp) -> Result<Let, RateRefusal> {
        let mut hasher = SipHasher13::new_with_keys(self.seed, 0);
        hasher.write(key);
        self.try_take_hashed(hasher.finish(), now)
    }

    /// The same for a key that is hashed already, by a function that clients cannot foresee.
    ///
    /// # Errors
    ///
    /// As [`try_take`](Self::try_take).
    pub fn try_take_hashed(&self, hash: u64, now: Timestamp) -> Result<Let, RateRefusal> {
        let hash = hash.max(1);
        let set = &self.sets[(hash >> 1) as usize & (self.sets.len() - 1)];
        match find(set, hash).or_else(|| claim(set, hash, now)) {
            Some(cell) => take(&cell.arrival, self.shape, 1, now).map(|()| Let::Counted),
            None if self.when_full == WhenFull::Admit => Ok(Let::Uncounted),
            None => Err(RateRefusal { retry_at: first_idle(set) }),
        }
    }

    /// How many keys have a bucket that is not full.
    #[must_use]
    pub fn busy(&self, now: Timestamp) -> usize {
        self.sets.iter().flatten().filter(|cell| !cell.is_idle(now)).count()
    }
}

impl Cell {
    fn is_idle(&self, now: Timestamp) -> bool {
        self.arrival.load(Ordering::Acquire) <= now.as_nanos()
    }
}

fn find(set: &[Cell; WAYS], hash: u64) -> Option<&Cell> {
    set.iter().find(|cell| cell.key.load(Ordering::Relaxed) == hash)
}

fn claim(set: &[Cell; WAYS], hash: u64, now: Timestamp) -> Option<&Cell> {
    for cell in set {
        // In this order: who sees that a key has taken something here also sees which key that was.
        let is_idle = cell.is_idle(now);
        let old = cell.key.load(Ordering::Relaxed);
        if old == hash {
            return Some(cell);
        }
        if !is_idle {
            continue;
        }
        match cell.key.compare_exchange(old, hash, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return Some(cell),
            // Another thread has just brought the same key here.
            Err(present) if present == hash => return Some(cell),
            Err(_) => {}
        }
    }
    find(set, hash)
}

fn first_idle(set: &[Cell; WAYS]) -> Timestamp {
    let arrivals = set.iter().map(|cell| cell.arrival.load(Ordering::Relaxed));
    Timestamp::from_nanos(arrivals.min().unwrap_or(0))
}

impl fmt::Debug for KeyedRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRate").field("places", &(self.sets.len() * WAYS)).finish_non_exhaustive()
    }
}

/// Two cache lines.
const WAYS: usize = 8;
