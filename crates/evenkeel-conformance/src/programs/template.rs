//! Requests as they are recorded, with places for a key.

/// The text with a key in place of `<key>`, and its characters from last to first in place of `<key reversed>`.
pub(super) fn filled(text: &str, key: &[u8]) -> Vec<u8> {
    let reversed = match std::str::from_utf8(key) {
        Ok(key) => key.chars().rev().collect::<String>().into_bytes(),
        Err(_) => key.iter().rev().copied().collect(),
    };
    let mut filled = Vec::new();
    let mut left = text;
    while let Some(at) = left.find("<key") {
        filled.extend_from_slice(&left.as_bytes()[..at]);
        let marks = [("<key>", key), ("<key reversed>", reversed.as_slice())];
        let mark = marks.into_iter().find(|(mark, _)| left[at..].starts_with(mark));
        let (mark, value) = mark.unwrap_or(("<key", b"<key"));
        filled.extend_from_slice(value);
        left = &left[at + mark.len()..];
    }
    filled.extend_from_slice(left.as_bytes());
    filled
}
