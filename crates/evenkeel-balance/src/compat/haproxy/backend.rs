use std::net::IpAddr;

use super::balance::{BackendConfig, Balance};
use super::map::Map;
use super::server::{Admin, InvalidBackend, InvalidWeight, MOST_SERVERS, MOST_WEIGHT, Server, ids};
use structure::Structure;

mod structure;
mod succession;
#[cfg(test)]
mod tests;

/// One backend of HAProxy 2.6: picks servers as HAProxy does, pick for pick.
///
/// It is told what happens (connections taken and released, what an operator orders, what checks find) and asked where the
/// next request goes. It reads no clock and draws nothing.
///
/// ```
/// use evenkeel_balance::compat::haproxy::{Backend, BackendConfig, Server};
///
/// let servers = [Server::weighing(5), Server::weighing(1), Server::weighing(1)];
/// let mut backend = Backend::new(BackendConfig::default(), &servers)?;
/// let picks: Vec<_> = (0..7).filter_map(|_| backend.choose(None)).collect();
/// assert_eq!(picks, [0, 0, 0, 1, 0, 0, 2]);
/// # Ok::<(), evenkeel_balance::compat::haproxy::InvalidBackend>(())
/// ```
#[derive(Clone, Debug)]
pub struct Backend {
    config: BackendConfig,
    servers: Vec<State>,
    structure: Structure,
    connections: u32,
    /// What map weights are divided by.
    divisor: u32,
    usable: Usable,
}

/// The servers of each kind that take requests.
#[derive(Clone, Copy, Debug, Default)]
struct Usable {
    /// How many: active ones, backups.
    count: [usize; 2],
    /// Their effective weights.
    weight: [u32; 2],
    /// The one backup that is used alone.
    first_backup: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    configured_weight: u32,
    weight: u32,
    id: u32,
    group: usize,
    admin: Admin,
    is_up: bool,
    max_connections: Option<u32>,
    connections: u32,
    /// Whether the structures hold it, and with which effective weight.
    held: Option<u32>,
}

impl State {
    fn new(server: Server, id: u32) -> Self {
        Self {
            configured_weight: server.weight,
            weight: server.weight,
            id,
            group: usize::from(server.is_backup),
            admin: if server.is_disabled { Admin::Maintenance } else { Admin::Ready },
            is_up: true,
            max_connections: server.max_connections,
            connections: 0,
            held: None,
        }
    }

    fn is_usable(&self) -> bool {
        self.weight > 0 && self.admin == Admin::Ready && self.is_up
    }

    fn has_room(&self) -> bool {
        self.max_connections.is_none_or(|most| self.connections < most)
    }
}

impl Backend {
    /// A backend of these servers, in the order of its section.
    ///
    /// # Errors
    ///
    /// [`InvalidBackend`], where HAProxy would refuse its configuration.
    pub fn new(config: BackendConfig, servers: &[Server]) -> Result<Self, InvalidBackend> {
        if let Some(factor) = config.hash_balance_factor.filter(|&factor| factor <= 100) {
            return Err(InvalidBackend::BalanceFactor { factor });
        }
        for (server, Server { weight, .. }) in servers.iter().enumerate() {
            check_weight(server, *weight)?;
        }
        let backups = servers.iter().filter(|server| server.is_backup).count();
        let count = backups.max(servers.len() - backups);
        if config.balance == Balance::RoundRobin && count > MOST_SERVERS {
            return Err(InvalidBackend::TooMany { count });
        }
        let ids = ids(servers)?;
        let mut backend = Self {
            config,
            servers: servers.iter().zip(ids).map(|(&server, id)| State::new(server, id)).collect(),
            structure: Structure::Map(Map::default()),
            connections: 0,
            divisor: 1,
            usable: Usable::default(),
        };
        backend.build();
        Ok(backend)
    }

    /// The number of servers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether there are no servers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The hash of a request's key, by `hash-type`.
    #[must_use]
    pub fn hash_key(&self, key: &[u8]) -> u32 {
        self.config.hash_type.hash(key)
    }

    /// The hash of a client's address, by `hash-type`.
    #[must_use]
    pub fn hash_source(&self, address: IpAddr) -> u32 {
        self.config.hash_type.hash_source(address)
    }

    /// Where the next request goes; `hash` is that of its key, if it has one. `None` if no server is usable, or none has
    /// room: the request then waits in HAProxy's queue, which is not part of this.
    ///
    /// A server that a hash leads to is returned even if it is full: the request waits for that one.
    pub fn choose(&mut self, hash: Option<u32>) -> Option<usize> {
        self.choose_among(hash, |_| true)
    }

    /// The same for a request that may not go everywhere. Whom it may not go to is passed over as if it were full, and
    /// from a server that a hash leads to it goes on to those behind it. `None` too if it may go nowhere.
    pub fn choose_among(
        &mut self,
        hash: Option<u32>,
        mut admits: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let group = usize::from(self.usable.count[0] == 0);
        if self.usable.count[group] == 0 {
            return None;
        }
        if let Some(alone) = self.alone()
            && !self.is_map()
        {
            return Some(alone).filter(|&server| admits(server));
        }
        match self.hash_to_use(hash) {
            Some(hash) => self.at(group, hash, admits),
            None => self.in_turn(group, admits),
        }
    }

    /// A connection to a server was taken.
    pub fn take(&mut self, server: usize) {
        self.set_connections(server, self.connections_of(server).saturating_add(1));
    }

    /// A connection to a server has ended.
    pub fn release(&mut self, server: usize) {
        self.set_connections(server, self.connections_of(server).saturating_sub(1));
    }

    /// The connections of a server.
    #[must_use]
    pub fn connections_of(&self, server: usize) -> u32 {
        self.servers.get(server).map_or(0, |state| state.connections)
    }

    /// A server has so many connections.
    pub fn set_connections(&mut self, server: usize, connections: u32) {
        let Some(state) = self.servers.get_mut(server) else { return };
        self.connections = self.connections.wrapping_sub(state.connections).wrapping_add(connections);
        state.connections = connections;
        if let (Structure::LeastConn(groups), Some(weight)) = (&mut self.structure, state.held) {
            groups[state.group].reposition(server, connections, weight);
        }
    }

    /// `set maxconn server`: a server takes so many connections at once; any number for `None`.
    pub fn set_max_connections(&mut self, server: usize, most: Option<u32>) {
        if let Some(state) = self.servers.get_mut(server) {
            state.max_connections = most;
        }
    }

    /// An operator orders a state. A server that leaves maintenance is up, until checks find otherwise.
    pub fn set_admin(&mut self, server: usize, admin: Admin) {
        self.change(server, |state| {
            state.is_up |= state.admin == Admin::Maintenance && admin != Admin::Maintenance;
            state.admin = admin;
        });
    }

    /// Checks find that a server is up, or not.
    pub fn set_up(&mut self, server: usize, is_up: bool) {
        self.change(server, |state| state.is_up = is_up);
    }

    /// `set weight`: another weight. Maps take no other than 0 and the configured one.
    ///
    /// # Errors
    ///
    /// [`InvalidWeight`], where HAProxy refuses the command; nothing has changed then.
    pub fn set_weight(&mut self, server: usize, weight: u32) -> Result<(), InvalidWeight> {
        let configured = self.configured_weight_of(server);
        if weight > MOST_WEIGHT {
            return Err(InvalidWeight::OutOfRange { weight });
        }
        if self.is_map() && weight != 0 && weight != configured {
            return Err(InvalidWeight::IsStatic { weight, configured });
        }
        self.change(server, |state| state.weight = weight);
        Ok(())
    }

    /// `set weight …%`: a part of the configured weight, rounded down, and at most 256.
    ///
    /// # Errors
    ///
    /// As [`set_weight`](Self::set_weight).
    pub fn set_weight_percent(&mut self, server: usize, percent: u32) -> Result<(), InvalidWeight> {
        let weight = self.configured_weight_of(server).saturating_mul(percent.min(MOST_PERCENT)) / 100;
        self.set_weight(server, weight.min(MOST_WEIGHT))
    }

    /// The weight of a server as it was configured.
    fn configured_weight_of(&self, server: usize) -> u32 {
        self.servers.get(server).map_or(0, |state| state.configured_weight)
    }

    /// The numbers of all servers.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.servers.iter().map(|state| state.id).collect()
    }

    /// Tells all servers at once whether they are up, which costs less than one after the other.
    pub(super) fn set_up_each(&mut self, is_up: impl Fn(usize) -> bool) {
        if !self.is_map() && !matches!(self.structure, Structure::Consistent(_)) {
            return (0..self.len()).for_each(|server| self.set_up(server, is_up(server)));
        }
        let mut has_changed = false;
        for (server, state) in self.servers.iter_mut().enumerate() {
            has_changed |= state.is_up != is_up(server);
            state.is_up = is_up(server);
        }
        if !has_changed {
            return;
        }
        self.hold_all();
        self.deal();
        let wanted = self.points();
        if let Structure::Consistent(consistent) = &mut self.structure {
            consistent.rebuild(&wanted);
        }
    }

    /// Changes a server, and its place in the structure if it became usable, unusable or heavier or lighter.
    fn change(&mut self, server: usize, change: impl FnOnce(&mut State)) {
        let Some(state) = self.servers.get_mut(server) else { return };
        change(state);
        let before = state.held;
        let now = self.wants_to_be_held(server);
        if before == now {
            return;
        }
        self.servers[server].held = now;
        self.move_in_structure(server, before, now);
        self.recount();
        self.deal();
    }

    /// The backup that is used alone, if it comes to that.
    fn alone(&self) -> Option<usize> {
        self.usable.first_backup.filter(|_| self.usable.count[0] == 0)
    }

    fn weight_in_use(&self) -> u32 {
        match self.alone() {
            Some(alone) => self.servers[alone].held.unwrap_or(0),
            None => self.usable.weight[usize::from(self.usable.count[0] == 0)],
        }
    }

    /// What to look up, if anything. With one server left HAProxy does not look for a key, except for a parameter.
    fn hash_to_use(&self, hash: Option<u32>) -> Option<u32> {
        let group = usize::from(self.usable.count[0] == 0);
        let is_single = self.alone().is_some() || self.usable.count[group] == 1;
        match self.config.balance {
            Balance::RoundRobin | Balance::StaticRr | Balance::LeastConn | Balance::First => None,
            Balance::UrlParam => hash,
            _ if is_single => Some(0),
            _ => hash,
        }
    }
}

fn check_weight(server: usize, weight: u32) -> Result<(), InvalidBackend> {
    if weight > MOST_WEIGHT { Err(InvalidBackend::Weight { server, weight }) } else { Ok(()) }
}

/// A larger part of a weight means 256 anyway.
const MOST_PERCENT: u32 = 25_600;
