use super::node::Place;

/// Where the lines of a text start, to turn offsets into lines and columns.
pub(crate) struct Lines<'t> {
    text: &'t str,
    file: u16,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn of(text: &'t str, file: u16) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, file, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// O(log n). The column counts characters.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        // A line of megabytes must not make each place cost megabytes.
        let far = offset - start > LONG;
        let before = self.text.get(start..offset).filter(|_| !far);
        let column = before.map_or(offset - start, |text| text.chars().count()) + 1;
        Place { file: self.file, line: bounded(line), column: bounded(column) }
    }
}

pub(crate) fn bounded(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const LONG: usize = 2000;
