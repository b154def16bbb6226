use std::sync::Arc;

use crate::mask::positions_in;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::{Mask, View};

/// A table for the usable positions, built anew when they have changed.
///
/// A pick that finds the table stale builds a new one; the others go on with the old one meanwhile, so whoever looks up
/// must still ask whether the position is open. The table before is kept: where requests are asked under two masks in turn,
/// as when some endpoints are degraded, or one endpoint flaps, nothing is built for that.
#[derive(Debug)]
pub(super) struct TableOfUsable<T> {
    tables: Mutex<Tables<T>>,
    /// Counts what was heard of ups and downs.
    changes: AtomicU64,
    /// Whether somebody is building.
    building: AtomicU32,
}

#[derive(Debug)]
struct Tables<T> {
    current: Built<T>,
    before: Option<Built<T>>,
    changes: u64,
}

#[derive(Debug)]
struct Built<T> {
    table: Arc<T>,
    /// How many positions it is for.
    count: usize,
    /// Which ones: a bit each.
    words: Box<[u64]>,
}

impl<T> TableOfUsable<T> {
    /// A table that holds for the first look if these positions are usable then.
    pub(super) fn new(table: T, usable: &Mask) -> Self {
        let current = Built::new(Arc::new(table), usable.words().collect());
        let tables = Tables { current, before: None, changes: 0 };
        Self { tables: Mutex::new(tables), changes: AtomicU64::new(0), building: AtomicU32::new(0) }
    }

    /// Some position has become usable, or is no longer.
    pub(super) fn has_changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The table for the positions that are usable now; `build` makes it of them, ascending, or `None` if it cannot: then
    /// the old one stays until others are usable.
    pub(super) fn get(
        &self,
        view: &dyn View,
        build: impl FnOnce(&mut dyn Iterator<Item = usize>) -> Option<T>,
    ) -> Arc<T> {
        let changes = self.changes.load(Ordering::Acquire);
        let usable = view.mask().usable();
        let table = {
            let mut tables = self.tables.lock();
            let is_current = tables.changes == changes && tables.current.count == usable;
            if is_current || tables.has_one_for(view.mask(), changes) {
                return Arc::clone(&tables.current.table);
            }
            Arc::clone(&tables.current.table)
        };
        let Some(_turn) = Turn::of(&self.building) else { return table };
        let words: Box<[u64]> = view.mask().words().collect();
        let new = build(&mut positions_in(words.iter().copied())).map_or(table, Arc::new);
        self.tables.lock().put(Built::new(Arc::clone(&new), words), changes);
        new
    }
}

impl<T> Tables<T> {
    /// Makes the one of the two current that was built for this mask, if there is one. O(n / 64).
    fn has_one_for(&mut self, mask: &Mask, changes: u64) -> bool {
        if !self.current.is_for(mask) {
            match &mut self.before {
                Some(before) if before.is_for(mask) => std::mem::swap(before, &mut self.current),
                _ => return false,
            }
        }
        self.changes = changes;
        true
    }

    fn put(&mut self, new: Built<T>, changes: u64) {
        self.before = Some(std::mem::replace(&mut self.current, new));
        self.changes = changes;
    }
}

impl<T> Built<T> {
    fn new(table: Arc<T>, words: Box<[u64]>) -> Self {
        let count = words.iter().map(|word| word.count_ones() as usize).sum();
        Self { table, count, words }
    }

    fn is_for(&self, mask: &Mask) -> bool {
        self.words.iter().copied().eq(mask.words())
    }
}

/// The right to build, until it is dropped.
struct Turn<'a>(&'a AtomicU32);

impl<'a> Turn<'a> {
    fn of(building: &'a AtomicU32) -> Option<Self> {
        building
            .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then_some(Self(building))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::Table;

    /// What is built says for whom, and whether it was built for this look.
    fn look(table: &TableOfUsable<Vec<usize>>, mask: &Mask) -> (Vec<usize>, bool) {
        let mut built = false;
        let found = table.get(&Table::new(mask, &[], &[]), |positions| {
            built = true;
            Some(positions.collect())
        });
        ((*found).clone(), built)
    }

    #[test]
    fn it_is_built_anew_after_changes_only() {
        let mask = Mask::all_usable(3);
        let table = TableOfUsable::new(vec![0, 1, 2], &mask);
        assert_eq!(look(&table, &mask), (vec![0, 1, 2], false));
        mask.set(1, false);
        assert_eq!(look(&table, &mask), (vec![0, 2], true));
        assert_eq!(look(&table, &mask), (vec![0, 2], false));
        // As many as before, but others: the event tells.
        mask.set(1, true);
        mask.set(0, false);
        assert_eq!(look(&table, &mask), (vec![0, 2], false));
        table.has_changed();
        assert_eq!(look(&table, &mask), (vec![1, 2], true));
        // An event that changed nothing builds nothing.
        table.has_changed();
        assert_eq!(look(&table, &mask), (vec![1, 2], false));
    }

    /// Plainly usable ones and degraded ones, asked for in turn; and one that flaps.
    #[test]
    fn two_masks_in_turn_are_two_tables() {
        let (plain, degraded) = (Mask::new(70, |position| position < 68), Mask::new(70, |p| p >= 2));
        let table = TableOfUsable::new((0..68).collect(), &plain);
        let built = (0..50).map(|_| {
            let one = look(&table, &plain);
            // As many are usable: whoever meets a closed one says so.
            table.has_changed();
            let other = look(&table, &degraded);
            table.has_changed();
            assert_eq!((one.0[0], other.0[0]), (0, 2));
            u32::from(one.1) + u32::from(other.1)
        });
        assert_eq!(built.sum::<u32>(), 1);
    }

    #[test]
    fn whoever_meets_a_builder_takes_the_old_one() {
        let mask = Mask::all_usable(2);
        let table = TableOfUsable::new(1, &Mask::all_usable(5));
        let view = Table::new(&mask, &[], &[]);
        let outer = table.get(&view, |_| {
            assert_eq!(*table.get(&view, |_| Some(3)), 1, "somebody is at it");
            Some(2)
        });
        assert_eq!((*outer, *table.get(&view, |_| Some(4))), (2, 2));
    }

    #[test]
    fn what_cannot_be_built_is_not_tried_at_every_look() {
        let mask = Mask::all_usable(2);
        let table = TableOfUsable::new(1, &Mask::all_usable(5));
        let view = Table::new(&mask, &[], &[]);
        assert_eq!((*table.get(&view, |_| None), *table.get(&view, |_| Some(5))), (1, 1));
        mask.set(0, false);
        assert_eq!(*table.get(&view, |_| Some(5)), 5);
    }
}
