//! Requests: from the arrival to an attempt that is under way.

use std::time::Duration;

use evenkeel::limit::{HedgePlan, HedgeStep};
use evenkeel::route::retry::RetryProgress;
use evenkeel::{PickError, Request, Timestamp, Tried};

use super::{Deadline, EPOCH, Event, Group, MOST_REQUESTS, NEVER, OVER, World, spread};
use crate::arrivals::Arrival;
use crate::scenario::HedgeEntry;
use crate::server::Ticket;
use crate::slots::{Answer, Asked, Attempt, More, NONE, Place};
use crate::streams::{Source, Stream};
use crate::tally::End;

impl World<'_> {
    pub(super) fn arrive(&mut self) {
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
    pub(super) fn is_open(&self, request: u32, generation: u32) -> bool {
        let asked = self.requests.at(request);
        asked.generation == generation && asked.legs != OVER
    }

    /// Sends a request: for the first time, again, or besides.
    pub(super) fn send(&mut self, request: u32, is_hedge: bool) {
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
    pub(super) fn delay(&self, client: u32, server: u32) -> u64 {
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

    pub(super) fn hedge(&mut self, request: u32, generation: u32) {
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
}
