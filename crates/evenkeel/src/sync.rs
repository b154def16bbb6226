//! The synchronisation that is model-checked: loom's types under `--cfg loom`, the real ones otherwise.
//!
//! loom cannot see into arc-swap, so the models swap under a mutex: the same atomic exchange of one pointer, without
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
    use loom::sync::Mutex;

    use super::Arc;

    #[derive(Debug)]
    pub(crate) struct Swap<T>(Arc<Mutex<Arc<T>>>);

    impl<T> Swap<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Arc::new(Mutex::new(Arc::new(value))))
        }

        pub(crate) fn load(&self) -> Arc<T> {
            self.load_full()
        }

        pub(crate) fn load_full(&self) -> Arc<T> {
            Arc::clone(&self.0.lock().expect("a model that panics ends at once"))
        }

        pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
            std::mem::replace(&mut *self.0.lock().expect("a model that panics ends at once"), value)
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
