//! A server with all that happens to it.

use crate::fault::{FaultConfig, FaultKind};
use crate::scenario::{AntagonistConfig, Discipline, ServersConfig};
use crate::server::Server;
use crate::signal::Signal;
use crate::streams::{Source, Stream};
use crate::tally::nanos;
use crate::work::Work;

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) machine: Server,
    /// Of its own, if it has any.
    pub(crate) work: Option<Work>,
    pub(crate) queue_limit: u32,
    pub(crate) zone: u32,
    pub(crate) group: u32,
    /// Causes for which it is down.
    pub(crate) down: u32,
    /// Faults that health checks have noticed and that are not known to be over.
    pub(crate) noticed: u32,
    /// Among the endpoints that clients know.
    pub(crate) is_present: bool,
    /// So many times as slow, since it has just been started.
    pub(crate) cold: f64,
    pub(crate) starts: u32,
    pub(crate) trouble: Trouble,
    active: Vec<u32>,
    /// Latencies by what a request met, for probes.
    pub(crate) latencies: Option<Signal>,
    pub(crate) told: Told,
    stream: Stream,
}

/// What becomes of requests that arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    None,
    Fails { share: f64, after: u64 },
    Answers { after: u64 },
    BlackHole,
}

/// What load reports say: of the span before the last one that is over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    since: u64,
    busy: f64,
    there: f64,
    answered: u64,
    failed: u64,
    pub(crate) per_second: f64,
    pub(crate) failed_per_second: f64,
    pub(crate) utilisation: f64,
}

impl Site {
    pub(crate) fn new(config: &ServersConfig, number: u32, group: u32, zone: u32, seed: u64) -> Self {
        let (cores, places) = match config.discipline {
            Discipline::Delay => (f64::INFINITY, None),
            Discipline::Sharing => (config.cores, config.concurrency),
            Discipline::Fifo => (config.cores, config.concurrency.or(Some(config.cores as u32))),
        };
        Self {
            machine: Server::new(cores, config.slowdown, places),
            work: config.work.as_ref().map(Work::new),
            queue_limit: config.queue_limit.unwrap_or(u32::MAX),
            zone,
            group,
            down: 0,
            noticed: 0,
            is_present: true,
            cold: 1.0,
            starts: 0,
            trouble: Trouble::None,
            active: Vec::new(),
            latencies: None,
            told: Told::default(),
            stream: Stream::new(seed, Source::Servers, number.into()),
        }
    }

    /// Draws a new state, and how long it lasts.
    pub(crate) fn redraw(&mut self, config: &ServersConfig, antagonist: &AntagonistConfig, now: u64) -> u64 {
        let total: f64 = antagonist.states.iter().map(|state| state.share).sum();
        let mut drawn = self.stream.unit() * total;
        let state = antagonist.states.iter().find(|state| {
            drawn -= state.share;
            drawn <= 0.0
        });
        let state = state.or(antagonist.states.last());
        let mut draw = |range: Option<[f64; 2]>, own: f64| {
            // Drawn in any case: what comes later does not depend on which state this is.
            let unit = self.stream.unit();
            range.map_or(own, |[from, to]| from + (to - from) * unit)
        };
        let cores = draw(state.and_then(|state| state.cores), config.cores);
        let slowdown = draw(state.and_then(|state| state.slowdown), config.slowdown);
        self.machine.set_capacity(cores, slowdown, now);
        self.stream.exponential(nanos(antagonist.every) as f64) as u64
    }

    /// A fault of this number begins or ends.
    pub(crate) fn set_fault(&mut self, number: u32, begins: bool, faults: &[FaultConfig], now: u64) {
        self.active.retain(|&active| active != number);
        if begins {
            self.active.push(number);
        }
        self.settle(faults, now);
    }

    /// Works out what the faults do together: factors are multiplied, of the rest the last one counts.
    pub(crate) fn settle(&mut self, faults: &[FaultConfig], now: u64) {
        let (mut cores, mut speed) = (1.0, 1.0 / self.cold);
        self.trouble = Trouble::None;
        for &number in &self.active {
            match faults[number as usize].kind {
                FaultKind::Fails { share, after } => {
                    self.trouble = Trouble::Fails { share, after: nanos(after) };
                }
                FaultKind::Answers { after } => self.trouble = Trouble::Answers { after: nanos(after) },
                FaultKind::BlackHole => self.trouble = Trouble::BlackHole,
                FaultKind::Capacity { times } => cores *= times,
                FaultKind::Slow { times } => speed /= times,
                FaultKind::Pause => speed = 0.0,
                FaultKind::Crash | FaultKind::Absent => {}
            }
        }
        self.machine.set_factors(cores, speed, now);
    }

    /// An answer goes out; brings what is told up to date.
    pub(crate) fn tell(&mut self, is_good: bool, now: u64) {
        let told = &mut self.told;
        told.answered += 1;
        told.failed += u64::from(!is_good);
        let span = now - told.since;
        if span >= REPORTED {
            let busy = self.machine.busy(now);
            let seconds = span as f64 / 1e9;
            let there = self.machine.there(now);
            told.utilisation = (busy - told.busy) / (there - told.there);
            told.per_second = told.answered as f64 / seconds;
            told.failed_per_second = told.failed as f64 / seconds;
            (told.since, told.busy, told.there) = (now, busy, there);
            (told.answered, told.failed) = (0, 0);
        }
    }

    /// What a probe hears: requests here, and what one takes that meets so many.
    pub(crate) fn probe(&self) -> (u32, u64) {
        let load = self.machine.in_flight();
        (load, self.latencies.as_ref().map_or(0, |known| known.median(load)))
    }
}

/// Reports are of spans of half a second.
const REPORTED: u64 = 500_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Ticket;

    /// Neighbours that take seven of eight cores do not make what was busy before more than all.
    #[test]
    fn what_is_reported_is_a_share_of_the_cores_of_its_time() {
        let group = "count = 1\ndiscipline = 'sharing'\ncores = 8.0";
        let mut site = Site::new(&toml::from_str(group).unwrap(), 0, 0, 0, 1);
        for index in 0..8 {
            site.machine.arrive(Ticket { index, generation: 0 }, 1e12, 0);
        }
        site.machine.set_capacity(1.0, 1.0, REPORTED - 1_000_000);
        site.tell(true, REPORTED);
        assert!((site.told.utilisation - 1.0).abs() < 1e-9, "{:?}", site.told);
        let group = "count = 1\ndiscipline = 'delay'";
        let mut delay = Site::new(&toml::from_str(group).unwrap(), 0, 0, 0, 1);
        delay.machine.arrive(Ticket { index: 0, generation: 0 }, 1e12, 0);
        delay.tell(true, REPORTED);
        assert_eq!(delay.told.utilisation, 0.0, "cores without end are never busy");
    }
}
