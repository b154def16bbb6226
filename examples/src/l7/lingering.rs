//! The end of a connection in stages (RFC 9112, section 9.6): whoever closes a socket with bytes in it that nobody has read makes
//! the system send a reset, and the client may lose the answer that it was to read, such as a 413 in the middle of an upload.
//! So what still comes is read and dropped, until the client has ended too.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::timer::LazyTimer;

/// What is left of a connection whose own side has ended.
#[derive(Debug, Default)]
pub struct Lingering {
    /// Until when it may last, and until when it may if nothing comes; none before it begins.
    until: Option<(Instant, Instant)>,
    dropped: usize,
    timer: LazyTimer,
}

impl Lingering {
    /// Reads and drops, until the client has ended or it is enough. If `is_over`, the client has nothing more to send, as far as one
    /// knows: then it is enough when nothing is there.
    pub fn poll(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        is_over: bool,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let mut part = [std::mem::MaybeUninit::uninit(); 4 << 10];
        let mut has_come = false;
        for _ in 0..AT_A_TIME {
            let mut part = ReadBuf::uninit(&mut part);
            match Pin::new(&mut *stream).poll_read(context, &mut part) {
                Poll::Ready(Ok(())) if !part.filled().is_empty() => {
                    has_come = true;
                    self.dropped = self.dropped.saturating_add(part.filled().len());
                    if self.dropped > MOST {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if is_over && self.dropped == 0 => return Poll::Ready(()),
                Poll::Pending => {
                    let until = self.until(has_come);
                    return self.timer.poll_until(until, context);
                }
            }
        }
        let until = self.until(true);
        self.others_first(until, context)
    }

    /// Whether the time is over; if not, it goes on when others have had a turn.
    fn others_first(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        let polled = self.timer.poll_until(until, context);
        if polled.is_pending() {
            context.waker().wake_by_ref();
        }
        polled
    }

    fn until(&mut self, has_come: bool) -> Instant {
        let now = Instant::now();
        let (longest, silent) = self.until.get_or_insert_with(|| (now + LONGEST, now + SILENT));
        if has_come {
            *silent = now + SILENT;
        }
        (*silent).min(*longest)
    }
}

/// For how long: as nginx's `lingering_time`.
const LONGEST: Duration = Duration::from_secs(30);

/// For how long if nothing comes. A client that has read the answer ends within a round trip.
const SILENT: Duration = Duration::from_secs(2);

/// How much is dropped. Of an upload that goes on at 1 Gbit/s, a second.
const MOST: usize = 128 << 20;

/// Reads before others have a turn.
const AT_A_TIME: usize = 16;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::runtime::Builder;

    use super::*;

    async fn dropped(mut lingering: Lingering, mut stream: DuplexStream, is_over: bool) -> usize {
        poll_fn(|context| lingering.poll(&mut stream, is_over, context)).await;
        lingering.dropped
    }

    #[test]
    fn it_ends_with_the_client_or_when_it_is_enough() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = duplex(1 << 20);
            theirs.write_all(&[0; 100_000]).await.unwrap();
            drop(theirs);
            assert_eq!(dropped(Lingering::default(), ours, false).await, 100_000);
            // Nobody has anything more to send.
            let (ours, _theirs) = duplex(1 << 20);
            assert_eq!(dropped(Lingering::default(), ours, true).await, 0);
            // The time is over for one that sends nothing.
            let (ours, _theirs) = duplex(1 << 20);
            let now = Instant::now();
            let lingering = Lingering { until: Some((now + LONGEST, now)), ..Lingering::default() };
            assert_eq!(dropped(lingering, ours, false).await, 0);
            // And for one that sends without an end.
            let (ours, mut theirs) = duplex(1 << 20);
            theirs.write_all(&[0; 100_000]).await.unwrap();
            let lingering = Lingering { until: Some((now, now)), ..Lingering::default() };
            assert!((1..=100_000).contains(&dropped(lingering, ours, false).await));
            let (ours, mut theirs) = duplex(1 << 20);
            let sends = tokio::spawn(async move { while theirs.write_all(&[0; 1 << 16]).await.is_ok() {} });
            assert!((MOST..MOST + (1 << 20)).contains(&dropped(Lingering::default(), ours, false).await));
            sends.await.unwrap();
        });
    }
}
