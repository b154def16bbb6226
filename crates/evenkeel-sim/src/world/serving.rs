//! Attempts at their server.

use super::{Event, World};
use crate::server::Ticket;
use crate::site::Trouble;
use crate::slots::{Answer, Place};
use crate::streams::{Source, Stream};

impl World<'_> {
    pub(super) fn reach(&mut self, index: u32) {
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
    pub(super) fn announce(&mut self, server: u32) {
        let machine = &mut self.sites[server as usize].machine;
        if let Some((at, version)) = machine.announce(self.now, &self.attempts) {
            self.agenda.push(at, Event::Done(server, version));
        }
        if let Some(shared) = &self.shared {
            shared.set(server as usize, self.sites[server as usize].machine.in_flight());
        }
    }

    pub(super) fn done(&mut self, server: u32, version: u32) {
        if !self.sites[server as usize].machine.is_due(version) {
            return;
        }
        while let Some(ticket) = self.sites[server as usize].machine.done(self.now, &self.attempts) {
            let attempt = self.attempts.at(ticket.index);
            let (met, took) = (attempt.met, self.now - attempt.came);
            if let Some(latencies) = &mut self.sites[server as usize].latencies {
                latencies.record(met, took);
            }
            self.reply(ticket.index, Answer::Good, 0);
        }
        self.announce(server);
    }

    /// The server answers, after a time.
    #[inline]
    pub(super) fn reply(&mut self, index: u32, answer: Answer, after: u64) {
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
}
