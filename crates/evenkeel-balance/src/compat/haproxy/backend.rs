use std::net::IpAddr;

use super::consistent::{Bound, Consistent};
use super::first::First;
use super::hash_type::{HashType, Method};
use super::least_conn::LeastConn;
use super::map::Map;
use super::round_robin::RoundRobin;
use super::server::{Admin, InvalidBackend, InvalidWeight, MOST_SERVERS, MOST_WEIGHT, SCALE, Server, ids};

/// `balance`: which algorithm. The names are HAProxy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Balance {
    /// In turn, by weights that can change while it runs. At most 4095 servers.
    #[default]
    #[cfg_attr(feature = "serde", serde(rename = "roundrobin"))]
    RoundRobin,
    /// In turn, by a map that is dealt when servers come and go.
    #[cfg_attr(feature = "serde", serde(rename = "static-rr", alias = "static_rr"))]
    StaticRr,
    /// The server with the fewest connections for its weight.
    #[cfg_attr(feature = "serde", serde(rename = "leastconn"))]
    LeastConn,
    /// The server of the lowest number that has room.
    First,
    /// By the hash of the client's address.
    Source,
    /// By the hash of the target: see [`UriKey`](super::UriKey).
    Uri,
    /// By the hash of a parameter of the query: see [`url_param`](super::url_param).
    UrlParam,
    /// By the hash of a header: see [`header_key`](super::header_key).
    Hdr,
    /// By the hash of whatever an expression gives.
    Hash,
}

/// What a backend section says besides its servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendConfig {
    /// `balance`.
    pub balance: Balance,
    /// `hash-type`, for the algorithms that hash.
    pub hash_type: HashType,
    /// `hash-balance-factor`, for consistent hashing: no server gets more than so many percent of the average load. Above
    /// 100; off unless set.
    pub hash_balance_factor: Option<u32>,
    /// `option allbackups`: all usable backups share the load, and not the first one alone.
    pub uses_all_backups: bool,
}

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

/// What servers are looked up in; of two, the second one holds the backups.
#[derive(Clone, Debug)]
enum Structure {
    RoundRobin(Box<[RoundRobin; 2]>),
    Map(Map),
    LeastConn([LeastConn; 2]),
    First([First; 2]),
    Consistent(Consistent),
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

    /// The same backend for other servers: `from[new]` is the old number of a server that stays. Round robin, least
    /// connections and rings go on where they stand.
    pub(super) fn successor(
        &self,
        servers: &[Server],
        from: &[Option<usize>],
    ) -> Result<Self, InvalidBackend> {
        let mut fresh = Self::new(self.config, servers)?;
        for (new, old) in from.iter().enumerate() {
            if let Some(old) = old.and_then(|old| self.servers.get(old)) {
                fresh.servers[new].is_up = old.is_up;
                fresh.set_connections(new, old.connections);
            }
        }
        fresh.build();
        match (&self.structure, &mut fresh.structure) {
            (Structure::Map(old), Structure::Map(map)) => map.set_turn(old.turn()),
            (Structure::Consistent(old), Structure::Consistent(consistent)) => {
                consistent.set_last(old.last())
            }
            (Structure::RoundRobin(_) | Structure::LeastConn(_), _) => fresh.go_on_from(self, from),
            _ => {}
        }
        Ok(fresh)
    }

    /// Takes over the queues of a predecessor: whoever left it leaves them, and whoever is new or weighs otherwise comes as
    /// if that had been ordered at run time.
    fn go_on_from(&mut self, old: &Self, from: &[Option<usize>]) {
        let mut old = old.clone();
        let mut has_left = vec![true; old.len()];
        for &server in from.iter().flatten() {
            has_left[server] = false;
        }
        for server in (0..old.len()).filter(|&server| has_left[server]) {
            old.move_in_structure(server, old.servers[server].held, None);
        }
        self.structure = match old.structure {
            Structure::RoundRobin(groups) => {
                Structure::RoundRobin(Box::new(groups.map(|group| group.renumbered(from))))
            }
            Structure::LeastConn(groups) => Structure::LeastConn(groups.map(|group| group.renumbered(from))),
            other => other,
        };
        for (new, old_number) in from.iter().enumerate() {
            let before = old_number.and_then(|number| old.servers[number].held);
            self.move_in_structure(new, before, self.servers[new].held);
        }
    }

    /// Makes the structure, as at the start of the program.
    fn build(&mut self) {
        let is_map = match self.config.balance {
            Balance::RoundRobin | Balance::LeastConn | Balance::First => false,
            Balance::StaticRr => true,
            _ => self.config.hash_type.method == Method::MapBased,
        };
        self.divisor = self.servers.iter().map(|state| state.configured_weight).fold(0, gcd).max(1);
        self.structure = Structure::Map(Map::default());
        if !is_map {
            self.structure = self.first_structure();
        }
        self.hold_all();
        self.deal();
    }

    fn first_structure(&self) -> Structure {
        let count = self.len();
        match self.config.balance {
            Balance::RoundRobin => {
                let weight = |group: usize, state: &State| match state.is_usable() && state.group == group {
                    true => state.weight * SCALE,
                    false => 0,
                };
                let weights =
                    |group| self.servers.iter().map(|state| weight(group, state)).collect::<Vec<_>>();
                Structure::RoundRobin(Box::new([0, 1].map(|group| RoundRobin::new(&weights(group)))))
            }
            Balance::LeastConn => {
                let mut groups = [LeastConn::new(count), LeastConn::new(count)];
                for (server, state) in self.servers.iter().enumerate().filter(|(_, state)| state.is_usable())
                {
                    groups[state.group].place(server, state.connections, state.weight * SCALE);
                }
                Structure::LeastConn(groups)
            }
            Balance::First => {
                let mut groups = [First::default(), First::default()];
                for (server, state) in self.servers.iter().enumerate().filter(|(_, state)| state.is_usable())
                {
                    groups[state.group].up(server, state.id);
                }
                Structure::First(groups)
            }
            _ => {
                let (mut before, mut weights) = ([0_u32; 2], Vec::with_capacity(count));
                for state in &self.servers {
                    weights.push(if state.is_usable() { before[state.group] } else { 0 });
                    let own = if state.is_usable() { state.weight * SCALE } else { 0 };
                    before[state.group] = before[state.group].wrapping_add(own);
                }
                let configured = self.servers.iter().map(|state| state.configured_weight * SCALE);
                let mut consistent = Consistent::new(weights, configured.collect());
                consistent.rebuild(&self.points());
                Structure::Consistent(consistent)
            }
        }
    }

    /// Group, number and count of points of every usable server.
    fn points(&self) -> Vec<(usize, usize, u32, u32)> {
        let usable = self.servers.iter().enumerate().filter(|(_, state)| state.is_usable());
        usable.map(|(server, state)| (state.group, server, state.id, state.weight * SCALE)).collect()
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

    fn move_in_structure(&mut self, server: usize, before: Option<u32>, now: Option<u32>) {
        let State { group, id, connections, .. } = self.servers[server];
        match (&mut self.structure, before, now) {
            (Structure::RoundRobin(groups), None, Some(weight)) => groups[group].up(server, weight),
            (Structure::RoundRobin(groups), Some(_), None) => groups[group].down(server),
            (Structure::RoundRobin(groups), Some(old), Some(weight)) if old != weight => {
                groups[group].reweigh(server, weight);
            }
            (Structure::LeastConn(groups), before, Some(weight)) if before != now => {
                groups[group].place(server, connections, weight);
            }
            (Structure::LeastConn(groups), _, None) => groups[group].down(server),
            (Structure::First(groups), _, Some(_)) => groups[group].up(server, id),
            (Structure::First(groups), _, None) => groups[group].down(server, id),
            (Structure::Consistent(consistent), _, now) => {
                consistent.set(group, server, id, now.unwrap_or(0));
            }
            _ => {}
        }
    }

    fn hold_all(&mut self) {
        for server in 0..self.len() {
            self.servers[server].held = self.wants_to_be_held(server);
        }
        self.recount();
    }

    /// The effective weight of a server, if it is usable.
    fn wants_to_be_held(&self, server: usize) -> Option<u32> {
        let state = self.servers.get(server).filter(|state| state.is_usable())?;
        Some(if self.is_map() { state.weight.div_ceil(self.divisor) } else { state.weight * SCALE })
    }

    fn recount(&mut self) {
        let mut usable = Usable::default();
        for (server, state) in self.servers.iter().enumerate() {
            let Some(weight) = state.held else { continue };
            usable.count[state.group] += 1;
            usable.weight[state.group] = usable.weight[state.group].wrapping_add(weight);
            if state.group == 1 && !self.config.uses_all_backups {
                usable.first_backup = usable.first_backup.or(Some(server));
            }
        }
        self.usable = usable;
    }

    /// Deals the map, if there is one. If one backup is used alone, there are only as many slots as it has weight; the
    /// others take part all the same, and one of more weight can take a slot: so does HAProxy.
    fn deal(&mut self) {
        let weight = self.weight_in_use();
        let group = usize::from(self.usable.count[0] == 0);
        let Structure::Map(map) = &mut self.structure else { return };
        let members = self.servers.iter().enumerate().filter(|(_, state)| state.group == group);
        let members: Vec<_> = members.filter_map(|(server, state)| Some((server, state.held?))).collect();
        map.deal(&members, weight);
    }

    const fn is_map(&self) -> bool {
        matches!(self.structure, Structure::Map(_))
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

    fn at(&self, group: usize, hash: u32, mut admits: impl FnMut(usize) -> bool) -> Option<usize> {
        match &self.structure {
            Structure::Map(map) => match map.at(hash) {
                Some(server) if admits(server) => Some(server),
                _ => map.at_or_after(hash, admits),
            },
            Structure::Consistent(consistent) => {
                let bound = self.config.hash_balance_factor.map(|factor| Bound {
                    factor,
                    connections: self.connections,
                    weight: self.weight_in_use(),
                });
                let is_eligible = |server: usize| {
                    let state = &self.servers[server];
                    bound.is_none_or(|bound| {
                        state.connections < consistent.slots(server, state.held.unwrap_or(0), bound)
                    })
                };
                let found = consistent.at(group, hash, |server| admits(server) && is_eligible(server));
                match found {
                    Some(server) if !admits(server) => {
                        consistent.at(group, hash, &mut admits).filter(|&server| admits(server))
                    }
                    found => found,
                }
            }
            _ => None,
        }
    }

    fn in_turn(&mut self, group: usize, mut admits: impl FnMut(usize) -> bool) -> Option<usize> {
        let servers = &self.servers;
        let has_room = |server: usize| admits(server) && servers[server].has_room();
        match &mut self.structure {
            Structure::RoundRobin(groups) => groups[group].choose(has_room),
            Structure::Map(map) => map.next(has_room),
            Structure::LeastConn(groups) => groups[group].choose(has_room),
            Structure::First(groups) => groups[group].choose(has_room),
            Structure::Consistent(consistent) => consistent.next(group, has_room),
        }
    }
}

fn check_weight(server: usize, weight: u32) -> Result<(), InvalidBackend> {
    if weight > MOST_WEIGHT { Err(InvalidBackend::Weight { server, weight }) } else { Ok(()) }
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A larger part of a weight means 256 anyway.
const MOST_PERCENT: u32 = 25_600;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BALANCES: [Balance; 9] = [
        Balance::RoundRobin,
        Balance::StaticRr,
        Balance::LeastConn,
        Balance::First,
        Balance::Source,
        Balance::Uri,
        Balance::UrlParam,
        Balance::Hdr,
        Balance::Hash,
    ];

    fn backend(balance: Balance, servers: &[Server]) -> Backend {
        Backend::new(BackendConfig { balance, ..BackendConfig::default() }, servers).expect("in range")
    }

    fn backup(weight: u32) -> Server {
        Server { is_backup: true, ..Server::weighing(weight) }
    }

    fn picks(backend: &mut Backend, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| backend.choose(None)).collect()
    }

    #[test]
    fn one_backup_serves_alone_unless_all_are_asked_for() {
        let servers = [Server::weighing(1), backup(2), backup(1)];
        for (uses_all_backups, expected) in [(false, [1, 1, 1]), (true, [1, 1, 2])] {
            for balance in [Balance::RoundRobin, Balance::StaticRr] {
                let config = BackendConfig { balance, uses_all_backups, ..BackendConfig::default() };
                let mut backend = Backend::new(config, &servers).expect("in range");
                assert_eq!(picks(&mut backend, 3), [0, 0, 0]);
                backend.set_admin(0, Admin::Drain);
                let mut served = picks(&mut backend, 3);
                served.sort_unstable();
                assert_eq!(served, expected, "{balance:?}");
                backend.set_up(1, false);
                assert_eq!(picks(&mut backend, 2), [2, 2], "{balance:?}");
            }
        }
    }

    /// HAProxy deals as many slots as the first backup has weight, but to all backups.
    #[test]
    fn a_heavier_backup_gets_into_the_map_of_the_first() {
        let servers = [Server::weighing(0), backup(2), backup(9)];
        assert_eq!(picks(&mut backend(Balance::StaticRr, &servers), 4), [2, 2, 2, 2]);
        assert_eq!(picks(&mut backend(Balance::RoundRobin, &servers), 4), [1, 1, 1, 1]);
    }

    #[test]
    fn maps_take_no_new_weights() {
        let servers = [Server::weighing(10), Server::weighing(4)];
        let mut map = backend(Balance::StaticRr, &servers);
        assert_eq!(map.set_weight(0, 5), Err(InvalidWeight::IsStatic { weight: 5, configured: 10 }));
        assert_eq!(map.set_weight_percent(0, 50), Err(InvalidWeight::IsStatic { weight: 5, configured: 10 }));
        assert_eq!(map.set_weight(0, 0), Ok(()));
        assert_eq!(picks(&mut map, 2), [1, 1]);
        assert_eq!(map.set_weight_percent(0, 100), Ok(()));
        assert!(picks(&mut map, 7).contains(&0));
        let mut turns = backend(Balance::RoundRobin, &servers);
        assert_eq!(turns.set_weight(0, 257), Err(InvalidWeight::OutOfRange { weight: 257 }));
        assert_eq!(turns.set_weight_percent(0, u32::MAX), Ok(()), "256 at most");
        assert_eq!(turns.set_weight_percent(1, 9), Ok(()), "rounded down to 0");
        assert_eq!(picks(&mut turns, 3), [0, 0, 0]);
    }

    /// Recorded from HAProxy 2.6.12: its walk ends the round over the backups before it comes back to the others.
    #[test]
    fn a_walk_over_backups_is_walked_to_its_end() {
        let servers = [Server::default(), Server::default(), backup(1), backup(1)];
        let hash_type = HashType::bare(Method::Consistent);
        let config = BackendConfig {
            balance: Balance::Hdr,
            hash_type,
            uses_all_backups: true,
            ..BackendConfig::default()
        };
        let mut backend = Backend::new(config, &servers).expect("in range");
        assert_eq!(picks(&mut backend, 5), [1, 0, 0, 0, 1]);
        (0..2).for_each(|server| backend.set_admin(server, Admin::Maintenance));
        assert_eq!(picks(&mut backend, 7), [2, 3, 3, 2, 3, 3, 2]);
        (0..2).for_each(|server| backend.set_admin(server, Admin::Ready));
        let rest = [3, 2, 2, 2, 2, 2, 3, 2, 2, 3, 2, 3, 3, 2, 3, 2, 3, 3, 2, 2, 3, 2, 3, 3, 3, 1, 0, 0, 0, 1];
        assert_eq!(picks(&mut backend, 30), rest);
    }

    #[test]
    fn whoever_leaves_maintenance_is_up() {
        let mut backend = backend(Balance::RoundRobin, &[Server::default()]);
        backend.set_up(0, false);
        backend.set_admin(0, Admin::Drain);
        backend.set_admin(0, Admin::Ready);
        assert_eq!(backend.choose(None), None);
        backend.set_admin(0, Admin::Maintenance);
        backend.set_admin(0, Admin::Ready);
        assert_eq!(backend.choose(None), Some(0));
    }

    /// A server that is down when its backend gets a successor was in the successor's map.
    #[test]
    fn who_is_down_stays_down_in_the_successor() {
        for balance in BALANCES {
            let servers = [Server::default(); 3];
            let mut old = backend(balance, &servers);
            old.set_up(1, false);
            let mut new = old.successor(&servers, &[Some(0), Some(1), Some(2)]).expect("in range");
            assert!(
                (0..9).all(|n| new.choose(Some(n)) != Some(1) && new.choose(None) != Some(1)),
                "{balance:?}"
            );
        }
    }

    #[test]
    fn the_bound_sends_hot_keys_on() {
        let hash_type = HashType::bare(Method::Consistent);
        let config = BackendConfig {
            balance: Balance::Hash,
            hash_type,
            hash_balance_factor: Some(150),
            ..BackendConfig::default()
        };
        let mut backend = Backend::new(config, &[Server::default(); 4]).expect("in range");
        let hash = Some(backend.hash_key(b"hot"));
        let mut counts = [0; 4];
        for _ in 0..100 {
            let server = backend.choose(hash).expect("all are usable");
            backend.take(server);
            counts[server] += 1;
        }
        assert!(counts.iter().all(|&count| count <= 38), "{counts:?}");
    }

    #[test]
    fn what_haproxy_refuses_is_refused() {
        let config = BackendConfig::default();
        let refusal = |config, servers: &[Server]| Backend::new(config, servers).expect_err("out of range");
        assert_eq!(
            refusal(config, &[Server::weighing(1), Server::weighing(257)]),
            InvalidBackend::Weight { server: 1, weight: 257 }
        );
        assert_eq!(refusal(config, &[Server::default(); 4096]), InvalidBackend::TooMany { count: 4096 });
        let one_group_each: Vec<_> =
            (0..8190).map(|n| if n % 2 == 0 { backup(1) } else { Server::default() }).collect();
        assert!(Backend::new(config, &one_group_each).is_ok());
        let config = BackendConfig { hash_balance_factor: Some(100), ..config };
        assert_eq!(refusal(config, &[]), InvalidBackend::BalanceFactor { factor: 100 });
    }

    #[derive(Clone, Debug)]
    enum Op {
        Choose(Option<u32>),
        ChooseWithout(Option<u32>, usize),
        Take(usize),
        Release(usize),
        Weight(usize, u32),
        Percent(usize, u32),
        Admin(usize, Admin),
        Up(usize, bool),
        UpEach(u32),
        Most(usize, Option<u32>),
        Successor(Vec<Option<usize>>),
    }

    fn op() -> impl Strategy<Value = Op> {
        let server = 0_usize..9;
        let admin = prop::sample::select(vec![Admin::Ready, Admin::Drain, Admin::Maintenance]);
        let hash = prop::option::of(any::<u32>());
        prop_oneof![
            8 => hash.clone().prop_map(Op::Choose),
            4 => (hash, server.clone()).prop_map(|(hash, server)| Op::ChooseWithout(hash, server)),
            4 => server.clone().prop_map(Op::Take),
            3 => server.clone().prop_map(Op::Release),
            2 => (server.clone(), 0_u32..300).prop_map(|(server, weight)| Op::Weight(server, weight)),
            1 => (server.clone(), any::<u32>()).prop_map(|(server, percent)| Op::Percent(server, percent)),
            2 => (server.clone(), admin).prop_map(|(server, admin)| Op::Admin(server, admin)),
            2 => (server.clone(), any::<bool>()).prop_map(|(server, is_up)| Op::Up(server, is_up)),
            1 => any::<u32>().prop_map(Op::UpEach),
            1 => (server.clone(), prop::option::of(0_u32..4)).prop_map(|(server, most)| Op::Most(server, most)),
            1 => Just((0..8).map(Some).chain([None, None]).collect::<Vec<_>>()).prop_shuffle().prop_map(Op::Successor),
        ]
    }

    fn server() -> impl Strategy<Value = Server> {
        let weight = prop_oneof![0_u32..8, 0..=MOST_WEIGHT];
        (weight, any::<[bool; 4]>()).prop_map(|(weight, [backup, a, b, c])| Server {
            is_backup: backup && a,
            is_disabled: b && c,
            ..Server::weighing(weight)
        })
    }

    fn config() -> impl Strategy<Value = BackendConfig> {
        let method = prop::sample::select(vec![Method::MapBased, Method::Consistent]);
        let factor = prop::option::of(prop_oneof![101_u32..300, Just(u32::MAX)]);
        (prop::sample::select(BALANCES.to_vec()), method, factor, any::<bool>()).prop_map(
            |(balance, method, hash_balance_factor, uses_all_backups)| BackendConfig {
                balance,
                hash_type: HashType::bare(method),
                hash_balance_factor,
                uses_all_backups,
            },
        )
    }

    impl Backend {
        /// Whether a request may go to a server now, as far as the server is concerned.
        fn takes(&self, server: usize) -> bool {
            let group = usize::from(self.servers.iter().all(|state| state.group == 1 || !state.is_usable()));
            self.servers[server].is_usable() && self.servers[server].group == group
        }

        /// Chooses, and checks what can be said of any choice.
        fn check(&mut self, hash: Option<u32>, without: Option<usize>) {
            let picked = self.choose_among(hash, |server| Some(server) != without);
            match picked {
                Some(server) => {
                    let walks = hash.is_none() && matches!(self.structure, Structure::Consistent(_));
                    let is_right = self.takes(server) || walks && self.servers[server].is_usable();
                    assert!(is_right && without != Some(server), "{server} of {self:?}");
                }
                None => {
                    // A walk over points that has not begun, and one backup alone, may fail although others have room.
                    let is_exact =
                        !matches!(self.structure, Structure::Consistent(_)) && self.alone().is_none();
                    let is_free = |server: usize| {
                        self.takes(server) && Some(server) != without && self.servers[server].has_room()
                    };
                    assert!(!is_exact || !(0..self.len()).any(is_free), "{self:?}");
                }
            }
        }

        fn perform(&mut self, op: Op) {
            match op {
                Op::Choose(hash) => self.check(hash, None),
                Op::ChooseWithout(hash, server) => self.check(hash, Some(server)),
                Op::Take(server) => self.take(server),
                Op::Release(server) => self.release(server),
                Op::Weight(server, weight) => {
                    let _ = self.set_weight(server, weight);
                }
                Op::Percent(server, percent) => {
                    let _ = self.set_weight_percent(server, percent);
                }
                Op::Admin(server, admin) => self.set_admin(server, admin),
                Op::Up(server, is_up) => self.set_up(server, is_up),
                Op::UpEach(mask) => self.set_up_each(|server| mask >> server & 1 == 1),
                Op::Most(server, most) => self.set_max_connections(server, most),
                Op::Successor(from) => {
                    let from: Vec<_> =
                        from.into_iter().map(|old| old.filter(|&old| old < self.len())).collect();
                    let server = |&old: &Option<usize>| {
                        let state = old.map(|old| self.servers[old]);
                        Server {
                            id: state.map(|state| state.id),
                            is_backup: state.is_some_and(|state| state.group == 1),
                            ..Server::weighing(state.map_or(3, |state| state.weight))
                        }
                    };
                    let servers: Vec<_> = from.iter().map(server).collect();
                    *self = self.successor(&servers, &from).expect("the weights are in range");
                }
            }
            assert_eq!(
                self.usable.count.iter().sum::<usize>(),
                self.servers.iter().filter(|state| state.is_usable()).count()
            );
        }
    }

    proptest! {
        #[test]
        fn any_sequence_of_events_leaves_a_backend_that_picks(
            config in config(),
            servers in prop::collection::vec(server(), 0..8),
            ops in prop::collection::vec(op(), 0..60),
        ) {
            let mut backend = Backend::new(config, &servers).expect("in range");
            for op in ops {
                backend.perform(op);
            }
        }

        #[test]
        fn turns_are_as_many_as_weights_say(weights in prop::collection::vec(1_u32..=256, 1..6)) {
            let servers: Vec<_> = weights.iter().map(|&weight| Server::weighing(weight)).collect();
            let total: u32 = weights.iter().sum();
            for balance in [Balance::RoundRobin, Balance::StaticRr] {
                let mut counts = vec![0_u32; servers.len()];
                for server in picks(&mut backend(balance, &servers), total as usize) {
                    counts[server] += 1;
                }
                for (&count, &weight) in counts.iter().zip(&weights) {
                    prop_assert!(count.abs_diff(weight) <= 2, "{balance:?} {counts:?} {weights:?}");
                }
            }
        }
    }
}
