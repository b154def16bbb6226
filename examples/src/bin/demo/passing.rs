use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use evenkeel::{Clock, MonotonicClock, Pick};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use crate::pool::{Connection, Upstream};

/// An answer's body on its way through the proxy.
///
/// It holds the [`Pick`] until the last byte is through, so that a long download counts as in flight for as long as it
/// lasts. Then the connection goes back to its pool; if the client leaves early, the connection is closed instead.
#[derive(Debug)]
pub(crate) struct Passing {
    body: Incoming,
    complete: bool,
    connection: Option<Connection>,
    pick: Pick<Upstream>,
    started: Instant,
    clock: MonotonicClock,
}

impl Passing {
    pub(crate) const fn new(
        body: Incoming,
        connection: Connection,
        pick: Pick<Upstream>,
        started: Instant,
        clock: MonotonicClock,
    ) -> Self {
        Self { body, complete: false, connection: Some(connection), pick, started, clock }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.complete = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let upstream = self.pick.payload();
        upstream.meter.record_latency(self.started.elapsed(), self.clock.now());
        if let Some(connection) = self.connection.take()
            && (self.complete || self.body.is_end_stream())
        {
            upstream.pool.give_back(connection);
        }
    }
}
