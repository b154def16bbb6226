/// The key of `balance hdr(NAME)`: the first value of the first header of that name, without the blanks around it.
///
/// Values end at commas outside double quotes. A header whose first value is empty does not count, and the next one of the
/// name is looked at. `None` means that there is no key: HAProxy then takes the servers in turn.
///
/// ```
/// use evenkeel_balance::compat::haproxy::header_key;
/// assert_eq!(header_key([&b" \"a,b\" , c"[..]]), Some(&b"\"a,b\""[..]));
/// assert_eq!(header_key([&b",x"[..]]), None);
/// ```
#[must_use]
pub fn header_key<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    lines.into_iter().map(first_value).find(|value| !value.is_empty())
}

/// The key of `balance hdr(NAME) use_domain_only` for such a value: what stands between its last two dots.
///
/// ```
/// use evenkeel_balance::compat::haproxy::domain_only;
/// assert_eq!(domain_only(b"www.example.com:8080"), b"example");
/// ```
///
/// HAProxy begins its search one byte behind the value. What stands there is the next header, or left over from another
/// request, and a dot there changes the key. Here nothing stands there.
#[must_use]
pub fn domain_only(value: &[u8]) -> &[u8] {
    // The byte at the very start is never taken for the last dot.
    let Some(end) = (1..value.len()).rev().find(|&place| value[place] == b'.') else { return value };
    // Nor is the byte right before the last dot ever taken for the dot before it.
    let start = (1..end).rev().find(|&place| value[place - 1] == b'.').unwrap_or(0);
    &value[start..end]
}

fn first_value(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|&byte| !is_blank(byte)).unwrap_or(line.len());
    let line = &line[start..];
    let value = &line[..comma(line).unwrap_or(line.len())];
    let end = value.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last + 1);
    &value[..end]
}

/// The first comma outside double quotes; within them a backslash takes its meaning from what follows.
fn comma(line: &[u8]) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    line.iter().position(|&byte| {
        if is_escaped {
            is_escaped = false;
        } else if is_quoted {
            is_escaped = byte == b'\\';
            is_quoted = byte != b'"';
        } else if byte == b'"' {
            is_quoted = true;
        } else {
            return byte == b',';
        }
        false
    })
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_and_trimmed() {
        for (line, key) in [
            ("abc", "abc"),
            (" \tabc \t", "abc"),
            ("a, b", "a"),
            ("a b , c", "a b"),
            ("\"a, b\", c", "\"a, b\""),
            ("\"a\\\", b\", c", "\"a\\\", b\""),
            ("a\\,b", "a\\"),
            ("\"a, b", "\"a, b"),
        ] {
            assert_eq!(header_key([line.as_bytes()]), Some(key.as_bytes()), "{line}");
        }
        assert_eq!(header_key([&b""[..], b" ", b", x", b" y"]), Some(&b"y"[..]));
        assert_eq!(header_key([]), None);
    }

    #[test]
    fn a_domain_is_the_label_before_the_last() {
        for (value, key) in [
            ("www.example.com", "example"),
            ("example.com", "example"),
            ("localhost", "localhost"),
            (".com", ".com"),
            ("a..com", "a."),
            ("a.b.", "b"),
            ("", ""),
            (".", "."),
            ("..", "."),
        ] {
            assert_eq!(domain_only(value.as_bytes()), key.as_bytes(), "{value}");
        }
    }
}
