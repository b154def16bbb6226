//! The lines of a file, plain or gzip, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// Reads lines.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    from: R,
    line: Vec<u8>,
    number: u64,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Whole(&'a [u8]),
    /// It was longer than [`LONGEST`]; the rest of it is passed over.
    TooLong,
}

/// Opens a file. Whether it is gzip is seen from its first two bytes.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let mut file = BufReader::with_capacity(BUFFER, File::open(path)?);
    if file.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

impl<R: BufRead> Lines<R> {
    pub(crate) const fn new(from: R) -> Self {
        Self { from, line: Vec::new(), number: 0 }
    }

    /// Lines that were read.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The next line without its end, which is a line feed, with a carriage return before it or without.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let (mut is_too_long, mut is_empty) = (false, true);
        loop {
            let chunk = match self.from.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            is_empty = false;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let taken = &chunk[..end.unwrap_or(chunk.len())];
            if self.line.len() + taken.len() > LONGEST {
                is_too_long = true;
            } else if !is_too_long {
                self.line.extend_from_slice(taken);
            }
            let used = end.map_or(chunk.len(), |end| end + 1);
            self.from.consume(used);
            if end.is_some() {
                break;
            }
        }
        if is_empty {
            return Ok(None);
        }
        self.number += 1;
        if is_too_long {
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(self.line.strip_suffix(b"\r").unwrap_or(&self.line))))
    }
}

/// Proxies cut lines long before: nginx at the size of its headers, HAProxy at 1 KiB by default.
pub(crate) const LONGEST: usize = 64 << 10;
const BUFFER: usize = 64 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_they_will_and_are_bounded() {
        let long = "x".repeat(LONGEST + 1);
        let text = format!("a\r\n\nb\n{long}\n{}\nlast", &long[1..]);
        for capacity in [1, 7, 1 << 20] {
            let mut lines = Lines::new(BufReader::with_capacity(capacity, text.as_bytes()));
            let mut told = Vec::new();
            while let Some(line) = lines.next().unwrap() {
                told.push(match line {
                    Line::Whole(line) => line.len(),
                    Line::TooLong => usize::MAX,
                });
            }
            assert_eq!(told, [1, 0, 1, usize::MAX, LONGEST, 4]);
            assert_eq!(lines.number(), 6);
        }
    }
}
