use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

/// A pipe of the kernel, through which `splice` moves pages from one socket to the other.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) into: OwnedFd,
    pub(crate) out: OwnedFd,
    pub(crate) size: usize,
}

/// Empty pipes of one thread, for whoever moves bytes next.
#[derive(Debug, Default)]
pub(crate) struct Pipes(RefCell<Vec<Pipe>>);

impl Pipes {
    /// An empty pipe.
    pub(crate) fn take(&self) -> io::Result<Pipe> {
        if let Some(pipe) = self.0.borrow_mut().pop() {
            return Ok(pipe);
        }
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // The system may refuse more than 64 KiB to a user who has many: then it stays at that.
        let _ = fcntl_setpipe_size(&into, WANTED);
        let size = fcntl_getpipe_size(&into)?;
        Ok(Pipe { into, out, size })
    }

    /// Takes back a pipe, which must be empty.
    pub(crate) fn give_back(&self, pipe: Pipe) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < KEPT {
            spare.push(pipe);
        }
    }
}

/// Four times the usual: half as many system calls for a byte, and still in the second-level cache of a core.
const WANTED: usize = 256 << 10;
/// Of one thread. A pipe in use moves bytes at this moment, or waits for a slow reader.
const KEPT: usize = 32;
