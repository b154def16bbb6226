use super::queue::{Aside, Queue};
use super::server::MOST_EFFECTIVE;

/// `balance leastconn` for one group of servers: in order of connections for each unit of weight.
///
/// A server without connections goes before all others, whatever its weight; otherwise by (connections + 1) ÷ weight.
/// Among equals goes first who has been standing there longest.
#[derive(Clone, Debug)]
pub(crate) struct LeastConn {
    queue: Queue,
    aside: Aside,
}

impl LeastConn {
    /// An empty group for servers `0..servers`.
    pub(crate) fn new(servers: usize) -> Self {
        Self { queue: Queue::new(servers), aside: Aside::new(servers) }
    }

    /// The first server that `has_room`. O(1) for the first, O(log n) for each one passed over.
    pub(crate) fn choose(&mut self, has_room: impl FnMut(usize) -> bool) -> Option<usize> {
        self.queue.find(&mut self.aside, has_room)
    }

    /// A server came, or its weight changed: it goes behind its equals. O(log n).
    pub(crate) fn place(&mut self, server: usize, connections: u32, weight: u32) {
        self.queue.remove(server);
        self.queue.insert(server, key(connections, weight));
    }

    /// A server of the group took or gave back a connection: it moves only if that changes its key. O(log n).
    pub(crate) fn reposition(&mut self, server: usize, connections: u32, weight: u32) {
        if self.queue.key(server).is_some_and(|old| old != key(connections, weight)) {
            self.place(server, connections, weight);
        }
    }

    /// A server left.
    pub(crate) fn down(&mut self, server: usize) {
        self.queue.remove(server);
    }

    /// The same order for servers under other numbers.
    pub(crate) fn renumbered(&self, from: &[Option<usize>]) -> Self {
        Self { queue: self.queue.renumbered(from), aside: Aside::new(from.len()) }
    }
}

/// In 32 bits that wrap, as in HAProxy.
fn key(connections: u32, weight: u32) -> u32 {
    match connections {
        0 => 0,
        _ => connections.wrapping_add(1).wrapping_mul(MOST_EFFECTIVE) / weight.max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_connections_for_each_unit_of_weight() {
        assert_eq!(key(0, 4096), 0);
        assert_eq!((key(1, 16), key(3, 16), key(3, 32)), (512, 1024, 512));
    }

    #[test]
    fn equals_take_turns() {
        let mut group = LeastConn::new(3);
        for server in 0..3 {
            group.place(server, 0, 16);
        }
        let mut picks = Vec::new();
        for _ in 0..5 {
            let server = group.choose(|_| true).unwrap();
            group.reposition(server, 1, 16);
            group.reposition(server, 0, 16);
            picks.push(server);
        }
        assert_eq!(picks, [0, 1, 2, 0, 1]);
        assert_eq!(group.choose(|server| server == 1), Some(1));
        group.down(2);
        assert_eq!(group.choose(|_| true), Some(0));
    }
}
