//! The shares of tiers, by the mode of the cluster, and what is remembered about them.

use evenkeel_route::failover::{
    BackupMode, EnvoyPriorities, Failover, GrpcChild, GrpcEvent, GrpcPriority, GrpcPriorityConfig, OnPanic,
    TierHappened, TierHealth,
};
use evenkeel_types::{Priority, Timestamp};

use crate::failover_mode::FailoverMode;
use crate::shares::{Mark, ONE, RungShares};
use crate::snapshot::Part;

/// A tier, or the part of one inside or outside the subset.
pub(crate) type RungKey = (Priority, Part);

pub(crate) enum TierMachine {
    /// What has no memory.
    Plain,
    /// Tiers are known as long as the cluster has any endpoint: one that went and comes back comes back slowly.
    Spill {
        failover: Box<Failover>,
        known: Vec<RungKey>,
    },
    Grpc {
        policy: GrpcPriority,
        known: Vec<RungKey>,
    },
}

type Happened = Vec<(RungKey, TierHappened)>;

impl TierMachine {
    pub(crate) fn new(mode: Option<&FailoverMode>) -> Self {
        match mode {
            // The settings were tried when the cluster was built.
            Some(FailoverMode::Spill(config)) => Failover::new(config).map_or(Self::Plain, |failover| {
                Self::Spill { failover: Box::new(failover), known: Vec::new() }
            }),
            Some(FailoverMode::Grpc(config)) => {
                let policy = GrpcPriority::new(&grpc(config.failover_timeout), 0, Timestamp::ORIGIN).0;
                Self::Grpc { policy, known: Vec::new() }
            }
            Some(FailoverMode::Envoy(_) | FailoverMode::Backup(_)) | None => Self::Plain,
        }
    }

    /// What each rung gets, without its zones, and what happened.
    pub(crate) fn share(
        &mut self,
        mode: Option<&FailoverMode>,
        keys: &[RungKey],
        health: &[TierHealth],
        starting: &dyn Fn(usize) -> bool,
        now: Timestamp,
    ) -> (Vec<RungShares>, Happened) {
        let mut happened = Happened::new();
        let mut shares = match (self, mode) {
            (Self::Spill { failover, known }, Some(FailoverMode::Spill(config))) => {
                spill(failover, known, keys, health, now, &mut happened, &config.on_panic)
            }
            (Self::Grpc { policy, known }, Some(FailoverMode::Grpc(config))) => {
                if known != keys {
                    *known = keys.to_vec();
                    *policy = GrpcPriority::new(&grpc(config.failover_timeout), keys.len(), now).0;
                }
                all_to_child(policy, keys, health, starting, now, &mut happened)
            }
            (_, Some(FailoverMode::Envoy(config))) => {
                let (percent, threshold) = (config.overprovisioning_percent, config.panic_threshold_percent);
                envoy(health, percent, threshold, config.fail_traffic_on_panic)
            }
            (_, Some(FailoverMode::Backup(config))) => backup(keys, health, config.takes),
            _ => in_order(health),
        };
        let first = keys.first().map(|key| key.0);
        for (key, share) in keys.iter().zip(&mut shares) {
            if Some(key.0) != first {
                share.mark.insert(Mark::SPILLED);
            }
        }
        (shares, happened)
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Plain => None,
            Self::Spill { failover, .. } => failover.next_deadline(),
            Self::Grpc { policy, .. } => policy.next_deadline(),
        }
    }

    /// Whether a rung is left, and what is held back from it.
    pub(crate) fn state(&self, key: RungKey) -> (bool, u64) {
        let Self::Spill { failover, known } = self else { return (false, 0) };
        let Ok(tier) = known.binary_search(&key) else { return (false, 0) };
        (failover.is_left(tier), failover.held_back(tier))
    }
}

fn grpc(failover_timeout: std::time::Duration) -> GrpcPriorityConfig {
    GrpcPriorityConfig { failover_timeout, ..GrpcPriorityConfig::default() }
}

fn spill(
    failover: &mut Failover,
    known: &mut Vec<RungKey>,
    keys: &[RungKey],
    health: &[TierHealth],
    now: Timestamp,
    happened: &mut Happened,
    on_panic: &OnPanic,
) -> Vec<RungShares> {
    let mut all: Vec<RungKey> = known.iter().chain(keys).copied().collect();
    all.sort_unstable();
    all.dedup();
    let of_all: Vec<TierHealth> = all
        .iter()
        .map(|key| keys.iter().position(|own| own == key).map_or_else(TierHealth::default, |at| health[at]))
        .collect();
    let before: Vec<Option<usize>> = all.iter().map(|key| known.binary_search(key).ok()).collect();
    *known = all;
    // There are at most two rungs for each priority, which the machine takes.
    let events = failover.rearrange(&of_all, &before, now).unwrap_or_default();
    let told = |happened: TierHappened| matches!(happened, TierHappened::Left | TierHappened::Returned);
    let events = events.into_iter().filter(|event| told(event.happened));
    happened.extend(events.filter_map(|event| Some((*known.get(event.tier)?, event.happened))));
    let loads = failover.loads().tiers();
    keys.iter()
        .map(|key| {
            let load =
                known.binary_search(key).ok().and_then(|at| loads.get(at)).copied().unwrap_or_default();
            let mark = if load.panic { in_panic(on_panic) } else { Mark::empty() };
            RungShares { usable: load.usable, degraded: load.degraded, mark, ..RungShares::default() }
        })
        .collect()
}

fn in_panic(on_panic: &OnPanic) -> Mark {
    Mark::PANIC
        | match on_panic {
            OnPanic::FailOpen => Mark::OPEN,
            OnPanic::FailClosed | OnPanic::StaticResponse(_) => Mark::REFUSE,
            OnPanic::ServeStale => Mark::STALE,
            _ => Mark::empty(),
        }
}

fn envoy(health: &[TierHealth], percent: u32, threshold: u32, closed: bool) -> Vec<RungShares> {
    let on_panic = if closed { Mark::REFUSE } else { Mark::OPEN };
    let parts = |percent: u32| u64::from(percent) * ONE / 100;
    // Sums of whole percents are rounded down as one, so that the last is exactly all.
    let mut sum = 0;
    let mut up_to = |percent: u32| {
        let before = sum;
        sum += percent;
        parts(sum) - parts(before)
    };
    let priorities = EnvoyPriorities::new(health, percent, threshold);
    let mut shares: Vec<RungShares> = priorities
        .levels()
        .iter()
        .map(|level| RungShares {
            usable: up_to(level.healthy),
            mark: if level.panic { Mark::PANIC | on_panic } else { Mark::empty() },
            ..RungShares::default()
        })
        .collect();
    for (share, level) in shares.iter_mut().zip(priorities.levels()) {
        share.degraded = up_to(level.degraded);
    }
    shares
}

fn all_to_child(
    policy: &mut GrpcPriority,
    keys: &[RungKey],
    health: &[TierHealth],
    starting: &dyn Fn(usize) -> bool,
    now: Timestamp,
    happened: &mut Happened,
) -> Vec<RungShares> {
    let mut events = policy.tick(now);
    // A child that is created by a report is reported in turn.
    for _ in 0..=keys.len() {
        for (child, tier) in health.iter().enumerate() {
            let state = match tier {
                TierHealth { usable: 0, degraded: 0, .. } if starting(child) => GrpcChild::Connecting,
                TierHealth { usable: 0, degraded: 0, .. } => GrpcChild::TransientFailure,
                _ => GrpcChild::Ready,
            };
            events.extend(policy.report(child, state, now));
        }
        if !events.iter().any(|event| matches!(event, GrpcEvent::Created(_))) {
            break;
        }
        events.retain(|event| matches!(event, GrpcEvent::Selected(_)));
    }
    let selected = events.iter().rev().find_map(|event| match event {
        GrpcEvent::Selected(child) => keys.get(*child),
        _ => None,
    });
    if let Some(key) = selected.filter(|key| policy.current().and_then(|child| keys.get(child)) == Some(key))
    {
        happened.push((*key, TierHappened::Selected));
    }
    all_to(policy.current(), health)
}

fn backup(keys: &[RungKey], health: &[TierHealth], takes: BackupMode) -> Vec<RungShares> {
    let first = keys.first().map(|key| key.0);
    let mut shares = in_order_of_tiers(health);
    for (key, share) in keys.iter().zip(&mut shares) {
        if Some(key.0) != first && takes == BackupMode::First {
            share.mark.insert(Mark::FIRST);
        }
    }
    shares
}

/// The first tier with anybody takes all.
fn in_order_of_tiers(health: &[TierHealth]) -> Vec<RungShares> {
    all_to(health.iter().position(|tier| tier.usable + tier.degraded > 0), health)
}

/// Plainly usable endpoints in the order of tiers, then degraded ones: what a cluster does without a failover.
fn in_order(health: &[TierHealth]) -> Vec<RungShares> {
    all_to(
        health
            .iter()
            .position(|tier| tier.usable > 0)
            .or_else(|| health.iter().position(|tier| tier.degraded > 0)),
        health,
    )
}

fn all_to(chosen: Option<usize>, health: &[TierHealth]) -> Vec<RungShares> {
    let mut shares = vec![RungShares::default(); health.len()];
    let chosen = chosen.or_else(|| health.iter().position(|tier| tier.total > 0));
    if let Some(rung) = chosen.filter(|&rung| rung < health.len()) {
        if health[rung].usable == 0 && health[rung].degraded > 0 {
            shares[rung].degraded = ONE;
        } else {
            shares[rung].usable = ONE;
        }
    }
    shares
}
