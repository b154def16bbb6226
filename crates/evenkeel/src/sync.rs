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

/// One shared pointer that is swapped as a whole.
#[derive(Debug)]
pub(crate) struct Swap<T>(#[cfg(not(loom))] arc_swap::ArcSwap<T>, #[cfg(loom)] loom::sync::Mutex<Arc<T>>);

#[cfg(not(loom))]
impl<T> Swap<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(arc_swap::ArcSwap::new(value))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        self.0.store(value);
    }
}

#[cfg(loom)]
impl<T> Swap<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().expect("a model that panics ends at once"))
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        *self.0.lock().expect("a model that panics ends at once") = value;
    }
}
