use smallvec::SmallVec;

use super::super::peer::{Peer, State, whole_seconds};
use super::super::server::Server;
use super::super::smooth::{least_connected, smooth};
use super::{Place, Request};
use crate::compat::ketama::Ketama;

/// Servers that are asked together: those that are no backup, or those that are.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) peers: Vec<Peer>,
    marks: Vec<Marks>,
    pub(super) states: Vec<State>,
    /// For each peer the weights up to it and with it.
    sums: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Marks {
    place: Place,
    /// Servers of the same text have the same number: they share their points on the ring.
    owner: usize,
    down: bool,
    max_conns: u32,
}

impl Group {
    pub(super) fn new(servers: &[Server], owners: &[usize], is_backup: bool) -> Self {
        let mut group = Self::default();
        let mut sum = 0_u64;
        for (index, server) in servers.iter().enumerate().filter(|(_, server)| server.backup == is_backup) {
            for address in 0..server.addresses as usize {
                sum = sum.saturating_add(server.weight.into());
                group.sums.push(sum);
                group.marks.push(Marks {
                    place: Place { server: index, address },
                    owner: owners[index],
                    down: server.down,
                    max_conns: server.max_conns,
                });
                group.peers.push(Peer {
                    slot: group.states.len(),
                    weight: server.weight,
                    max_fails: server.max_fails,
                    fail_timeout: whole_seconds(server.fail_timeout),
                });
                group.states.push(State::default());
            }
        }
        group
    }

    pub(super) fn tries(&self) -> u32 {
        u32::try_from(self.marks.iter().filter(|marks| !marks.down).count()).unwrap_or(u32::MAX)
    }

    /// The only one, even if it keeps failing.
    pub(super) fn only(&self) -> Option<usize> {
        let (marks, state) = (self.marks.first()?, self.states.first()?);
        (!marks.down && !marks.is_full(state)).then_some(0)
    }

    pub(super) fn in_turn(&mut self, tried: &Tried, now: u64) -> Option<usize> {
        let Self { peers, marks, states, .. } = self;
        smooth(peers, states, 0, is_open(peers, marks, tried, now))
    }

    pub(super) fn least(&mut self, tried: &Tried, now: u64) -> Option<usize> {
        let Self { peers, marks, states, .. } = self;
        let is_open = is_open(peers, marks, tried, now);
        least_connected(peers, states, is_open, |_, state| state.connections)
    }

    /// The next of the request's chain, or in turn when it has none or it has ended.
    pub(super) fn chained(&mut self, request: &mut Request, ring: &Ketama, now: u64) -> Option<usize> {
        while request.chain.goes_on() {
            let found = match request.chain.ring_index() {
                Some(index) => self.of_owner(ring.owner(index)?, &request.tried, now),
                None => self.at_unit(request, now),
            };
            if found.is_some() {
                return found;
            }
            request.chain.missed();
        }
        self.in_turn(&request.tried, now)
    }

    /// In turn among the addresses of the servers of one text.
    fn of_owner(&mut self, owner: usize, tried: &Tried, now: u64) -> Option<usize> {
        let Self { peers, marks, states, .. } = self;
        let is_open = is_open(peers, marks, tried, now);
        smooth(peers, states, 0, |index, state| marks[index].owner == owner && is_open(index, state))
    }

    /// The peer that owns the next unit of weight of the chain, if it is open.
    fn at_unit(&self, request: &mut Request, now: u64) -> Option<usize> {
        let unit = request.chain.next_unit(&request.key, self.sums.last().copied().unwrap_or(0))?;
        let index = self.sums.partition_point(|&sum| sum <= unit);
        let is_open = is_open(&self.peers, &self.marks, &request.tried, now);
        is_open(index, self.states.get(index)?).then_some(index)
    }

    pub(super) fn take(&mut self, index: usize, now: u64, is_single: bool) -> Option<Place> {
        let (peer, state) = (self.peers.get(index)?, self.states.get_mut(index)?);
        if !is_single {
            peer.picked(state, now);
        }
        state.connections = state.connections.saturating_add(1);
        self.marks.get(index).map(|marks| marks.place)
    }

    pub(super) fn release(&mut self, index: usize, is_failure: bool, now: u64, is_single: bool) {
        let (Some(peer), Some(state)) = (self.peers.get(index), self.states.get_mut(index)) else { return };
        state.connections = state.connections.saturating_sub(1);
        match (is_single, is_failure) {
            (true, _) => {}
            (false, true) => peer.failed(state, now),
            (false, false) => state.served(),
        }
    }
}

impl Marks {
    const fn is_full(&self, state: &State) -> bool {
        self.max_conns > 0 && state.connections >= self.max_conns
    }
}

fn is_open(peers: &[Peer], marks: &[Marks], tried: &Tried, now: u64) -> impl Fn(usize, &State) -> bool {
    move |index, state| {
        let (peer, marks) = (&peers[index], &marks[index]);
        !marks.down && !tried.contains(index) && !peer.is_suspended(state, now) && !marks.is_full(state)
    }
}

/// A set of indexes.
#[derive(Clone, Debug, Default)]
pub(super) struct Tried(SmallVec<[u64; 2]>);

impl Tried {
    pub(super) fn insert(&mut self, index: usize) {
        if self.0.len() <= index / 64 {
            self.0.resize(index / 64 + 1, 0);
        }
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}
