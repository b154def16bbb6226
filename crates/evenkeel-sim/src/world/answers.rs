//! Answers at the client, and what never comes.

use std::time::Duration;

use evenkeel::route::retry::{Ending, Next};
use evenkeel::{LoadReport, Outcome};

use super::{EPOCH, Event, OVER, World};
use crate::server::Ticket;
use crate::slots::{Answer, NONE, Place};
use crate::tally::End;

impl World<'_> {
    pub(super) fn answer(&mut self, index: u32) {
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
            let (told, there) = (site.told, site.machine.in_flight());
            let report = LoadReport::new(told.per_second, told.failed_per_second, told.utilisation);
            pick.report(report.with_queue(there));
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
    pub(super) fn expire(&mut self, ticket: Ticket) {
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

    pub(super) fn complete(&mut self, request: u32, end: End) {
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

    pub(super) fn ended(&mut self, born: u64, group: u32, end: End) {
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

    pub(super) fn look_whether_over(&mut self) {
        if self.next.is_none() && self.requests.used() == 0 {
            self.is_waited_for = false;
        }
    }
}
