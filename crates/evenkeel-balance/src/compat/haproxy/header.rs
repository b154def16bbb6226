/// The key of `balance hdr(NAME)`, of the first line of that name: its first value, without the blanks around it.
///
/// Values end at commas outside double quotes. `None` means that there is no key, as without any such line: HAProxy then
/// takes the servers in turn. It does not look at further values, nor at further lines.
///
/// ```
/// use evenkeel_balance::compat::haproxy::header_key;
/// assert_eq!(header_key(b" \"a,b\" , c"), Some(&b"\"a,b\""[..]));
/// assert_eq!(header_key(b",x"), None);
/// ```
#[must_use]
pub fn header_key(line: &[u8]) -> Option<&[u8]> {
    header_values(line).next().filter(|value| !value.is_empty())
}

/// The values of one line of a header, without the blanks around them: empty ones too, and one at least. They end at commas
/// outside double quotes.
pub fn header_values(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let start = line.iter().position(|&byte| !is_blank(byte)).unwrap_or(line.len());
        let line = &line[start..];
        let end = comma(line);
        rest = end.map(|end| &line[end + 1..]);
        let value = &line[..end.unwrap_or(line.len())];
        let end = value.iter().rposition(|&byte| !is_blank(byte)).map_or(0, |last| last + 1);
        Some(&value[..end])
    })
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
            assert_eq!(header_key(line.as_bytes()), Some(key.as_bytes()), "{line}");
        }
        assert!(["", " ", ", x"].iter().all(|line| header_key(line.as_bytes()).is_none()));
    }

    #[test]
    fn a_line_has_values() {
        let values = |line: &'static str| header_values(line.as_bytes()).collect::<Vec<_>>();
        assert_eq!(values("a , \"b,c\",, d"), [&b"a"[..], b"\"b,c\"", b"", b"d"]);
        assert_eq!((values(""), values(",")), (vec![&b""[..]], vec![&b""[..], b""]));
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
