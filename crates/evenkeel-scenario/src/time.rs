//! Times and durations as they are written in scenarios.

use std::time::Duration;

use evenkeel_types::Timestamp;

/// How a step moves the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Move {
    /// `@5s`: it is this late now.
    To(Timestamp),
    /// `+5s`: so much later.
    By(Duration),
}

impl Move {
    /// Reads `@TIME` or `+TIME`; `None` if it is neither.
    pub(crate) fn parse(word: &str) -> Option<Result<Self, String>> {
        if let Some(time) = word.strip_prefix('@') {
            return Some(duration(time).map(|at| Self::To(Timestamp::ORIGIN.saturating_add(at))));
        }
        word.strip_prefix('+').map(|time| duration(time).map(Self::By))
    }

    pub(crate) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::To(time) => time,
            Self::By(step) => now.saturating_add(step),
        }
    }
}

/// Reads a duration: a decimal number and one of `ns us ms s m h d`, or some of them one after the other: `1m30s`.
///
/// # Errors
///
/// A sentence that names the text and what is allowed.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write a number and one of ns, us, ms, s, m, h, d");
    let mut whole = Duration::ZERO;
    let mut rest = text;
    loop {
        let unit_at = rest.find(|c: char| c.is_alphabetic()).ok_or_else(wrong)?;
        let (number, behind) = rest.split_at(unit_at);
        let next_at = behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(next_at);
        let part = part(number, unit).ok_or_else(wrong)?;
        whole = whole.checked_add(part).filter(|whole| whole.as_nanos() <= MOST).ok_or_else(wrong)?;
        if next.is_empty() {
            return Ok(whole);
        }
        rest = next;
    }
}

/// One number with its unit.
fn part(number: &str, unit: &str) -> Option<Duration> {
    let unit_nanos: u64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" | "sec" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 9 {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit_nanos)?;
    let part: u64 = format!("{part:0<9}").parse().ok()?;
    let part = u128::from(part) * u128::from(unit_nanos) / 1_000_000_000;
    Some(Duration::from_nanos(whole.checked_add(u64::try_from(part).ok()?)?))
}

/// Moments are nanoseconds in 64 bits.
const MOST: u128 = u64::MAX as u128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        for (text, nanos) in [
            ("5s", 5_000_000_000),
            ("5.25s", 5_250_000_000),
            ("0.1ms", 100_000),
            ("1.5m", 90_000_000_000),
            ("2h", 7_200_000_000_000),
            ("7ns", 7),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("2min", 120_000_000_000),
            ("1d", 86_400_000_000_000),
            ("1m30s", 90_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "5w",
            "1e3s",
            "1m30",
            "1m s",
            "1m-3s",
            "99999999999999999999h",
            "1.0123456789s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
