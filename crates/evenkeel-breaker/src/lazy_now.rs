use evenkeel_types::{Now, Timestamp};

/// A clock that is read when it is first needed, and then never again.
pub(crate) struct LazyNow<N> {
    source: Option<N>,
    read: Timestamp,
}

impl<N: Now> LazyNow<N> {
    #[inline]
    pub(crate) fn new(source: N) -> Self {
        Self { source: Some(source), read: Timestamp::ORIGIN }
    }

    #[inline]
    pub(crate) fn read(&mut self) -> Timestamp {
        if let Some(source) = self.source.take() {
            self.read = source.now();
        }
        self.read
    }
}
