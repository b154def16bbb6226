//! What a connection of a client is doing, so that one that does nothing can be closed.
//!
//! The stream notes reads and writes, the service notes requests, and the task of the connection asks how long that may go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_config::ListenerTimeouts;
use tokio::time::Instant;

/// What a connection of a client is doing. Written by one thread.
#[derive(Debug)]
pub struct Watch {
    begun: Instant,
    /// Requests under way.
    active: AtomicU32,
    /// Whether the first bytes of a head have come.
    in_head: AtomicBool,
    /// Whether what comes is frames, of which many are no head: pings, windows, settings.
    in_frames: AtomicBool,
    /// Whether the last request came with a body.
    in_body: AtomicBool,
    /// Whether what comes belongs to another protocol.
    in_tunnel: AtomicBool,
    /// Since when nothing is under way, or the head comes: nanoseconds after `begun`.
    since: AtomicU64,
    /// Since when the client takes nothing; 0 if it does.
    blocked: AtomicU64,
}

impl Watch {
    /// Of a connection that begins now.
    pub fn new() -> Self {
        let (active, in_head) = (AtomicU32::new(0), AtomicBool::new(false));
        let (in_frames, in_body, in_tunnel) =
            (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        let (since, blocked) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { begun: Instant::now(), active, in_head, in_frames, in_body, in_tunnel, since, blocked }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// HTTP/2 is spoken.
    pub fn speaks_frames(&self) {
        self.in_frames.store(true, Ordering::Relaxed);
    }

    /// Bytes have come.
    pub fn has_read(&self) {
        if self.in_frames.load(Ordering::Relaxed) {
            return;
        }
        if self.active.load(Ordering::Relaxed) == 0 && !self.in_head.load(Ordering::Relaxed) {
            self.in_head.store(true, Ordering::Relaxed);
            self.since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The client has taken bytes, or not.
    pub fn has_written(&self, is_blocked: bool) {
        if is_blocked != (self.blocked.load(Ordering::Relaxed) != 0) {
            self.blocked.store(if is_blocked { self.now().max(1) } else { 0 }, Ordering::Relaxed);
        }
    }

    /// A request begins, and lasts as long as the result.
    pub fn begin(self: &Arc<Self>) -> Busy {
        let active = self.active.load(Ordering::Relaxed);
        self.active.store(active.saturating_add(1), Ordering::Relaxed);
        self.in_head.store(false, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Whether the request that begins has a body.
    pub fn comes_with_body(&self, has_body: bool) {
        self.in_body.store(has_body, Ordering::Relaxed);
    }

    /// What comes from now on belongs to another protocol.
    pub fn becomes_tunnel(&self) {
        self.in_tunnel.store(true, Ordering::Relaxed);
    }

    /// What the client may still send when our own side ends: the rest of a head that was refused, of a body that nobody
    /// wanted, frames.
    pub fn rest(&self) -> Rest {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is_set(&self.in_tunnel) {
            Rest::Tunnel
        } else if [&self.in_head, &self.in_body, &self.in_frames].into_iter().any(is_set) {
            Rest::Likely
        } else {
            Rest::Unlikely
        }
    }

    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        self.active.load(Ordering::Relaxed) > 0
    }

    /// Until when this may go on.
    pub fn deadline(&self, timeouts: &ListenerTimeouts) -> Option<Instant> {
        let at = |since: u64, time: Duration| Some(self.begun + Duration::from_nanos(since) + time);
        let since = self.since.load(Ordering::Relaxed);
        match self.blocked.load(Ordering::Relaxed) {
            0 if self.is_busy() => None,
            0 if self.in_head.load(Ordering::Relaxed) => at(since, timeouts.header),
            0 => at(since, timeouts.idle),
            blocked => at(blocked, timeouts.idle),
        }
    }
}

/// What the client may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// What somebody else reads.
    Tunnel,
    /// Something.
    Likely,
    /// Nothing, as far as one knows.
    Unlikely,
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

/// A request that is under way, until this is dropped.
#[derive(Debug)]
pub struct Busy(Arc<Watch>);

impl Busy {
    /// Whether it came in frames, of which several requests can be under way.
    pub fn is_in_frames(&self) -> bool {
        self.0.in_frames.load(Ordering::Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let active = self.0.active.load(Ordering::Relaxed).saturating_sub(1);
        self.0.active.store(active, Ordering::Relaxed);
        if active == 0 {
            self.0.since.store(self.0.now(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_do_not_begin_a_head() {
        let timeouts = ListenerTimeouts {
            header: Duration::from_secs(1),
            idle: Duration::from_secs(100),
            ..ListenerTimeouts::default()
        };
        for (is_h2, least) in [(true, 100), (false, 1)] {
            let watch = Arc::new(Watch::new());
            if is_h2 {
                watch.speaks_frames();
            }
            let busy = watch.begin();
            watch.has_read();
            assert_eq!(watch.deadline(&timeouts), None);
            drop(busy);
            watch.has_read();
            let left = watch.deadline(&timeouts).unwrap() - watch.begun;
            assert!(
                (least..least + 1 + watch.begun.elapsed().as_secs()).contains(&left.as_secs()),
                "{left:?}"
            );
        }
    }
}
