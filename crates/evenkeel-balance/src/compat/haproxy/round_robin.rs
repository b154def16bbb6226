use super::queue::Queue;
use super::server::{MOST_EFFECTIVE, SCALE};

/// `balance roundrobin` for one group of servers: HAProxy's fast weighted round robin.
///
/// Servers stand on a line; each takes a place and comes again `total weight / own weight` places later. Three queues hold
/// them: *init*, heaviest first, who have no place yet; *current*, by place; *next*, heaviest first, who have had all
/// their places of this round. When the first two are used up, the next queue becomes init and a new round begins. Weights
/// are effective ones: 16 for each configured unit.
///
/// Arithmetic wraps at 32 bits, as it does in HAProxy.
#[derive(Clone, Debug)]
pub(crate) struct RoundRobin {
    /// Two that take turns as init and next, and current.
    queues: [Queue; 3],
    init: usize,
    servers: Vec<Server>,
    current_weight: u32,
    next_weight: u32,
    position: u32,
    /// Who was passed over in this pick, kept between picks so that they allocate nothing.
    passed: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Server {
    weight: u32,
    next: u32,
    last: u32,
    remainder: u32,
    queue: Option<usize>,
}

impl RoundRobin {
    /// A group of these effective weights; who has none is not in it yet.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let count = weights.len();
        let total = weights.iter().fold(0_u32, |sum, &weight| sum.wrapping_add(weight));
        let mut group = Self {
            queues: [Queue::new(count), Queue::new(count), Queue::new(count)],
            init: 0,
            servers: weights.iter().map(|&weight| Server { weight, ..Server::default() }).collect(),
            current_weight: total,
            next_weight: total,
            position: total,
            passed: Vec::with_capacity(count),
        };
        for server in (0..count).filter(|&server| weights[server] > 0) {
            group.queue_by_weight(group.init, server);
        }
        group
    }

    /// The next server that `has_room`; the others that were met are put back. O(log n) for each that is met.
    pub(crate) fn choose(&mut self, mut has_room: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut has_switched = false;
        let found = loop {
            if self.current_weight == 0 {
                self.current_weight = self.next_weight;
                self.position = self.next_weight;
            }
            let Some(server) = self.head() else {
                if has_switched {
                    break None;
                }
                has_switched = true;
                self.switch();
                continue;
            };
            self.advance(server);
            if has_room(server) {
                break Some(server);
            }
            self.passed.push(server as u32);
        };
        if let Some(server) = found {
            self.queue(server);
        }
        // Whoever lost its place with the old round has only its weight left.
        while let Some(server) = self.passed.pop() {
            if has_switched {
                self.queue_by_weight(self.init, server as usize);
            } else {
                self.queue(server as usize);
            }
        }
        found
    }

    /// A server came, or came back. It must not be in the group.
    pub(crate) fn up(&mut self, server: usize, weight: u32) {
        self.next_weight = self.next_weight.wrapping_add(weight);
        self.servers[server].weight = weight;
        self.enter(server);
    }

    /// A server left. It must be in the group.
    pub(crate) fn down(&mut self, server: usize) {
        self.next_weight = self.next_weight.wrapping_sub(self.servers[server].weight);
        self.dequeue(server);
        self.servers[server].queue = None;
    }

    /// Another weight, above zero, for a server of the group.
    pub(crate) fn reweigh(&mut self, server: usize, weight: u32) {
        let Some(queue) = self.servers[server].queue else { return };
        let old = self.servers[server].weight;
        self.next_weight = self.next_weight.wrapping_sub(old).wrapping_add(weight);
        self.servers[server].weight = weight;
        self.dequeue(server);
        if queue == self.init {
            return self.queue_by_weight(self.init, server);
        }
        let step = self.next_weight / weight.max(1);
        let place = &mut self.servers[server];
        if queue == 1 - self.init {
            place.next = place.next.wrapping_add(self.current_weight);
        }
        place.next = place.next.min(place.last.wrapping_add(step));
        place.remainder = 0;
        if place.next < self.position.wrapping_add(2) {
            place.next = self.position.wrapping_add(step);
        }
        self.queue(server);
    }

    /// The same places for servers under other numbers: `from[new]` is the old number. Who has none is not in the group.
    pub(crate) fn renumbered(&self, from: &[Option<usize>]) -> Self {
        let server = |&old: &Option<usize>| old.and_then(|old| self.servers.get(old)).copied();
        Self {
            queues: [0, 1, CURRENT].map(|queue: usize| self.queues[queue].renumbered(from)),
            init: self.init,
            servers: from.iter().map(|old| server(old).unwrap_or_default()).collect(),
            current_weight: self.current_weight,
            next_weight: self.next_weight,
            position: self.position,
            passed: Vec::with_capacity(from.len()),
        }
    }

    /// Whose turn it is: the first of current if its place is reached, else the first of init, else the first of current.
    fn head(&mut self) -> Option<usize> {
        let current = self.queues[CURRENT].first();
        if current.is_some_and(|server| self.servers[server].next <= self.position) {
            return current;
        }
        let Some(fresh) = self.queues[self.init].first() else { return current };
        self.servers[fresh].next = 0;
        self.servers[fresh].remainder = 0;
        Some(fresh)
    }

    /// Takes a server off its queue and moves it on to its next place.
    fn advance(&mut self, server: usize) {
        let place = &mut self.servers[server];
        if place.next == 0 {
            place.next = self.position;
        }
        place.last = place.next;
        let weight = place.weight.max(1);
        place.next = place.next.wrapping_add(self.next_weight / weight);
        place.remainder = place.remainder.wrapping_add(self.next_weight % weight);
        if place.remainder >= weight {
            place.remainder -= weight;
            place.next = place.next.wrapping_add(1);
        }
        self.dequeue(server);
        self.position = self.position.wrapping_add(1);
    }

    fn switch(&mut self) {
        self.init = 1 - self.init;
        self.current_weight = self.next_weight;
        self.position = self.current_weight;
    }

    /// Gives a server its first place after an absence.
    fn enter(&mut self, server: usize) {
        let ahead = self.next_weight.wrapping_add(self.current_weight).wrapping_sub(self.position);
        let weight = self.servers[server].weight.max(1);
        self.servers[server].next = self.position.wrapping_add(ahead / weight);
        self.queue(server);
    }

    fn queue(&mut self, server: usize) {
        let place = &mut self.servers[server];
        let is_late = place.next >= self.current_weight.wrapping_mul(2)
            || place.next >= self.current_weight.wrapping_add(self.next_weight);
        if is_late {
            place.next = place.next.wrapping_sub(self.current_weight);
            return self.queue_by_weight(1 - self.init, server);
        }
        let behind = MOST_EFFECTIVE.wrapping_add(place.remainder).wrapping_sub(place.weight) / SCALE;
        let key = place.next.wrapping_mul(PLACES).wrapping_add(behind);
        place.queue = Some(CURRENT);
        self.queues[CURRENT].insert(server, key);
    }

    fn queue_by_weight(&mut self, queue: usize, server: usize) {
        self.servers[server].queue = Some(queue);
        self.queues[queue].insert(server, MOST_EFFECTIVE.wrapping_sub(self.servers[server].weight));
    }

    /// Takes a server off its queue; which queue that was stays known.
    fn dequeue(&mut self, server: usize) {
        if let Some(queue) = self.servers[server].queue {
            self.queues[queue].remove(server);
        }
    }
}

const CURRENT: usize = 2;
/// Keys of one place on the line: by weight among those who share it.
const PLACES: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(group: &mut RoundRobin, count: usize) -> String {
        (0..count)
            .filter_map(|_| group.choose(|_| true))
            .map(|server| char::from(b'a' + server as u8))
            .collect()
    }

    #[test]
    fn heavy_servers_come_often_and_evenly() {
        assert_eq!(letters(&mut RoundRobin::new(&[80, 16, 16]), 14), "aaabaacaaabaac");
        assert_eq!(letters(&mut RoundRobin::new(&[64, 32, 16]), 14), "aabacabaabacab");
        assert_eq!(letters(&mut RoundRobin::new(&[16, 16, 16]), 6), "abcabc");
        assert_eq!(letters(&mut RoundRobin::new(&[]), 6), "");
    }

    #[test]
    fn a_full_server_is_passed_over_and_keeps_its_part() {
        let mut group = RoundRobin::new(&[16, 16, 16]);
        let picks: Vec<_> = (0..4).map(|_| group.choose(|server| server != 1)).collect();
        assert!(!picks.contains(&Some(1)) && !picks.contains(&None), "{picks:?}");
        assert_eq!(group.choose(|_| false), None);
        assert!(letters(&mut group, 6).contains('b'));
    }

    #[test]
    fn a_group_that_was_empty_serves_whoever_comes() {
        let mut group = RoundRobin::new(&[0, 0]);
        assert_eq!(group.choose(|_| true), None);
        group.up(1, 32);
        assert_eq!(letters(&mut group, 3), "bbb");
        group.up(0, 32);
        let mixed = letters(&mut group, 40);
        assert!((15..25).contains(&mixed.matches('a').count()), "{mixed}");
        group.down(1);
        assert_eq!(letters(&mut group, 3), "aaa");
    }
}
