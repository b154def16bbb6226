//! What servers say of themselves: to probes and to polls.

use std::time::Duration;

use super::{Event, Probes, World};
use crate::site::Trouble;
use crate::slots::NONE;
use crate::tally::nanos;

impl World<'_> {
    /// Sends the probes that the last pick asked for.
    pub(super) fn probe(&mut self, client: u32) {
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

    pub(super) fn probes_reach(&mut self, index: u32) {
        let probes = self.probes.at_mut(index);
        for (server, load, latency) in &mut probes.asked {
            let site = &self.sites[*server as usize];
            (*load, *latency) = site.probe();
            if site.down > 0 || site.trouble == Trouble::BlackHole {
                *server = NONE;
            }
        }
        self.agenda.push(self.now + self.network, Event::ProbesAnswer(index));
    }

    pub(super) fn probes_answer(&mut self, index: u32) {
        let now = self.timestamp();
        let probes = self.probes.at(index);
        if let Some(desk) = &self.clients[probes.client as usize].desk {
            for &(server, load, latency) in probes.asked.iter().filter(|&&(server, ..)| server != NONE) {
                desk.answer(server, load, Duration::from_nanos(latency), now);
            }
        }
        self.probes.release(index);
    }

    pub(super) fn poll(&mut self, client: u32) {
        let Some(loads) = &self.clients[client as usize].loads else { return };
        for (server, site) in self.sites.iter().enumerate() {
            loads.set(server, site.machine.in_flight());
        }
        if let Some(every) = self.setup.entry.polled.as_ref().and_then(|polled| polled.every) {
            self.agenda.push(self.now + nanos(every), Event::Poll(client));
        }
    }
}
