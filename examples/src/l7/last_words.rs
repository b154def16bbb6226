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
pub struct LastWords<S>(pub S);

/// What was written, or as if it had been.
fn written(polled: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
    match polled {
        Poll::Ready(Err(error)) if is_closed(&error) => Poll::Ready(Ok(length)),
        polled => polled,
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
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LastWords<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        written(Pin::new(&mut self.0).poll_write(context, bytes), bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write_vectored(context, slices);
        written(polled, slices.iter().map(|slice| slice.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_flush(context) {
            Poll::Ready(Err(error)) if is_closed(&error) => Poll::Ready(Ok(())),
            polled => polled,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
