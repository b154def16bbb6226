use std::fmt;

/// Where keys live: a table from the hash of a key to positions.
///
/// A placement knows who is there and with what weight. It does not know who is usable: whoever asks walks on from the
/// home of a key until somebody is.
pub trait Placement: Send + Sync + fmt::Debug {
    /// The number of positions.
    fn len(&self) -> usize;

    /// Whether there are no positions at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The home of a hash. `None` if it holds nobody, as when all weights are zero.
    fn home(&self, hash: u64) -> Option<Candidate>;

    /// The candidate after `last`, which came from `home` or from here. `step` counts from 1. Positions may repeat.
    fn next(&self, hash: u64, step: u32, last: Candidate) -> Candidate;
}

/// A position that a key may go to, and where the walk goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The position.
    pub position: usize,
    /// The placement's own mark of the place: a point of a ring, for one.
    pub cursor: u64,
}
