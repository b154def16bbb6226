//! The connections to one endpoint on which one worker speaks HTTP/2.
//!
//! One is enough for as long as the endpoint takes more requests at a time than there are. Servers say how many they take
//! (`SETTINGS_MAX_CONCURRENT_STREAMS`; nginx 128, Apache 100), and a request beyond goes over another connection: long calls must not
//! keep short ones waiting.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::h2::{H2, InUse};

/// The connections to one endpoint on which one worker speaks HTTP/2.
#[derive(Default)]
pub struct H2Pool {
    /// The first one with a place is used, so that those at the end fall idle.
    kept: Mutex<Vec<Kept>>,
    /// Held while a connection is made that many are to share.
    dialing: tokio::sync::Mutex<()>,
}

struct Kept {
    connection: H2,
    /// How many requests it had had when it was last seen with none under way, and since when that number stands.
    idle: Option<(u64, Instant)>,
}

impl H2Pool {
    /// A connection with a place for a request.
    pub fn take(&self, number: u64) -> Option<(H2, InUse)> {
        let kept = self.kept.lock();
        let mut usable = kept.iter().map(|kept| &kept.connection).filter(|one| one.number == number);
        usable.find_map(|one| Some((one.clone(), one.enter()?)))
    }

    /// The right to make a connection. Who has waited for it looks first whether there is a place by now.
    pub async fn dial(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.dialing.lock().await
    }

    /// Keeps a connection, for all to share.
    pub fn add(&self, connection: &H2) {
        self.kept.lock().push(Kept { connection: connection.clone(), idle: None });
    }

    /// Takes a connection out that takes no more requests. What is under way on it goes on.
    pub fn forget(&self, connection: &H2) {
        let gone: Vec<Kept> =
            self.kept.lock().extract_if(.., |kept| kept.connection.is(connection)).collect();
        drop(gone);
    }

    /// Lets go of what is closed, of what was made under settings other than `number`, and of all but the first that had nothing to do
    /// for `idle_time`.
    pub fn sweep(&self, idle_time: Duration, number: u64, now: Instant) {
        let mut kept = self.kept.lock();
        let mut is_first = true;
        let gone: Vec<Kept> = kept
            .extract_if(.., |kept| {
                if kept.connection.number != number || !kept.connection.is_usable() {
                    return true;
                }
                let is_over = kept.is_idle_for(idle_time, now) && !is_first;
                is_first = false;
                is_over
            })
            .collect();
        drop(kept);
        drop(gone);
    }
}

impl Kept {
    fn is_idle_for(&mut self, time: Duration, now: Instant) -> bool {
        let Some(requests) = self.connection.requests_ended() else {
            self.idle = None;
            return false;
        };
        match self.idle {
            Some((before, since)) if before == requests => now.saturating_duration_since(since) >= time,
            _ => {
                self.idle = Some((requests, now));
                false
            }
        }
    }
}
