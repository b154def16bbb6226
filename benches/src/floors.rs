//! The floors: the shortest code that honestly does the job, written here and owing nothing to the crates.
//!
//! A pick that is worth its name reads a snapshot that may change, chooses, and looks at a byte of health; that is all
//! that F1 to F7 and F9 do. F8 also counts the request in flight and out again. B1 to B3 are a closed breaker.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, Cache, Guard};
use crossbeam_utils::CachePadded;

/// The endpoints of the floors, behind an `ArcSwap`, with one cursor that all threads share.
#[derive(Debug)]
pub struct FloorWorld {
    current: ArcSwap<Snapshot>,
    cursor: CachePadded<AtomicU32>,
}

#[derive(Debug)]
struct Snapshot {
    slots: Box<[Slot]>,
    handles: Vec<Arc<Slot>>,
}

/// What the floor keeps of an endpoint: eight bytes.
#[derive(Debug)]
struct Slot {
    in_flight: AtomicU32,
    health: AtomicU8,
}

impl Slot {
    const fn healthy() -> Self {
        Self { in_flight: AtomicU32::new(0), health: AtomicU8::new(1) }
    }

    #[inline]
    fn is_healthy(&self) -> bool {
        self.health.load(Ordering::Relaxed) != 0
    }
}

impl FloorWorld {
    /// A world of `n` endpoints, all healthy.
    #[must_use]
    pub fn new(n: usize) -> Arc<Self> {
        let snapshot = Snapshot {
            slots: (0..n).map(|_| Slot::healthy()).collect(),
            handles: (0..n).map(|_| Arc::new(Slot::healthy())).collect(),
        };
        Arc::new(Self { current: ArcSwap::from_pointee(snapshot), cursor: CachePadded::default() })
    }

    /// One thread's access.
    #[must_use]
    pub fn reader(self: &Arc<Self>) -> FloorReader {
        FloorReader {
            cache: Cache::new(ByRef(Arc::clone(self))),
            world: Arc::clone(self),
            place: 0,
            draws: fastrand::Rng::with_seed(7),
        }
    }

    /// Copies the list of handles, replaces one, publishes: the least that an update can do.
    pub fn replace_one(&self, position: usize) {
        let old = self.current.load_full();
        let mut handles = old.handles.clone();
        handles[position] = Arc::new(Slot::healthy());
        let slots = old.slots.iter().map(|_| Slot::healthy()).collect();
        self.current.store(Arc::new(Snapshot { slots, handles }));
    }

    /// As [`replace_one`](Self::replace_one) for the handles alone, as the updates are compared with.
    #[must_use]
    pub fn handles(n: usize) -> ArcSwap<Vec<Arc<u64>>> {
        ArcSwap::from_pointee((0..n as u64).map(Arc::new).collect())
    }
}

/// What `arc_swap::Cache` reads from.
struct ByRef(Arc<FloorWorld>);

impl std::ops::Deref for ByRef {
    type Target = ArcSwap<Snapshot>;

    fn deref(&self) -> &ArcSwap<Snapshot> {
        &self.0.current
    }
}

/// One thread's access to a [`FloorWorld`]: a cached snapshot, a cursor, a generator.
pub struct FloorReader {
    cache: Cache<ByRef, Arc<Snapshot>>,
    world: Arc<FloorWorld>,
    place: u32,
    draws: fastrand::Rng,
}

impl std::fmt::Debug for FloorReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FloorReader").finish_non_exhaustive()
    }
}

impl FloorReader {
    /// Round robin: `ArcSwap` load, one shared cursor, to an index.
    #[inline]
    pub fn f1(&self) -> usize {
        let snapshot = self.world.current.load();
        loop {
            let turn = self.world.cursor.fetch_add(1, Ordering::Relaxed);
            let index = (turn % snapshot.slots.len() as u32) as usize;
            if snapshot.slots[index].is_healthy() {
                return index;
            }
        }
    }

    /// Round robin: `ArcSwap` load, a cursor of the thread's own, to an index.
    #[inline]
    pub fn f2(&mut self) -> usize {
        let snapshot = self.world.current.load();
        turn(&mut self.place, &snapshot.slots)
    }

    /// Round robin: cached snapshot, a cursor of the thread's own, to an index.
    #[inline]
    pub fn f3(&mut self) -> usize {
        turn(&mut self.place, &self.cache.load().slots)
    }

    /// As [`f1`](Self::f1), to a clone of the endpoint's handle.
    #[inline]
    pub fn f4(&self) {
        let snapshot = self.world.current.load();
        let turn = self.world.cursor.fetch_add(1, Ordering::Relaxed);
        let handle = Arc::clone(&snapshot.handles[(turn % snapshot.handles.len() as u32) as usize]);
        black_box(handle.is_healthy());
    }

    /// As [`f2`](Self::f2), to a clone of the endpoint's handle.
    #[inline]
    pub fn f5(&mut self) {
        let snapshot = self.world.current.load();
        let index = turn(&mut self.place, &snapshot.slots);
        black_box(Arc::clone(&snapshot.handles[index]));
    }

    /// Random: `ArcSwap` load, one draw, to an index.
    #[inline]
    pub fn f6(&mut self) -> usize {
        let snapshot = self.world.current.load();
        loop {
            let index = below(self.draws.u32(..), snapshot.slots.len());
            if snapshot.slots[index].is_healthy() {
                return index;
            }
        }
    }

    /// Power of two choices: `ArcSwap` load, two draws, two loads of what is in flight, to an index.
    #[inline]
    pub fn f7(&mut self) -> usize {
        let snapshot = self.world.current.load();
        of_two(&mut self.draws, &snapshot.slots)
    }

    /// As [`f7`](Self::f7), counted in flight until the guard is dropped.
    #[inline]
    pub fn f8(&mut self) -> F8Guard {
        let snapshot = self.world.current.load();
        let index = of_two(&mut self.draws, &snapshot.slots);
        snapshot.slots[index].in_flight.fetch_add(1, Ordering::Relaxed);
        F8Guard { snapshot, index }
    }

    /// As [`f8`](Self::f8) from the cached snapshot: what a handle for one thread could reach. Counts in and out.
    #[inline]
    pub fn f8_cached(&mut self) -> usize {
        let snapshot = self.cache.load();
        let index = of_two(&mut self.draws, &snapshot.slots);
        let in_flight = &snapshot.slots[index].in_flight;
        in_flight.fetch_add(1, Ordering::Relaxed);
        black_box(&index);
        in_flight.fetch_sub(1, Ordering::Relaxed);
        index
    }

    /// Least loaded of all: a full scan, to an index.
    #[inline]
    pub fn f9(&self) -> usize {
        let snapshot = self.world.current.load();
        let healthy = snapshot.slots.iter().enumerate().filter(|(_, slot)| slot.is_healthy());
        let least = healthy.min_by_key(|(_, slot)| slot.in_flight.load(Ordering::Relaxed));
        least.map_or(0, |(index, _)| index)
    }

    /// `ArcSwap::load` alone.
    #[inline]
    pub fn load(&self) {
        black_box(&*self.world.current.load());
    }

    /// `fetch_add` on the shared cursor alone.
    #[inline]
    pub fn fetch_add(&self) {
        black_box(self.world.cursor.fetch_add(1, Ordering::Relaxed));
    }
}

#[inline]
fn turn(place: &mut u32, slots: &[Slot]) -> usize {
    loop {
        let index = if (*place as usize) < slots.len() { *place as usize } else { 0 };
        *place = index as u32 + 1;
        if slots[index].is_healthy() {
            return index;
        }
    }
}

#[inline]
fn of_two(draws: &mut fastrand::Rng, slots: &[Slot]) -> usize {
    loop {
        let draw = draws.u64(..);
        let first = below((draw >> 32) as u32, slots.len());
        let second = below(draw as u32, slots.len());
        let (one, other) = (&slots[first], &slots[second]);
        let busier = other.in_flight.load(Ordering::Relaxed) < one.in_flight.load(Ordering::Relaxed);
        let index = if busier { second } else { first };
        if slots[index].is_healthy() {
            return index;
        }
    }
}

#[inline]
const fn below(draw: u32, n: usize) -> usize {
    ((draw as u64 * n as u64) >> 32) as usize
}

/// A request in flight at an endpoint of a [`FloorWorld`].
#[derive(Debug)]
pub struct F8Guard {
    snapshot: Guard<Arc<Snapshot>>,
    index: usize,
}

impl F8Guard {
    /// Where.
    #[inline]
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }
}

impl Drop for F8Guard {
    #[inline]
    fn drop(&mut self) {
        self.snapshot.slots[self.index].in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A breaker that is closed and stays so: a state, a coarse tick that somebody else advances, a shared count.
#[derive(Debug, Default)]
pub struct ClosedBreaker {
    state: CachePadded<AtomicU64>,
    tick: CachePadded<AtomicU64>,
    count: CachePadded<AtomicU64>,
}

impl ClosedBreaker {
    /// State, and one shared count.
    #[inline]
    pub fn b1(&self) {
        if self.state.load(Ordering::Acquire) == 0 {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// State, coarse bucket, and a count of the thread's own.
    #[inline]
    pub fn b2(&self, mine: &AtomicU64) {
        if self.state.load(Ordering::Acquire) == 0 {
            let bucket = self.tick.load(Ordering::Relaxed);
            mine.store(mine.load(Ordering::Relaxed) + 1 + bucket, Ordering::Relaxed);
        }
    }

    /// State, a clock read, and a count of the thread's own.
    #[inline]
    pub fn b3(&self, mine: &AtomicU64) {
        if self.state.load(Ordering::Acquire) == 0 {
            black_box(Instant::now());
            mine.store(mine.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// A refusal: state, and a clock read to see whether the wait is over.
    #[inline]
    pub fn refusal(&self) -> bool {
        black_box(self.state.load(Ordering::Acquire));
        black_box(Instant::now());
        true
    }
}
