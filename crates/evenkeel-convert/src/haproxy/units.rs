use std::time::Duration;

use crate::error::ConvertError;
use crate::word::Word;

/// A time as HAProxy writes it: `5s`, `500ms`, `2000`. A bare number counts milliseconds.
pub(crate) fn time(field: &str, word: &Word) -> Result<Duration, ConvertError> {
    time_in(field, word, 1_000)
}

/// The same, where a bare number counts so many microseconds.
pub(crate) fn time_in(field: &str, word: &Word, bare: u64) -> Result<Duration, ConvertError> {
    let text = word.text.as_str();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match &text[digits..] {
        "us" => Some(1),
        "" => Some(bare),
        "ms" => Some(1_000),
        "s" => Some(1_000_000),
        "m" => Some(60_000_000),
        "h" => Some(3_600_000_000),
        "d" => Some(86_400_000_000),
        _ => None,
    };
    let count = text[..digits].parse::<u64>().ok();
    let micros = factor.zip(count).and_then(|(factor, count)| count.checked_mul(factor));
    micros.filter(|&micros| micros / 1_000 <= u64::from(u32::MAX)).map(Duration::from_micros).ok_or_else(
        || {
            ConvertError::value(
                &word.place,
                field,
                text,
                "a time such as 5s, 500ms or 2000 (milliseconds) is allowed",
            )
        },
    )
}

/// A time as HAProxy writes it.
pub(crate) fn time_text(time: Duration) -> String {
    if time.subsec_nanos() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) }
}

/// A whole number within bounds.
pub(crate) fn number(
    field: &str,
    word: &Word,
    range: std::ops::RangeInclusive<u32>,
) -> Result<u32, ConvertError> {
    word.text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let allowed = format!("a whole number from {} to {} is allowed", range.start(), range.end());
        ConvertError::value(&word.place, field, word.text.clone(), allowed)
    })
}
