//! Policies over what servers say of themselves. The choice is evenkeel's; how the word gets from a server to a client is the
//! engine's part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use evenkeel::balance::{LeastRequest, MemberList};
use evenkeel::balance::{ProbePool, ProbePoolConfig};
use evenkeel::{Caller, Event, InvalidPolicy, Mask, Members, Policy, Timestamp, View, Wants};
use parking_lot::Mutex;

use crate::scenario::PolledConfig;

/// Which server is at each position: its number is the id of the endpoint.
fn servers_of(members: &dyn Members) -> Vec<u32> {
    let positions = 0..members.weights().len();
    positions.map(|position| number_of(members.endpoint(position).id().as_str())).collect()
}

/// The id of an endpoint.
pub(crate) fn name_of(server: u32) -> String {
    format!("s{server}")
}

fn number_of(id: &str) -> u32 {
    id.trim_start_matches('s').parse().unwrap_or(u32::MAX)
}

/// Loads that servers told, by number.
#[derive(Debug)]
pub(crate) struct Loads(Box<[AtomicU32]>);

impl Loads {
    pub(crate) fn new(servers: usize) -> Self {
        Self((0..servers).map(|_| AtomicU32::new(0)).collect())
    }

    #[inline]
    pub(crate) fn set(&self, server: usize, load: u32) {
        if let Some(own) = self.0.get(server) {
            own.store(load, Ordering::Relaxed);
        }
    }

    fn get(&self, server: u32) -> u32 {
        self.0.get(server as usize).map_or(0, |load| load.load(Ordering::Relaxed))
    }
}

/// [`LeastRequest`] that reads [`Loads`] instead of what its own client has in flight.
#[derive(Debug)]
pub(crate) struct Polled {
    config: PolledConfig,
    rule: LeastRequest,
    loads: Arc<Loads>,
    servers: Vec<u32>,
}

impl Polled {
    pub(crate) fn new(config: PolledConfig, loads: Arc<Loads>) -> Result<Self, InvalidPolicy> {
        Self::of(config, loads, &MemberList::default())
    }

    fn of(config: PolledConfig, loads: Arc<Loads>, members: &dyn Members) -> Result<Self, InvalidPolicy> {
        let rule = LeastRequest::new(config.rule, members.weights())?;
        Ok(Self { config, rule, loads, servers: servers_of(members) })
    }
}

impl Policy for Polled {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        let told = Told { view, policy: self };
        if self.config.first_of_least {
            let open = view.mask().iter().filter(|&position| view.admits(position));
            return open.min_by_key(|&position| (told.load(position), position));
        }
        self.rule.choose(&told, caller)
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        Ok(Some(Arc::new(Self::of(self.config.clone(), Arc::clone(&self.loads), members)?)))
    }
}

/// The view with the loads that servers told.
struct Told<'a> {
    view: &'a dyn View,
    policy: &'a Polled,
}

impl View for Told<'_> {
    fn mask(&self) -> &Mask {
        self.view.mask()
    }

    fn load(&self, position: usize) -> u32 {
        self.policy.servers.get(position).map_or(0, |&server| self.policy.loads.get(server))
    }

    fn weight(&self, position: usize) -> u32 {
        self.view.weight(position)
    }

    fn admits(&self, position: usize) -> bool {
        self.view.admits(position)
    }

    fn admits_all(&self) -> bool {
        self.view.admits_all()
    }
}

/// A client's pool of answers to probes, and whom it wants to ask.
#[derive(Debug)]
pub(crate) struct Desk(Mutex<State>);

#[derive(Debug)]
struct State {
    pool: ProbePool,
    /// By position.
    servers: Vec<u32>,
    tokens: Vec<u64>,
    due: Vec<u32>,
}

impl Desk {
    pub(crate) fn new(config: ProbePoolConfig) -> Result<Self, InvalidPolicy> {
        let pool = ProbePool::new(config)?;
        Ok(Self(Mutex::new(State { pool, servers: Vec::new(), tokens: Vec::new(), due: Vec::new() })))
    }

    /// Whom the last picks want to ask.
    pub(crate) fn take_due(&self, into: &mut Vec<u32>) {
        into.append(&mut self.0.lock().due);
    }

    pub(crate) fn answer(&self, server: u32, in_flight: u32, latency: Duration, now: Timestamp) {
        let state = &mut *self.0.lock();
        // As a rule servers lie in the order of their numbers.
        let guess = state.servers.get(server as usize).filter(|&&there| there == server);
        let position = match guess {
            Some(_) => Some(server as usize),
            None => state.servers.iter().position(|&there| there == server),
        };
        if let Some(position) = position {
            state.pool.answer(position, in_flight, latency, now);
        }
    }
}

/// [`ProbePool`] as a policy.
#[derive(Debug)]
pub(crate) struct Probing(pub(crate) Arc<Desk>);

impl Policy for Probing {
    fn pick(&self, view: &dyn View, caller: &mut dyn Caller) -> Option<usize> {
        let State { pool, servers, due, .. } = &mut *self.0.0.lock();
        let chosen = pool.choose(view, caller);
        due.extend(pool.probes_due(view, caller).iter().filter_map(|&position| servers.get(position)));
        chosen
    }

    fn wants(&self) -> Wants {
        Wants::EVENTS | Wants::CLOCK | Wants::SEQUENCE
    }

    fn on_event(&self, event: Event) {
        if let Event::Failed(token) = event {
            let state = &mut *self.0.0.lock();
            if let Some(position) = state.tokens.iter().position(|&own| own == token) {
                state.pool.failed(position);
            }
        }
    }

    fn rebuild(&self, members: &dyn Members) -> Result<Option<Arc<dyn Policy>>, InvalidPolicy> {
        let state = &mut *self.0.0.lock();
        let servers = servers_of(members);
        let old = std::mem::take(&mut state.servers);
        state.pool.remap(|position| servers.iter().position(|server| old.get(position) == Some(server)));
        state.tokens = (0..servers.len()).map(|position| members.token(position)).collect();
        state.servers = servers;
        Ok(Some(Arc::new(Self(Arc::clone(&self.0)))))
    }
}
