use std::fmt;
use std::io::{self, Read};

use evenkeel_registry::TroubleKind;

use crate::client::explain;
use crate::{BaseUrl, CallError};

/// A stream of lines from a store, each of bounded length.
pub struct Lines {
    reader: Box<dyn Read + Send>,
    base: BaseUrl,
    buffer: Vec<u8>,
    /// Where the next line starts.
    start: usize,
    /// Up to where there is no end of a line.
    searched: usize,
    max_line: usize,
}

impl Lines {
    /// Lines of `reader`, which belongs to `base`, of at most `max_line` bytes.
    #[must_use]
    pub fn new(reader: Box<dyn Read + Send>, base: BaseUrl, max_line: usize) -> Self {
        Self { reader, base, buffer: Vec::new(), start: 0, searched: 0, max_line }
    }

    /// The next line that is here already, without its end. Empty ones are left out.
    pub fn ready(&mut self) -> Option<&[u8]> {
        loop {
            let Some(at) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') else {
                self.searched = self.buffer.len();
                return None;
            };
            let (start, end) = (self.start, self.searched + at);
            (self.start, self.searched) = (end + 1, end + 1);
            if end > start {
                return Some(&self.buffer[start..end]);
            }
        }
    }

    /// The next line, `None` if nothing came for as long as the stream may be silent.
    ///
    /// # Errors
    ///
    /// [`CallError`]: the stream has ended or broken, or the line is too long.
    pub fn read(&mut self) -> Result<Option<&[u8]>, CallError> {
        while self.buffer[self.searched..].iter().all(|&byte| byte != b'\n') {
            self.searched = self.buffer.len();
            self.buffer.drain(..self.start);
            self.searched -= std::mem::take(&mut self.start);
            if self.buffer.len() >= self.max_line {
                let text = format!("{}: line of more than {} bytes", self.base, self.max_line);
                return Err(CallError::new(TroubleKind::TooLarge, text));
            }
            let had = self.buffer.len();
            self.buffer.resize(had + CHUNK.min(self.max_line - had), 0);
            let read = self.reader.read(&mut self.buffer[had..]);
            self.buffer.truncate(had + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => {
                    let text = format!("{}: the store ended the stream", self.base);
                    return Err(CallError::new(TroubleKind::Closed, text));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let error = explain(&self.base, &error.into());
                    return if error.kind == TroubleKind::Timeout { Ok(None) } else { Err(error) };
                }
            }
        }
        // An empty line counts as a sign of life.
        let at = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n').unwrap_or(0);
        let (start, end) = (self.start, self.searched + at);
        (self.start, self.searched) = (end + 1, end + 1);
        Ok(Some(&self.buffer[start..end]))
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("base", &self.base).finish_non_exhaustive()
    }
}

const CHUNK: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time, with a pause after each.
    struct Slow(Vec<u8>, usize, bool);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let n = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    fn lines(text: &str, step: usize, max: usize) -> Lines {
        Lines::new(Box::new(Slow(text.into(), step, false)), "http://a:1".parse().unwrap(), max)
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        for step in 1..12 {
            let mut lines = lines("one\ntwo\n\nthree\nfour", step, 100);
            let mut seen = Vec::new();
            let end = loop {
                match lines.read() {
                    Ok(Some(line)) => seen.push(String::from_utf8_lossy(line).into_owned()),
                    Ok(None) => {}
                    Err(error) => break error,
                }
                while let Some(line) = lines.ready() {
                    seen.push(String::from_utf8_lossy(line).into_owned());
                }
            };
            seen.retain(|line| !line.is_empty());
            assert_eq!((seen.join(","), end.kind), ("one,two,three".to_owned(), TroubleKind::Closed));
        }
    }

    #[test]
    fn endless_lines_are_refused() {
        let mut lines = lines(&"x".repeat(1000), 7, 50);
        let error = loop {
            match lines.read() {
                Ok(line) => assert_eq!(line, None),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind, TroubleKind::TooLarge);
    }
}
