//! Breakers by key.

use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_types::Timestamp;
use hashbrown::HashMap;
use parking_lot::RwLock;
use siphasher::sip::SipHasher13;
use thiserror::Error;

use crate::{Breaker, BreakerConfig, ConfigError, Rules, State};

/// How many breakers a [`BreakerSet`] holds.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct BreakerSetConfig {
    /// The most breakers at any time, 1 to 16,777,216. Default 10,000: a megabyte or so with the default breaker.
    pub capacity: u32,
    /// In how many parts, each with its own lock and its share of the capacity: 1 to 1,024, and not more than
    /// `capacity`. Default 8; a look-up takes one of them for reading. Threads that look up known keys do not wait for each
    /// other; one that adds a key holds its part up for a moment.
    pub shards: u32,
    /// What happens to a new key when its part is full of breakers that say something.
    pub when_full: WhenFull,
    /// Each breaker.
    pub breaker: BreakerConfig,
}

impl Default for BreakerSetConfig {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            shards: 8,
            when_full: WhenFull::default(),
            breaker: BreakerConfig::default(),
        }
    }
}

/// What happens to a new key when no breaker is closed that could go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum WhenFull {
    /// The one that was asked for the longest time ago goes, and [`Got::evicted`] says so.
    #[default]
    Evict,
    /// The new key gets a breaker that the set does not keep, and [`Got::kept`] says so: it works for this request and
    /// remembers nothing.
    Pass,
}

/// Settings of a set make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SetConfigError {
    /// The capacity is out of range.
    #[error("capacity is {0}: allowed are 1 to 16777216")]
    Capacity(u32),
    /// The number of shards is out of range.
    #[error("shards is {shards}: allowed are 1 to 1024, and at most the capacity, which is {capacity}")]
    Shards {
        /// The configured shards.
        shards: u32,
        /// The configured capacity.
        capacity: u32,
    },
    /// The settings of each breaker are out of range.
    #[error("breaker.{0}")]
    Breaker(#[from] ConfigError),
}

/// A breaker for each key, as many as there is room for.
///
/// Keys come from outside as a rule (a host, a tenant, a route), so memory is bounded. A new key in a full set pushes one
/// out, in this order: closed ones that nobody holds, closed ones, all others; in each the one that was asked for the
/// longest time ago. What goes is reported, and a breaker that goes while it is open is never lost without a word. Whoever
/// holds an evicted one by its `Arc` may go on using it; it is the next look-up that gets a new one.
///
/// A look-up takes one lock for reading, for a few nanoseconds; making a breaker takes it for writing, and O(capacity /
/// shards) when the set is full. Permits and outcomes take no lock. Keys are hashed by SipHash 1-3 with a key that is
/// fixed, so that the same keys give the same evictions everywhere; the salt of each breaker is its key's hash. For keys that
/// strangers choose freely give a seed with [`with_hash_seed`](Self::with_hash_seed).
///
/// ```
/// use evenkeel_breaker::{BreakerSet, BreakerSetConfig};
/// use evenkeel_types::Timestamp;
///
/// let breakers: BreakerSet<String> = BreakerSet::new(&BreakerSetConfig::default())?;
/// let now = Timestamp::from_secs(1);
/// let payments = breakers.get("payments", now).breaker;
/// assert!(payments.peek(now).is_ok());
/// assert!(!breakers.get("payments", now).created);
/// # Ok::<(), evenkeel_breaker::SetConfigError>(())
/// ```
pub struct BreakerSet<K> {
    rules: Arc<Rules>,
    when_full: WhenFull,
    seed: u64,
    shards: Box<[Shard<K>]>,
}

/// A breaker of a set.
#[derive(Debug)]
pub struct Got<K> {
    /// The breaker of the key.
    pub breaker: Arc<Breaker>,
    /// Whether it is new.
    pub created: bool,
    /// Whether the set keeps it: always, but for [`WhenFull::Pass`].
    pub kept: bool,
    /// What had to go for it.
    pub evicted: Option<Evicted<K>>,
}

/// A breaker that had to go.
#[derive(Clone, Debug)]
pub struct Evicted<K> {
    /// Its key.
    pub key: K,
    /// The state in which it went.
    pub state: State,
    /// The breaker itself, for those who know better.
    pub breaker: Arc<Breaker>,
}

struct Shard<K> {
    capacity: usize,
    entries: RwLock<HashMap<K, Entry, BuildHasherDefault<SipHasher13>>>,
}

struct Entry {
    breaker: Arc<Breaker>,
    asked: AtomicU64,
}

impl<K: Hash + Eq + Clone> BreakerSet<K> {
    /// An empty set.
    ///
    /// # Errors
    ///
    /// [`SetConfigError`] names the first field that makes no sense, and what is allowed.
    pub fn new(config: &BreakerSetConfig) -> Result<Self, SetConfigError> {
        let BreakerSetConfig { capacity, shards, when_full, ref breaker } = *config;
        if !(1..=MAX_CAPACITY).contains(&capacity) {
            return Err(SetConfigError::Capacity(capacity));
        }
        if !(1..=MAX_SHARDS.min(capacity)).contains(&shards) {
            return Err(SetConfigError::Shards { shards, capacity });
        }
        let rules = Arc::new(Rules::new(breaker)?);
        let capacity_of = |shard| (capacity / shards + u32::from(shard < capacity % shards)) as usize;
        let shard = |shard| Shard { capacity: capacity_of(shard), entries: RwLock::default() };
        Ok(Self { rules, when_full, seed: 0, shards: (0..shards).map(shard).collect() })
    }

    /// The same with a seed for the hash that chooses the shard and the salt.
    #[must_use]
    pub fn with_hash_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The breaker of `key`, a new one if there is none.
    pub fn get<Q>(&self, key: &Q, now: Timestamp) -> Got<K>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.hash(key);
        let Some(shard) = self.shard(hash) else { return self.passing(hash, now) };
        if let Some(entry) = shard.entries.read().get(key) {
            entry.asked.fetch_max(now.as_nanos(), Ordering::Relaxed);
            return Got { breaker: Arc::clone(&entry.breaker), created: false, kept: true, evicted: None };
        }
        self.create(shard, key.to_owned(), hash, now)
    }

    /// The breaker of `key`, if there is one; it does not count as asked for.
    pub fn find<Q>(&self, key: &Q) -> Option<Arc<Breaker>>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let shard = self.shard(self.hash(key))?;
        shard.entries.read().get(key).map(|entry| Arc::clone(&entry.breaker))
    }

    /// Forgets the breaker of `key`.
    pub fn remove<Q>(&self, key: &Q) -> Option<Arc<Breaker>>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let shard = self.shard(self.hash(key))?;
        shard.entries.write().remove(key).map(|entry| entry.breaker)
    }

    /// How many there are. O(shards).
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.entries.read().len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in no order that means anything. O(n), and a copy of each key.
    #[must_use]
    pub fn all(&self) -> Vec<(K, Arc<Breaker>)> {
        let of = |shard: &Shard<K>| -> Vec<(K, Arc<Breaker>)> {
            let entries = shard.entries.read();
            entries.iter().map(|(key, entry)| (key.clone(), Arc::clone(&entry.breaker))).collect()
        };
        self.shards.iter().flat_map(of).collect()
    }

    fn create(&self, shard: &Shard<K>, key: K, hash: u64, now: Timestamp) -> Got<K> {
        let mut entries = shard.entries.write();
        // Another thread may have been faster.
        if let Some(entry) = entries.get(&key) {
            return Got { breaker: Arc::clone(&entry.breaker), created: false, kept: true, evicted: None };
        }
        let mut evicted = None;
        if entries.len() >= shard.capacity {
            let Some((rank, victim)) = victim(&entries) else { return self.passing(hash, now) };
            if rank == Rank::Speaking && self.when_full == WhenFull::Pass {
                return self.passing(hash, now);
            }
            evicted = entries.remove_entry(&victim).map(|(key, entry)| Evicted {
                key,
                state: entry.breaker.state(),
                breaker: entry.breaker,
            });
        }
        let breaker = self.make(hash, now);
        let entry = Entry { breaker: Arc::clone(&breaker), asked: AtomicU64::new(now.as_nanos()) };
        entries.insert(key, entry);
        Got { breaker, created: true, kept: true, evicted }
    }

    fn passing(&self, hash: u64, now: Timestamp) -> Got<K> {
        Got { breaker: self.make(hash, now), created: true, kept: false, evicted: None }
    }

    fn make(&self, hash: u64, now: Timestamp) -> Arc<Breaker> {
        Arc::new(Breaker::starting(&self.rules, hash, now))
    }

    fn shard(&self, hash: u64) -> Option<&Shard<K>> {
        // The high half, since the tables use the low one.
        let part = (hash >> 32) * self.shards.len() as u64;
        self.shards.get((part >> 32) as usize)
    }

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        Seeded(self.seed).hash_one(key)
    }
}

/// Who goes first, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    IdleClosed,
    Closed,
    Speaking,
}

/// The one to go: by rank, then by the time since it was asked for; of equals whichever comes first in the table, whose
/// order the fixed hash decides.
fn victim<K: Clone>(entries: &HashMap<K, Entry, BuildHasherDefault<SipHasher13>>) -> Option<(Rank, K)> {
    let rank = |entry: &Entry| match entry.breaker.state() {
        State::Closed if Arc::strong_count(&entry.breaker) == 1 => Rank::IdleClosed,
        State::Closed => Rank::Closed,
        _ => Rank::Speaking,
    };
    let order = |entry: &Entry| (rank(entry), entry.asked.load(Ordering::Relaxed));
    let first = entries.iter().min_by_key(|(_, entry)| order(entry))?;
    Some((rank(first.1), first.0.clone()))
}

struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, 0x6576_656e_6b65_656c)
    }
}

impl<K> fmt::Debug for BreakerSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerSet").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

const MAX_CAPACITY: u32 = 1 << 24;
const MAX_SHARDS: u32 = 1024;
