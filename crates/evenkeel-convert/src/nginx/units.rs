use std::time::Duration;

use crate::error::ConvertError;
use crate::word::Word;

/// A time as nginx writes it: `60`, `60s`, `1m30s`, `500ms`, `1d 2h`. A bare number counts seconds.
pub(crate) fn time(field: &str, word: &Word) -> Result<Duration, ConvertError> {
    parse_time(&word.text).ok_or_else(|| {
        ConvertError::value(
            &word.place,
            field,
            word.text.clone(),
            "a time such as 10s, 500ms or 1m30s is allowed",
        )
    })
}

/// The same of a text.
pub(crate) fn parse_time(text: &str) -> Option<Duration> {
    let mut millis = 0_u64;
    let mut left = text;
    if text.is_empty() {
        return None;
    }
    // Units come in falling order, each once.
    let mut last = u64::MAX;
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit()).unwrap_or(left.len());
        let count: u64 = left[..digits].parse().ok()?;
        let rest = left[digits..].trim_start_matches(' ');
        let unit = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let factor = match &rest[..unit] {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "M" => 30 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return None,
        };
        if factor >= last || digits == 0 {
            return None;
        }
        last = factor;
        millis = millis.checked_add(count.checked_mul(factor)?)?;
        left = rest[unit..].trim_start_matches(' ');
    }
    // nginx counts in 31 bits.
    (millis <= 1000 * u64::from(i32::MAX as u32)).then(|| Duration::from_millis(millis))
}

/// A time as nginx writes it.
pub(crate) fn time_text(time: Duration) -> String {
    if time.subsec_millis() == 0 && time.subsec_nanos() == 0 {
        format!("{}s", time.as_secs())
    } else {
        format!("{}ms", time.as_millis())
    }
}

/// A whole number.
pub(crate) fn number(field: &str, word: &Word, text: &str) -> Result<u32, ConvertError> {
    text.parse().map_err(|_| ConvertError::value(&word.place, field, text, "a whole number is allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_nginx_reads_them() {
        for (text, millis) in [
            ("10", Some(10_000)),
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1m 30s", Some(90_000)),
            ("500ms", Some(500)),
            ("1d", Some(86_400_000)),
            ("0", Some(0)),
            ("", None),
            ("s", None),
            ("1x", None),
            ("1s1m", None),
            ("1s1s", None),
            ("99999999999999999999", None),
            ("-1", None),
            ("1.5s", None),
        ] {
            assert_eq!(parse_time(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}
