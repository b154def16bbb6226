//! What waits for time in a feed, beside what waits for the store.

use std::time::Duration;

use evenkeel_registry::Feed;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Ticks `feed` when it is due, until it is dropped: gathered changes and holds do not wait for the next word of the store. `news`
/// says that something was sent.
pub(crate) async fn keep_time(feed: &Feed, news: &Notify) {
    loop {
        let (now, next) = (feed.now(), feed.next_deadline());
        if next.is_some_and(|at| now >= at) {
            feed.tick();
        }
        // The feed's clock need not be ours: it is looked at again after a second at the latest.
        let wait = next.map_or(LOOK, |at| at.saturating_since(now)).clamp(LEAST, LOOK);
        tokio::select! {
            () = news.notified() => {}
            () = sleep(wait) => {}
        }
    }
}

const LEAST: Duration = Duration::from_millis(1);
const LOOK: Duration = Duration::from_secs(1);
