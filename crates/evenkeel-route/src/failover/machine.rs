use evenkeel_types::{Ratio, Timestamp};
use smallvec::SmallVec;

use super::config::{FailoverConfig, FailoverError, OnPanic, StaticResponse};
use super::events::{TierEvent, TierHappened};
use super::spill::{ONE, TierHealth, TierLoads, TierPick, capacity, share_out};

/// Failover with a memory: a tier that gets worse loses requests at once, and gets them back slowly.
///
/// ```text
///           usable below leave_below   gets worse            is better than allowed
/// In use    Left, allowed 0            allowed follows,      after min_dwell allowed grows
///                                      dwell begins anew     by 1/return_over a second
/// Left      stay, dwell begins anew    stay                  at return_at for min_dwell: In use, from 0
/// ```
///
/// What is held back is still used before degraded endpoints are, and before anybody gets more than it can bear: hysteresis
/// never refuses a request.
///
/// ```
/// use evenkeel_route::failover::{Failover, FailoverConfig, ONE, TierHealth};
/// use evenkeel_types::Timestamp;
///
/// let tiers = |usable| [TierHealth { total: 10, usable, degraded: 0 }, TierHealth { total: 10, usable: 10, degraded: 0 }];
/// let at = Timestamp::from_secs;
/// let mut failover = Failover::new(&FailoverConfig::default())?;
/// failover.update(&tiers(10), at(0))?;
/// failover.update(&tiers(0), at(1))?;
/// assert_eq!(failover.loads().tiers()[1].usable, ONE, "at once");
/// failover.update(&tiers(10), at(2))?;
/// assert_eq!(failover.loads().tiers()[1].usable, ONE, "not at once");
/// failover.update(&tiers(10), at(6 + 15))?;
/// assert_eq!(failover.loads().tiers()[1].usable, ONE / 2, "half of the way");
/// # Ok::<(), evenkeel_route::failover::FailoverError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Failover {
    config: FailoverConfig,
    tiers: SmallVec<[Tier; 4]>,
    health: SmallVec<[TierHealth; 4]>,
    loads: TierLoads,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Tier {
    capacity: u64,
    allowed: u64,
    is_left: bool,
    /// While it is left: whether it might return, but for the dwell.
    may_return: bool,
    /// Since when it has not got worse.
    steady_since: Timestamp,
    /// Up to when its growth was counted.
    grown_until: Timestamp,
}

/// What to do with a request of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve<'a> {
    /// Use its usable endpoints, or its degraded ones.
    Tier {
        /// The tier.
        tier: usize,
        /// Whether the degraded ones.
        degraded: bool,
    },
    /// Use any of its endpoints, whatever their health.
    AnyOf {
        /// The tier.
        tier: usize,
    },
    /// Refuse.
    Refuse,
    /// Answer this.
    Respond(&'a StaticResponse),
    /// Answer from a cache; without an entry, use the usable endpoints of this tier.
    Stale {
        /// The tier.
        tier: usize,
    },
}

impl Failover {
    /// A failover that knows no tier yet.
    ///
    /// # Errors
    ///
    /// [`FailoverError`] if a setting makes no sense.
    pub fn new(config: &FailoverConfig) -> Result<Self, FailoverError> {
        config.check()?;
        Ok(Self {
            config: config.clone(),
            tiers: SmallVec::new(),
            health: SmallVec::new(),
            loads: share_out(&[], &[], &[], config),
            now: Timestamp::ORIGIN,
        })
    }

    /// Tells how the tiers are now. Tiers that were not there before begin with everything they can take.
    ///
    /// # Errors
    ///
    /// [`FailoverError::TooManyTiers`] above 258; nothing changes then.
    pub fn update(&mut self, health: &[TierHealth], now: Timestamp) -> Result<Vec<TierEvent>, FailoverError> {
        if health.len() > MOST_TIERS {
            return Err(FailoverError::TooManyTiers(health.len()));
        }
        self.now = self.now.max(now);
        self.tiers.truncate(health.len());
        self.health = SmallVec::from_slice(health);
        let known = self.tiers.len();
        for tier in &health[known..] {
            self.tiers.push(self.new_tier(tier));
        }
        Ok(self.roll())
    }

    fn new_tier(&self, health: &TierHealth) -> Tier {
        let capacity = capacity(health.usable, health.total, self.config.overprovisioning_percent);
        let (is_left, may_return, now) = (false, false, self.now);
        Tier { capacity, allowed: capacity, is_left, may_return, steady_since: now, grown_until: now }
    }

    /// As [`update`](Self::update), for tiers that are others now: tier `i` is what tier `before[i]` was, with all that is
    /// remembered about it. Where that is none, or no tier, it is new.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn rearrange(
        &mut self,
        health: &[TierHealth],
        before: &[Option<usize>],
        now: Timestamp,
    ) -> Result<Vec<TierEvent>, FailoverError> {
        if health.len() > MOST_TIERS {
            return Err(FailoverError::TooManyTiers(health.len()));
        }
        self.now = self.now.max(now);
        let before = |tier: usize| before.get(tier).copied().flatten();
        let tier = |(i, health)| {
            before(i).and_then(|i| self.tiers.get(i).copied()).unwrap_or_else(|| self.new_tier(health))
        };
        let tiers = health.iter().enumerate().map(tier).collect();
        self.loads = self.loads.rearranged((0..health.len()).map(before));
        self.tiers = tiers;
        self.health = SmallVec::from_slice(health);
        Ok(self.roll())
    }

    /// Lets time pass: shares that were held back grow.
    pub fn tick(&mut self, now: Timestamp) -> Vec<TierEvent> {
        self.now = self.now.max(now);
        self.roll()
    }

    /// When [`tick`](Self::tick) has something to do: the end of a dwell, or the next hundredth of a way back.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let waiting = self.tiers.iter().zip(&self.health).filter(|(tier, health)| {
            if tier.is_left { self.may_return(health) } else { tier.allowed < tier.capacity }
        });
        waiting
            .map(|(tier, _)| {
                let dwelt = tier.steady_since.saturating_add(self.config.min_dwell);
                let hundredth = (self.config.return_over / 100).max(SHORTEST_STEP);
                if self.now < dwelt { dwelt } else { self.now.saturating_add(hundredth) }
            })
            .min()
    }

    /// What each tier gets now.
    #[must_use]
    pub const fn loads(&self) -> &TierLoads {
        &self.loads
    }

    /// Whether a tier is left.
    #[must_use]
    pub fn is_left(&self, tier: usize) -> bool {
        self.tiers.get(tier).is_some_and(|tier| tier.is_left)
    }

    /// What a tier could take and is not given yet, in parts of [`ONE`].
    #[must_use]
    pub fn held_back(&self, tier: usize) -> u64 {
        self.tiers.get(tier).map_or(0, |tier| tier.capacity.saturating_sub(tier.allowed))
    }

    /// What to do with a request, by 64 uniform bits.
    #[must_use]
    pub fn serve(&self, draw: u64) -> Serve<'_> {
        self.loads.pick(draw).map_or(Serve::Refuse, |pick| self.serve_pick(pick))
    }

    /// What to do with a request of this tier.
    #[must_use]
    pub fn serve_pick(&self, pick: TierPick) -> Serve<'_> {
        let TierPick { tier, degraded, panic } = pick;
        match &self.config.on_panic {
            _ if !panic => Serve::Tier { tier, degraded },
            OnPanic::FailOpen => Serve::AnyOf { tier },
            OnPanic::UsableOnly => Serve::Tier { tier, degraded },
            OnPanic::FailClosed => Serve::Refuse,
            OnPanic::StaticResponse(response) => Serve::Respond(response),
            OnPanic::ServeStale => Serve::Stale { tier },
        }
    }

    fn roll(&mut self) -> Vec<TierEvent> {
        let mut events = Vec::new();
        for i in 0..self.tiers.len() {
            let (mut tier, health) = (self.tiers[i], self.health[i]);
            let capacity = capacity(health.usable, health.total, self.config.overprovisioning_percent);
            if let Some(happened) = self.move_on(&mut tier, capacity, &health) {
                events.push(TierEvent { tier: i, happened });
            }
            self.tiers[i] = tier;
        }
        let allowed: SmallVec<[u64; 4]> = self.tiers.iter().map(|tier| tier.allowed).collect();
        let capacities: SmallVec<[u64; 4]> = self.tiers.iter().map(|tier| tier.capacity).collect();
        let loads = share_out(&self.health, &allowed, &capacities, &self.config);
        for (tier, share) in loads.tiers().iter().enumerate() {
            let was = self.loads.tiers().get(tier).is_some_and(|share| share.panic);
            if was != share.panic {
                let happened = if share.panic { TierHappened::PanicBegan } else { TierHappened::PanicEnded };
                events.push(TierEvent { tier, happened });
            }
        }
        self.loads = loads;
        events
    }

    fn move_on(&self, tier: &mut Tier, capacity: u64, health: &TierHealth) -> Option<TierHappened> {
        let now = self.now;
        if capacity < tier.capacity {
            tier.steady_since = now;
        }
        tier.capacity = capacity;
        if tier.is_left {
            let may_return = self.may_return(health);
            if !may_return || !tier.may_return {
                tier.steady_since = now;
            }
            tier.may_return = may_return;
            if !may_return || now < tier.steady_since.saturating_add(self.config.min_dwell) {
                return None;
            }
            (tier.is_left, tier.grown_until) =
                (false, tier.steady_since.saturating_add(self.config.min_dwell));
            self.grow(tier);
            return Some(TierHappened::Returned);
        }
        if is_below(health, self.config.leave_below) {
            (tier.is_left, tier.may_return, tier.allowed, tier.steady_since) = (true, false, 0, now);
            return Some(TierHappened::Left);
        }
        self.grow(tier);
        None
    }

    /// Moves what is allowed to what is possible: down at once, up by the time since the dwell ended.
    fn grow(&self, tier: &mut Tier) {
        if tier.capacity <= tier.allowed {
            tier.allowed = tier.capacity;
            tier.grown_until = self.now;
            return;
        }
        let from = tier.grown_until.max(tier.steady_since.saturating_add(self.config.min_dwell));
        if self.now < from {
            return;
        }
        let passed = self.now.saturating_since(from).as_nanos();
        let growth = (passed * u128::from(ONE)).checked_div(self.config.return_over.as_nanos());
        let growth = growth.map_or(ONE, |growth| growth.min(u128::from(ONE)) as u64);
        if growth > 0 {
            tier.grown_until = self.now;
        }
        tier.allowed = tier.capacity.min(tier.allowed + growth);
    }

    fn may_return(&self, health: &TierHealth) -> bool {
        health.total > 0 && health.usable > 0 && !is_below(health, self.config.return_at)
    }
}

/// Whether less than this share is plainly usable. Nothing is below zero.
fn is_below(health: &TierHealth, threshold: Ratio) -> bool {
    !threshold.is_reached_by(health.usable.min(health.total), health.total)
}

/// Every priority of Envoy, cut into the part inside a subset and the rest.
const MOST_TIERS: usize = 258;
const SHORTEST_STEP: std::time::Duration = std::time::Duration::from_millis(1);
