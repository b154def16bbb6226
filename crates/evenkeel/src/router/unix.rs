use std::fmt;
use std::time::Duration;

/// Where a router gets the time of day from: signed cookies expire by it. Implemented for functions.
pub trait UnixClock: Send + Sync {
    /// The time since 1970.
    fn unix(&self) -> Duration;
}

impl<F: Fn() -> Duration + Send + Sync> UnixClock for F {
    fn unix(&self) -> Duration {
        self()
    }
}

/// The operating system's time of day. Before 1970 it is 1970.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemUnixClock;

impl UnixClock for SystemUnixClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time of day")]
    fn unix(&self) -> Duration {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }
}

impl fmt::Debug for dyn UnixClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnixClock")
    }
}
