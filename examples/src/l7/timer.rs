//! A timer that is moved for every request and rarely touched: moving one in the wheel costs more than asking for the time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer of a connection. It may sleep too short, and then sleeps on; it never sleeps too long.
#[derive(Debug)]
pub struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// A timer that nobody has asked anything yet.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether it is `until` already; if not, the task is woken then.
    pub fn poll_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < sleep.deadline() {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

impl Default for LazyTimer {
    fn default() -> Self {
        Self::new()
    }
}
