//! A timer that is moved for every request and rarely touched: moving one in the wheel costs more than asking for the time.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer of a connection. It may sleep too short, and then sleeps on; it never sleeps too long.
#[derive(Debug, Default)]
pub struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the sleep wakes.
    waker: Option<Waker>,
}

impl LazyTimer {
    /// A timer that nobody has asked anything yet.
    pub const fn new() -> Self {
        Self { sleep: None, waker: None }
    }

    /// Whether it is `until` already; if not, the task is woken then.
    pub fn poll_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        let Self { sleep, waker } = self;
        let sleep = sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < sleep.deadline() {
            sleep.as_mut().reset(until);
        } else if !sleep.is_elapsed() && waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()))
        {
            // The same task has asked before: it sleeps, and whom to wake is known.
            return Poll::Pending;
        }
        *waker = Some(context.waker().clone());
        loop {
            ready!(sleep.as_mut().poll(context));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_wakes_whoever_asked_last() {
        let (begun, mut timer) = (Instant::now(), LazyTimer::new());
        let at = |seconds| begun + Duration::from_secs(seconds);
        // Another task asks, as when a connection was kept: it is woken, not the first.
        let nobody = &mut Context::from_waker(Waker::noop());
        assert!(timer.poll_until(at(2), nobody).is_pending());
        let mut polls = 0;
        poll_fn(|context| {
            polls += 1;
            timer.poll_until(at(5), context)
        })
        .await;
        // At first, when it sleeps too short, and in the end.
        assert_eq!((begun.elapsed().as_secs(), polls), (5, 3));
        // What is over is over, and sooner is sooner.
        assert!(timer.poll_until(at(5), nobody).is_ready());
        assert!(timer.poll_until(at(9), nobody).is_pending());
        poll_fn(|context| timer.poll_until(at(7), context)).await;
        assert_eq!(begun.elapsed().as_secs(), 7);
    }
}
