//! Who is in the fleet: rolling restarts, and the autoscaler.

use evenkeel::Request;

use super::{Event, SAMPLED_KEYS, World, spread};
use crate::clients;
use crate::slots::NONE;
use crate::tally::nanos;

impl World<'_> {
    fn some(&self, first: u32) -> std::ops::Range<u32> {
        let at_once = self.scenario.deploy.map_or(1, |deploy| deploy.at_once);
        first..first.saturating_add(at_once).min(self.sites.len() as u32)
    }

    pub(super) fn drain(&mut self, first: u32) {
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

    pub(super) fn stop_some(&mut self, first: u32) {
        self.some(first).for_each(|server| self.stop(server));
        if let Some(deploy) = self.scenario.deploy {
            self.agenda.push(self.now + nanos(deploy.restart), Event::Start(first));
        }
    }

    pub(super) fn start_some(&mut self, first: u32) {
        let Some(deploy) = self.scenario.deploy else { return };
        self.some(first).for_each(|server| self.start(server, deploy.cold));
        self.set_drained(first, false);
        let next = self.some(first).end;
        if (next as usize) < self.sites.len() {
            self.agenda.push(self.now, Event::Drain(next));
        }
    }

    pub(super) fn set_present(&mut self, server: u32, is_present: bool) {
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

    pub(super) fn scale(&mut self) {
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

    pub(super) fn join(&mut self, server: u32) {
        self.joining = self.joining.saturating_sub(1);
        let cold = self.scenario.scaling.and_then(|scaling| scaling.cold);
        self.sites[server as usize].down += 1;
        self.start(server, cold);
        self.set_present(server, true);
    }
}
