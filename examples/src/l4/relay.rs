use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use evenkeel::{Outcome, Pick};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::counters::Counters;
use super::tools::Tools;
use super::way::{Broken, Way};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides have said all.
    Whole,
    /// Nothing moved for too long.
    Idle,
    /// One side broke off.
    Broken,
}

/// A connection on both sides, and the pick that counts it.
pub(crate) struct Relay<'a, T> {
    pub(crate) client: &'a TcpStream,
    pub(crate) server: &'a TcpStream,
    pub(crate) up: Way,
    pub(crate) down: Way,
    pub(crate) pick: &'a mut Pick<T>,
    pub(crate) connected: Duration,
    pub(crate) idle: Duration,
    pub(crate) tools: &'a Tools,
    pub(crate) counters: &'a Counters,
}

impl<T> Relay<'_, T> {
    /// Carries bytes both ways until both have ended, one side breaks off, or nothing moves for `idle` (up to a quarter more:
    /// looking once in a quarter costs less than a new deadline for every byte).
    ///
    /// The verdict on the endpoint: success with its first byte, at the end, or when the connection has stood for
    /// [`SETTLED`]; a failure if it breaks off before.
    pub(crate) async fn run(mut self) -> End {
        let quarter = self.idle / 4;
        let mut quiet = 0;
        let mut seen = 0;
        let mut counted = (0, 0);
        let (mut judged, mut turn) = (false, false);
        let begun = Instant::now();
        let first = quarter.min(SETTLED);
        let mut timer = pin!(sleep_until(begun + first));
        let end = poll_fn(|cx| {
            // In turns, since the one that goes first may use up what a task is given at a time.
            turn = !turn;
            let (mut up, mut down) = (Poll::Pending, Poll::Pending);
            for way in [turn, !turn] {
                if way {
                    up = self.up.poll(self.client, self.server, self.tools, cx);
                    // A socket tells of its reset once, and of an end from then on. (Of one that came after its end it
                    // tells as of a broken pipe.)
                    self.down.was_reset |=
                        up == Poll::Ready(Err(Broken::Writing(ErrorKind::ConnectionReset)));
                } else {
                    down = self.down.poll(self.server, self.client, self.tools, cx);
                }
            }
            self.counters.to_endpoints.add(self.up.moved - counted.0);
            self.counters.to_clients.add(self.down.moved - counted.1);
            counted = (self.up.moved, self.down.moved);
            if !judged && self.down.moved > 0 {
                judged = true;
                self.pick.record(Outcome::success().with_latency(self.connected));
            }
            let up = match up {
                // It takes no more. What it said before it went is still read.
                Poll::Ready(Err(Broken::Writing(_))) => {
                    self.up.end();
                    cx.waker().wake_by_ref();
                    true
                }
                Poll::Ready(Err(Broken::Reading)) => return Poll::Ready(self.by_client()),
                up => up.is_ready(),
            };
            let down = match down {
                Poll::Ready(Err(Broken::Reading)) => return Poll::Ready(self.by_server()),
                Poll::Ready(Err(Broken::Writing(_))) => return Poll::Ready(self.by_client()),
                down => down.is_ready(),
            };
            if up && down {
                self.pick.record(Outcome::success().with_latency(self.connected));
                return Poll::Ready(End::Whole);
            }
            while timer.as_mut().poll(cx).is_ready() {
                let moved = self.up.moved + self.down.moved;
                let now = Instant::now();
                if !judged && now.duration_since(begun) >= SETTLED {
                    judged = true;
                    self.pick.record(Outcome::success().with_latency(self.connected));
                }
                // The first look may be early, for the verdict.
                quiet = if moved == seen { quiet + 1 } else { 0 };
                seen = moved;
                if quiet > 4 {
                    return Poll::Ready(End::Idle);
                }
                timer.as_mut().reset(now + quarter);
            }
            Poll::Pending
        });
        end.await
    }

    fn by_server(&mut self) -> End {
        let outcome = if self.down.moved > 0 { Outcome::success() } else { Outcome::failure() };
        self.pick.record(outcome);
        End::Broken
    }

    fn by_client(&mut self) -> End {
        // That the client has gone says nothing about the endpoint, but that it was there.
        self.pick.record(Outcome::success().with_latency(self.connected));
        End::Broken
    }
}

/// Two sockets that see a reset when this is dropped, unless their ends have been passed on. Whatever cuts a connection off (a
/// deadline, an idle time, the end of the program) drops it, so no cut looks like an end.
pub(crate) struct Cut<'a> {
    pub(crate) sockets: [&'a TcpStream; 2],
    pub(crate) is_whole: bool,
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.sockets.into_iter().for_each(break_off);
        }
    }
}

/// Has the other side see a reset too when this is dropped: an end would say that all has been sent.
pub(crate) fn break_off(socket: &TcpStream) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// A connection that has stood for so long was a good one: a permit of a half-open breaker need not wait for its end.
const SETTLED: Duration = Duration::from_secs(5);
