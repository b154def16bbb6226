use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

/// The messages in the body of a gRPC stream: five bytes in front of each say whether it is compressed, and its length.
///
/// Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
#[derive(Debug)]
pub struct Frames {
    most: usize,
    buffered: BytesMut,
}

impl Frames {
    /// Frames of messages of at most so many bytes. No more than one such message and what came in the same read is
    /// kept.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, buffered: BytesMut::new() }
    }

    /// More of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffered.put_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    ///
    /// [`FrameError`]: the stream cannot be read on.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(([compressed, length @ ..], _)) = self.buffered.split_first_chunk::<5>() else {
            return Ok(None);
        };
        if *compressed != 0 {
            return Err(FrameError::Compressed);
        }
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.most {
            return Err(FrameError::TooLarge { length, most: self.most });
        }
        if self.buffered.len() - 5 < length {
            return Ok(None);
        }
        self.buffered.advance(5);
        Ok(Some(self.buffered.split_to(length).freeze()))
    }

    /// A message with its five bytes.
    #[must_use]
    pub fn framed(message: &[u8]) -> Bytes {
        let mut framed = BytesMut::with_capacity(message.len() + 5);
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        framed.put_slice(message);
        framed.freeze()
    }
}

/// A stream that cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The server compressed a message, and was not told that it may.
    #[error("a message is compressed, and none was asked to be")]
    Compressed,
    /// A message is larger than the bound.
    #[error("a message has {length} bytes: at most {most} are taken")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The bound.
        most: usize,
    },
}
