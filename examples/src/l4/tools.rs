use std::cell::RefCell;

use evenkeel::route::matching::Scratch;

use super::pipe::Pipes;

/// What the connections of one thread share, one after the other.
#[derive(Debug)]
pub(crate) struct Tools {
    /// What is read and at once written.
    pub(crate) buffer: RefCell<Box<[u8]>>,
    pub(crate) pipes: Pipes,
    pub(crate) scratch: RefCell<Scratch>,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            buffer: RefCell::new(vec![0; BUFFER].into()),
            pipes: Pipes::default(),
            scratch: RefCell::default(),
        }
    }
}

/// The largest datagram fits, and what a socket of Linux holds at first.
const BUFFER: usize = 64 << 10;
