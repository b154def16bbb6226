use std::fmt;

use bitflags::bitflags;
use evenkeel_types::Priority;

/// How a pick came to its endpoint: which tier, and what was out of the ordinary. Two bytes that lie in the pick.
///
/// ```
/// use evenkeel::{Cluster, Endpoint, Request};
/// let cluster = Cluster::<()>::builder("users").build()?;
/// cluster.apply([Endpoint::at("10.0.0.1:80".parse()?)?])?;
/// let pick = cluster.pick(&Request::new())?;
/// assert!(pick.way().is_plain());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Way {
    priority: Priority,
    marks: Marks,
}

bitflags! {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Marks: u8 {
        const DEGRADED = 1;
        const PANIC = 1 << 1;
        const SPILLED = 1 << 2;
        const CROSSES_ZONE = 1 << 3;
        const FALLBACK = 1 << 4;
        const STALE = 1 << 5;
        const RESERVE = 1 << 6;
    }
}

impl Way {
    pub(crate) const fn new(priority: Priority, marks: Marks) -> Self {
        Self { priority, marks }
    }

    /// The same with further marks.
    #[inline(always)]
    pub(crate) const fn with(self, marks: Marks) -> Self {
        Self { priority: self.priority, marks: self.marks.union(marks) }
    }

    /// The failover tier of the endpoint.
    #[must_use]
    pub const fn priority(self) -> Priority {
        self.priority
    }

    /// Whether it was chosen among the degraded ones.
    #[must_use]
    pub const fn is_degraded(self) -> bool {
        self.marks.contains(Marks::DEGRADED)
    }

    /// Whether its tier is in panic: under `fail_open` the endpoint may be unhealthy.
    #[must_use]
    pub const fn is_panic(self) -> bool {
        self.marks.contains(Marks::PANIC)
    }

    /// Whether the share of a later tier than the first brought it there, since the first cannot take everything.
    #[must_use]
    pub const fn is_spilled(self) -> bool {
        self.marks.contains(Marks::SPILLED)
    }

    /// Whether the endpoint stands in another zone than this process.
    #[must_use]
    pub const fn crosses_zone(self) -> bool {
        self.marks.contains(Marks::CROSSES_ZONE)
    }

    /// Whether nobody took the request where it should have gone, so that others were asked.
    #[must_use]
    pub const fn is_fallback(self) -> bool {
        self.marks.contains(Marks::FALLBACK)
    }

    /// Whether the endpoint is outside the subset of this client.
    #[must_use]
    pub const fn is_outside_subset(self) -> bool {
        self.marks.contains(Marks::RESERVE)
    }

    /// Whether the tier is in panic under `serve_stale`: answer from the cache, however old, and drop the pick; without
    /// such an answer send the request.
    #[must_use]
    pub const fn should_serve_stale(self) -> bool {
        self.marks.contains(Marks::STALE)
    }

    /// Whether nothing is out of the ordinary, but perhaps the tier.
    #[must_use]
    pub const fn is_plain(self) -> bool {
        self.marks.is_empty()
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Way({self})")
    }
}

/// `tier 1, spilled, in another zone`.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tier {}", self.priority.get())?;
        for (holds, what) in [
            (self.is_panic(), "in panic"),
            (self.is_degraded(), "degraded"),
            (self.is_spilled(), "spilled"),
            (self.crosses_zone(), "in another zone"),
            (self.is_outside_subset(), "outside the subset"),
            (self.is_fallback(), "since others did not take it"),
            (self.should_serve_stale(), "a stale answer is preferred"),
        ] {
            if holds {
                write!(f, ", {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Way {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut form = serializer.serialize_struct("Way", 8)?;
        form.serialize_field("priority", &self.priority)?;
        form.serialize_field("degraded", &self.is_degraded())?;
        form.serialize_field("panic", &self.is_panic())?;
        form.serialize_field("spilled", &self.is_spilled())?;
        form.serialize_field("crosses_zone", &self.crosses_zone())?;
        form.serialize_field("fallback", &self.is_fallback())?;
        form.serialize_field("outside_subset", &self.is_outside_subset())?;
        form.serialize_field("stale", &self.should_serve_stale())?;
        form.end()
    }
}
