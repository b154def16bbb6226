use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use rustix::pipe::{SpliceFlags, splice};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::pipe::Pipe;
use super::tools::Tools;

/// One of the two ways through a connection: what was read is written before more is read, so that a slow reader slows the
/// writer down. While nothing moves it holds no buffer.
#[derive(Debug)]
pub(crate) struct Way {
    left: Left,
    state: State,
    /// Bytes that went through.
    pub(crate) moved: u64,
    /// Large reads in a row, which say that this is a stream.
    large: u8,
    splices: bool,
    /// That the one that is read from has gone was heard by who wrote to it: the end that is read then is none.
    pub(crate) was_reset: bool,
}

/// What was read and is not written yet.
#[derive(Debug)]
enum Left {
    Nothing,
    Bytes {
        bytes: Vec<u8>,
        from: usize,
    },
    /// In a pipe.
    Piped {
        pipe: Pipe,
        count: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The reader's side has ended: what is left goes out, then the end is passed on.
    Ending,
    Ended,
}

/// One side is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The one that is read from.
    Reading,
    /// The one that is written to, and how that showed.
    Writing(io::ErrorKind),
}

impl Way {
    /// A way in which `first` waits to be written.
    pub(crate) fn new(first: Vec<u8>, splices: bool) -> Self {
        let left = if first.is_empty() { Left::Nothing } else { Left::Bytes { bytes: first, from: 0 } };
        Self { left, state: State::Open, moved: 0, large: 0, splices, was_reset: false }
    }

    /// Moves what can be moved. Ready when the end has been passed on; an error ends both ways.
    pub(crate) fn poll(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        tools: &Tools,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if self.state == State::Ended {
                return Poll::Ready(Ok(()));
            }
            ready!(self.flush(to, tools, cx)).map_err(|error| Broken::Writing(error.kind()))?;
            if self.state == State::Ending {
                if self.was_reset {
                    return Poll::Ready(Err(Broken::Reading));
                }
                // Who is gone already needs no end.
                let _ = SockRef::from(to).shutdown(Shutdown::Write);
                self.state = State::Ended;
                continue;
            }
            ready!(from.poll_read_ready(cx)).map_err(|_| Broken::Reading)?;
            if self.splices && self.large >= STREAM {
                self.read_piped(from, tools)?;
            } else {
                self.read(from, to, tools)?;
            }
        }
    }

    /// Gives it up: nobody takes what goes this way any more.
    pub(crate) fn end(&mut self) {
        (self.left, self.state) = (Left::Nothing, State::Ended);
    }

    /// Writes what is left.
    fn flush(&mut self, to: &TcpStream, tools: &Tools, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let written = match &mut self.left {
                Left::Nothing => return Poll::Ready(Ok(())),
                Left::Bytes { bytes, from } => {
                    ready!(to.poll_write_ready(cx))?;
                    to.try_write(&bytes[*from..])
                }
                Left::Piped { pipe, count } => {
                    ready!(to.poll_write_ready(cx))?;
                    to.try_io(Interest::WRITABLE, || Ok(splice(&pipe.out, None, to, None, *count, FLAGS)?))
                }
            };
            match written {
                Ok(count) => self.wrote(count, tools),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn wrote(&mut self, written: usize, tools: &Tools) {
        self.moved += written as u64;
        let is_empty = match &mut self.left {
            Left::Nothing => false,
            Left::Bytes { bytes, from } => {
                *from += written;
                *from >= bytes.len()
            }
            Left::Piped { count, .. } => {
                *count = count.saturating_sub(written);
                *count == 0
            }
        };
        if is_empty && let Left::Piped { pipe, .. } = std::mem::replace(&mut self.left, Left::Nothing) {
            tools.pipes.give_back(pipe);
        }
    }

    /// Reads into the buffer of the thread and writes from it; only what the other side does not take now is kept.
    fn read(&mut self, from: &TcpStream, to: &TcpStream, tools: &Tools) -> Result<(), Broken> {
        let mut buffer = tools.buffer.borrow_mut();
        let count = match from.try_read(&mut buffer) {
            Ok(0) => {
                self.state = State::Ending;
                return Ok(());
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(Broken::Reading),
        };
        self.large = if count >= buffer.len() / 2 { self.large.saturating_add(1) } else { 0 };
        let written = match to.try_write(&buffer[..count]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(Broken::Writing(error.kind())),
        };
        self.moved += written as u64;
        if written < count {
            self.left = Left::Bytes { bytes: buffer[written..count].to_vec(), from: 0 };
        }
        Ok(())
    }

    /// Moves what can be read into a pipe.
    fn read_piped(&mut self, from: &TcpStream, tools: &Tools) -> Result<(), Broken> {
        let Ok(pipe) = tools.pipes.take() else {
            // No descriptors or no memory for pipes: go on by copying.
            self.splices = false;
            return Ok(());
        };
        let read =
            from.try_io(Interest::READABLE, || Ok(splice(from, None, &pipe.into, None, pipe.size, FLAGS)?));
        match read {
            Ok(0) => self.state = State::Ending,
            Ok(count) => {
                // A trickle is copied in fewer calls.
                self.large = if count < SMALL { 0 } else { self.large };
                self.left = Left::Piped { pipe, count };
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                self.splices = false;
            }
            Err(_) => return Err(Broken::Reading),
        }
        tools.pipes.give_back(pipe);
        Ok(())
    }
}

/// So many large reads in a row, and it is a stream.
const STREAM: u8 = 2;
/// So little in a pipe, and it is none any more.
const SMALL: usize = 4 << 10;
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
