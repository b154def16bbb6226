//! Short writes of several slices as one: to write slices costs the kernel more than to copy a few bytes costs us.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use smallvec::SmallVec;
use tokio::io::AsyncWrite;

/// Writes slices: by one plain write if they are short or only one, else as slices.
pub fn poll_write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if let [slice] = slices {
        return stream.poll_write(context, slice);
    }
    match gather(slices) {
        Some(bytes) => stream.poll_write(context, &bytes),
        None => stream.poll_write_vectored(context, slices),
    }
}

/// All of them, if they fit.
fn gather(slices: &[IoSlice<'_>]) -> Option<SmallVec<[u8; SHORT]>> {
    if slices.iter().map(|slice| slice.len()).sum::<usize>() > SHORT {
        return None;
    }
    let mut whole = SmallVec::new();
    for slice in slices {
        whole.extend_from_slice(slice);
    }
    Some(whole)
}

/// A head and a small body, as most answers are. To copy that much takes less than the tenth of a microsecond.
const SHORT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_gathered() {
        let (long, short) = (vec![1; SHORT], b"head".as_slice());
        let text = |slices: &[IoSlice<'_>]| gather(slices).map(|whole| whole.to_vec());
        let all = text(&[IoSlice::new(short), IoSlice::new(b""), IoSlice::new(b"body")]);
        assert_eq!(all.as_deref(), Some(&b"headbody"[..]));
        assert_eq!(text(&[]), Some(Vec::new()));
        assert_eq!(text(&[IoSlice::new(&long)]), Some(long.clone()));
        assert_eq!(text(&[IoSlice::new(short), IoSlice::new(&long)]), None);
    }
}
