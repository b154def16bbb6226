use std::sync::Arc;

use super::config::TableKind;
use super::hosts::{HashTable, Hosts};
use super::{EnvoyConfig, EnvoyPolicy, LeastRequest, LeastRequestSettings, RoundRobin, Weighted};
use crate::compat::key::request_hash;
use crate::compat::table_of_usable::TableOfUsable;
use crate::compat::turns_of_usable::{Rules, TurnsOfUsable};
use crate::{BuiltIn, Caller, Event, InvalidPolicy, Mask, Members, Policy, PolicySettings, View, Wants};

/// A cluster that picks as Envoy does; see the [module](super).
#[derive(Debug)]
pub struct Envoy {
    config: EnvoyConfig,
    weights: Arc<[u32]>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Table { kind: TableKind, hosts: Hosts, tables: TableOfUsable<HashTable> },
    RoundRobin(TurnsOfUsable<Started<RoundRobin>>),
    LeastRequest(LeastRequestSettings, TurnsOfUsable<Started<LeastRequest>>),
}

/// A machine, and the start that was drawn for it: Envoy keeps that for good.
#[derive(Clone, Debug)]
struct Started<M> {
    start: u64,
    machine: M,
}

impl PolicySettings for EnvoyConfig {
    fn build(&self, members: &dyn Members) -> Result<BuiltIn, InvalidPolicy> {
        Envoy::new(self.clone(), members).map(BuiltIn::dynamic)
    }
}

impl Envoy {
    /// The policy for these members.
    ///
    /// # Errors
    ///
    /// [`InvalidPolicy`], if a setting is out of range, or if the weights that a hash table is made of (of all endpoints,
    /// or under locality weights of the localities, or of the endpoints of one) add up to more than `u32::MAX`.
    pub fn new(config: EnvoyConfig, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        Self::succeeding(None, config, members)
    }

    fn succeeding(
        before: Option<&Form>,
        config: EnvoyConfig,
        members: &dyn Members,
    ) -> Result<Self, InvalidPolicy> {
        config.check_localities()?;
        let weights: Arc<[u32]> = members.weights().into();
        let form = match (config.policy.table()?, &config.policy) {
            (Some(kind), _) => {
                let hosts = Hosts::of(members, &config);
                // Most are up as a rule; whoever is not shows at the first pick.
                let positive = Mask::for_weights(&weights);
                let table = hosts
                    .table(kind, positive.iter())
                    .map_err(|error| InvalidPolicy::members("envoy", error.to_string()))?;
                Form::Table { kind, hosts, tables: TableOfUsable::new(table, &positive) }
            }
            (None, EnvoyPolicy::LeastRequest(settings)) => {
                let started = match before {
                    Some(Form::LeastRequest(_, turns)) => turns.machine(),
                    _ => None,
                };
                Form::LeastRequest(*settings, TurnsOfUsable::new(started))
            }
            (None, _) => {
                let started = match before {
                    Some(Form::RoundRobin(turns)) => turns.machine(),
                    _ => None,
                };
                Form::RoundRobin(TurnsOfUsable::new(started))
            }
        };
        Ok(Self { config, weights, form })
    }

    fn weighted(&self, usable: &[u32]) -> Vec<Weighted> {
        let weight = |position: u32| self.weights.get(position as usize).copied().unwrap_or(0);
        usable.iter().map(|&position| (position, weight(position))).collect()
    }

    /// Where the turns begin: as configured, as before, or drawn.
    fn start<M>(&self, before: Option<&Started<M>>, caller: &mut dyn Caller) -> u64 {
        match (&self.config.policy, before) {
            (EnvoyPolicy::RoundRobin(settings), None) => settings.start.unwrap_or_else(|| caller.draw()),
            (_, None) => caller.draw(),
            (_, Some(before)) => before.start,
        }
    }
}

impl Policy for Envoy {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        match &self.form {
            Form::Table { kind, hosts, tables } => {
                let hash = request_hash(caller);
                let current = || tables.get(view, |usable| hosts.table(*kind, usable).ok());
                let mut table = current();
                let first = table.host(hash);
                if let Some(position) = first.filter(|&position| view.is_open(position)) {
                    return Some(position);
                }
                if first.is_some_and(|position| !view.mask().contains(position)) {
                    // Others are usable than when it was built.
                    tables.has_changed();
                    table = current();
                }
                table.open_host(hash, view).or_else(|| nth_open(view, hash))
            }
            Form::RoundRobin(turns) => turns.pick(self, view, caller),
            Form::LeastRequest(_, turns) => turns.pick(self, view, caller),
        }
    }

    fn wants(&self) -> Wants {
        match &self.form {
            Form::Table { .. } => Wants::EVENTS | Wants::KEY,
            Form::RoundRobin(_) => Wants::EVENTS | Wants::SEQUENCE,
            Form::LeastRequest(..) => Wants::EVENTS | Wants::LOADS | Wants::SEQUENCE,
        }
    }

    fn on_event(&self, event: Event) {
        if let Event::Up(_) | Event::Down(_) = event {
            match &self.form {
                Form::Table { tables, .. } => tables.has_changed(),
                Form::RoundRobin(turns) => turns.has_changed(),
                Form::LeastRequest(_, turns) => turns.has_changed(),
            }
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let new = Self::succeeding(Some(&self.form), self.config.clone(), members)?;
        Ok(Some(Arc::new(new)))
    }
}

impl HashTable {
    fn host(&self, hash: u64) -> Option<usize> {
        match self {
            Self::Ring(ring) => ring.host(hash),
            Self::Maglev(table) => table.host(hash),
        }
        .map(|host| host as usize)
    }

    /// The first open host among those that Envoy's further attempts go to: the next points of a ring, other slots of a
    /// table.
    #[cold]
    fn open_host(&self, hash: u64, view: &dyn View) -> Option<usize> {
        let is_open = |host: &usize| view.is_open(*host);
        match self {
            Self::Ring(ring) => ring.walk(hash).take(MOST_STEPS).map(|host| host as usize).find(is_open),
            Self::Maglev(table) => (0..=MOST_ATTEMPTS)
                .filter_map(|attempt| table.host_at(hash, attempt))
                .map(|host| host as usize)
                .find(is_open),
        }
    }
}

/// Points of a ring that are asked before one scan decides: as many as a ring has by default, and more.
const MOST_STEPS: usize = 4096;
/// Slots of a table that are asked before one scan decides.
const MOST_ATTEMPTS: u32 = 32;

/// An open position that the hash decides, where no table helps: it holds nobody that is open.
#[cold]
fn nth_open(view: &dyn View, hash: u64) -> Option<usize> {
    let open = || view.mask().iter().filter(|&position| view.admits(position));
    let count = open().count();
    let index = hash.checked_rem(count as u64)? as usize;
    // The mask may have changed since the count.
    open().nth(index).or_else(|| open().last())
}

impl Rules<Started<RoundRobin>> for Envoy {
    fn make(
        &self,
        usable: &[u32],
        before: Option<&Started<RoundRobin>>,
        _: &dyn View,
        caller: &mut dyn Caller,
    ) -> Started<RoundRobin> {
        let start = self.start(before, caller);
        let hosts = self.weighted(usable);
        // A rotation goes on where it was; a schedule begins at its start again.
        let place = before.and_then(|before| before.machine.place());
        let is_rotation = hosts.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let begin = place.filter(|_| is_rotation).unwrap_or(start);
        Started { start, machine: RoundRobin::new(&hosts, begin) }
    }

    fn next(&self, turns: &mut Started<RoundRobin>, _: &dyn View, _: &mut dyn Caller) -> Option<u32> {
        turns.machine.pick()
    }
}

impl Rules<Started<LeastRequest>> for Envoy {
    fn make(
        &self,
        usable: &[u32],
        before: Option<&Started<LeastRequest>>,
        view: &dyn View,
        caller: &mut dyn Caller,
    ) -> Started<LeastRequest> {
        let start = self.start(before, caller);
        let settings = match &self.form {
            Form::LeastRequest(settings, _) => *settings,
            _ => LeastRequestSettings::default(),
        };
        let active = |host: u32| u64::from(view.load(host as usize));
        let machine = LeastRequest::new(settings, &self.weighted(usable), start, active);
        Started { start, machine: machine.expect("the settings were checked when the policy was built") }
    }

    fn next(
        &self,
        turns: &mut Started<LeastRequest>,
        view: &dyn View,
        caller: &mut dyn Caller,
    ) -> Option<u32> {
        turns.machine.pick(|host| u64::from(view.load(host as usize)), || caller.draw())
    }
}
