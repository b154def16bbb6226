//! Times of day, as logs write them.

use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::quantity::{Nanos, SECOND, decimal};

/// `10/Oct/2000:13:55:36 -0700` and `06/Feb/2009:12:14:14.655`, the times of nginx and of HAProxy. Without an offset it is
/// taken for UTC: only differences count.
pub(crate) fn day_first(text: &[u8]) -> Option<Nanos> {
    let (date, rest) = text.split_at_checked("10/Oct/2000:13:55:36".len())?;
    let [d0, d1, b'/', m0, m1, m2, b'/', y0, y1, y2, y3, b':', h0, h1, b':', i0, i1, b':', s0, s1] = date
    else {
        return None;
    };
    let month = MONTHS.iter().position(|month| month.as_slice() == [*m0, *m1, *m2])? + 1;
    let year = i16::try_from(number(&[*y0, *y1, *y2, *y3])?).ok()?;
    let two = |tens: u8, ones: u8| i8::try_from(number(&[tens, ones])?).ok();
    let (day, hour, minute, second) = (two(*d0, *d1)?, two(*h0, *h1)?, two(*i0, *i1)?, two(*s0, *s1)?);
    let civil = DateTime::new(year, i8::try_from(month).ok()?, day, hour, minute, second, 0).ok()?;
    let (fraction, zone) = match rest.iter().position(|&byte| byte == b' ') {
        Some(space) => (&rest[..space], Some(&rest[space + 1..])),
        None => (rest, None),
    };
    let fraction = match fraction {
        [] => Nanos { nanos: 0, step: SECOND },
        [b'.', digits @ ..] => below_a_second(digits)?,
        _ => return None,
    };
    let offset = zone.map_or(Some(Offset::UTC), offset)?;
    at(offset.to_timestamp(civil).ok()?, fraction)
}

/// `2016-04-15T20:17:00.310Z`: RFC 3339.
pub(crate) fn iso(text: &[u8]) -> Option<Nanos> {
    let text = std::str::from_utf8(text).ok()?;
    let time: jiff::Timestamp = text.parse().ok()?;
    let digits = text.find('.').map_or("", |dot| {
        let digits = &text[dot + 1..];
        &digits[..digits.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len())]
    });
    let step = below_a_second(digits.as_bytes()).map_or(SECOND, |fraction| fraction.step);
    Some(Nanos { nanos: u64::try_from(time.as_nanosecond()).ok()?, step })
}

/// Any of these, or a number of units since 1970.
pub(crate) fn parse(text: &[u8], unit: u64) -> Option<Nanos> {
    decimal(text, unit).or_else(|| iso(text)).or_else(|| day_first(text))
}

fn at(time: jiff::Timestamp, fraction: Nanos) -> Option<Nanos> {
    let nanos = u64::try_from(time.as_nanosecond()).ok()?.checked_add(fraction.nanos)?;
    Some(Nanos { nanos, step: fraction.step })
}

fn below_a_second(digits: &[u8]) -> Option<Nanos> {
    let mut text = b"0.".to_vec();
    text.extend_from_slice(digits);
    decimal(&text, SECOND)
}

/// `-0700`.
fn offset(text: &[u8]) -> Option<Offset> {
    let [sign @ (b'+' | b'-'), h0, h1, m0, m1] = text else { return None };
    let minutes = number(&[*m0, *m1]).filter(|&minutes| minutes < 60)?;
    let seconds = i32::try_from(number(&[*h0, *h1])? * 3600 + minutes * 60).ok()?;
    Offset::from_seconds(if *sign == b'-' { -seconds } else { seconds }).ok()
}

fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
}

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_those_that_date_prints() {
        for (text, nanos, step) in [
            // `date -d '2000-10-10 13:55:36 -0700' +%s`
            ("10/Oct/2000:13:55:36 -0700", 971_211_336_000_000_000, SECOND),
            ("06/Feb/2009:12:14:14.655", 1_233_922_454_655_000_000, 1_000_000),
            ("2016-04-15T20:17:00.310Z", 1_460_751_420_310_000_000, 1_000_000),
            ("2016-04-15T22:17:00+02:00", 1_460_751_420_000_000_000, SECOND),
            ("1460751420.310", 1_460_751_420_310_000_000, 1_000_000),
        ] {
            assert_eq!(parse(text.as_bytes(), SECOND), Some(Nanos { nanos, step }), "{text}");
        }
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "",
            "yesterday",
            "10/Okt/2000:13:55:36 -0700",
            "32/Oct/2000:13:55:36 -0700",
            "10/Oct/2000:25:55:36 -0700",
            "10/Oct/2000:13:55:36 -07:00",
            "10/Oct/2000:13:55:36 -0790",
            "10/Oct/2000:13:55:36.",
            "10/Oct/2000:13:55:36x",
            "01/Jan/1969:00:00:00",
            "1969-01-01T00:00:00Z",
            "2016-04-15",
        ] {
            assert_eq!(parse(text.as_bytes(), SECOND), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn both_ways_to_write_a_time_say_the_same(millis in 0..4_000_000_000_000_i64) {
            let time = jiff::Timestamp::from_millisecond(millis).unwrap();
            let expected = Some(Nanos { nanos: millis as u64 * 1_000_000, step: 1_000_000 });
            let zone = time.to_zoned(jiff::tz::TimeZone::UTC);
            let day_first_text = format!("{}.{:03}", zone.strftime("%d/%b/%Y:%H:%M:%S"), millis % 1000);
            prop_assert_eq!(day_first(day_first_text.as_bytes()), expected);
            let iso_text = format!("{time:.3}");
            prop_assert_eq!(iso(iso_text.as_bytes()), expected);
        }

        #[test]
        fn nothing_panics(text in any::<Vec<u8>>(), ascii in "[0-9A-Za-z/: .+-]{0,40}") {
            let _ = parse(&text, SECOND);
            let _ = parse(ascii.as_bytes(), SECOND);
        }
    }
}
