use std::time::Duration;

use evenkeel_registry::Backoff;
use thiserror::Error;

use crate::ClientSettings;

/// A setting that adapters have in common cannot stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// A field that must not be zero.
    #[error("{field} is zero: give more")]
    Zero {
        /// Which.
        field: &'static str,
    },
    /// A timeout that is none.
    #[error("{field} is {given:?}: at most 1 h is allowed")]
    TooLong {
        /// Which.
        field: &'static str,
        /// What was given.
        given: Duration,
    },
    /// The first wait is longer than the longest.
    #[error("backoff.min of {min:?} is above backoff.max, which is {max:?}")]
    Backoff {
        /// The first.
        min: Duration,
        /// The longest.
        max: Duration,
    },
}

impl InvalidSetting {
    /// Refuses a number of none, such as `("page_size", 0)`.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Zero`].
    pub fn check_count(field: &'static str, given: usize) -> Result<(), Self> {
        if given == 0 { Err(Self::Zero { field }) } else { Ok(()) }
    }

    /// Refuses a time of no length.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Zero`].
    pub fn check_time(field: &'static str, given: Duration) -> Result<(), Self> {
        if given.is_zero() { Err(Self::Zero { field }) } else { Ok(()) }
    }

    /// Refuses a timeout of no length, or above [`ClientSettings::MAX_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Zero`], [`InvalidSetting::TooLong`].
    pub fn check_timeout(field: &'static str, given: Duration) -> Result<(), Self> {
        Self::check_time(field, given)?;
        if given > ClientSettings::MAX_TIMEOUT { Err(Self::TooLong { field, given }) } else { Ok(()) }
    }

    /// Refuses a first wait of no length, or above the longest.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting::Zero`], [`InvalidSetting::Backoff`].
    pub fn check_backoff(backoff: &Backoff) -> Result<(), Self> {
        let Backoff { min, max } = *backoff;
        Self::check_time("backoff.min", min)?;
        if min > max { Err(Self::Backoff { min, max }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive() {
        let longest = ClientSettings::MAX_TIMEOUT;
        assert_eq!(InvalidSetting::check_timeout("t", longest), Ok(()));
        let given = longest + Duration::from_nanos(1);
        let too_long = InvalidSetting::check_timeout("t", given);
        assert_eq!(too_long, Err(InvalidSetting::TooLong { field: "t", given }));
        assert_eq!(
            InvalidSetting::check_timeout("t", Duration::ZERO),
            Err(InvalidSetting::Zero { field: "t" })
        );
        assert_eq!(InvalidSetting::check_count("n", 1), Ok(()));
        assert_eq!(InvalidSetting::check_count("n", 0), Err(InvalidSetting::Zero { field: "n" }));
        let equal = Backoff { min: longest, max: longest };
        assert_eq!(InvalidSetting::check_backoff(&equal), Ok(()));
        let none = Backoff { min: Duration::ZERO, max: longest };
        assert_eq!(InvalidSetting::check_backoff(&none), Err(InvalidSetting::Zero { field: "backoff.min" }));
    }
}
