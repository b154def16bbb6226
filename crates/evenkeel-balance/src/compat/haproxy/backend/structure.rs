//! What the servers of a backend are looked up in, and how it follows them.

use super::super::balance::Balance;
use super::super::consistent::{Bound, Consistent};
use super::super::first::First;
use super::super::hash_type::Method;
use super::super::least_conn::LeastConn;
use super::super::map::Map;
use super::super::round_robin::RoundRobin;
use super::super::server::SCALE;
use super::{Backend, State, Usable};

/// What servers are looked up in; of two, the second one holds the backups.
#[derive(Clone, Debug)]
pub(super) enum Structure {
    RoundRobin(Box<[RoundRobin; 2]>),
    Map(Map),
    LeastConn([LeastConn; 2]),
    First([First; 2]),
    Consistent(Consistent),
}

impl Backend {
    /// Makes the structure, as at the start of the program.
    pub(super) fn build(&mut self) {
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
    pub(super) fn points(&self) -> Vec<(usize, usize, u32, u32)> {
        let usable = self.servers.iter().enumerate().filter(|(_, state)| state.is_usable());
        usable.map(|(server, state)| (state.group, server, state.id, state.weight * SCALE)).collect()
    }

    pub(super) fn move_in_structure(&mut self, server: usize, before: Option<u32>, now: Option<u32>) {
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

    pub(super) fn hold_all(&mut self) {
        for server in 0..self.len() {
            self.servers[server].held = self.wants_to_be_held(server);
        }
        self.recount();
    }

    /// The effective weight of a server, if it is usable.
    pub(super) fn wants_to_be_held(&self, server: usize) -> Option<u32> {
        let state = self.servers.get(server).filter(|state| state.is_usable())?;
        Some(if self.is_map() { state.weight.div_ceil(self.divisor) } else { state.weight * SCALE })
    }

    pub(super) fn recount(&mut self) {
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
    pub(super) fn deal(&mut self) {
        let weight = self.weight_in_use();
        let group = usize::from(self.usable.count[0] == 0);
        let Structure::Map(map) = &mut self.structure else { return };
        let members = self.servers.iter().enumerate().filter(|(_, state)| state.group == group);
        let members: Vec<_> = members.filter_map(|(server, state)| Some((server, state.held?))).collect();
        map.deal(&members, weight);
    }

    pub(super) const fn is_map(&self) -> bool {
        matches!(self.structure, Structure::Map(_))
    }

    pub(super) fn at(&self, group: usize, hash: u32, mut admits: impl FnMut(usize) -> bool) -> Option<usize> {
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

    pub(super) fn in_turn(&mut self, group: usize, mut admits: impl FnMut(usize) -> bool) -> Option<usize> {
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

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
