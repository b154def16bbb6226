use std::fmt;
use std::ops::Deref;

/// A piece of text from outside, made harmless: at most 200 bytes, control characters and broken UTF-8 replaced.
///
/// What a peer or a program said goes into logs and reports. It must neither fill them nor write terminal sequences or
/// line ends of its own.
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(transparent))]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// The most bytes that are kept.
    pub const MAX_LEN: usize = 200;

    /// The beginning of some bytes.
    #[must_use]
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let cut = &bytes[..bytes.len().min(Self::MAX_LEN)];
        let mut text = String::new();
        for letter in String::from_utf8_lossy(cut).trim().chars() {
            let letter = match letter {
                '\t' | '\r' | '\n' => ' ',
                other if other.is_control() => '\u{fffd}',
                other => other,
            };
            if text.len() + letter.len_utf8() > Self::MAX_LEN {
                break;
            }
            text.push(letter);
        }
        Self(text.into())
    }

    /// The beginning of what `value` displays.
    pub(crate) fn shown(value: &dyn fmt::Display) -> Self {
        Self::of(value.to_string())
    }
}

impl Deref for Excerpt {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn line_ends_and_escapes_do_not_get_through() {
        assert_eq!(&*Excerpt::of("a\r\nb\x1b[31mc\n"), "a  b\u{fffd}[31mc");
        assert_eq!(&*Excerpt::of(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_bytes_become_a_short_line(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let text = Excerpt::of(&bytes);
            prop_assert!(text.len() <= Excerpt::MAX_LEN);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
