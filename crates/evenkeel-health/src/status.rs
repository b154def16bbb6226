//! The health of an endpoint at one moment: every source's word, and what follows from them.

use std::fmt;

use evenkeel_types::Announced;

use crate::{AdminState, Cause, CheckState, Source};

/// What every source said about an endpoint at one moment, in one word.
///
/// The sources are kept apart and the result is derived, so that a passing check cannot bring back what the operator
/// drained. The default is what a new endpoint has: nobody said anything, and it is usable.
///
/// ```
/// use evenkeel_health::{AdminState, Cause, CheckState, Standing};
///
/// let standing = Standing::new();
/// let _ = standing.set_admin(AdminState::Drain);
/// let _ = standing.set_check(CheckState::Down);
/// let status = standing.load();
/// assert_eq!(status.cause(), Some(Cause::AdminDrain));
/// assert_eq!(status.to_string(), "unusable: drained by the operator, check down");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Status(u32);

impl Status {
    /// Whether new requests may go there: no source speaks against it. One mask test.
    #[inline]
    #[must_use]
    pub const fn usable(self) -> bool {
        self.0 & BLOCKING == 0
    }

    /// Whether it is usable, but to be used after its peers: discovery or the check calls it degraded.
    #[inline]
    #[must_use]
    pub const fn is_degraded(self) -> bool {
        self.usable() && self.0 & DEGRADED != 0
    }

    /// Whether it is out because somebody wants it out (operator, weight zero, announced draining) and not because
    /// something is wrong with it.
    ///
    /// What panic mode has to respect: it sets aside what was *concluded*, never what was *decided*.
    #[inline]
    #[must_use]
    pub const fn is_withdrawn(self) -> bool {
        self.0 & WITHDRAWN != 0
    }

    /// The first cause in order of precedence; `None` if it is plainly healthy.
    ///
    /// A cause does not mean unusable: see [`Cause::is_blocking`].
    #[must_use]
    pub fn cause(self) -> Option<Cause> {
        self.causes().next()
    }

    /// Every cause that holds, in order of precedence.
    pub fn causes(self) -> impl Iterator<Item = Cause> {
        Cause::ALL.into_iter().filter(move |&cause| self.0 & bits_of(cause) != 0)
    }

    /// Whether this source keeps new requests away.
    #[must_use]
    pub const fn is_blocked_by(self, source: Source) -> bool {
        self.0 & BLOCKING & owned_by(source) != 0
    }

    /// What the operator wants.
    #[must_use]
    pub const fn admin(self) -> AdminState {
        match self.0 & owned_by(Source::Admin) {
            MAINTENANCE => AdminState::Maintenance,
            ADMIN_DRAIN => AdminState::Drain,
            _ => AdminState::Ready,
        }
    }

    /// What discovery announces.
    #[must_use]
    pub const fn announced(self) -> Announced {
        match self.0 & owned_by(Source::Discovery) {
            ANNOUNCED_UP => Announced::Up,
            ANNOUNCED_DEGRADED => Announced::Degraded,
            ANNOUNCED_STARTING => Announced::Starting,
            ANNOUNCED_DRAINING => Announced::Draining,
            ANNOUNCED_DOWN => Announced::Down,
            _ => Announced::Unknown,
        }
    }

    /// What the active check knows.
    #[must_use]
    pub const fn check(self) -> CheckState {
        match self.0 & owned_by(Source::Check) {
            CHECK_UP => CheckState::Up,
            CHECK_DEGRADED => CheckState::Degraded,
            CHECK_DOWN => CheckState::Down,
            CHECK_STARTING => CheckState::Starting,
            _ => CheckState::Unknown,
        }
    }

    /// Whether it is ejected as an outlier.
    #[must_use]
    pub const fn ejected(self) -> bool {
        self.0 & EJECTED != 0
    }

    /// Whether its circuit breaker is open.
    #[must_use]
    pub const fn breaker_open(self) -> bool {
        self.0 & BREAKER_OPEN != 0
    }

    /// Whether its configured weight is zero.
    #[must_use]
    pub const fn drained_by_weight(self) -> bool {
        self.0 & ZERO_WEIGHT != 0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// This word with the part of `source` replaced by `said`, which must be one of the constants below or zero.
    pub(crate) const fn replaced(bits: u32, source: Source, said: u32) -> u32 {
        (bits & !owned_by(source)) | said
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({self})")
    }
}

/// `usable`, `usable: degraded` or `unusable: maintenance, check down`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.usable() { "usable" } else { "unusable" })?;
        for (index, cause) in self.causes().enumerate() {
            write!(f, "{}{cause}", if index == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Status {
    /// The result, the first cause, and what every source said.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut form = serializer.serialize_struct("Status", 8)?;
        form.serialize_field("usable", &self.usable())?;
        form.serialize_field("cause", &self.cause())?;
        form.serialize_field("admin", &self.admin())?;
        form.serialize_field("announced", &self.announced())?;
        form.serialize_field("check", &self.check())?;
        form.serialize_field("ejected", &self.ejected())?;
        form.serialize_field("breaker_open", &self.breaker_open())?;
        form.serialize_field("drained_by_weight", &self.drained_by_weight())?;
        form.end()
    }
}

pub(crate) const fn admin_bits(state: AdminState) -> u32 {
    match state {
        AdminState::Ready => 0,
        AdminState::Drain => ADMIN_DRAIN,
        AdminState::Maintenance => MAINTENANCE,
    }
}

pub(crate) const fn announced_bits(state: Announced) -> u32 {
    match state {
        Announced::Unknown => 0,
        Announced::Up => ANNOUNCED_UP,
        Announced::Degraded => ANNOUNCED_DEGRADED,
        Announced::Starting => ANNOUNCED_STARTING,
        Announced::Draining => ANNOUNCED_DRAINING,
        Announced::Down => ANNOUNCED_DOWN,
        // A word that a later version of the types adds: keep to what it means for requests.
        other if other.is_usable() => 0,
        _ => ANNOUNCED_DOWN,
    }
}

pub(crate) const fn check_bits(state: CheckState) -> u32 {
    match state {
        CheckState::Unknown => 0,
        CheckState::Up => CHECK_UP,
        CheckState::Degraded => CHECK_DEGRADED,
        CheckState::Down => CHECK_DOWN,
        CheckState::Starting => CHECK_STARTING,
    }
}

/// The bits that belong to a source, and that only its setter writes.
const fn owned_by(source: Source) -> u32 {
    match source {
        Source::Admin => MAINTENANCE | ADMIN_DRAIN,
        Source::Discovery => {
            ANNOUNCED_UP | ANNOUNCED_DEGRADED | ANNOUNCED_STARTING | ANNOUNCED_DRAINING | ANNOUNCED_DOWN
        }
        Source::Check => CHECK_UP | CHECK_DEGRADED | CHECK_DOWN | CHECK_STARTING,
        Source::Outlier => EJECTED,
        Source::Breaker => BREAKER_OPEN,
        Source::Weight => ZERO_WEIGHT,
    }
}

/// The bits that show a cause.
const fn bits_of(cause: Cause) -> u32 {
    match cause {
        Cause::Maintenance => MAINTENANCE,
        Cause::AdminDrain => ADMIN_DRAIN,
        Cause::ZeroWeight => ZERO_WEIGHT,
        Cause::AnnouncedDraining => ANNOUNCED_DRAINING,
        Cause::AnnouncedDown => ANNOUNCED_DOWN,
        Cause::AnnouncedStarting => ANNOUNCED_STARTING,
        Cause::CheckDown => CHECK_DOWN,
        Cause::Ejected => EJECTED,
        Cause::BreakerOpen => BREAKER_OPEN,
        Cause::Degraded => DEGRADED,
    }
}

// One bit for each thing that a source can say; its neutral word is all its bits clear. What blocks lies in the lower
// half, so that "usable" is one test against a constant.
const MAINTENANCE: u32 = 1;
const ADMIN_DRAIN: u32 = 1 << 1;
pub(crate) const ZERO_WEIGHT: u32 = 1 << 2;
const ANNOUNCED_DRAINING: u32 = 1 << 3;
const ANNOUNCED_DOWN: u32 = 1 << 4;
const ANNOUNCED_STARTING: u32 = 1 << 5;
const CHECK_DOWN: u32 = 1 << 6;
const CHECK_STARTING: u32 = 1 << 9;
pub(crate) const EJECTED: u32 = 1 << 7;
pub(crate) const BREAKER_OPEN: u32 = 1 << 8;
const BLOCKING: u32 = (1 << 16) - 1;
const WITHDRAWN: u32 = MAINTENANCE | ADMIN_DRAIN | ZERO_WEIGHT | ANNOUNCED_DRAINING;

const ANNOUNCED_UP: u32 = 1 << 16;
const ANNOUNCED_DEGRADED: u32 = 1 << 17;
const CHECK_UP: u32 = 1 << 18;
const CHECK_DEGRADED: u32 = 1 << 19;
const DEGRADED: u32 = ANNOUNCED_DEGRADED | CHECK_DEGRADED;

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: [Source; 6] =
        [Source::Admin, Source::Discovery, Source::Check, Source::Outlier, Source::Breaker, Source::Weight];

    #[test]
    fn no_bit_has_two_owners_and_every_cause_is_owned_by_its_source() {
        let bits: u32 = SOURCES.iter().map(|&source| owned_by(source).count_ones()).sum();
        let union = SOURCES.iter().fold(0, |all, &source| all | owned_by(source));
        assert_eq!(bits, union.count_ones());
        for cause in Cause::ALL {
            let within = cause.source().map_or(union, owned_by);
            assert_eq!(bits_of(cause) & !within, 0, "{cause}");
            assert_eq!(cause.is_blocking(), bits_of(cause) & BLOCKING != 0, "{cause}");
            assert_eq!(Status(bits_of(cause)).cause(), Some(cause));
        }
    }

    #[test]
    fn the_cause_follows_the_documented_precedence() {
        let mut bits = 0;
        for cause in Cause::ALL.into_iter().rev() {
            bits |= bits_of(cause);
            assert_eq!(Status(bits).cause(), Some(cause));
        }
        assert_eq!(Status::default().cause(), None);
    }

    #[test]
    fn says_every_cause_aloud() {
        assert_eq!(Status::default().to_string(), "usable");
        assert_eq!(Status(CHECK_DEGRADED).to_string(), "usable: degraded");
        let both = Status(MAINTENANCE | EJECTED | CHECK_UP);
        assert_eq!(both.to_string(), "unusable: maintenance, ejected");
        assert_eq!(format!("{both:?}"), "Status(unusable: maintenance, ejected)");
    }

    #[test]
    fn degraded_is_a_tier_of_the_usable() {
        assert!(Status(ANNOUNCED_DEGRADED).is_degraded());
        assert!(!Status(ANNOUNCED_DEGRADED | EJECTED).is_degraded());
    }

    #[test]
    fn withdrawn_is_what_was_decided_and_not_what_was_concluded() {
        let withdrawn: Vec<Cause> =
            Cause::ALL.into_iter().filter(|&cause| Status(bits_of(cause)).is_withdrawn()).collect();
        assert_eq!(
            withdrawn,
            [Cause::Maintenance, Cause::AdminDrain, Cause::ZeroWeight, Cause::AnnouncedDraining]
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serialises_the_result_and_every_word() {
        let text = serde_json::to_string(&Status(ANNOUNCED_UP | CHECK_DOWN)).unwrap();
        assert_eq!(
            text,
            r#"{"usable":false,"cause":"check_down","admin":"ready","announced":"up","check":"down","ejected":false,"breaker_open":false,"drained_by_weight":false}"#
        );
    }
}
