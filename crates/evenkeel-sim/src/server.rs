//! A server: some requests are served at once, at a speed that depends on how many they are, and the others wait in line.
//!
//! **Idea.** All that are served get the same speed, so one number, the *mark*, says how much each has been given since the
//! server began. A request that needs w is done when the mark has grown by w: a heap of marks says who is next, and an
//! arrival or a change of speed touches no other request. First come first served is the same machine with as many places
//! as cores, a pure delay the same with cores without end. Source: the virtual time of Parekh and Gallager, "A generalized
//! processor sharing approach to flow control", IEEE/ACM ToN 1993.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    /// How many requests have full speed.
    cores: f64,
    slowdown: f64,
    /// Of faults: what cores and speed are multiplied by.
    cores_times: f64,
    speed_times: f64,
    places: u32,
    /// Nanoseconds of work that each served request has got since the beginning.
    mark: f64,
    updated: u64,
    serving: BinaryHeap<Job>,
    /// Of those in `serving`, how many have not been cancelled.
    active: u32,
    waiting: VecDeque<(Ticket, f64)>,
    waits: u32,
    made: u64,
    /// Rises whenever the next end changes: an announcement of an older one is void.
    version: u32,
    announced: u64,
    /// Core nanoseconds that were busy.
    busy: f64,
    /// Core nanoseconds that there were until the cores last changed, and when that was.
    there: (f64, u64),
}

/// A request at a server: a number, and how often that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    mark: f64,
    order: u64,
    ticket: Ticket,
}

impl Ord for Job {
    /// The earliest is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        other.mark.total_cmp(&self.mark).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Job {}

/// Looks whether a ticket is still at the server: cancelled ones are passed over when they come up.
pub(crate) trait IsHere {
    fn is_here(&self, ticket: Ticket) -> bool;
}

impl Server {
    /// `places` bounds how many are served at once.
    pub(crate) fn new(cores: f64, slowdown: f64, places: Option<u32>) -> Self {
        Self {
            cores,
            slowdown,
            cores_times: 1.0,
            speed_times: 1.0,
            places: places.unwrap_or(u32::MAX),
            mark: 0.0,
            updated: 0,
            serving: BinaryHeap::new(),
            active: 0,
            waiting: VecDeque::new(),
            waits: 0,
            made: 0,
            version: 0,
            announced: u64::MAX,
            busy: 0.0,
            there: (0.0, 0),
        }
    }

    /// Requests here, served or waiting.
    #[inline]
    pub(crate) const fn in_flight(&self) -> u32 {
        self.active + self.waits
    }

    /// What a served request gets in a nanosecond.
    #[inline]
    fn speed(&self) -> f64 {
        let cores = self.cores * self.cores_times;
        let count = f64::from(self.active);
        let share = if count <= cores { 1.0 } else { cores / count };
        share * self.speed_times / self.slowdown
    }

    #[inline]
    fn advance(&mut self, now: u64) {
        let passed = now.saturating_sub(self.updated) as f64;
        if passed > 0.0 && self.active > 0 {
            self.mark += passed * self.speed();
            self.busy += passed * f64::from(self.active).min(self.cores);
        }
        self.updated = self.updated.max(now);
    }

    /// A request arrives that needs `work` nanoseconds alone at full speed.
    #[inline]
    pub(crate) fn arrive(&mut self, ticket: Ticket, work: f64, now: u64) {
        self.advance(now);
        if self.active < self.places {
            self.serve(ticket, work);
        } else {
            self.waiting.push_back((ticket, work));
            self.waits += 1;
        }
    }

    #[inline]
    fn serve(&mut self, ticket: Ticket, work: f64) {
        self.made += 1;
        self.serving.push(Job { mark: self.mark + work, order: self.made, ticket });
        self.active += 1;
    }

    /// A request leaves before its end: it is no longer here by now. `was_served` says where it was.
    pub(crate) fn cancel(&mut self, was_served: bool, now: u64, requests: &impl IsHere) {
        self.advance(now);
        if was_served {
            self.active -= 1;
            self.fill(requests);
        } else {
            self.waits -= 1;
        }
        // What is cancelled stays until it comes up; where that is most, it is thrown out.
        if self.serving.len() > 64 + 2 * self.active as usize {
            self.serving.retain(|job| requests.is_here(job.ticket));
        }
        if self.waiting.len() > 64 + 2 * self.waits as usize {
            self.waiting.retain(|&(ticket, _)| requests.is_here(ticket));
        }
    }

    /// Gives free places to those that wait.
    #[inline]
    fn fill(&mut self, requests: &impl IsHere) {
        while self.active < self.places {
            let Some((ticket, work)) = self.waiting.pop_front() else { return };
            if requests.is_here(ticket) {
                self.waits -= 1;
                self.serve(ticket, work);
            }
        }
    }

    /// Whether a request that is here is served.
    pub(crate) fn is_serving(&self, ticket: Ticket) -> bool {
        self.places == u32::MAX || self.serving.iter().any(|job| job.ticket == ticket)
    }

    /// One that is done by now, if there is one.
    #[inline]
    pub(crate) fn done(&mut self, now: u64, requests: &impl IsHere) -> Option<Ticket> {
        self.advance(now);
        loop {
            let job = *self.serving.peek()?;
            let is_here = requests.is_here(job.ticket);
            // The end was rounded up to a nanosecond, in which at most one nanosecond of work is done.
            if is_here && job.mark > self.mark + ROUNDING {
                return None;
            }
            self.serving.pop();
            if is_here {
                self.active -= 1;
                self.fill(requests);
                return Some(job.ticket);
            }
        }
    }

    /// Announces the next end: when, and under which version; `None` if that was announced before or there is none.
    #[inline]
    pub(crate) fn announce(&mut self, now: u64, requests: &impl IsHere) -> Option<(u64, u32)> {
        while let Some(job) = self.serving.peek()
            && !requests.is_here(job.ticket)
        {
            self.serving.pop();
        }
        let speed = self.speed();
        let next = match self.serving.peek() {
            Some(job) if speed > 0.0 => {
                let left = ((job.mark - self.mark).max(0.0) / speed).ceil();
                if left < MOST { now + left as u64 } else { u64::MAX }
            }
            _ => u64::MAX,
        };
        if next == self.announced {
            return None;
        }
        self.announced = next;
        self.version = self.version.wrapping_add(1);
        (next != u64::MAX).then_some((next, self.version))
    }

    /// Whether an announcement is still the last one; if it is, it is used up.
    #[inline]
    pub(crate) fn is_due(&mut self, version: u32) -> bool {
        let is_due = version == self.version;
        if is_due {
            self.announced = u64::MAX;
        }
        is_due
    }

    /// Another capacity from now on.
    pub(crate) fn set_capacity(&mut self, cores: f64, slowdown: f64, now: u64) {
        self.advance(now);
        self.there = (self.there(now), now);
        (self.cores, self.slowdown) = (cores, slowdown);
    }

    /// What faults do to the capacity from now on.
    pub(crate) fn set_factors(&mut self, cores_times: f64, speed_times: f64, now: u64) {
        self.advance(now);
        (self.cores_times, self.speed_times) = (cores_times, speed_times);
    }

    /// All that are here leave, in the order of arrival of those that wait, after those that are served.
    pub(crate) fn clear(&mut self, now: u64, requests: &impl IsHere) -> Vec<Ticket> {
        self.advance(now);
        let mut served = std::mem::take(&mut self.serving).into_vec();
        served.sort_unstable_by_key(|job| job.order);
        let served = served.into_iter().map(|job| job.ticket);
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|(ticket, _)| ticket);
        let all = served.chain(waiting).filter(|&ticket| requests.is_here(ticket)).collect();
        (self.active, self.waits) = (0, 0);
        all
    }

    /// Core nanoseconds that were busy since the beginning.
    pub(crate) fn busy(&mut self, now: u64) -> f64 {
        self.advance(now);
        self.busy
    }

    /// Core nanoseconds that there were since the beginning.
    pub(crate) fn there(&self, now: u64) -> f64 {
        let (before, since) = self.there;
        before + now.saturating_sub(since) as f64 * self.cores
    }

    pub(crate) const fn cores(&self) -> f64 {
        self.cores
    }
}

const ROUNDING: f64 = 1.0;
/// Nanoseconds: ten years.
const MOST: f64 = 3e17;

#[cfg(test)]
mod tests {
    use super::*;

    struct All;

    impl IsHere for All {
        fn is_here(&self, _: Ticket) -> bool {
            true
        }
    }

    struct Without(u32);

    impl IsHere for Without {
        fn is_here(&self, ticket: Ticket) -> bool {
            ticket.index != self.0
        }
    }

    const fn ticket(index: u32) -> Ticket {
        Ticket { index, generation: 0 }
    }

    /// Runs until nobody is left: who ended when.
    fn ends(server: &mut Server, mut now: u64, requests: &impl IsHere) -> Vec<(u32, u64)> {
        let mut ends = Vec::new();
        while let Some((at, version)) = server.announce(now, requests) {
            now = at;
            assert!(server.is_due(version));
            while let Some(done) = server.done(now, requests) {
                ends.push((done.index, now));
            }
        }
        ends
    }

    #[test]
    fn one_after_the_other() {
        let mut server = Server::new(1.0, 1.0, Some(1));
        for (index, work) in [(0, 100.0), (1, 50.0), (2, 10.0)] {
            server.arrive(ticket(index), work, 0);
        }
        assert_eq!(server.in_flight(), 3);
        assert_eq!(ends(&mut server, 0, &All), [(0, 100), (1, 150), (2, 160)]);
    }

    #[test]
    fn shared_in_equal_parts_beyond_the_cores() {
        let mut server = Server::new(1.0, 1.0, None);
        for (index, work) in [(0, 1000.0), (1, 500.0)] {
            server.arrive(ticket(index), work, 0);
        }
        assert_eq!(ends(&mut server, 0, &All), [(1, 1000), (0, 1500)]);
        let mut server = Server::new(2.0, 1.0, None);
        for (index, work) in [(0, 1000.0), (1, 500.0)] {
            server.arrive(ticket(index), work, 0);
        }
        assert_eq!(ends(&mut server, 0, &All), [(1, 500), (0, 1000)]);
    }

    #[test]
    fn a_delay_serves_any_number_at_full_speed() {
        let mut server = Server::new(f64::INFINITY, 1.0, None);
        for index in 0..1000 {
            server.arrive(ticket(index), 777.0, 0);
        }
        assert!(ends(&mut server, 0, &All).iter().all(|&(_, at)| at == 777));
    }

    #[test]
    fn a_change_of_speed_counts_from_when_it_comes() {
        let mut server = Server::new(1.0, 1.0, None);
        server.arrive(ticket(0), 1000.0, 0);
        server.set_capacity(1.0, 2.0, 500);
        assert_eq!(ends(&mut server, 500, &All), [(0, 1500)]);
        let mut server = Server::new(1.0, 1.0, None);
        server.arrive(ticket(0), 1000.0, 0);
        server.set_factors(1.0, 0.0, 500);
        assert_eq!(server.announce(500, &All), None, "it stands still");
        server.set_factors(1.0, 1.0, 800);
        assert_eq!(ends(&mut server, 800, &All), [(0, 1300)]);
    }

    #[test]
    fn who_is_cancelled_gives_the_place_back() {
        let mut server = Server::new(1.0, 1.0, Some(1));
        for index in 0..3 {
            server.arrive(ticket(index), 100.0, 0);
        }
        server.cancel(true, 30, &Without(0));
        assert_eq!(server.in_flight(), 2);
        assert_eq!(ends(&mut server, 30, &Without(0)), [(1, 130), (2, 230)]);
        assert_eq!(server.in_flight(), 0);
    }

    #[test]
    fn an_older_announcement_is_void() {
        let mut server = Server::new(10.0, 1.0, None);
        server.arrive(ticket(0), 1000.0, 0);
        let (_, first) = server.announce(0, &All).unwrap();
        server.arrive(ticket(1), 100.0, 10);
        let (at, second) = server.announce(10, &All).unwrap();
        assert_eq!((at, server.is_due(first), server.is_due(second)), (110, false, true));
    }

    #[test]
    fn busy_cores_are_counted() {
        let mut server = Server::new(2.0, 1.0, None);
        server.arrive(ticket(0), 500.0, 0);
        assert_eq!(server.busy(400), 400.0);
        server.arrive(ticket(1), 500.0, 400);
        server.arrive(ticket(2), 500.0, 400);
        assert_eq!(server.busy(500), 600.0);
        assert_eq!(server.there(500), 1000.0);
        server.set_capacity(1.0, 1.0, 500);
        assert_eq!(server.there(700), 1200.0, "what was there before counts as it was");
    }
}
