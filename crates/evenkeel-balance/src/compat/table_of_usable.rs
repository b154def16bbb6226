use std::sync::Arc;

use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::{Mask, View};

/// A table for the usable positions, built anew when they have changed.
///
/// A pick that finds the table stale builds a new one; the others go on with the old one meanwhile, so whoever looks up
/// must still ask whether the position is open.
#[derive(Debug)]
pub(super) struct TableOfUsable<T> {
    current: Mutex<Built<T>>,
    /// Counts what was heard of ups and downs.
    changes: AtomicU64,
    /// Whether somebody is building.
    building: AtomicU32,
}

#[derive(Debug)]
struct Built<T> {
    table: Arc<T>,
    usable: usize,
    changes: u64,
}

impl<T> TableOfUsable<T> {
    /// A table that holds for `usable` positions, if that is how many there are at the first look.
    pub(super) fn new(table: T, usable: usize) -> Self {
        let built = Built { table: Arc::new(table), usable, changes: 0 };
        Self { current: Mutex::new(built), changes: AtomicU64::new(0), building: AtomicU32::new(0) }
    }

    /// Some position has become usable, or is no longer.
    pub(super) fn has_changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The table for the positions that are usable now; `build` makes it, or `None` if it cannot.
    pub(super) fn get(&self, view: &dyn View, build: impl FnOnce(&Mask) -> Option<T>) -> Arc<T> {
        let changes = self.changes.load(Ordering::Acquire);
        let usable = view.mask().usable();
        let table = {
            let current = self.current.lock();
            if current.changes == changes && current.usable == usable {
                return Arc::clone(&current.table);
            }
            Arc::clone(&current.table)
        };
        let Some(_turn) = Turn::of(&self.building) else { return table };
        let Some(new) = build(view.mask()) else { return table };
        let new = Arc::new(new);
        *self.current.lock() = Built { table: Arc::clone(&new), usable, changes };
        new
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

    #[test]
    fn it_is_built_anew_after_changes_only() {
        let mask = Mask::all_usable(3);
        let table = TableOfUsable::new(vec![0, 1, 2], 3);
        let get = || {
            let mut built = false;
            let view = Table::new(&mask, &[], &[]);
            let table = table.get(&view, |mask| {
                built = true;
                Some(mask.iter().collect::<Vec<_>>())
            });
            ((*table).clone(), built)
        };
        assert_eq!(get(), (vec![0, 1, 2], false));
        mask.set(1, false);
        assert_eq!(get(), (vec![0, 2], true));
        assert_eq!(get(), (vec![0, 2], false));
        // As many as before, but others: the event tells.
        mask.set(1, true);
        mask.set(0, false);
        assert_eq!(get(), (vec![0, 2], false));
        table.has_changed();
        assert_eq!(get(), (vec![1, 2], true));
    }

    #[test]
    fn whoever_meets_a_builder_takes_the_old_one() {
        let mask = Mask::all_usable(2);
        let table = TableOfUsable::new(1, 5);
        let view = Table::new(&mask, &[], &[]);
        let outer = table.get(&view, |_| {
            assert_eq!(*table.get(&view, |_| Some(3)), 1, "somebody is at it");
            Some(2)
        });
        assert_eq!((*outer, *table.get(&view, |_| Some(4))), (2, 2));
        table.has_changed();
        assert_eq!((*table.get(&view, |_| None), *table.get(&view, |_| Some(5))), (2, 5));
    }
}
