//! Who is woken by a connection to an upstream.
//!
//! Whoever polls hyper's half of a connection that drives it leaves a waker behind: in the socket, and in the channels from the half
//! that sends. So a task that sends a request or asks for a body wakes the one that drove last. That is itself, which drives at once
//! anyway, or, where the connection was kept, another client's task, which has nothing to do: a whole connection is polled for
//! nothing, more than once a request. Here the socket alone has the task's waker, and the channels get one that only notes.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::coop::has_budget_remaining;

/// Polls what sits on a [`Stream`](super::stream::Stream). What wakes while it is polled, wakes the task, as does the stream;
/// what wakes later through anything else does not: who does that polls again.
pub fn poll_quietly<T>(context: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    let _restored = Restore(TASK.replace(Some(context.waker().clone())));
    NOTES.with(|(noted, waker)| {
        noted.0.store(false, Ordering::Relaxed);
        let polled = poll(&mut Context::from_waker(waker));
        // As hyper does that has done much and lets others go on. tokio, whose budget is spent, wakes later than here.
        if polled.is_pending() && (noted.0.load(Ordering::Relaxed) || !has_budget_remaining()) {
            context.waker().wake_by_ref();
        }
        polled
    })
}

/// Polls a socket for the task that drives it.
pub fn poll_for_task<T>(context: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> T) -> T {
    TASK.with_borrow(|task| match task {
        Some(waker) => poll(&mut Context::from_waker(waker)),
        None => poll(context),
    })
}

thread_local! {
    /// Whom sockets wake, while something is polled quietly.
    static TASK: RefCell<Option<Waker>> = const { RefCell::new(None) };
    static NOTES: (Arc<Noted>, Waker) = {
        let noted = Arc::<Noted>::default();
        (Arc::clone(&noted), Waker::from(noted))
    };
}

/// Whether it was woken.
#[derive(Default)]
struct Noted(AtomicBool);

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Restore(Option<Waker>);

impl Drop for Restore {
    fn drop(&mut self) {
        TASK.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_socket_wakes_the_task_and_what_is_left_elsewhere_does_not() {
        let woken = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let context = &mut Context::from_waker(&waker);
        let many = || woken.0.load(Ordering::Relaxed);
        let (mut socket, mut channel) = (None, None);
        let polled: Poll<()> = poll_quietly(context, |context| {
            channel = Some(context.waker().clone());
            poll_for_task(context, |context| socket = Some(context.waker().clone()));
            Poll::Pending
        });
        assert!(polled.is_pending());
        channel.unwrap().wake();
        assert_eq!(many(), 0);
        socket.unwrap().wake();
        assert_eq!(many(), 1);
        // Outside nothing of it is left.
        poll_for_task(context, |context| context.waker().wake_by_ref());
        assert_eq!(many(), 2);
        assert!(TASK.take().is_none());
    }

    #[test]
    fn what_wants_to_go_on_at_once_is_polled_again() {
        let woken = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let context = &mut Context::from_waker(&waker);
        let many = || woken.0.load(Ordering::Relaxed);
        let yields = |context: &mut Context<'_>| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        };
        assert!(poll_quietly(context, yields).is_pending());
        assert_eq!(many(), 1);
        // What is ready needs nobody, and what woke before is not about this.
        let mut kept = None;
        let wakes = |context: &mut Context<'_>| {
            kept = Some(context.waker().clone());
            context.waker().wake_by_ref();
            Poll::Ready(())
        };
        assert!(poll_quietly(context, wakes).is_ready());
        kept.unwrap().wake();
        assert!(poll_quietly(context, |_| Poll::<()>::Pending).is_pending());
        assert_eq!(many(), 1);
    }
}
