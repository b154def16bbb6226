use evenkeel_types::{EndpointId, RandomSource, SplitMix64, Timestamp};

use super::config::MirrorConfig;
use super::members::Members;
use crate::eviction::Window;

/// How fast endpoints that vanished without proof are let go: the shrink guard, and the patience with those that flap.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    draws: SplitMix64,
    window: Option<Window>,
    /// Whether the window that is open, or was last, kept somebody.
    backlog: bool,
    /// When to look again.
    next: Option<Timestamp>,
}

impl Pace {
    pub(super) fn new(draws: SplitMix64) -> Self {
        Self { draws, window: None, backlog: false, next: None }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.next
    }

    /// Lets go who may go now, and makes suspects of those that the window has no room for.
    pub(super) fn release(&mut self, now: Timestamp, config: &MirrorConfig, members: &mut Members) {
        members.release_reused_addresses();
        self.next = None;
        if members.waiting() == 0 {
            self.backlog = false;
            return;
        }
        let mut patient = None;
        let mut due: Vec<EndpointId> = Vec::new();
        for (id, since) in members.leaving() {
            let from = since.saturating_add(config.flap);
            if now >= from {
                due.push(id.clone());
            } else {
                patient = Some(patient.map_or(from, |earlier: Timestamp| earlier.min(from)));
            }
        }
        self.next = patient;
        if due.is_empty() {
            return;
        }
        let mut window = match self.window {
            Some(window) if window.is_open(now) => window,
            earlier => config.shrink.open(now, members.shown_len(), earlier.filter(|_| self.backlog)),
        };
        self.shuffle(&mut due);
        self.backlog = false;
        for id in due {
            if window.take() {
                members.let_go(&id);
            } else {
                members.suspect(&id);
                self.backlog = true;
            }
        }
        self.window = Some(window);
        if self.backlog {
            self.next = Some(self.next.map_or(window.ends, |next| next.min(window.ends)));
        }
    }

    /// Any order, equally likely (Fisher and Yates), so that no name is always the first to go.
    fn shuffle(&mut self, ids: &mut [EndpointId]) {
        for i in (1..ids.len()).rev() {
            let draw = u128::from(self.draws.next_u64());
            let j = (draw * (i as u128 + 1)) >> 64;
            ids.swap(i, j as usize);
        }
    }
}
