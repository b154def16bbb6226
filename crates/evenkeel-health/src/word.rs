//! How opinions lie in the word of a [`Status`](crate::Status).

use evenkeel_types::Announced;

use crate::{AdminState, Cause, CheckState, Opinion, Source};

/// The bits of an opinion; none for a neutral one.
pub(crate) const fn bits_said(opinion: Opinion) -> u32 {
    match opinion {
        Opinion::Admin(state) => admin_bits(state),
        Opinion::Announced(announced) => announced_bits(announced),
        Opinion::Check(state) => check_bits(state),
        Opinion::Ejected(said) => bit_if(said, EJECTED),
        Opinion::BreakerOpen(said) => bit_if(said, BREAKER_OPEN),
        Opinion::DrainedByWeight(said) => bit_if(said, ZERO_WEIGHT),
        Opinion::Draining(said) => bit_if(said, DRAINING),
        Opinion::Unlisted(said) => bit_if(said, UNLISTED),
        Opinion::Suspected(said) => bit_if(said, SUSPECTED),
        Opinion::FlapDamped(said) => bit_if(said, FLAP_DAMPED),
        Opinion::Probation(said) => bit_if(said, PROBATION),
        Opinion::Warming(said) => bit_if(said, WARMING),
    }
}

const fn bit_if(said: bool, bit: u32) -> u32 {
    if said { bit } else { 0 }
}

const fn admin_bits(state: AdminState) -> u32 {
    match state {
        AdminState::Ready => 0,
        AdminState::Drain => ADMIN_DRAIN,
        AdminState::Maintenance => MAINTENANCE,
    }
}

const fn announced_bits(state: Announced) -> u32 {
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

const fn check_bits(state: CheckState) -> u32 {
    match state {
        CheckState::Unknown => 0,
        CheckState::Up => CHECK_UP,
        CheckState::Degraded => CHECK_DEGRADED,
        CheckState::Down => CHECK_DOWN,
        CheckState::Starting => CHECK_STARTING,
    }
}

/// The bits that belong to a source, and that only its setter writes.
pub(crate) const fn owned_by(source: Source) -> u32 {
    match source {
        Source::Admin => MAINTENANCE | ADMIN_DRAIN,
        Source::Discovery => {
            ANNOUNCED_UP | ANNOUNCED_DEGRADED | ANNOUNCED_STARTING | ANNOUNCED_DRAINING | ANNOUNCED_DOWN
        }
        Source::Check => CHECK_UP | CHECK_DEGRADED | CHECK_DOWN | CHECK_STARTING,
        Source::Outlier => EJECTED,
        Source::Breaker => BREAKER_OPEN,
        Source::Weight => ZERO_WEIGHT,
        Source::Drain => DRAINING,
        Source::Membership => UNLISTED,
        Source::Heartbeat => SUSPECTED,
        Source::Flap => FLAP_DAMPED,
        Source::Probation => PROBATION,
        Source::SlowStart => WARMING,
    }
}

/// The bits that show a cause.
pub(crate) const fn bits_of(cause: Cause) -> u32 {
    match cause {
        Cause::Maintenance => MAINTENANCE,
        Cause::AdminDrain => ADMIN_DRAIN,
        Cause::ZeroWeight => ZERO_WEIGHT,
        Cause::Draining => DRAINING,
        Cause::AnnouncedDraining => ANNOUNCED_DRAINING,
        Cause::NotInDiscovery => UNLISTED,
        Cause::AnnouncedDown => ANNOUNCED_DOWN,
        Cause::AnnouncedStarting => ANNOUNCED_STARTING,
        Cause::CheckDown => CHECK_DOWN,
        Cause::CheckStarting => CHECK_STARTING,
        Cause::Suspected => SUSPECTED,
        Cause::Ejected => EJECTED,
        Cause::BreakerOpen => BREAKER_OPEN,
        Cause::FlapDamped => FLAP_DAMPED,
        Cause::Degraded => DEGRADED,
        Cause::Probation => PROBATION,
        Cause::Warming => WARMING,
    }
}

// One bit for each thing that a source can say; its neutral word is all its bits clear. What blocks lies in the lower
// half, so that "usable" is one test against a constant.
pub(crate) const MAINTENANCE: u32 = 1;
pub(crate) const ADMIN_DRAIN: u32 = 1 << 1;
pub(crate) const ZERO_WEIGHT: u32 = 1 << 2;
pub(crate) const ANNOUNCED_DRAINING: u32 = 1 << 3;
pub(crate) const ANNOUNCED_DOWN: u32 = 1 << 4;
pub(crate) const ANNOUNCED_STARTING: u32 = 1 << 5;
pub(crate) const CHECK_DOWN: u32 = 1 << 6;
pub(crate) const EJECTED: u32 = 1 << 7;
pub(crate) const BREAKER_OPEN: u32 = 1 << 8;
pub(crate) const CHECK_STARTING: u32 = 1 << 9;
pub(crate) const DRAINING: u32 = 1 << 10;
pub(crate) const UNLISTED: u32 = 1 << 11;
pub(crate) const SUSPECTED: u32 = 1 << 12;
pub(crate) const FLAP_DAMPED: u32 = 1 << 13;
pub(crate) const BLOCKING: u32 = (1 << 16) - 1;
pub(crate) const WITHDRAWN: u32 =
    MAINTENANCE | ADMIN_DRAIN | ZERO_WEIGHT | ANNOUNCED_DRAINING | DRAINING | UNLISTED;

pub(crate) const ANNOUNCED_UP: u32 = 1 << 16;
pub(crate) const ANNOUNCED_DEGRADED: u32 = 1 << 17;
pub(crate) const CHECK_UP: u32 = 1 << 18;
pub(crate) const CHECK_DEGRADED: u32 = 1 << 19;
pub(crate) const PROBATION: u32 = 1 << 20;
pub(crate) const WARMING: u32 = 1 << 21;
pub(crate) const DEGRADED: u32 = ANNOUNCED_DEGRADED | CHECK_DEGRADED;
