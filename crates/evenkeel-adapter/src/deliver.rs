use std::time::Duration;

use evenkeel_registry::{Event, Feed, FeedError};
use thiserror::Error;

use crate::Stop;

/// An event was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Undelivered {
    /// The feed needs a full set.
    #[error("a full set is needed")]
    NeedFull,
    /// The source was detached, or the adapter was stopped.
    #[error("nobody listens any more")]
    Over,
}

/// Sends an event; if the feed has no room for it yet, waits and sends it again.
///
/// # Errors
///
/// [`Undelivered`].
pub fn deliver(feed: &Feed, stop: &Stop, event: &Event) -> Result<(), Undelivered> {
    loop {
        if stop.is_set() {
            return Err(Undelivered::Over);
        }
        match feed.send(event.clone()) {
            Ok(_) => {
                stop.tell_news();
                return Ok(());
            }
            Err(FeedError::TooFast { retry_at }) => {
                let wait = retry_at.saturating_since(feed.now()).max(Duration::from_millis(1));
                if stop.wait(wait) {
                    return Err(Undelivered::Over);
                }
            }
            Err(FeedError::Detached) => return Err(Undelivered::Over),
            Err(_) => return Err(Undelivered::NeedFull),
        }
    }
}
