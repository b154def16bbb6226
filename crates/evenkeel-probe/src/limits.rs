//! The time limits that every check over a network has.

use std::time::Duration;

use crate::error::ProbeConfigError;

/// Half of the default interval of two seconds: a check has ended before its next turn, and an endpoint that needs longer
/// than a second for its health page is not well.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3_600);

pub(crate) fn check_timeout(field: &'static str, timeout: Duration) -> Result<(), ProbeConfigError> {
    if (SHORTEST..=LONGEST).contains(&timeout) {
        return Ok(());
    }
    Err(ProbeConfigError::setting(field, format_args!("{timeout:?}"), "allowed are 1 ms to 1 h"))
}

/// Both limits of a check, of which the first may be left out.
pub(crate) fn check_timeouts(
    connect: (&'static str, Option<Duration>),
    total: (&'static str, Duration),
) -> Result<(), ProbeConfigError> {
    check_timeout(total.0, total.1)?;
    let Some(limit) = connect.1 else { return Ok(()) };
    check_timeout(connect.0, limit)?;
    if limit > total.1 {
        let allowed = "it cannot be longer than timeout, which is the limit of the whole check";
        return Err(ProbeConfigError::setting(connect.0, format_args!("{limit:?}"), allowed));
    }
    Ok(())
}

pub(crate) fn check_size(
    field: &'static str,
    size: usize,
    most: usize,
    allowed: &'static str,
) -> Result<(), ProbeConfigError> {
    if (1..=most).contains(&size) { Ok(()) } else { Err(ProbeConfigError::setting(field, size, allowed)) }
}
