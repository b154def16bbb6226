//! What a server says before it closes a connection under a request, such as a 413 in the middle of an upload.
//!
//! Whoever writes to a connection that the other side has closed gets an error, though what the other side has said before is still
//! there to be read; and hyper reads no more once it could not write. So what cannot be written any more is dropped without a
//! word here, and what was said is found: an answer, or the end of the connection, which ends the request then.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream to which nobody listens any more as soon as it cannot be written.
#[derive(Debug)]
pub struct LastWords<S> {
    stream: S,
    /// It was reset: what has come can be read, but where that ends is no end.
    is_reset: bool,
}

impl<S> LastWords<S> {
    /// A stream that can be written.
    pub const fn new(stream: S) -> Self {
        Self { stream, is_reset: false }
    }

    /// What was written, or as if it had been.
    fn written<T>(&mut self, polled: Poll<io::Result<T>>, as_if: T) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(Err(error)) if is_closed(&error) => {
                // Who closes in good order is known by another error.
                self.is_reset |= error.kind() == ErrorKind::ConnectionReset;
                Poll::Ready(Ok(as_if))
            }
            polled => polled,
        }
    }
}

/// Whether nothing that is written can arrive, while what has come can be read and ends.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

impl<S: AsyncRead + Unpin> AsyncRead for LastWords<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, has_room) = (into.filled().len(), into.remaining() > 0);
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        let has_ended = has_room && matches!(polled, Poll::Ready(Ok(()))) && into.filled().len() == before;
        if has_ended && self.is_reset { Poll::Ready(Err(ErrorKind::ConnectionReset.into())) } else { polled }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LastWords<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(polled, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(polled, slices.iter().map(|slice| slice.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.written(polled, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Cannot be written, has said something, and ends.
    struct Gone {
        says: &'static [u8],
        how: ErrorKind,
    }

    impl AsyncRead for Gone {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            into.put_slice(std::mem::take(&mut self.says));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Gone {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(self.how.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(self.how.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn what_was_said_is_read_and_a_reset_is_no_end() {
        let context = &mut Context::from_waker(Waker::noop());
        for (how, ends_well) in [(ErrorKind::BrokenPipe, true), (ErrorKind::ConnectionReset, false)] {
            let mut stream = LastWords::new(Gone { says: b"413", how });
            let mut room = [0; 8];
            let mut read = |stream: &mut LastWords<Gone>| {
                let mut into = ReadBuf::new(&mut room);
                let polled = Pin::new(stream).poll_read(context, &mut into);
                polled.map(|result| result.map(|()| into.filled().to_vec()).map_err(|error| error.kind()))
            };
            assert_eq!(read(&mut stream), Poll::Ready(Ok(b"413".to_vec())));
            let context = &mut Context::from_waker(Waker::noop());
            assert!(matches!(Pin::new(&mut stream).poll_write(context, b"more"), Poll::Ready(Ok(4))));
            assert!(matches!(Pin::new(&mut stream).poll_flush(context), Poll::Ready(Ok(()))));
            let end = if ends_well { Ok(Vec::new()) } else { Err(how) };
            assert_eq!(read(&mut stream), Poll::Ready(end), "{how:?}");
        }
    }

    #[test]
    fn other_errors_stay_errors() {
        let context = &mut Context::from_waker(Waker::noop());
        let mut stream = LastWords::new(Gone { says: b"", how: ErrorKind::TimedOut });
        assert!(matches!(Pin::new(&mut stream).poll_write(context, b"more"), Poll::Ready(Err(_))));
    }
}
