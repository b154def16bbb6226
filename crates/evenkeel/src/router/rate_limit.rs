use std::num::NonZeroU32;
use std::ops::Add;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_route::matching::Headers;
use evenkeel_types::SplitMix64;
use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::error::{RouterError, RouterProblem};
use super::key::{Asked, KeySource, checked, key_hash};
use crate::clock::Clock;

/// How many requests a route lets in, together or for each key.
///
/// The generic cell rate algorithm (ATM Forum, "Traffic Management Specification 4.0", 1996), by the crate `governor`: `requests`
/// in each `per`, evenly, and `burst` of them at once. Only this process counts: quotas that several share are out of scope.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct RateLimitConfig {
    /// Requests in each `per`, at least 1.
    pub requests: u32,
    /// The time in which they may come, 1 ms to 30 days. Default 1 s.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(default = "one_second", with = "evenkeel_types::human_duration"))]
    pub per: Duration,
    /// How many may come at once after a pause, at least 1. Default: `requests`.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub burst: Option<u32>,
    /// For each of what: the first of these that a request has. Default: none, so all requests of the route together.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub by: Vec<KeySource>,
    /// The most keys that are remembered, 1 to 10,000,000; 16 bytes and a place in a table each. When there are more, of a few the
    /// one makes room whose requests were longest ago: it has the least to lose. Default 100,000.
    #[cfg_attr(feature = "serde", serde(default = "max_keys"))]
    pub max_keys: u32,
    /// What happens to a request that has none of the keys. Default [`WithoutKey::Together`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub without_key: WithoutKey,
}

impl RateLimitConfig {
    /// So many requests a second, all together.
    #[must_use]
    pub const fn per_second(requests: u32) -> Self {
        Self {
            requests,
            per: one_second(),
            burst: None,
            by: Vec::new(),
            max_keys: max_keys(),
            without_key: WithoutKey::Together,
        }
    }
}

/// What happens to a request that has no key for a limit by key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum WithoutKey {
    /// All of them share one limit, as if they had one key: leaving out a header gains nothing.
    #[default]
    Together,
    /// It is not limited.
    Pass,
    /// It is refused.
    Refuse,
}

pub(crate) const fn one_second() -> Duration {
    Duration::from_secs(1)
}

pub(crate) const fn max_keys() -> u32 {
    100_000
}

/// A rate limit with its state: one cell, or one for each key.
pub(crate) struct RateLimit {
    config: RateLimitConfig,
    by: Box<[KeySource]>,
    hash_seed: u64,
    limiter: RateLimiter<Cell, Cells, Ticks, NoOpMiddleware<Tick>>,
}

/// What a limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Go,
    /// The request has no key, and is not limited.
    Unlimited,
    Wait(Duration),
    NoKey,
}

impl RateLimit {
    /// `hash_seed` is secret, so that nobody can make keys that collide.
    pub(crate) fn new(
        config: &RateLimitConfig,
        field: &str,
        clock: Arc<dyn Clock>,
        hash_seed: u64,
    ) -> Result<Self, RouterError> {
        let quota = check(config, field)?;
        let cells = if config.by.is_empty() { Cells::one() } else { Cells::many(config.max_keys as usize) };
        Ok(Self {
            config: config.clone(),
            by: checked(&config.by, &format!("{field}.by"))?,
            hash_seed,
            limiter: RateLimiter::new(quota, cells, Ticks(clock)),
        })
    }

    pub(crate) const fn config(&self) -> &RateLimitConfig {
        &self.config
    }

    /// Asks, and takes one if it is there; a dry question only asks.
    pub(crate) fn ask<H: Headers + ?Sized>(&self, asked: &Asked<'_, '_, H>, is_dry: bool) -> Word {
        let key = match asked.key(&self.by) {
            Some(key) => key_hash(self.hash_seed, &key),
            None if self.by.is_empty() => 0,
            None => match self.config.without_key {
                WithoutKey::Together => 0,
                WithoutKey::Pass => return Word::Unlimited,
                WithoutKey::Refuse => return Word::NoKey,
            },
        };
        match self.limiter.check_key(&Cell { key, is_dry }) {
            Ok(()) => Word::Go,
            Err(until) => Word::Wait(until.wait_time_from(self.limiter.clock().now())),
        }
    }
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit").field("config", &self.config).finish_non_exhaustive()
    }
}

fn check(config: &RateLimitConfig, field: &str) -> Result<Quota, RouterError> {
    let refused = |name: &str, problem| Err(RouterError::new(format!("{field}.{name}"), problem));
    if config.requests == 0 {
        return refused(
            "requests",
            RouterProblem::Setting(" is 0: to refuse everything, respond with a status"),
        );
    }
    if config.per < Duration::from_millis(1) || config.per > LONGEST {
        return refused("per", RouterProblem::Setting(" is out of range: allowed are 1ms to 30 days"));
    }
    let Some(burst) = NonZeroU32::new(config.burst.unwrap_or(config.requests)) else {
        return refused("burst", RouterProblem::Setting(" is 0: nothing would ever come through"));
    };
    if !(1..=MOST_KEYS).contains(&config.max_keys) {
        return refused("max_keys", RouterProblem::Setting(" is out of range: allowed are 1 to 10000000"));
    }
    if config.by.is_empty() && (config.max_keys != max_keys() || config.without_key != WithoutKey::default())
    {
        return refused(
            "by",
            RouterProblem::Ignored("max_keys and without_key are for limits by key; give by"),
        );
    }
    // Below 2^52, by the check of `per`.
    let each = Duration::from_nanos((config.per.as_nanos() / u128::from(config.requests)) as u64);
    let Some(quota) = Quota::with_period(each) else {
        return refused("requests", RouterProblem::Setting(" is more than one in a nanosecond"));
    };
    if each.as_nanos() * u128::from(burst.get()) > u128::from(FURTHEST / 2) {
        return refused("burst", RouterProblem::Setting(" would take more than 70 years to come back"));
    }
    Ok(quota.allow_burst(burst))
}

/// One cell; a dry one is read and left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Cell {
    key: u64,
    is_dry: bool,
}

/// When each cell is full again, in nanoseconds since the limit began.
enum Cells {
    One(AtomicU64),
    /// By the lowest bits of the key. Short locks, of which sixteen keys in a row take sixteen different ones.
    Many(Box<[Mutex<Shard>]>),
}

impl Cells {
    const fn one() -> Self {
        Self::One(AtomicU64::new(UNUSED))
    }

    fn many(most: usize) -> Self {
        let shards = if most >= SHARDS * FEW { SHARDS } else { 1 };
        Self::Many((0..shards).map(|_| Mutex::new(Shard::new(most / shards))).collect())
    }
}

impl StateStore for Cells {
    type Key = Cell;

    fn measure_and_replace<T, F, E>(&self, cell: &Cell, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        match self {
            Self::One(time) => {
                let mut before = time.load(Ordering::Relaxed);
                loop {
                    let (given, after) = measure((before != UNUSED).then(|| Nanos::new(before)))?;
                    if cell.is_dry {
                        return Ok(given);
                    }
                    match time.compare_exchange_weak(
                        before,
                        after.as_u64(),
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    ) {
                        Ok(_) => return Ok(given),
                        Err(other) => before = other,
                    }
                }
            }
            Self::Many(shards) => {
                let mut shard = shards[cell.key as usize & (shards.len() - 1)].lock();
                let (given, after) = measure(shard.time(cell.key).map(Nanos::new))?;
                if !cell.is_dry {
                    shard.set(cell.key, after.as_u64());
                }
                Ok(given)
            }
        }
    }
}

/// Some of the keys, in bounded memory.
struct Shard {
    /// Where each key is among the slots.
    places: HashTable<u32>,
    /// Keys, and when their cells are full again.
    slots: Vec<(u64, u64)>,
    limit: usize,
    hand: usize,
}

impl Shard {
    const fn new(limit: usize) -> Self {
        Self { places: HashTable::new(), slots: Vec::new(), limit, hand: 0 }
    }

    fn place(&self, key: u64) -> Option<usize> {
        let found = self.places.find(SplitMix64::mix(key), |&place| self.slots[place as usize].0 == key);
        found.map(|&place| place as usize)
    }

    fn time(&self, key: u64) -> Option<u64> {
        self.place(key).map(|place| self.slots[place].1)
    }

    fn set(&mut self, key: u64, time: u64) {
        if let Some(place) = self.place(key) {
            self.slots[place].1 = time;
            return;
        }
        let place = if self.slots.len() < self.limit {
            self.slots.push((key, time));
            self.slots.len() - 1
        } else {
            let place = self.forget_one();
            self.slots[place] = (key, time);
            place
        };
        let Self { places, slots, .. } = self;
        places.insert_unique(SplitMix64::mix(key), place as u32, |&place| {
            SplitMix64::mix(slots[place as usize].0)
        });
    }

    /// Of a few that stand together, the one goes that is full first: it has the least to lose. Who can make keys gains nothing
    /// by pushing others out, since every new key begins full anyway.
    fn forget_one(&mut self) -> usize {
        let candidates = (self.hand..self.hand + FEW.min(self.limit)).map(|at| at % self.limit);
        let place = candidates.min_by_key(|&at| self.slots[at].1).unwrap_or(0);
        self.hand = (self.hand + FEW) % self.limit;
        let Self { places, slots, .. } = self;
        if let Ok(entry) = places.find_entry(SplitMix64::mix(slots[place].0), |&at| at as usize == place) {
            entry.remove();
        }
        place
    }
}

/// The façade's clock as the library wants it. Far from the end of time, so that no sum overflows.
#[derive(Clone, Debug)]
struct Ticks(Arc<dyn Clock>);

impl GovernorClock for Ticks {
    type Instant = Tick;

    fn now(&self) -> Tick {
        Tick(self.0.now().as_nanos().min(FURTHEST))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(u64);

impl Add<Nanos> for Tick {
    type Output = Self;

    fn add(self, other: Nanos) -> Self {
        Self(self.0.saturating_add(other.as_u64()))
    }
}

impl Reference for Tick {
    fn duration_since(&self, earlier: Self) -> Nanos {
        Nanos::new(self.0.saturating_sub(earlier.0))
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.saturating_sub(duration.as_u64()))
    }
}

const LONGEST: Duration = Duration::from_secs(30 * 86_400);
const MOST_KEYS: u32 = 10_000_000;
const UNUSED: u64 = u64::MAX;
/// 146 years.
const FURTHEST: u64 = 1 << 62;
const SHARDS: usize = 16;
/// How many are looked at when one must go.
const FEW: usize = 8;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use evenkeel_route::matching::Request;
    use evenkeel_types::Timestamp;

    fn build(config: &RateLimitConfig) -> (RateLimit, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        let by = Arc::clone(&clock) as Arc<dyn Clock>;
        (RateLimit::new(config, "routes[0].rate_limits[0]", by, 7).expect("valid settings"), clock)
    }

    fn ask(limit: &RateLimit, user: &str, is_dry: bool) -> Word {
        let headers = [("x-user", user)];
        let request = Request::new("GET", "", "/").with_headers(&headers);
        limit.ask(&Asked { request: &request, source: None, path: b"/" }, is_dry)
    }

    fn by_user(requests: u32, max_keys: u32) -> RateLimitConfig {
        let by = vec![KeySource::Header("X-User".into())];
        RateLimitConfig { by, max_keys, ..RateLimitConfig::per_second(requests) }
    }

    #[test]
    fn a_burst_then_the_rate() {
        let config = RateLimitConfig { burst: Some(3), ..RateLimitConfig::per_second(10) };
        let (limit, clock) = build(&config);
        let tenth = Duration::from_millis(100);
        for _ in 0..3 {
            assert_eq!(ask(&limit, "", true), Word::Go, "asking takes nothing");
            assert_eq!(ask(&limit, "", false), Word::Go);
        }
        assert_eq!(ask(&limit, "", false), Word::Wait(tenth));
        clock.advance(tenth);
        assert_eq!(ask(&limit, "", false), Word::Go);
        assert_eq!(ask(&limit, "", true), Word::Wait(tenth));
        clock.set(Timestamp::ORIGIN);
        assert!(matches!(ask(&limit, "", false), Word::Wait(_)), "time that goes back gives nothing");
        clock.set(Timestamp::MAX);
        assert_eq!(ask(&limit, "", false), Word::Go);
    }

    #[test]
    fn keys_do_not_share() {
        let (limit, _) = build(&by_user(1, 100));
        assert_eq!(ask(&limit, "ann", false), Word::Go);
        assert!(matches!(ask(&limit, "ann", false), Word::Wait(_)));
        assert_eq!(ask(&limit, "bob", false), Word::Go);
        assert_eq!(ask(&limit, "", false), Word::Go, "those without a key are one");
        assert!(matches!(ask(&limit, "", false), Word::Wait(_)));
        let without = |without_key| {
            let (limit, _) = build(&RateLimitConfig { without_key, ..by_user(1, 100) });
            ask(&limit, "", false)
        };
        assert_eq!(without(WithoutKey::Pass), Word::Unlimited);
        assert_eq!(without(WithoutKey::Refuse), Word::NoKey);
    }

    #[test]
    fn memory_is_bounded_and_the_busiest_keys_stay() {
        for most in [1, 5, 128, 1000] {
            let (limit, _) = build(&by_user(2, most));
            if most >= 128 {
                // Two requests each: these have the most to lose.
                for _ in 0..2 {
                    (0..4).for_each(|user| assert_eq!(ask(&limit, &format!("busy{user}"), false), Word::Go));
                }
            }
            for user in 0..5000 {
                assert_eq!(ask(&limit, &user.to_string(), false), Word::Go, "a new key is never refused");
            }
            if most >= 128 {
                for user in 0..4 {
                    assert!(matches!(ask(&limit, &format!("busy{user}"), false), Word::Wait(_)));
                }
            }
            let config = by_user(2, most);
            let Cells::Many(shards) = Cells::many(config.max_keys as usize) else { unreachable!() };
            for key in 0..5000_u64 {
                let cell = Cell { key: SplitMix64::mix(key), is_dry: false };
                let shards = &shards;
                let mut shard = shards[cell.key as usize & (shards.len() - 1)].lock();
                shard.set(cell.key, key);
                assert_eq!(shard.time(cell.key), Some(key));
            }
            let (mut keys, mut places) = (0, 0);
            for shard in &shards {
                keys += shard.lock().slots.len();
                places += shard.lock().places.len();
            }
            assert!(keys == places && keys <= most as usize, "{keys} keys, {places} places");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let clock = || Arc::new(ManualClock::default()) as Arc<dyn Clock>;
        let refused = |change: fn(&mut RateLimitConfig)| {
            let mut config = by_user(10, 10);
            change(&mut config);
            RateLimit::new(&config, "limit", clock(), 0).unwrap_err().to_string()
        };
        assert!(refused(|config| config.requests = 0).starts_with("limit.requests is 0"));
        assert!(refused(|config| config.per = Duration::ZERO).starts_with("limit.per is out of range"));
        assert!(refused(|config| config.per = Duration::MAX).starts_with("limit.per is out of range"));
        assert!(refused(|config| config.burst = Some(0)).starts_with("limit.burst is 0"));
        assert!(refused(|config| config.max_keys = 0).starts_with("limit.max_keys is out of range"));
        assert!(refused(|config| config.by.clear()).starts_with("limit.by: max_keys"));
        assert!(refused(|config| config.by = vec![KeySource::Cookie(" ".into())]).starts_with("limit.by[0]"));
        let fast = |config: &mut RateLimitConfig| {
            (config.requests, config.per) = (u32::MAX, Duration::from_millis(1));
        };
        assert!(refused(fast).contains("nanosecond"));
        let slow = |config: &mut RateLimitConfig| {
            (config.requests, config.per, config.burst) = (1, LONGEST, Some(u32::MAX));
        };
        assert!(refused(slow).contains("70 years"));
    }
}
