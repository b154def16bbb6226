//! Puts requests in the order in which they began, within a window.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::{LogError, Record};

/// Requests wait here until nothing earlier can come.
#[derive(Debug)]
pub(crate) struct Window {
    waiting: BinaryHeap<Reverse<Record>>,
    span: Duration,
    /// The latest beginning so far, and its line.
    newest: (u64, u64),
    /// The beginning of the last one that was let go.
    last: u64,
    most: usize,
}

impl Window {
    pub(crate) fn new(span: Duration) -> Self {
        Self { waiting: BinaryHeap::new(), span, newest: (0, 0), last: 0, most: MOST }
    }

    /// # Errors
    ///
    /// [`LogError::Late`] for one that began before another that was let go, [`LogError::Crowded`] if too many wait.
    pub(crate) fn push(&mut self, record: Record) -> Result<(), LogError> {
        if record.at < self.last {
            let behind = Duration::from_nanos(self.newest.0.saturating_sub(record.at));
            let (line, newest) = (record.line, self.newest.1);
            return Err(LogError::Late { line, behind, newest, window: self.span });
        }
        if self.waiting.len() >= self.most {
            return Err(LogError::Crowded { line: record.line, most: self.most, window: self.span });
        }
        self.newest = self.newest.max((record.at, record.line));
        self.waiting.push(Reverse(record));
        Ok(())
    }

    /// The earliest one, if it began a window before the latest; any, if all lines have been read.
    pub(crate) fn pop(&mut self, is_ended: bool) -> Option<Record> {
        let Reverse(first) = self.waiting.peek()?;
        let span = crate::tally::nanos(self.span);
        if !is_ended && first.at.saturating_add(span) > self.newest.0 {
            return None;
        }
        self.waiting.pop().map(|Reverse(record)| {
            self.last = record.at;
            record
        })
    }
}

/// Half a gigabyte at the most.
const MOST: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(at: u64, line: u64) -> Record {
        Record { at, line, key: None, service: 1, seen: 1, server: None, is_error: false, steps: (1, 1) }
    }

    proptest! {
        /// What comes out is what went in, in order, and never more waits than began within one window.
        #[test]
        fn order_within_the_window(delays in prop::collection::vec(0..=100_u64, 1..200)) {
            let mut window = Window::new(Duration::from_nanos(100));
            let (mut told, mut starts) = (Vec::new(), Vec::new());
            for (line, delay) in delays.iter().enumerate() {
                // Ends rise by 10 each; starts lie up to 100 before.
                let at = 1000 + line as u64 * 10 - delay;
                starts.push(at);
                window.push(record(at, line as u64)).unwrap();
                told.extend(std::iter::from_fn(|| window.pop(false)).map(|record| record.at));
                prop_assert!(window.waiting.len() <= 22);
            }
            told.extend(std::iter::from_fn(|| window.pop(true)).map(|record| record.at));
            starts.sort_unstable();
            prop_assert_eq!(told, starts);
        }
    }

    #[test]
    fn the_one_that_comes_too_late_is_named() {
        let mut window = Window::new(Duration::from_nanos(100));
        window.push(record(1000, 1)).unwrap();
        window.push(record(1100, 2)).unwrap();
        assert_eq!(window.pop(false).map(|record| record.line), Some(1));
        assert_eq!(window.pop(false), None);
        assert_eq!(window.push(record(1000, 3)), Ok(()), "as late as the last one is not too late");
        let late = window.push(record(999, 4)).unwrap_err();
        let expected = LogError::Late {
            line: 4,
            behind: Duration::from_nanos(101),
            newest: 2,
            window: Duration::from_nanos(100),
        };
        assert_eq!(late, expected);
    }

    #[test]
    fn too_many_are_refused() {
        let mut window = Window::new(Duration::from_secs(1));
        window.most = 2;
        window.push(record(1, 1)).unwrap();
        window.push(record(2, 2)).unwrap();
        assert!(matches!(window.push(record(3, 3)), Err(LogError::Crowded { line: 3, most: 2, .. })));
    }
}
