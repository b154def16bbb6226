//! Numbers with a unit, as logs write them: `0.013` seconds, `13` milliseconds.

use std::fmt;
use std::str::FromStr;

use crate::error::Invalid;

/// Nanoseconds, and the step in which they were written: 1 ms for `0.013`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nanos {
    pub(crate) nanos: u64,
    pub(crate) step: u64,
}

/// Reads a decimal number of units. `None` for anything else, for negative ones, and for what a clock cannot hold.
pub(crate) fn decimal(text: &[u8], unit: u64) -> Option<Nanos> {
    let dot = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = dot.map_or((text, &[][..]), |dot| (&text[..dot], &text[dot + 1..]));
    if whole.is_empty() || (dot.is_some() && fraction.is_empty()) || fraction.len() > MOST_DIGITS {
        return None;
    }
    let mut units = 0_u64;
    for &digit in whole {
        units = units.checked_mul(10)?.checked_add(digit_of(digit)?)?;
    }
    let (mut parts, mut step) = (0_u64, unit);
    for &digit in fraction {
        let digit = digit_of(digit)?;
        // Digits below the nanosecond are read and dropped.
        step /= 10;
        parts += digit * step;
    }
    Some(Nanos { nanos: units.checked_mul(unit)?.checked_add(parts)?, step: step.max(1) })
}

fn digit_of(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
}

/// The name of a field and the unit of its number.
///
/// As text: the name, and behind a colon the unit (`ns`, `us`, `ms`, `s`). Without a unit the end of the name says it
/// (`duration_ms`), and else it is seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    pub(crate) field: String,
    pub(crate) unit: u64,
}

impl Quantity {
    /// # Errors
    ///
    /// [`Invalid`] names the setting.
    pub(crate) fn read(setting: &str, text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new(setting, format_args!("{text:?}"), QUANTITIES);
        let (field, unit) = match text.rsplit_once(':') {
            Some((field, unit)) => (field, unit.parse::<Unit>().map_err(|()| wrong())?),
            None => {
                (text, text.rsplit_once('_').and_then(|(_, end)| end.parse().ok()).unwrap_or(Unit(SECOND)))
            }
        };
        if field.is_empty() { Err(wrong()) } else { Ok(Self { field: field.to_owned(), unit: unit.0 }) }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.field)
    }
}

struct Unit(u64);

impl FromStr for Unit {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "ns" => Ok(Self(1)),
            "us" => Ok(Self(1_000)),
            "ms" => Ok(Self(MILLISECOND)),
            "s" => Ok(Self(SECOND)),
            _ => Err(()),
        }
    }
}

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MILLISECOND: u64 = 1_000_000;
const MOST_DIGITS: usize = 30;
const QUANTITIES: &str = "allowed is the name of a field, and behind a colon ns, us, ms or s";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_the_step_in_which_they_are_written() {
        for (text, unit, expected) in [
            ("0.013", SECOND, Some((13_000_000, 1_000_000))),
            ("13", MILLISECOND, Some((13_000_000, 1_000_000))),
            ("1700000000.5", SECOND, Some((1_700_000_000_500_000_000, 100_000_000))),
            ("0.0000000019", SECOND, Some((1, 1))),
            ("", SECOND, None),
            ("-1", SECOND, None),
            ("+1", SECOND, None),
            ("1.", SECOND, None),
            (".5", SECOND, None),
            ("1.2.3", SECOND, None),
            ("1e3", SECOND, None),
            ("18446744074", SECOND, None),
            ("99999999999999999999", 1, None),
        ] {
            let read = decimal(text.as_bytes(), unit).map(|read| (read.nanos, read.step));
            assert_eq!(read, expected, "{text:?}");
        }
    }

    #[test]
    fn units_stand_behind_names_or_in_them() {
        let unit = |text| Quantity::read("duration", text).map(|quantity| (quantity.field, quantity.unit));
        assert_eq!(unit("duration_ms"), Ok(("duration_ms".into(), MILLISECOND)));
        assert_eq!(unit("took_ms:us"), Ok(("took_ms".into(), 1_000)));
        assert_eq!(unit("latency"), Ok(("latency".into(), SECOND)));
        assert_eq!(unit("a.b_s"), Ok(("a.b_s".into(), SECOND)));
        assert_eq!(unit("latency:h").unwrap_err().field, "duration");
        assert_eq!(unit(":ms").unwrap_err().field, "duration");
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(nanos in any::<u64>()) {
            let text = format!("{}.{:09}", nanos / SECOND, nanos % SECOND);
            prop_assert_eq!(decimal(text.as_bytes(), SECOND), Some(Nanos { nanos, step: 1 }));
        }

        #[test]
        fn nothing_panics(text in any::<Vec<u8>>(), unit in 1..=SECOND) {
            let _ = decimal(&text, unit);
        }
    }
}
