//! A list in which each backend stands as often as its weight, without writing the list out.

/// The weighted list of the backends of weights `w0, w1, …`: `w0` times 0, `w1` times 1, and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WeightedList {
    /// For each backend the length of the list up to it and with it.
    ends: Box<[u64]>,
}

impl WeightedList {
    pub(super) fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let mut end = 0_u64;
        let ends = weights.into_iter().map(|weight| {
            end = end.saturating_add(weight.into());
            end
        });
        Self { ends: ends.collect() }
    }

    /// The entry at `index` modulo the length; `None` if the list is empty. O(log n).
    pub(super) fn at(&self, index: u64) -> Option<usize> {
        let index = index.checked_rem(self.ends.last().copied()?)?;
        Some(self.ends.partition_point(|&end| end <= index))
    }

    /// The number of backends, those of weight zero too.
    pub(super) fn backends(&self) -> u64 {
        self.ends.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_there_as_often_as_its_weight() {
        let list = WeightedList::new([2, 0, 3]);
        let entries: Vec<_> = (0..7).map(|index| list.at(index)).collect();
        assert_eq!(entries, [0, 0, 2, 2, 2, 0, 0].map(Some));
        assert_eq!(list.backends(), 3);
        assert_eq!(WeightedList::new([0, 0]).at(3), None);
        assert_eq!(WeightedList::new([]).at(3), None);
        assert_eq!(WeightedList::new([u32::MAX; 3]).at(u64::from(u32::MAX)), Some(1));
    }
}
