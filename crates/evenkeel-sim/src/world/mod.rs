//! One run: a scenario under a policy and a seed.

mod answers;
mod fleet;
mod hearsay;
mod requests;
mod serving;
mod trouble;

use std::collections::VecDeque;
use std::sync::Arc;

use evenkeel::{ManualClock, Timestamp};

use crate::agenda::Agenda;
use crate::arrivals::{Arrival, Arrivals, Process};
use crate::clients::{self, Client, Setup};
use crate::error::ScenarioError;
use crate::foreign::Loads;
use crate::log::Replayed;
use crate::report::RunReport;
use crate::scenario::Scenario;
use crate::server::Ticket;
use crate::signal::Signal;
use crate::site::Site;
use crate::slots::{Asked, Attempt, NONE, Slots};
use crate::streams::{Source, Stream};
use crate::tally::{End, Tally, nanos};
use crate::work::Work;

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The next request arrives.
    Arrive,
    /// An attempt reaches its server.
    Reach(u32),
    /// The next end at a server, if the announcement still holds.
    Done(u32, u32),
    /// The answer to an attempt is there.
    Answer(u32),
    /// An attempt's time is over.
    Expire(u32, u32),
    /// A request may be sent a second time.
    Hedge(u32, u32),
    /// A request is sent again.
    Again(u32, u32),
    /// Probes are at the servers; then the answers are back.
    ProbesReach(u32),
    ProbesAnswer(u32),
    /// A client asks all servers.
    Poll(u32),
    /// A server's neighbours change.
    Redraw(u32),
    /// A fault begins and ends, and clients hear of it.
    Fault(u32, bool),
    Notice(u32, bool),
    /// The rolling restart: servers from this one on are drained, stopped, started.
    Drain(u32),
    Stop(u32),
    Start(u32),
    /// The autoscaler looks; a server is ready; a server is warm.
    Scale,
    Join(u32),
    Warm(u32, u32),
    Sample,
}

/// An attempt's deadline. Nearly all have the same patience, so a line will do for them.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: u64,
    order: u64,
    ticket: Ticket,
}

/// Requests that arrived together.
#[derive(Debug)]
struct Group {
    left: u32,
    born: u64,
    end: End,
}

/// Probes that were sent together.
#[derive(Debug)]
struct Probes {
    client: u32,
    /// Server, requests there, latency.
    asked: Vec<(u32, u32, u64)>,
}

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    setup: &'a Setup,
    seed: u64,
    now: u64,
    clock: Arc<ManualClock>,
    agenda: Agenda<Event>,
    deadlines: VecDeque<Deadline>,
    arrivals: Box<dyn Arrivals + 'a>,
    next: Option<Arrival>,
    clients: Vec<Client>,
    sites: Vec<Site>,
    /// Seen by all clients at once, where the policy wants that.
    shared: Option<Arc<Loads>>,
    requests: Slots<Asked>,
    attempts: Slots<Attempt>,
    groups: Slots<Group>,
    probes: Slots<Probes>,
    due: Vec<u32>,
    work: Work,
    draws: Stream,
    number: u64,
    /// The sum of the probabilities up to each key.
    keys: Vec<f64>,
    network: u64,
    cross_zone: u64,
    timeout: u64,
    /// Whether requests keep what is needed to send them again.
    resends: bool,
    is_waited_for: bool,
    scaled: (u64, f64),
    joining: u32,
    tally: Tally,
}

/// Runs a scenario under a policy and a seed, with the arrivals that the scenario describes.
pub(crate) fn run(scenario: &Scenario, setup: &Setup, seed: u64) -> Result<RunReport, ScenarioError> {
    if let Some(replay) = &scenario.arrivals.replay {
        let (replayed, problem) = Replayed::new(replay, scenario.duration)?;
        let report = World::new(scenario, setup, seed, Box::new(replayed)).map(World::run)?;
        return problem.get().map_or(Ok(report), |error| Err(error.clone().into()));
    }
    let process = Process::new(&scenario.arrivals, scenario.rate(), scenario.duration, seed);
    World::new(scenario, setup, seed, Box::new(process)).map(World::run)
}

impl<'a> World<'a> {
    pub(crate) fn new(
        scenario: &'a Scenario,
        setup: &'a Setup,
        seed: u64,
        arrivals: Box<dyn Arrivals + 'a>,
    ) -> Result<Self, ScenarioError> {
        let clock = Arc::new(ManualClock::default());
        // A clock that has run for a while: nothing that goes by age takes the origin for "never".
        clock.set(Timestamp::from_nanos(EPOCH));
        let mut zones = vec![String::new()];
        for zone in scenario.servers.iter().map(|group| &group.zone).chain(&scenario.clients.zones) {
            if !zones.contains(zone) {
                zones.push(zone.clone());
            }
        }
        let mut sites = Vec::new();
        for (group, config) in scenario.servers.iter().enumerate() {
            let zone = zones.iter().position(|zone| *zone == config.zone).unwrap_or_default();
            for _ in 0..config.count {
                let number = sites.len() as u32;
                sites.push(Site::new(config, number, group as u32, zone as u32, seed));
            }
        }
        let shared = Arc::new(Loads::new(sites.len()));
        let count = scenario.clients.count;
        let clients: Result<Vec<Client>, ScenarioError> = (0..count)
            .map(|number| Client::new(scenario, setup, seed, number, &clock, &shared, &zones))
            .collect();
        let entry = &setup.entry;
        let is_shared = entry.polled.as_ref().is_some_and(|polled| polled.every.is_none());
        if entry.probes.is_some() {
            for site in &mut sites {
                site.latencies = Some(Signal::default());
            }
        }
        let mut world = Self {
            scenario,
            setup,
            seed,
            now: 0,
            clock,
            agenda: Agenda::new(),
            deadlines: VecDeque::new(),
            arrivals,
            next: None,
            clients: clients?,
            sites,
            shared: is_shared.then_some(shared),
            requests: Slots::new(),
            attempts: Slots::new(),
            groups: Slots::new(),
            probes: Slots::new(),
            due: Vec::new(),
            work: Work::new(&scenario.work),
            draws: Stream::new(seed, Source::Requests, 0),
            number: 0,
            keys: keys(scenario),
            network: nanos(scenario.network),
            cross_zone: nanos(scenario.cross_zone),
            timeout: scenario.timeout.map_or(u64::MAX, nanos),
            resends: setup.retries.is_some() || entry.hedge.is_some(),
            is_waited_for: true,
            scaled: (0, 0.0),
            joining: 0,
            tally: Tally::new(scenario),
        };
        world.prepare();
        Ok(world)
    }

    /// Enters what is known to happen, and tells clients who is there.
    fn prepare(&mut self) {
        let scenario = self.scenario;
        for server in 0..self.sites.len() as u32 {
            if scenario.servers[self.sites[server as usize].group as usize].antagonist.is_some() {
                self.redraw(server);
            }
        }
        if let Some(scaling) = &scenario.scaling {
            for site in self.sites.iter_mut().skip(scaling.least as usize) {
                site.is_present = false;
            }
            self.agenda.push(nanos(scaling.every), Event::Scale);
        }
        for (number, fault) in scenario.faults.iter().enumerate() {
            if fault.from.is_zero() {
                self.fault(number as u32, true);
            } else {
                self.agenda.push(nanos(fault.from), Event::Fault(number as u32, true));
            }
        }
        if let Some(deploy) = &scenario.deploy {
            self.agenda.push(nanos(deploy.from), Event::Drain(0));
        }
        if let Some(step) = scenario.series {
            self.agenda.push(nanos(step), Event::Sample);
        }
        let present = (0..self.sites.len()).filter(|&server| self.sites[server].is_present);
        let endpoints: Vec<_> = present
            .filter_map(|server| {
                clients::endpoint(server as u32, &scenario.servers[self.sites[server].group as usize])
            })
            .collect();
        for client in &self.clients {
            // Refused only where nobody is there, and then the cluster says so at each pick.
            let _ = client.cluster.apply(endpoints.iter().cloned());
        }
        if let Some(every) = self.setup.entry.polled.as_ref().and_then(|polled| polled.every) {
            for client in 0..self.clients.len() {
                let first = self.clients[client].draws.unit() * nanos(every) as f64;
                self.agenda.push(first as u64, Event::Poll(client as u32));
            }
        }
        self.next = self.arrivals.next();
        if let Some(next) = self.next {
            self.agenda.push(next.at, Event::Arrive);
        }
    }

    pub(crate) fn run(mut self) -> RunReport {
        let patience = if self.timeout == u64::MAX { nanos(self.scenario.duration) } else { self.timeout };
        let end = nanos(self.scenario.duration).saturating_add(patience.saturating_mul(4));
        while self.is_waited_for {
            let (at, is_deadline) = match (self.agenda.first(), self.deadlines.front()) {
                (Some(first), Some(deadline)) => {
                    let own = (deadline.at, deadline.order);
                    if own < first { (deadline.at, true) } else { (first.0, false) }
                }
                (Some(first), None) => (first.0, false),
                (None, Some(deadline)) => (deadline.at, true),
                (None, None) => break,
            };
            if at > end {
                break;
            }
            self.set_now(at);
            if is_deadline {
                if let Some(deadline) = self.deadlines.pop_front() {
                    self.expire(deadline.ticket);
                }
            } else if let Some(entry) = self.agenda.pop() {
                self.happen(entry.event);
            }
        }
        self.give_up();
        let weights: Vec<u32> =
            self.sites.iter().map(|site| self.scenario.servers[site.group as usize].weight).collect();
        self.tally.report(self.seed, &weights)
    }

    #[inline]
    fn set_now(&mut self, now: u64) {
        debug_assert!(now >= self.now, "time does not go back");
        if now != self.now {
            self.now = now;
            self.clock.set(self.timestamp());
        }
    }

    #[inline]
    const fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanos(self.now + EPOCH)
    }

    /// What is still under way counts as an error that has lasted until now.
    fn give_up(&mut self) {
        let mut left: Vec<(u64, u32)> = Vec::new();
        left.extend(
            self.requests.iter().filter(|asked| asked.legs != OVER).map(|asked| (asked.born, asked.group)),
        );
        for (born, group) in left {
            self.ended(born, group, End::Unfinished);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Reach(attempt) => self.reach(attempt),
            Event::Done(server, version) => self.done(server, version),
            Event::Answer(attempt) => self.answer(attempt),
            Event::Expire(index, generation) => self.expire(Ticket { index, generation }),
            Event::Hedge(request, generation) => self.hedge(request, generation),
            Event::Again(request, generation) => {
                if self.is_open(request, generation) {
                    self.send(request, false);
                }
            }
            Event::ProbesReach(probes) => self.probes_reach(probes),
            Event::ProbesAnswer(probes) => self.probes_answer(probes),
            Event::Poll(client) => self.poll(client),
            Event::Redraw(server) => self.redraw(server),
            Event::Fault(number, begins) => self.fault(number, begins),
            Event::Notice(number, begins) => self.notice(number, begins),
            Event::Drain(first) => self.drain(first),
            Event::Stop(first) => self.stop_some(first),
            Event::Start(first) => self.start_some(first),
            Event::Scale => self.scale(),
            Event::Join(server) => self.join(server),
            Event::Warm(server, starts) => self.warm(server, starts),
            Event::Sample => self.sample(),
        }
    }

    fn sample(&mut self) {
        for (server, site) in self.sites.iter().enumerate() {
            self.tally.sampled(server, site.machine.in_flight(), self.now);
        }
        if let Some(step) = self.scenario.series {
            self.agenda.push(self.now + nanos(step), Event::Sample);
        }
    }
}

/// The sum of the probabilities up to each key.
fn keys(scenario: &Scenario) -> Vec<f64> {
    let Some(keys) = &scenario.keys else { return Vec::new() };
    let mut sum = 0.0;
    let mut sums: Vec<f64> = (1..=keys.count)
        .map(|rank| {
            sum += libm::pow(f64::from(rank), -keys.zipf);
            sum
        })
        .collect();
    sums.iter_mut().for_each(|own| *own /= sum);
    sums
}

/// Keys are small numbers; a hash is not.
const fn spread(key: u64) -> u64 {
    evenkeel_types::SplitMix64::mix(key)
}

/// No legs, and none to come.
const OVER: [u32; 2] = [NONE - 1; 2];
/// More requests under way than this are a run that never settles.
const MOST_REQUESTS: usize = 1_000_000;
/// The clusters' clock at the beginning of a run.
const EPOCH: u64 = 3_600_000_000_000;
/// Deadlines beyond this are none.
const NEVER: u64 = u64::MAX - EPOCH;
const SAMPLED_KEYS: u64 = 10_000;
