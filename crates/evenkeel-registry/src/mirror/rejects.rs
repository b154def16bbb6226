use std::collections::VecDeque;

use evenkeel_types::Timestamp;

use crate::source::ShortText;

/// One entry of a source that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Rejected {
    /// When.
    pub at: Timestamp,
    /// Its name, as far as it has one.
    pub id: Option<ShortText>,
    /// What is wrong with it.
    pub reason: ShortText,
}

/// How many entries were left out, and the last of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rejects {
    total: u64,
    recent: VecDeque<Rejected>,
}

impl Rejects {
    /// Enough to see a pattern; a source of nonsense must not fill the memory.
    const KEPT: usize = 32;

    pub(super) fn note(&mut self, at: Timestamp, id: Option<&str>, reason: &str) {
        self.total = self.total.saturating_add(1);
        if self.recent.len() >= Self::KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Rejected { at, id: id.map(ShortText::cut), reason: ShortText::cut(reason) });
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn recent(&self) -> impl Iterator<Item = &Rejected> {
        self.recent.iter()
    }
}
