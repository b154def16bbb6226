use std::fmt;
use std::time::Duration;

use evenkeel_types::{Now, Origin, Outcome, Timestamp, Verdict};

use crate::algorithm::{Algorithm, Sample};
use crate::slots::{Count, Slots};
use crate::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering, lock, try_lock};
use crate::{LimitChange, LimitConfig, LimitConfigError, Refusal, Token};

/// A limit on the calls in flight: of an endpoint, of a cluster, of a server. Shared by all threads, lock-free.
///
/// ```text
///               acquire            release                     set_limit          successor
/// below limit   counted, token     not counted; the sample     limit is another   the same count, another limit
/// at the limit  refused            may move the limit          limit is another   and algorithm
/// above it      refused            not counted                 limit is another
/// ```
///
/// There are never more calls in flight than the limit was when the last of them began: the numbers are in one word, and
/// one compare-and-swap takes a slot. The limit may be lowered below what is in flight; then nothing new begins until
/// enough has ended, as gRPC's A32 has it.
///
/// A limit that moves learns from every call that ends, under a lock that it only ever *tries*: while another thread is
/// learning, a sample is left out, but for a drop, which is kept for the next one. A fixed limit has no such thing, and
/// reads no clock.
///
/// ```
/// use evenkeel_limit::{LimitConfig, Limiter};
/// use evenkeel_types::{Outcome, Timestamp};
///
/// let limiter = Limiter::new(&LimitConfig::fixed(2), 7)?;
/// let now = Timestamp::from_secs(1);
/// let (first, _second) = (limiter.try_acquire(now)?, limiter.try_acquire(now)?);
/// let refusal = limiter.try_acquire(now).unwrap_err();
/// assert_eq!((refusal.limit, refusal.in_flight), (2, 2));
/// limiter.release(first, &Outcome::success(), now);
/// assert_eq!(limiter.in_flight(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Limiter {
    home: Home,
    adaptive: Option<Box<Adaptive>>,
}

/// Where the numbers lie.
enum Home {
    /// Here.
    Own(Slots),
    /// Shared with predecessors and successors, whose calls are still in flight.
    Shared { slots: Arc<Slots>, generation: u16 },
}

impl Home {
    #[inline(always)]
    fn slots(&self) -> &Slots {
        match self {
            Self::Own(slots) => slots,
            Self::Shared { slots, .. } => slots,
        }
    }

    const fn generation(&self) -> u16 {
        match self {
            Self::Own(_) => 0,
            Self::Shared { generation, .. } => *generation,
        }
    }
}

struct Adaptive {
    algorithm: Mutex<Algorithm>,
    /// One if a drop has found the algorithm at work.
    missed_drops: AtomicU32,
    /// The latency of late, in nanoseconds: an eighth of each sample. For the hint.
    latency: AtomicU64,
}

impl Limiter {
    /// A limiter with nothing in flight. `seed` spreads the times of measuring, so give each process another one.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn new(config: &LimitConfig, seed: u64) -> Result<Self, LimitConfigError> {
        config.check()?;
        let slots = Arc::new(Slots::new(config.initial()));
        Ok(Self { home: Home::Shared { slots, generation: 0 }, adaptive: Adaptive::new(config, seed) })
    }

    /// A limiter as [`new`](Self::new) makes it that has no [`successor`](Self::successor): what it counts lies in itself and
    /// not behind a pointer. For those of which there are thousands, each beside what else a call there touches.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting.
    pub fn alone(config: &LimitConfig, seed: u64) -> Result<Self, LimitConfigError> {
        config.check()?;
        let home = Home::Own(Slots::new(config.initial()));
        Ok(Self { home, adaptive: Adaptive::new(config, seed) })
    }

    /// A limiter of other settings that counts the calls in flight of this one on. From then on this one refuses and
    /// releases as before, by the new limit, and its algorithm moves nothing any more.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] names the setting, or `predecessor` if this one is [`alone`](Self::alone); then nothing has
    /// changed.
    pub fn successor(&self, config: &LimitConfig, seed: u64) -> Result<Self, LimitConfigError> {
        config.check()?;
        let Home::Shared { slots, .. } = &self.home else { return Err(no_successor()) };
        let generation = slots.succeed(config.initial());
        let home = Home::Shared { slots: Arc::clone(slots), generation };
        Ok(Self { home, adaptive: Adaptive::new(config, seed) })
    }

    /// The limit now.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.slots().count().limit
    }

    /// The calls in flight now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.slots().count().in_flight
    }

    /// Whether a call could begin now. Changes nothing, so a balancer may ask many and use one.
    ///
    /// # Errors
    ///
    /// [`Refusal`], as [`try_acquire`](Self::try_acquire) would give.
    #[inline]
    pub fn peek(&self) -> Result<(), Refusal> {
        let count = self.slots().count();
        if count.in_flight < count.limit { Ok(()) } else { Err(self.refusal(count)) }
    }

    /// Begins a call. The clock is read only if the limit moves by itself.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: as many calls as allowed are in flight. Send this one elsewhere, or shed it.
    #[inline]
    pub fn try_acquire(&self, now: impl Now) -> Result<Token, Refusal> {
        match self.slots().take() {
            Ok(count) => Ok(self.token(count, now)),
            Err(count) => Err(self.refusal(count)),
        }
    }

    /// Begins a call whatever the limit is: a partition's own share.
    pub(crate) fn acquire_over(&self, now: impl Now) -> Result<Token, Refusal> {
        match self.slots().take_over() {
            Ok(count) => Ok(self.token(count, now)),
            Err(count) => Err(self.refusal(count)),
        }
    }

    /// Ends a call and learns from it. Returns the change of the limit, if there is one.
    ///
    /// The latency is that of the outcome, or the time since the call began. A neutral outcome, and a failure that the
    /// endpoint itself answered with, free the slot and teach nothing: an error that comes fast is no sign of spare room. An
    /// overload, and a failure of the connection, of a gateway or by our timeout, count as dropped.
    #[inline]
    pub fn release(&self, token: Token, outcome: &Outcome, now: impl Now) -> Option<LimitChange> {
        let (started, in_flight) = token.spend();
        if in_flight == 0 {
            return None;
        }
        self.slots().give_back();
        let adaptive = self.adaptive.as_deref()?;
        self.learn(adaptive, started, in_flight, outcome, now.now())
    }

    /// Learns from a call whose verdict is there and which goes on: a stream. Its slot stays taken until
    /// [`give_back`](Self::give_back).
    #[inline]
    pub fn learn_early(&self, token: &Token, outcome: &Outcome, now: impl Now) -> Option<LimitChange> {
        let adaptive = self.adaptive.as_deref().filter(|_| !token.is_bypass())?;
        self.learn(adaptive, token.started, token.in_flight, outcome, now.now())
    }

    /// Ends a call and learns nothing: it was not sent, or nobody knows how it went.
    pub fn give_back(&self, token: Token) {
        let (_, in_flight) = token.spend();
        if in_flight > 0 {
            self.slots().give_back();
        }
    }

    /// Learns from a call that was counted elsewhere. Does nothing if the limit is fixed.
    pub fn observe(&self, sample: &Sample, now: Timestamp) -> Option<LimitChange> {
        let adaptive = self.adaptive.as_deref()?;
        let Some(mut algorithm) = try_lock(&adaptive.algorithm) else {
            if sample.dropped {
                adaptive.missed_drops.store(1, Ordering::Relaxed);
            }
            return None;
        };
        // A drop is not merged with another one.
        let missed = !sample.dropped
            && adaptive.missed_drops.load(Ordering::Relaxed) > 0
            && adaptive.missed_drops.swap(0, Ordering::Relaxed) > 0;
        // Nor does a full server that turns calls away at once invite to come again at once.
        if !sample.dropped {
            adaptive.note(sample.latency);
        }
        let sample = Sample { dropped: sample.dropped || missed, ..*sample };
        let limit = self.limit();
        let next = algorithm.sample(limit, &sample, now);
        self.change(limit, next)
    }

    /// Sets the limit by an operator's word, within 0 to 1,000,000. What is in flight stays. An algorithm goes on from there.
    ///
    /// # Errors
    ///
    /// [`LimitConfigError`] if it is larger.
    pub fn set_limit(&self, limit: u32) -> Result<Option<LimitChange>, LimitConfigError> {
        crate::config::check_limit("limit", limit, 0)?;
        let old = self.slots().set_limit(self.home.generation(), limit);
        Ok(old.map(|from| LimitChange { from, to: limit }))
    }

    /// Does what is due: only `envoy_gradient` waits for anything. Calls that end do it too.
    pub fn tick(&self, now: Timestamp) -> Option<LimitChange> {
        let adaptive = self.adaptive.as_deref()?;
        let mut algorithm = try_lock(&adaptive.algorithm)?;
        let limit = self.limit();
        let next = algorithm.tick(limit, now);
        self.change(limit, next)
    }

    /// When to [`tick`](Self::tick) next, if calls do not do it before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        lock(&self.adaptive.as_deref()?.algorithm).next_deadline()
    }

    /// The latency that the algorithm takes for that without load; `None` if it knows none.
    #[must_use]
    pub fn baseline(&self) -> Option<Duration> {
        lock(&self.adaptive.as_deref()?.algorithm).baseline()
    }

    /// Whether the limit is low at present in order to measure the latency without load.
    #[must_use]
    pub fn is_measuring(&self) -> bool {
        self.adaptive.as_deref().is_some_and(|adaptive| lock(&adaptive.algorithm).is_measuring())
    }

    #[inline(always)]
    fn slots(&self) -> &Slots {
        self.home.slots()
    }

    #[inline]
    fn token(&self, count: Count, now: impl Now) -> Token {
        let started = if self.adaptive.is_some() { now.now() } else { Timestamp::ORIGIN };
        Token { started, in_flight: count.in_flight }
    }

    fn learn(
        &self,
        adaptive: &Adaptive,
        started: Timestamp,
        in_flight: u32,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Option<LimitChange> {
        let dropped = match (outcome.verdict(), outcome.origin()) {
            (Verdict::Neutral, _) | (Verdict::Failure, Origin::Remote) => return self.tick_of(adaptive, now),
            (Verdict::Success, _) => false,
            (Verdict::Overload { .. } | Verdict::Failure, _) => true,
        };
        let latency = outcome.latency().unwrap_or_else(|| now.saturating_since(started));
        self.observe(&Sample { started, latency, in_flight, dropped }, now)
    }

    fn tick_of(&self, adaptive: &Adaptive, now: Timestamp) -> Option<LimitChange> {
        let mut algorithm = try_lock(&adaptive.algorithm)?;
        let limit = self.limit();
        let next = algorithm.tick(limit, now);
        self.change(limit, next)
    }

    fn change(&self, from: u32, to: u32) -> Option<LimitChange> {
        if from == to {
            return None;
        }
        self.slots().set_limit(self.home.generation(), to).map(|from| LimitChange { from, to })
    }

    #[cold]
    fn refusal(&self, Count { limit, in_flight }: Count) -> Refusal {
        let latency = self.adaptive.as_deref().map_or(0, |adaptive| adaptive.latency.load(Ordering::Relaxed));
        let each = latency / u64::from(in_flight.max(1));
        Refusal { limit, in_flight, retry_hint: (latency > 0).then(|| Duration::from_nanos(each.max(1))) }
    }
}

impl Adaptive {
    fn new(config: &LimitConfig, seed: u64) -> Option<Box<Self>> {
        let algorithm = Algorithm::new(config, seed)?;
        Some(Box::new(Self {
            algorithm: Mutex::new(algorithm),
            missed_drops: AtomicU32::new(0),
            latency: AtomicU64::new(0),
        }))
    }

    /// Called under the lock.
    fn note(&self, latency: Duration) {
        let sample = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let old = self.latency.load(Ordering::Relaxed);
        let new = if old == 0 { sample } else { old - old / 8 + sample / 8 };
        self.latency.store(new, Ordering::Relaxed);
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { limit, in_flight } = self.slots().count();
        f.debug_struct("Limiter")
            .field("limit", &limit)
            .field("in_flight", &in_flight)
            .field("adaptive", &self.adaptive.is_some())
            .finish()
    }
}

#[cold]
fn no_successor() -> LimitConfigError {
    let field = "predecessor".to_owned();
    LimitConfigError { field, value: "one that is alone".to_owned(), allowed: "those of Limiter::new" }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Limiter>() <= 24);
