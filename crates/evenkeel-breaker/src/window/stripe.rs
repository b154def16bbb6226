//! Which stripe a thread counts in.

/// The stripe of this thread, of so many. Threads take stripes in the order in which they first ask, round and round:
/// which stripe counts a request changes where the line lies, and no verdict.
#[cfg(not(loom))]
#[inline]
pub(crate) fn my_stripe(stripes: u32) -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // A thread that is being torn down has no place of its own any more; the first stripe serves as well.
    MINE.try_with(|mine| mine % stripes.max(1) as usize).unwrap_or(0)
}

#[cfg(loom)]
pub(crate) fn my_stripe(stripes: u32) -> usize {
    let id = format!("{:?}", loom::thread::current().id());
    let digits: String = id.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<usize>().unwrap_or(0) % stripes.max(1) as usize
}

/// Cells between two stripes: two cache lines of 64 bytes, since processors fetch pairs.
pub(crate) const PADDING: usize = 16;
