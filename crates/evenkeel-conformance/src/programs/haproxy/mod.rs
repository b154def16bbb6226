//! Replays HAProxy.

use crate::{Tally, UnknownFile, Vector};

/// Replays a file of HAProxy.
///
/// # Errors
///
/// [`UnknownFile`], if the algorithm is not known.
pub fn replay(vector: &Vector) -> Result<Tally, UnknownFile> {
    Err(UnknownFile::algorithm(vector))
}
