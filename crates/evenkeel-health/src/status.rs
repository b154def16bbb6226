//! The health of an endpoint at one moment: every source's word, and what follows from them.

use std::fmt;

use evenkeel_types::Announced;

use crate::word::*;
use crate::{AdminState, Cause, CheckState, Opinion, Source};

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

    /// Whether it is out because somebody wants it out (operator, weight zero, draining, gone from discovery) and not
    /// because something is wrong with it.
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

    /// Whether it was ejected and is back on trial.
    #[must_use]
    pub const fn on_probation(self) -> bool {
        self.0 & PROBATION != 0
    }

    /// Whether it is being drained, with a deadline.
    #[must_use]
    pub const fn draining(self) -> bool {
        self.0 & DRAINING != 0
    }

    /// Whether discovery does not name it any more.
    #[must_use]
    pub const fn unlisted(self) -> bool {
        self.0 & UNLISTED != 0
    }

    /// Whether its heartbeats are missed.
    #[must_use]
    pub const fn suspected(self) -> bool {
        self.0 & SUSPECTED != 0
    }

    /// Whether it came and went too often.
    #[must_use]
    pub const fn flap_damped(self) -> bool {
        self.0 & FLAP_DAMPED != 0
    }

    /// Whether it is warming up: its share is given by [`SlowStart::factor`](crate::SlowStart::factor).
    #[must_use]
    pub const fn warming(self) -> bool {
        self.0 & WARMING != 0
    }

    /// What this source says.
    #[must_use]
    pub const fn opinion(self, source: Source) -> Opinion {
        match source {
            Source::Admin => Opinion::Admin(self.admin()),
            Source::Discovery => Opinion::Announced(self.announced()),
            Source::Check => Opinion::Check(self.check()),
            Source::Outlier => Opinion::Ejected(self.ejected()),
            Source::Breaker => Opinion::BreakerOpen(self.breaker_open()),
            Source::Weight => Opinion::DrainedByWeight(self.drained_by_weight()),
            Source::Drain => Opinion::Draining(self.draining()),
            Source::Membership => Opinion::Unlisted(self.unlisted()),
            Source::Heartbeat => Opinion::Suspected(self.suspected()),
            Source::Flap => Opinion::FlapDamped(self.flap_damped()),
            Source::Probation => Opinion::Probation(self.on_probation()),
            Source::SlowStart => Opinion::Warming(self.warming()),
        }
    }

    /// This status, but for what this source says.
    #[must_use]
    pub const fn with(self, opinion: Opinion) -> Self {
        Self(Self::replaced(self.0, opinion))
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

    /// This word with the part of one source replaced.
    pub(crate) const fn replaced(bits: u32, opinion: Opinion) -> u32 {
        (bits & !owned_by(opinion.source())) | bits_said(opinion)
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
        let mut form = serializer.serialize_struct("Status", 14)?;
        form.serialize_field("usable", &self.usable())?;
        form.serialize_field("cause", &self.cause())?;
        form.serialize_field("admin", &self.admin())?;
        form.serialize_field("announced", &self.announced())?;
        form.serialize_field("check", &self.check())?;
        form.serialize_field("ejected", &self.ejected())?;
        form.serialize_field("breaker_open", &self.breaker_open())?;
        form.serialize_field("drained_by_weight", &self.drained_by_weight())?;
        form.serialize_field("draining", &self.draining())?;
        form.serialize_field("unlisted", &self.unlisted())?;
        form.serialize_field("suspected", &self.suspected())?;
        form.serialize_field("flap_damped", &self.flap_damped())?;
        form.serialize_field("on_probation", &self.on_probation())?;
        form.serialize_field("warming", &self.warming())?;
        form.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bit_has_two_owners_and_every_cause_is_owned_by_its_source() {
        let bits: u32 = Source::ALL.iter().map(|&source| owned_by(source).count_ones()).sum();
        let union = Source::ALL.iter().fold(0, |all, &source| all | owned_by(source));
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

    /// Each source's opinion reads back, and no other source's changes.
    #[test]
    fn opinions_are_kept_apart() {
        let all: u32 = Source::ALL.iter().fold(0, |all, &source| all | owned_by(source));
        for source in Source::ALL {
            assert_eq!(Status::default().opinion(source), Opinion::neutral(source));
            let cleared = Status(all).with(Opinion::neutral(source));
            assert_eq!(cleared.0, all & !owned_by(source));
        }
    }

    #[test]
    fn probation_and_warming_keep_an_endpoint_in_its_tier() {
        let status = Status(PROBATION | WARMING);
        assert!(status.usable() && !status.is_degraded());
        assert_eq!(status.to_string(), "usable: on probation, warming up");
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
            [
                Cause::Maintenance,
                Cause::AdminDrain,
                Cause::ZeroWeight,
                Cause::Draining,
                Cause::AnnouncedDraining,
                Cause::NotInDiscovery
            ]
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serialises_the_result_and_every_word() {
        let text = serde_json::to_string(&Status(ANNOUNCED_UP | CHECK_DOWN)).unwrap();
        assert_eq!(
            text,
            r#"{"usable":false,"cause":"check_down","admin":"ready","announced":"up","check":"down","ejected":false,"breaker_open":false,"drained_by_weight":false,"draining":false,"unlisted":false,"suspected":false,"flap_damped":false,"on_probation":false,"warming":false}"#
        );
    }
}
