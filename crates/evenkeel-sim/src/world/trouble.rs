//! What goes wrong with servers, and who is told.

use evenkeel::CheckState;

use super::{Event, World};
use crate::clients;
use crate::fault::{ColdConfig, FaultKind};
use crate::slots::Answer;
use crate::tally::nanos;

impl World<'_> {
    pub(super) fn redraw(&mut self, server: u32) {
        let site = &mut self.sites[server as usize];
        let config = &self.scenario.servers[site.group as usize];
        let Some(antagonist) = &config.antagonist else { return };
        let lasts = site.redraw(config, antagonist, self.now);
        self.agenda.push(self.now.saturating_add(lasts.max(1)), Event::Redraw(server));
        self.announce(server);
    }

    pub(super) fn fault(&mut self, number: u32, begins: bool) {
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

    /// Health checks tell clients. A server with several faults is up when the last of them is over.
    pub(super) fn notice(&mut self, number: u32, begins: bool) {
        let fault = &self.scenario.faults[number as usize];
        let all = 0..self.sites.len() as u32;
        for server in all.filter(|server| fault.servers.is_empty() || fault.servers.contains(server)) {
            let noticed = &mut self.sites[server as usize].noticed;
            *noticed = if begins { *noticed + 1 } else { noticed.saturating_sub(1) };
            let state = if *noticed > 0 { CheckState::Down } else { CheckState::Up };
            for client in &self.clients {
                let handle = clients::id(server).and_then(|id| client.cluster.endpoint(&id).ok());
                if let Some(handle) = handle {
                    handle.set_check(state);
                }
            }
        }
    }

    pub(super) fn stop(&mut self, server: u32) {
        let site = &mut self.sites[server as usize];
        site.down += 1;
        for ticket in site.machine.clear(self.now, &self.attempts) {
            self.reply(ticket.index, Answer::Reset, 0);
        }
        self.announce(server);
    }

    pub(super) fn start(&mut self, server: u32, cold: Option<ColdConfig>) {
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

    pub(super) fn warm(&mut self, server: u32, starts: u32) {
        let site = &mut self.sites[server as usize];
        if site.starts == starts {
            site.cold = 1.0;
            site.settle(&self.scenario.faults, self.now);
            self.announce(server);
        }
    }
}
