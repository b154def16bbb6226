//! The synchronisation that is model-checked: loom's types under `--cfg loom`, the real ones otherwise.
//!
//! loom cannot see into arc-swap, so the models exchange an atomic index: the same exchange of one word, without
//! arc-swap's own bookkeeping, which has models and tests of its own.

#[cfg(loom)]
pub(crate) use loom::sync::Arc as CountedArc;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::Arc as CountedArc;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

use std::sync::Arc;

#[cfg(loom)]
pub(crate) use model::{Cached, Swap};
#[cfg(not(loom))]
pub(crate) use real::{Cached, Swap};

#[cfg(not(loom))]
mod real {
    use arc_swap::{ArcSwap, Cache, Guard};

    use super::Arc;

    /// One shared pointer that is swapped as a whole.
    #[derive(Debug)]
    pub(crate) struct Swap<T>(Arc<ArcSwap<T>>);

    impl<T> Swap<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Arc::new(ArcSwap::from_pointee(value)))
        }

        /// The current value, for a moment: no count is touched.
        #[inline]
        pub(crate) fn load(&self) -> Guard<Arc<T>> {
            self.0.load()
        }

        /// The current value, to keep.
        pub(crate) fn load_full(&self) -> Arc<T> {
            self.0.load_full()
        }

        /// Makes `value` the current one and returns the one before.
        pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
            self.0.swap(value)
        }

        /// A handle for one thread that remembers the current value.
        pub(crate) fn cached(&self) -> Cached<T> {
            Cached(Cache::new(Arc::clone(&self.0)))
        }
    }

    /// The current value as one thread last saw it; asks with one load whether it has changed.
    pub(crate) struct Cached<T>(Cache<Arc<ArcSwap<T>>, Arc<T>>);

    impl<T> Cached<T> {
        #[inline]
        pub(crate) fn load(&mut self) -> &T {
            self.0.load()
        }
    }
}

#[cfg(loom)]
mod model {
    use std::sync::{Mutex, Weak};

    use loom::sync::atomic::{AtomicUsize, Ordering};

    use super::Arc;

    /// An atomic index into all values there ever were: loom sees the exchange with the orderings that arc-swap
    /// promises (a load acquires, a swap releases) and no more, so that a missing fence shows. Only the current value is
    /// held, so that a model can see when the others are freed.
    #[derive(Debug)]
    pub(crate) struct Swap<T>(Arc<Values<T>>);

    #[derive(Debug)]
    struct Values<T> {
        current: AtomicUsize,
        all: Mutex<All<T>>,
    }

    #[derive(Debug)]
    struct All<T> {
        seen: Vec<Weak<T>>,
        held: Arc<T>,
    }

    impl<T> Swap<T> {
        pub(crate) fn new(value: T) -> Self {
            let held = Arc::new(value);
            let all = Mutex::new(All { seen: vec![Arc::downgrade(&held)], held });
            Self(Arc::new(Values { current: AtomicUsize::new(0), all }))
        }

        pub(crate) fn load(&self) -> Arc<T> {
            self.load_full()
        }

        /// What an acquiring load finds, be it old; arc-swap makes sure that it is still there, and looks again if not.
        pub(crate) fn load_full(&self) -> Arc<T> {
            let found = self.at(self.0.current.load(Ordering::Acquire));
            found.unwrap_or_else(|| {
                let newest = self.0.current.fetch_add(0, Ordering::AcqRel);
                self.at(newest).expect("the newest is held until another one is")
            })
        }

        fn at(&self, index: usize) -> Option<Arc<T>> {
            self.0.all.lock().expect("a model that panics ends at once").seen[index].upgrade()
        }

        pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
            let (index, before) = {
                let mut all = self.0.all.lock().expect("a model that panics ends at once");
                all.seen.push(Arc::downgrade(&value));
                (all.seen.len() - 1, std::mem::replace(&mut all.held, value))
            };
            self.0.current.swap(index, Ordering::AcqRel);
            before
        }

        pub(crate) fn cached(&self) -> Cached<T> {
            Cached { of: Self(Arc::clone(&self.0)), seen: self.load_full() }
        }
    }

    pub(crate) struct Cached<T> {
        of: Swap<T>,
        seen: Arc<T>,
    }

    impl<T> Cached<T> {
        pub(crate) fn load(&mut self) -> &T {
            self.seen = self.of.load_full();
            &self.seen
        }
    }
}
