//! How a router changes its table while requests read it.
//!
//! A request that is under way keeps the table with which it began. Counting that in one word, all threads would wait for
//! each other, so each takes a seat of its own, and a table is free once nobody sits in any of its seats:
//!
//! ```text
//! request                                 update
//! 1  protect the current places           1  swap the places, keep the old ones among the retired
//! 2  take one of their seats              2  are the places protected by nobody?   (not yet: wait for the next sweep)
//! 3  protect them no longer               3  is every seat empty?                  (not yet: the same)
//! …  leave the seat                       4  free the table
//! ```
//!
//! A fence stands between 2 and 3 of an update: whoever sees the end of a protection sees the seat that was taken under it.
//! So the last one who lets go of a table is never a request. The model check at the end of this file walks the interleavings.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::lanes;
use crate::sync::{AtomicU64, CountedArc, Ordering, Swap, fence};

/// The table that is current, and those that requests may still hold.
pub(crate) struct Tables<V> {
    current: Swap<Places<V>>,
    /// That of the current table, once it is current: a request that knows this one need not ask for the table.
    generation: AtomicU64,
    /// No request frees one of these. The lock is that of updates.
    retired: Mutex<Vec<Arc<Places<V>>>>,
}

/// A table and its seats.
struct Places<V> {
    table: Arc<V>,
    seats: Box<[CountedArc<Seat<V>>]>,
}

/// Holds a table, and is held by the requests of some threads.
pub(crate) struct Seat<V> {
    pub(crate) table: Arc<V>,
    generation: u64,
    /// Keeps the counts of two seats on different cache lines, wherever the allocator puts them.
    _apart: [u64; 12],
}

impl<V> Tables<V> {
    /// `stripes`, a power of two, is how many seats a table has.
    pub(crate) fn new(table: V, generation: u64, stripes: u32) -> Self {
        Self {
            current: Swap::new(Places::new(table, generation, stripes)),
            generation: AtomicU64::new(generation),
            retired: Mutex::default(),
        }
    }

    /// Makes what `build` makes of the current table the current one. Updates wait for each other, requests for none of them.
    /// What is replaced is freed by the next [`sweep`](Self::sweep), once nobody holds it.
    pub(crate) fn update<E>(
        &self,
        stripes: u32,
        build: impl FnOnce(&V) -> Result<(V, u64), E>,
    ) -> Result<(), E> {
        let mut retired = self.retired.lock();
        let (table, generation) = build(&self.get())?;
        retired.push(self.current.swap(Arc::new(Places::new(table, generation, stripes))));
        self.generation.store(generation, Ordering::Release);
        Ok(())
    }

    /// Frees the tables that nobody holds any more.
    pub(crate) fn sweep(&self) {
        let free = free_of(&mut self.retired.lock());
        drop(free);
    }

    /// The current table, for those who are no request: they hold all of it up meanwhile.
    pub(crate) fn get(&self) -> Arc<V> {
        Arc::clone(&self.current.load().table)
    }

    /// A seat of the current table: that of the last request, if the table is still current. `is_ours` tells whether the seat is
    /// of these tables at all.
    pub(crate) fn seat<'s>(
        &self,
        seat: &'s mut Option<CountedArc<Seat<V>>>,
        is_ours: impl FnOnce(&V) -> bool,
    ) -> &'s CountedArc<Seat<V>> {
        let generation = self.generation.load(Ordering::Acquire);
        if !seat.as_ref().is_some_and(|seat| seat.generation >= generation && is_ours(&seat.table)) {
            *seat = None;
        }
        seat.get_or_insert_with(|| self.current.load().seat())
    }
}

impl<V> Places<V> {
    fn new(table: V, generation: u64, stripes: u32) -> Self {
        let table = Arc::new(table);
        let seat = || CountedArc::new(Seat { table: Arc::clone(&table), generation, _apart: [0; 12] });
        let seats = (0..stripes).map(|_| seat()).collect();
        Self { table, seats }
    }

    fn seat(&self) -> CountedArc<Seat<V>> {
        CountedArc::clone(&self.seats[lanes::ordinal() as usize & (self.seats.len() - 1)])
    }

    /// Whether nobody but the caller holds any of it. It is not current, so nobody can come.
    fn is_free(self: &Arc<Self>) -> bool {
        if Arc::strong_count(self) != 1 {
            return false;
        }
        // Reading a count orders nothing by itself: without this, the seats could be read as they were before somebody sat down.
        fence(Ordering::Acquire);
        let is_empty = self.seats.iter().all(|seat| CountedArc::strong_count(seat) == 1);
        is_empty && Arc::strong_count(&self.table) == self.seats.len() + 1
    }
}

/// Takes out what nobody holds, to be dropped outside the lock.
fn free_of<V>(retired: &mut Vec<Arc<Places<V>>>) -> Vec<Arc<Places<V>>> {
    retired.extract_if(.., |places| places.is_free()).collect()
}

#[cfg(all(test, loom))]
mod model {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use loom::thread;

    use super::*;

    /// What happened to the tables of one run.
    #[derive(Default)]
    struct Story {
        freed: [AtomicUsize; 2],
        freed_by_request: AtomicUsize,
    }

    struct Told {
        number: usize,
        story: Arc<Story>,
        updater: thread::ThreadId,
    }

    impl Told {
        fn new(number: usize, story: &Arc<Story>) -> Self {
            Self { number, story: Arc::clone(story), updater: thread::current().id() }
        }

        fn is_there(&self) -> bool {
            self.story.freed[self.number].load(Ordering::SeqCst) == 0
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            self.story.freed[self.number].fetch_add(1, Ordering::SeqCst);
            if thread::current().id() != self.updater {
                self.story.freed_by_request.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Two requests of one thread: what they read is there, and never older than what was read before.
    fn two_requests(tables: &Tables<Told>) {
        let mut seat = None;
        let mut last = 0;
        for _ in 0..2 {
            let table = &tables.seat(&mut seat, |_| true).table;
            assert!(table.is_there(), "a request read a table that was freed");
            assert!(table.number >= last, "a request went back to an older table");
            last = table.number;
        }
    }

    /// `readers` threads of two requests each, a reload meanwhile, and a sweep when they have ended.
    fn reload_while_requests_match(readers: usize) {
        let story = Arc::<Story>::default();
        let tables = loom::sync::Arc::new(Tables::new(Told::new(0, &story), 0, 2));
        let readers: Vec<_> = (0..readers)
            .map(|_| {
                let tables = tables.clone();
                thread::spawn(move || two_requests(&tables))
            })
            .collect();
        let build = |_: &Told| Ok::<_, ()>((Told::new(1, &story), 1));
        tables.update(2, build).expect("it is built");
        for reader in readers {
            reader.join().expect("a reader ends");
        }
        tables.sweep();
        let freed = || [0, 1].map(|number: usize| story.freed[number].load(Ordering::SeqCst));
        assert_eq!(freed(), [1, 0], "the old table is freed once, the new one is current");
        assert_eq!(tables.seat(&mut None, |_| true).table.number, 1, "the reload was lost");
        assert_eq!(story.freed_by_request.load(Ordering::SeqCst), 0, "a request freed a table");
    }

    #[test]
    fn a_reload_while_a_thread_matches() {
        loom::model(|| reload_while_requests_match(1));
    }

    #[test]
    fn a_reload_while_two_threads_match() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(|| reload_while_requests_match(2));
    }
}
