//! What a worker counts: one writer, many readers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::cause::Cause;

/// A number that one thread writes: without a locked instruction.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// So many more. Only for the thread that owns it.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// One less.
    pub fn less(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a worker counts.
#[derive(Debug, Default)]
pub struct Counts {
    /// Answers, by the first digit of their status.
    pub answers: [Count; 6],
    /// Answers in the proxy's own words, by cause.
    pub causes: [Count; CAUSES.len()],
    /// Connections of clients, now.
    pub clients: Count,
    /// Connections of clients, ever.
    pub accepted: Count,
    /// Connections to upstreams, ever.
    pub opened: Count,
    /// Attempts beyond the first.
    pub again: Count,
    /// Copies that were sent.
    pub copied: Count,
    /// Copies that were left out: a body too long to be kept, or too many under way.
    pub not_copied: Count,
    /// Bodies of answers that broke off.
    pub broken: Count,
    /// Clients that were too slow, and were closed.
    pub too_slow: Count,
    /// Clients that left before there was an answer.
    pub left: Count,
    /// Connections on which no HTTP was spoken, or too large a head was sent: hyper answers them.
    pub garbage: Count,
    /// Tunnels, now.
    pub tunnels: Count,
    /// Bytes of bodies to clients.
    pub bytes: Count,
}

impl Counts {
    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        if let Some(count) = self.answers.get(usize::from(status / 100)) {
            count.add(1);
        }
    }

    /// Counts an answer in the proxy's own words.
    pub fn refused(&self, cause: Cause) {
        let at = CAUSES.iter().position(|word| *word == cause.word());
        if let Some(count) = at.and_then(|at| self.causes.get(at)) {
            count.add(1);
        }
    }
}

/// The words of all causes.
pub const CAUSES: [&str; 16] = [
    "bad_request",
    "head_too_large",
    "body_too_large",
    "client_timeout",
    "no_connect",
    "loop",
    "no_route",
    "rate_limited",
    "no_endpoint",
    "upstream_connect_failed",
    "upstream_connect_timeout",
    "upstream_bad_certificate",
    "upstream_tls_failed",
    "upstream_reset",
    "upstream_garbage",
    "upstream_timeout",
];
