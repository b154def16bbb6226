//! Works out what every group of endpoints gets: first the tiers, then the zones of each. Off the path of picks: when a flip
//! changed a number, when an update changed the groups, and while a tier that was away gets its share back.

use evenkeel_route::failover::{StaticResponse, TierHappened, TierHealth};
use evenkeel_types::{Locality, Timestamp};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::control::Control;
use crate::failover_mode::FailoverMode;
use crate::locality_config::{LocalityConfig, ZoneBy};
use crate::observer::TierNotice;
use crate::shares::{Mark, RungShares, Shares};
use crate::tally::{Sum, Sums, Tally};
use crate::tier_machine::{RungKey, TierMachine};
use crate::zone_choice::ZoneChoice;
use crate::zone_shares::{self, ZoneHealth};
use crate::zones::Zoning;

pub(crate) struct Planner {
    pub(crate) failover: Option<FailoverMode>,
    pub(crate) locality: Option<LocalityConfig>,
    pub(crate) zoning: Option<Zoning>,
    /// What decides about the zone of each request, if shares do not.
    pub(crate) choice: Option<ZoneChoice>,
    memory: Mutex<Memory>,
}

struct Memory {
    /// The shares that were worked out last; older ones are not written any more.
    id: u64,
    next_id: u64,
    machine: TierMachine,
    callers: Vec<(Locality, u32)>,
    /// The deadline for which a timer waits.
    armed: Timestamp,
    /// When reports are looked at again.
    next_look: Timestamp,
    panics: Vec<RungKey>,
}

/// What changed, to be told when no lock is held.
pub(crate) type TierNews = SmallVec<[TierNotice; 1]>;

/// How a rung stands, for reports.
pub(crate) struct RungState {
    pub(crate) is_left: bool,
    /// What it could take and does not get yet, in parts of 2^32.
    pub(crate) held_back: u64,
}

impl Planner {
    pub(crate) fn new(
        failover: Option<FailoverMode>,
        locality: Option<LocalityConfig>,
        hash_key: (u64, u64),
    ) -> Option<Self> {
        if failover.is_none() && locality.is_none() {
            return None;
        }
        let by = locality.as_ref().map_or(ZoneBy::Zone, LocalityConfig::by);
        let callers = locality.iter().flat_map(LocalityConfig::callers);
        let callers = callers.map(|callers| (by.zone(&callers.at), callers.count)).collect();
        let memory = Memory {
            id: 0,
            next_id: 1,
            machine: TierMachine::new(failover.as_ref()),
            callers,
            armed: Timestamp::MAX,
            next_look: Timestamp::ORIGIN,
            panics: Vec::new(),
        };
        let zoning = locality.as_ref().map(|locality| Zoning::new(locality, hash_key));
        let choice = locality.as_ref().and_then(ZoneChoice::new);
        Some(Self { failover, locality, zoning, choice, memory: Mutex::new(memory) })
    }

    pub(crate) fn response(&self) -> Option<&StaticResponse> {
        self.failover.as_ref().and_then(FailoverMode::response)
    }

    /// Whether endpoints count, and not their weights: for tiers, as Envoy does unless it is told otherwise.
    const fn counts_endpoints(&self) -> bool {
        matches!(self.failover, Some(FailoverMode::Envoy(_)))
    }

    pub(crate) const fn is_by_percent(&self) -> bool {
        self.counts_endpoints()
    }

    /// A number for the next shares.
    pub(crate) fn next_id(&self) -> u64 {
        let mut memory = self.memory.lock();
        memory.next_id += 1;
        memory.next_id
    }

    /// There was nobody: what was learnt about tiers is about others.
    pub(crate) fn forget(&self) {
        let mut memory = self.memory.lock();
        memory.machine = TierMachine::new(self.failover.as_ref());
        memory.panics.clear();
    }

    /// Knows the callers of each zone from now on.
    pub(crate) fn set_callers(&self, callers: impl IntoIterator<Item = (Locality, u32)>) {
        let by = self.locality.as_ref().map_or(ZoneBy::Zone, LocalityConfig::by);
        let mut sums: Vec<(Locality, u32)> = Vec::new();
        for (at, count) in callers {
            let at = by.zone(&at);
            match sums.iter_mut().find(|(known, _)| *known == at) {
                Some((_, sum)) => *sum = sum.saturating_add(count),
                None => sums.push((at, count)),
            }
        }
        self.memory.lock().callers = sums;
    }

    /// How often somebody has to look at what endpoints report.
    pub(crate) const fn period(&self) -> Option<std::time::Duration> {
        match &self.locality {
            Some(LocalityConfig::LoadAware(config)) => Some(config.period),
            _ => None,
        }
    }

    /// Works the shares out anew and writes them, unless later ones were written. O(groups).
    pub(crate) fn rebalance(&self, shares: &Shares, control: &Control) -> TierNews {
        let now = control.now();
        let mut memory = self.memory.lock();
        let memory = &mut *memory;
        if shares.id < memory.id {
            return TierNews::new();
        }
        memory.id = shares.id;
        let sums: Vec<Sums> = shares.rungs.iter().flat_map(|rung| shares.sums(rung)).collect();
        let health: Vec<TierHealth> =
            shares.rungs.iter().map(|rung| self.health(&sums[rung.groups.clone()])).collect();
        let keys: Vec<RungKey> = shares.rungs.iter().map(|rung| (rung.priority, rung.part)).collect();
        let starting = |rung: usize| shares.is_anybody_starting(rung);
        let (mut rungs, mut happened) =
            memory.machine.share(self.failover.as_ref(), &keys, &health, &starting, now);
        for (index, rung) in rungs.iter_mut().enumerate() {
            let of_rung = shares.rungs[index].groups.clone();
            let zones: Vec<ZoneHealth<'_>> = of_rung
                .map(|group| ZoneHealth {
                    zone: shares.groups[group].zone.as_deref(),
                    sums: sums[group],
                    utilisation: shares.groups[group].masks.tally.as_ref().and_then(Tally::utilisation),
                })
                .collect();
            let is_open = rung.mark.contains(Mark::OPEN);
            let part_of = |degraded| match (is_open, degraded) {
                (true, _) => zone_shares::Part::All,
                (false, true) => zone_shares::Part::Degraded,
                (false, false) => zone_shares::Part::Usable,
            };
            let strangers = self.choice.as_ref().and_then(ZoneChoice::of_strangers);
            let share = |degraded| {
                let rule = zone_shares::Rule {
                    config: self.locality.as_ref(),
                    callers: &memory.callers,
                    strangers: strangers.as_deref(),
                };
                zone_shares::shares(rule, &zones, part_of(degraded), index)
            };
            rung.zones = [share(false), share(true)];
            if let Some(LocalityConfig::ClientRegion(config)) = &self.locality {
                for (group, degraded) in
                    shares.rungs[index].groups.clone().flat_map(|g| [(g, false), (g, true)])
                {
                    let zone = &zones[group - shares.rungs[index].groups.start];
                    let part = zone_shares::bears(config.overprovisioning_percent, zone, part_of(degraded));
                    shares.set_bears(group, degraded, part);
                }
            }
        }
        shares.set(&rungs);
        self.note_panics(memory, &keys, &rungs, &mut happened);
        self.arm(memory, control, now);
        happened
            .into_iter()
            .map(|((priority, part), happened)| TierNotice {
                priority,
                in_subset: part == crate::snapshot::Part::Inside,
                happened,
            })
            .collect()
    }

    fn health(&self, groups: &[Sums]) -> TierHealth {
        let by = |sum: Sum| sum.by(!self.counts_endpoints());
        groups.iter().fold(TierHealth::default(), |tier, sums| TierHealth {
            total: tier.total.saturating_add(by(sums.total())),
            usable: tier.usable.saturating_add(by(sums.preferred)),
            degraded: tier.degraded.saturating_add(by(sums.degraded)),
        })
    }

    /// Tells where panic begins and ends: by the marks, so that it is the same for all modes.
    fn note_panics(
        &self,
        memory: &mut Memory,
        keys: &[RungKey],
        rungs: &[RungShares],
        happened: &mut Vec<(RungKey, TierHappened)>,
    ) {
        let in_panic = keys.iter().zip(rungs).filter(|(_, rung)| rung.mark.contains(Mark::PANIC));
        let panics: Vec<RungKey> = in_panic.map(|(key, _)| *key).collect();
        let began = panics.iter().filter(|key| !memory.panics.contains(key));
        happened.extend(began.map(|key| (*key, TierHappened::PanicBegan)));
        let ended = memory.panics.iter().filter(|key| !panics.contains(key));
        happened.extend(ended.map(|key| (*key, TierHappened::PanicEnded)));
        memory.panics = panics;
    }

    fn arm(&self, memory: &mut Memory, control: &Control, now: Timestamp) {
        let next = memory.machine.next_deadline();
        let look = self.period().map(|period| {
            if memory.next_look <= now {
                memory.next_look = now.saturating_add(period);
            }
            memory.next_look
        });
        let Some(next) = next.into_iter().chain(look).min() else { return };
        // One that is armed and not due yet will come; it looks at what is next then.
        if memory.armed <= now || next < memory.armed {
            memory.armed = next;
            control.timers.add_tiers(next);
        }
    }

    /// The timer came.
    pub(crate) fn disarm(&self) {
        self.memory.lock().armed = Timestamp::MAX;
    }

    /// How the rungs stand, for reports.
    pub(crate) fn states(&self, shares: &Shares) -> Vec<RungState> {
        let memory = self.memory.lock();
        let state = |rung: &crate::shares::Rung| {
            let (is_left, held_back) = memory.machine.state((rung.priority, rung.part));
            RungState { is_left, held_back }
        };
        shares.rungs.iter().map(state).collect()
    }
}
