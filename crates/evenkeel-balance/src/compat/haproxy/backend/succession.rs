//! The backend that takes over when the servers of a section change.

use super::super::server::{InvalidBackend, Server};
use super::Backend;
use super::structure::Structure;

impl Backend {
    /// The same backend for other servers: `from[new]` is the old number of a server that stays. Round robin, least
    /// connections and rings go on where they stand.
    pub(in super::super) fn successor(
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
                consistent.set_last(old.last());
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
}
