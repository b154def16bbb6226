use std::thread;
use std::time::{Duration, Instant};

/// Waits until it is so. The limit only ends a test that has failed.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) const LIMIT: Duration = Duration::from_secs(30);
