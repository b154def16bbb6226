//! One run: a scenario under a policy and a seed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::limit::{HedgePlan, HedgeStep};
use evenkeel::route::retry::{Ending, Next, RetryProgress};
use evenkeel::{CheckState, LoadReport, ManualClock, Outcome, PickError, Request, Timestamp, Tried};

use crate::agenda::Agenda;
use crate::arrivals::{Arrival, Arrivals, Process};
use crate::clients::{self, Client, Setup};
use crate::error::ScenarioError;
use crate::fault::{ColdConfig, FaultKind};
use crate::foreign::Loads;
use crate::log::Replayed;
use crate::report::RunReport;
use crate::scenario::{HedgeEntry, Scenario};
use crate::server::Ticket;
use crate::signal::Signal;
use crate::site::{Site, Trouble};
use crate::slots::{Answer, Asked, Attempt, More, NONE, Place, Slots};
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

    // --- Requests

    fn arrive(&mut self) {
        let Some(arrival) = self.next.take() else { return };
        self.next = self.arrivals.next();
        if let Some(next) = self.next {
            self.agenda.push(next.at.max(self.now), Event::Arrive);
        }
        self.tally.arrived(self.requests.used(), self.now);
        if self.requests.used().max(self.attempts.used()) > MOST_REQUESTS {
            self.tally.unstable_at = Some(self.now);
            self.next = None;
            self.is_waited_for = false;
            return;
        }
        let group = if self.scenario.fan_out > 1 {
            let (left, born) = (self.scenario.fan_out, self.now);
            self.groups.insert(|_| 0, |_| Group { left, born, end: End::Succeeded })
        } else {
            NONE
        };
        for _ in 0..self.scenario.fan_out {
            self.ask(&arrival, group);
        }
        self.look_whether_over();
    }

    /// One request of one client.
    fn ask(&mut self, arrival: &Arrival, group: u32) {
        let client = if self.clients.len() == 1 { 0 } else { self.draws.below(self.clients.len() as u32) };
        let key = match (arrival.key, self.keys.len()) {
            (Some(key), _) => key,
            (None, 0) => 0,
            (None, _) => {
                let drawn = self.draws.unit();
                self.keys.partition_point(|&sum| sum < drawn) as u64
            }
        };
        self.number += 1;
        let more = self.resends.then(|| Box::new(self.more(client)));
        let due = more.as_ref().and_then(|more| more.hedge.next_deadline());
        let (born, number, work) = (self.now, self.number, arrival.work.unwrap_or(f64::NAN));
        let request = self.requests.insert(
            |asked| asked.generation,
            |generation| Asked {
                generation,
                client,
                group,
                attempts: 0,
                born,
                number,
                key,
                work,
                legs: [NONE; 2],
                last: End::NotPicked,
                more,
            },
        );
        let generation = self.requests.at(request).generation;
        self.send(request, false);
        if let Some(due) = due
            && self.is_open(request, generation)
        {
            let at = due.as_nanos().saturating_sub(EPOCH);
            self.agenda.push(at.max(self.now), Event::Hedge(request, generation));
        }
    }

    fn more(&self, client: u32) -> More {
        let now = self.timestamp();
        let deadline =
            (self.timeout != u64::MAX).then(|| now.saturating_add(Duration::from_nanos(self.timeout)));
        let hedge = match (&self.setup.entry.hedge, &self.clients[client as usize].hedger) {
            (Some(HedgeEntry::After { delay }), _) => HedgePlan::new(Some(now.saturating_add(*delay))),
            (Some(HedgeEntry::Learnt(_)), Some(hedger)) => hedger.start(now),
            _ => HedgePlan::new(None),
        };
        More { progress: RetryProgress::new(now, deadline, true), tried: Tried::default(), hedge }
    }

    /// Whether the request is still waited for.
    fn is_open(&self, request: u32, generation: u32) -> bool {
        let asked = self.requests.at(request);
        asked.generation == generation && asked.legs != OVER
    }

    /// Sends a request: for the first time, again, or besides.
    fn send(&mut self, request: u32, is_hedge: bool) {
        let asked = self.requests.at(request);
        let (client_index, number, born, attempt_number) =
            (asked.client, asked.number, asked.born, asked.attempts);
        let client = &mut self.clients[client_index as usize];
        let now = Timestamp::from_nanos(self.now + EPOCH);
        if let Some(throttle) = &client.throttle
            && throttle.try_send(&mut client.draws, now).is_err()
        {
            return self.not_sent(request, is_hedge, End::Throttled);
        }
        let wanted =
            if self.scenario.keys.is_some() { Request::with_hash(spread(asked.key)) } else { Request::new() };
        let wanted = match &asked.more {
            Some(more) if is_hedge => wanted.excluding(&more.tried).as_hedge(),
            Some(more) if attempt_number > 0 => wanted.preferring_others(&more.tried),
            _ => wanted,
        };
        let picked = client.picker.pick(&wanted);
        if client.desk.is_some() {
            self.probe(client_index);
        }
        let pick = match picked {
            Ok(pick) => pick,
            Err(error) => return self.refused(request, is_hedge, &error),
        };
        let server = *pick.payload();
        let asked = self.requests.at_mut(request);
        asked.attempts += 1;
        if let Some(more) = &mut asked.more {
            more.tried.add(&pick);
        }
        let coin = number << 8 | u64::from(attempt_number & 255);
        let work = asked.work;
        let own = self.sites[server as usize].work.as_ref().unwrap_or(&self.work);
        let work =
            if work.is_nan() { own.draw(&mut Stream::new(self.seed, Source::Work, coin)) } else { work };
        let sent = self.now;
        let index = self.attempts.insert(
            |attempt| attempt.generation,
            |generation| Attempt {
                generation,
                request,
                server,
                met: 0,
                place: Place::ToServer,
                answer: Answer::Good,
                sent,
                came: 0,
                work,
                coin,
                pick: Some(pick),
            },
        );
        let leg = usize::from(asked.legs[0] != NONE);
        asked.legs[leg] = index;
        self.tally.sent(server, attempt_number == 0, born, sent);
        self.limit_time(request, index);
        let delay = self.delay(client_index, server);
        if delay == 0 { self.reach(index) } else { self.agenda.push(self.now + delay, Event::Reach(index)) }
    }

    /// Enters until when an attempt may take.
    #[inline]
    fn limit_time(&mut self, request: u32, index: u32) {
        let asked = self.requests.at(request);
        let mut at = asked.born.saturating_add(self.timeout);
        if let (Some(more), Some(policy)) = (&asked.more, &self.setup.retries) {
            let own = more.progress.attempt_deadline(policy, self.timestamp());
            at = at.min(own.as_nanos().saturating_sub(EPOCH));
        }
        if at >= NEVER {
            return;
        }
        let ticket = Ticket { index, generation: self.attempts.at(index).generation };
        if self.deadlines.back().is_none_or(|last| last.at <= at) {
            let order = self.agenda.order();
            self.deadlines.push_back(Deadline { at, order, ticket });
        } else {
            self.agenda.push(at, Event::Expire(ticket.index, ticket.generation));
        }
    }

    #[inline]
    fn delay(&self, client: u32, server: u32) -> u64 {
        let is_far =
            self.cross_zone > 0 && self.clients[client as usize].zone != self.sites[server as usize].zone;
        if is_far { self.network + self.cross_zone } else { self.network }
    }

    fn refused(&mut self, request: u32, is_hedge: bool, error: &PickError) {
        let is_budget = matches!(error, PickError::BudgetSpent(_));
        let end = if is_budget { End::Failed } else { End::NotPicked };
        self.not_sent(request, is_hedge, end);
    }

    /// A retry that is not sent ends as the attempt before did: whose time was over, has a latency of that length.
    fn not_sent(&mut self, request: u32, is_hedge: bool, end: End) {
        if !is_hedge {
            let asked = self.requests.at(request);
            let end = if asked.attempts > 0 { asked.last } else { end };
            self.complete(request, end);
        }
    }

    fn hedge(&mut self, request: u32, generation: u32) {
        if !self.is_open(request, generation) {
            return;
        }
        let now = self.timestamp();
        let asked = self.requests.at_mut(request);
        let hedger = self.clients[asked.client as usize].hedger.as_ref();
        let permit = || hedger.map_or(Ok(()), |hedger| hedger.withdraw(None, now));
        let step = asked.more.as_mut().map(|more| more.hedge.tick(now, permit));
        if step == Some(HedgeStep::Send) && asked.legs[0] != NONE && asked.legs[1] == NONE {
            self.send(request, true);
        }
    }

    // --- At the server

    fn reach(&mut self, index: u32) {
        let attempt = self.attempts.at_mut(index);
        if attempt.place == Place::TakenBack {
            return self.attempts.release(index);
        }
        attempt.came = self.now;
        let (server, work, coin) = (attempt.server, attempt.work, attempt.coin);
        let site = &mut self.sites[server as usize];
        attempt.met = site.machine.in_flight();
        if site.down > 0 {
            return self.reply(index, Answer::Reset, 0);
        }
        match site.trouble {
            Trouble::None => {}
            Trouble::Fails { share, after } => {
                if Stream::new(self.seed, Source::Faults, coin).unit() <= share {
                    return self.reply(index, Answer::Failed, after);
                }
            }
            Trouble::Answers { after } => return self.reply(index, Answer::Good, after),
            Trouble::BlackHole => {
                attempt.place = Place::Lost;
                if attempt.pick.is_none() {
                    self.attempts.release(index);
                }
                return;
            }
        }
        if attempt.met >= site.queue_limit {
            return self.reply(index, Answer::Refused, 0);
        }
        attempt.place = Place::AtServer;
        let ticket = Ticket { index, generation: attempt.generation };
        site.machine.arrive(ticket, work, self.now);
        self.announce(server);
    }

    /// The number of requests at a server, or its speed, has changed.
    #[inline]
    fn announce(&mut self, server: u32) {
        let machine = &mut self.sites[server as usize].machine;
        if let Some((at, version)) = machine.announce(self.now, &self.attempts) {
            self.agenda.push(at, Event::Done(server, version));
        }
        if let Some(shared) = &self.shared {
            shared.set(server as usize, self.sites[server as usize].machine.in_flight());
        }
    }

    fn done(&mut self, server: u32, version: u32) {
        if !self.sites[server as usize].machine.is_due(version) {
            return;
        }
        while let Some(ticket) = self.sites[server as usize].machine.done(self.now, &self.attempts) {
            let attempt = self.attempts.at(ticket.index);
            let (met, took) = (attempt.met, self.now - attempt.came);
            if let Some(latencies) = &mut self.sites[server as usize].latencies {
                latencies.record(met, took, self.now);
            }
            self.reply(ticket.index, Answer::Good, 0);
        }
        self.announce(server);
    }

    /// The server answers, after a time.
    #[inline]
    fn reply(&mut self, index: u32, answer: Answer, after: u64) {
        let attempt = self.attempts.at_mut(index);
        attempt.answer = answer;
        attempt.place = Place::ToClient;
        let server = attempt.server;
        if attempt.pick.is_none() {
            // Nobody waits for it any more.
            return self.attempts.release(index);
        }
        let request = attempt.request;
        let delay = self.delay(self.requests.at(request).client, server) + after;
        if delay == 0 { self.answer(index) } else { self.agenda.push(self.now + delay, Event::Answer(index)) }
    }

    // --- Back at the client

    fn answer(&mut self, index: u32) {
        let attempt = self.attempts.at_mut(index);
        let Some(pick) = attempt.pick.take().filter(|_| attempt.place == Place::ToClient) else {
            return self.attempts.release(index);
        };
        let (request, server, answer, sent) = (attempt.request, attempt.server, attempt.answer, attempt.sent);
        self.attempts.release(index);
        // Who was cut off, told nothing.
        if self.scenario.load_reports && answer != Answer::Reset {
            let site = &mut self.sites[server as usize];
            site.tell(answer == Answer::Good, self.now);
            let told = site.told;
            pick.report(LoadReport::new(told.per_second, told.failed_per_second, told.utilisation));
        }
        let (outcome, ending) = match answer {
            Answer::Good => (Outcome::success(), Ending::Http { status: 200, retry_after: None }),
            Answer::Failed => (Outcome::failure(), Ending::Http { status: 503, retry_after: None }),
            Answer::Refused => (Outcome::overload(None), Ending::Refused),
            Answer::Reset => (Outcome::failure(), Ending::Reset),
        };
        pick.finish(outcome);
        self.tally.answered(server, self.now - sent, self.now);
        let end = if answer == Answer::Good { End::Succeeded } else { End::Failed };
        self.leg_ended(request, index, server, &outcome, &ending, end);
    }

    /// An attempt's time is over.
    fn expire(&mut self, ticket: Ticket) {
        let attempt = self.attempts.at_mut(ticket.index);
        if attempt.generation != ticket.generation {
            return;
        }
        let Some(pick) = attempt.pick.take() else { return };
        let (request, server, sent) = (attempt.request, attempt.server, attempt.sent);
        let outcome = Outcome::failure();
        pick.finish(outcome);
        self.tally.answered(server, self.now - sent, self.now);
        self.take_back(ticket.index);
        self.leg_ended(request, ticket.index, server, &outcome, &Ending::TimedOut, End::TimedOut);
    }

    /// The client waits no longer for an attempt, whose pick is gone: the server hears of it, if clients tell.
    fn take_back(&mut self, index: u32) {
        let cancels = self.scenario.timeout_cancels;
        let attempt = self.attempts.at_mut(index);
        match attempt.place {
            Place::ToServer if cancels => attempt.place = Place::TakenBack,
            Place::AtServer if cancels => {
                let (server, ticket) = (attempt.server, Ticket { index, generation: attempt.generation });
                let machine = &mut self.sites[server as usize].machine;
                let was_served = machine.is_serving(ticket);
                self.attempts.at_mut(index).place = Place::TakenBack;
                machine.cancel(was_served, self.now, &self.attempts);
                self.attempts.release(index);
                self.announce(server);
            }
            Place::Lost => self.attempts.release(index),
            // The answer finds nobody.
            Place::ToClient | Place::TakenBack => attempt.place = Place::TakenBack,
            Place::ToServer | Place::AtServer => {}
        }
    }

    fn leg_ended(
        &mut self,
        request: u32,
        index: u32,
        server: u32,
        outcome: &Outcome,
        ending: &Ending,
        end: End,
    ) {
        let now = self.timestamp();
        let asked = self.requests.at_mut(request);
        let client = &mut self.clients[asked.client as usize];
        asked.last = end;
        if let Some(throttle) = &client.throttle {
            // What brought no answer in time was not accepted, as far as a client can tell.
            let no_answer = matches!(ending, Ending::TimedOut | Ending::Reset);
            throttle.record(&if no_answer { Outcome::overload(None) } else { *outcome }, now);
        }
        if asked.legs[0] == index {
            asked.legs[0] = asked.legs[1];
        }
        asked.legs[1] = NONE;
        if end == End::Succeeded {
            if let Some(hedger) = &client.hedger {
                hedger.record(Duration::from_nanos(self.now - asked.born), now);
            }
            return self.complete(request, end);
        }
        if asked.legs[0] != NONE {
            return;
        }
        if let (Some(policy), Some(more)) = (&self.setup.retries, &mut asked.more) {
            let draw = client.draws.bits();
            let next = more.progress.ended(policy, ending, server.into(), 0, now, draw, || true);
            if let Next::Retry { at } = next {
                let generation = asked.generation;
                let at = at.as_nanos().saturating_sub(EPOCH).max(self.now);
                return self.agenda.push(at, Event::Again(request, generation));
            }
        }
        self.complete(request, end);
    }

    fn complete(&mut self, request: u32, end: End) {
        let asked = self.requests.at_mut(request);
        let (born, group, legs) = (asked.born, asked.group, asked.legs);
        asked.legs = OVER;
        asked.more = None;
        for leg in legs {
            if leg != NONE {
                // Given up without a verdict, since another one was faster.
                drop(self.attempts.at_mut(leg).pick.take());
                self.take_back(leg);
            }
        }
        self.requests.release(request);
        self.ended(born, group, end);
        self.look_whether_over();
    }

    fn ended(&mut self, born: u64, group: u32, end: End) {
        if group == NONE {
            return self.tally.ended(born, self.now, end);
        }
        let whole = self.groups.at_mut(group);
        whole.left -= 1;
        if end != End::Succeeded {
            whole.end = end;
        }
        if whole.left == 0 {
            let (born, end) = (whole.born, whole.end);
            self.groups.release(group);
            self.tally.ended(born, self.now, end);
        }
    }

    fn look_whether_over(&mut self) {
        if self.next.is_none() && self.requests.used() == 0 {
            self.is_waited_for = false;
        }
    }

    // --- What servers say of themselves

    /// Sends the probes that the last pick asked for.
    fn probe(&mut self, client: u32) {
        let mut due = std::mem::take(&mut self.due);
        if let Some(desk) = &self.clients[client as usize].desk {
            desk.take_due(&mut due);
        }
        if !due.is_empty() {
            self.tally.probed(due.len(), self.now);
            let asked = due.iter().map(|&server| (server, 0, 0)).collect();
            let probes = self.probes.insert(|_| 0, |_| Probes { client, asked });
            let at = self.now + self.network;
            self.agenda.push(at, Event::ProbesReach(probes));
        }
        due.clear();
        self.due = due;
    }

    fn probes_reach(&mut self, index: u32) {
        let probes = self.probes.at_mut(index);
        for (server, load, latency) in &mut probes.asked {
            let site = &self.sites[*server as usize];
            (*load, *latency) = site.probe(self.now);
            if site.down > 0 || site.trouble == Trouble::BlackHole {
                *server = NONE;
            }
        }
        self.agenda.push(self.now + self.network, Event::ProbesAnswer(index));
    }

    fn probes_answer(&mut self, index: u32) {
        let now = self.timestamp();
        let probes = self.probes.at(index);
        if let Some(desk) = &self.clients[probes.client as usize].desk {
            for &(server, load, latency) in probes.asked.iter().filter(|&&(server, ..)| server != NONE) {
                desk.answer(server, load, Duration::from_nanos(latency), now);
            }
        }
        self.probes.release(index);
    }

    fn poll(&mut self, client: u32) {
        let Some(loads) = &self.clients[client as usize].loads else { return };
        for (server, site) in self.sites.iter().enumerate() {
            loads.set(server, site.machine.in_flight());
        }
        if let Some(every) = self.setup.entry.polled.as_ref().and_then(|polled| polled.every) {
            self.agenda.push(self.now + nanos(every), Event::Poll(client));
        }
    }

    // --- What happens to servers

    fn redraw(&mut self, server: u32) {
        let site = &mut self.sites[server as usize];
        let config = &self.scenario.servers[site.group as usize];
        let Some(antagonist) = &config.antagonist else { return };
        let lasts = site.redraw(config, antagonist, self.now);
        self.agenda.push(self.now.saturating_add(lasts.max(1)), Event::Redraw(server));
        self.announce(server);
    }

    fn fault(&mut self, number: u32, begins: bool) {
        let scenario = self.scenario;
        let fault = &scenario.faults[number as usize];
        let all: Vec<u32> = if fault.servers.is_empty() {
            (0..self.sites.len() as u32).collect()
        } else {
            fault.servers.clone()
        };
        for server in all {
            match fault.kind {
                FaultKind::Crash if begins => self.stop(server),
                FaultKind::Crash => self.start(server, None),
                FaultKind::Absent => self.set_present(server, !begins),
                _ => {
                    self.sites[server as usize].set_fault(number, begins, &scenario.faults, self.now);
                    self.announce(server);
                }
            }
        }
        if let Some(after) = fault.noticed_after {
            self.agenda.push(self.now + nanos(after), Event::Notice(number, begins));
        }
        let length = fault.to.map(|to| nanos(to.saturating_sub(fault.from)));
        match (begins, length, fault.every) {
            (true, Some(length), _) => self.agenda.push(self.now + length, Event::Fault(number, false)),
            (false, Some(length), Some(every)) => {
                self.agenda.push(self.now + nanos(every).saturating_sub(length), Event::Fault(number, true));
            }
            _ => {}
        }
    }

    /// Health checks tell clients.
    fn notice(&mut self, number: u32, begins: bool) {
        let state = if begins { CheckState::Down } else { CheckState::Up };
        let fault = &self.scenario.faults[number as usize];
        let all = 0..self.sites.len() as u32;
        for server in all.filter(|server| fault.servers.is_empty() || fault.servers.contains(server)) {
            for client in &self.clients {
                let handle = clients::id(server).and_then(|id| client.cluster.endpoint(&id).ok());
                if let Some(handle) = handle {
                    handle.set_check(state);
                }
            }
        }
    }

    fn stop(&mut self, server: u32) {
        let site = &mut self.sites[server as usize];
        site.down += 1;
        for ticket in site.machine.clear(self.now, &self.attempts) {
            self.reply(ticket.index, Answer::Reset, 0);
        }
        self.announce(server);
    }

    fn start(&mut self, server: u32, cold: Option<ColdConfig>) {
        let site = &mut self.sites[server as usize];
        site.down = site.down.saturating_sub(1);
        if let Some(cold) = cold {
            site.cold = cold.times;
            site.starts += 1;
            site.settle(&self.scenario.faults, self.now);
            self.agenda.push(self.now + nanos(cold.lasts), Event::Warm(server, site.starts));
        }
        self.announce(server);
    }

    fn warm(&mut self, server: u32, starts: u32) {
        let site = &mut self.sites[server as usize];
        if site.starts == starts {
            site.cold = 1.0;
            site.settle(&self.scenario.faults, self.now);
            self.announce(server);
        }
    }

    fn some(&self, first: u32) -> std::ops::Range<u32> {
        let at_once = self.scenario.deploy.map_or(1, |deploy| deploy.at_once);
        first..first.saturating_add(at_once).min(self.sites.len() as u32)
    }

    fn drain(&mut self, first: u32) {
        let Some(deploy) = self.scenario.deploy else { return };
        if !deploy.drain.is_zero() {
            self.set_drained(first, true);
        }
        self.agenda.push(self.now + nanos(deploy.drain), Event::Stop(first));
    }

    fn set_drained(&self, first: u32, is_drained: bool) {
        for id in self.some(first).filter_map(clients::id) {
            for client in &self.clients {
                let cluster = &client.cluster;
                // An endpoint that the autoscaler took out meanwhile is not known, and needs no drain.
                let _ = if is_drained { cluster.drain(&id) } else { cluster.undrain(&id) };
            }
        }
    }

    fn stop_some(&mut self, first: u32) {
        self.some(first).for_each(|server| self.stop(server));
        if let Some(deploy) = self.scenario.deploy {
            self.agenda.push(self.now + nanos(deploy.restart), Event::Start(first));
        }
    }

    fn start_some(&mut self, first: u32) {
        let Some(deploy) = self.scenario.deploy else { return };
        self.some(first).for_each(|server| self.start(server, deploy.cold));
        self.set_drained(first, false);
        let next = self.some(first).end;
        if (next as usize) < self.sites.len() {
            self.agenda.push(self.now, Event::Drain(next));
        }
    }

    fn set_present(&mut self, server: u32, is_present: bool) {
        self.sites[server as usize].is_present = is_present;
        let group = &self.scenario.servers[self.sites[server as usize].group as usize];
        let (Some(id), Some(endpoint)) = (clients::id(server), clients::endpoint(server, group)) else {
            return;
        };
        let before = self.key_map();
        for client in &self.clients {
            // Before the first set is applied, and where the last one leaves, the cluster refuses; then it keeps what it has.
            let _ =
                if is_present { client.cluster.upsert(endpoint.clone()) } else { client.cluster.remove(&id) };
        }
        let after = self.key_map();
        let stays = |&(old, new): &(&u32, &u32)| *old != server && *old != NONE && *new != server;
        let pairs = || before.iter().zip(&after).filter(stays);
        let moved = pairs().filter(|(old, new)| old != new).count();
        self.tally.keys_moved(moved as u64, pairs().count() as u64);
    }

    /// Which server has which key, for some keys.
    fn key_map(&mut self) -> Vec<u32> {
        if self.scenario.keys.is_none() || self.now == 0 {
            return Vec::new();
        }
        let picker = &mut self.clients[0].picker;
        let keys = 0..(self.keys.len() as u64).min(SAMPLED_KEYS);
        let server = |key| {
            let chosen = picker.choose(&Request::with_hash(spread(key)));
            chosen.map_or(NONE, |live| *live.payload())
        };
        keys.map(server).collect()
    }

    fn scale(&mut self) {
        let Some(scaling) = self.scenario.scaling else { return };
        let (mut busy, mut cores, mut present) = (0.0, 0.0, 0_u32);
        for site in &mut self.sites {
            busy += site.machine.busy(self.now);
            if site.is_present {
                cores += site.machine.cores();
                present += 1;
            }
        }
        let (since, before) = std::mem::replace(&mut self.scaled, (self.now, busy));
        let utilisation = (busy - before) / ((self.now - since).max(1) as f64 * cores.max(f64::MIN_POSITIVE));
        let wanted = (f64::from(present) * utilisation / scaling.target).ceil();
        let wanted = (wanted as u32).clamp(scaling.least, self.sites.len() as u32);
        if wanted > present + self.joining {
            let more = wanted - present - self.joining;
            let absent: Vec<u32> = (0..self.sites.len() as u32)
                .filter(|&server| !self.sites[server as usize].is_present)
                .skip(self.joining as usize)
                .take(more as usize)
                .collect();
            for server in absent {
                self.joining += 1;
                self.agenda.push(self.now + nanos(scaling.start_up), Event::Join(server));
            }
        } else if wanted < present && self.joining == 0 {
            let last = (0..self.sites.len()).rev().find(|&server| self.sites[server].is_present);
            if let Some(last) = last {
                self.set_present(last as u32, false);
            }
        }
        self.agenda.push(self.now + nanos(scaling.every), Event::Scale);
    }

    fn join(&mut self, server: u32) {
        self.joining = self.joining.saturating_sub(1);
        let cold = self.scenario.scaling.and_then(|scaling| scaling.cold);
        self.sites[server as usize].down += 1;
        self.start(server, cold);
        self.set_present(server, true);
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
