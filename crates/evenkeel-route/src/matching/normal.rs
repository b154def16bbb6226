use std::borrow::Cow;

use thiserror::Error;

use super::byte_map::short_word;

/// How the path of a request is brought to the form in which rules are written.
///
/// Two servers that read one path differently are a hole: a rule forbids `/admin`, and `/x/..%2Fadmin` passes. The
/// defaults are what RFC 3986, section 6.2.2, calls equivalent, and nothing more. Send on what was matched
/// ([`Match::path`](super::Match::path)), or refuse what differs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct PathOptions {
    /// Which escapes are decoded. Default [`Percent::Unreserved`]: `%7E` and `~` are one character by RFC 3986.
    pub percent: Percent,
    /// What `%2F` and `%5C` mean. Default [`EscapedSlashes::Keep`]: they are data, not separators.
    pub escaped_slashes: EscapedSlashes,
    /// What `.` and `..` mean, also as `%2e`. Default [`DotSegments::Resolve`], as in RFC 3986, section 5.2.4.
    pub dot_segments: DotSegments,
    /// Whether several slashes in a row are one. Default no: object stores tell them apart. nginx merges.
    pub merge_slashes: bool,
    /// Whether a backslash is a slash. Default no; the servers of Windows say yes.
    pub backslash_is_slash: bool,
    /// Whether case counts. Default yes. Without it, only ASCII letters are folded.
    pub case: Case,
    /// The longest path that is looked at, in bytes. Default 8,192: the usual limit of a whole request line.
    pub longest: usize,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self {
            percent: Percent::default(),
            escaped_slashes: EscapedSlashes::default(),
            dot_segments: DotSegments::default(),
            merge_slashes: false,
            backslash_is_slash: false,
            case: Case::default(),
            longest: 8192,
        }
    }
}

/// Which escapes are decoded. Decoding happens once: `%2541` becomes `%41` and stays that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Percent {
    /// None; broken escapes pass.
    Keep,
    /// Those of letters, digits and `-._~`.
    #[default]
    Unreserved,
    /// All but slashes and backslashes. Zero bytes are refused.
    All,
}

/// What `%2F` and `%5C` mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum EscapedSlashes {
    /// They are ordinary text.
    #[default]
    Keep,
    /// The request is refused.
    Refuse,
    /// They are slashes (and backslashes).
    Decode,
}

/// What `.` and `..` mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum DotSegments {
    /// They are ordinary text.
    Keep,
    /// They are taken out; above the root there is only the root.
    #[default]
    Resolve,
    /// The request is refused.
    Refuse,
}

/// Whether case counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Case {
    /// It does.
    #[default]
    Sensitive,
    /// It does not.
    Insensitive,
}

/// A path that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathError {
    /// It is longer than the options allow.
    #[error("path of {len} bytes is longer than the {longest} allowed")]
    TooLong {
        /// Its length.
        len: usize,
        /// What is allowed.
        longest: usize,
    },
    /// A percent sign without two hexadecimal digits.
    #[error("broken escape at byte {at} of the path")]
    BrokenEscape {
        /// Where.
        at: usize,
    },
    /// An escaped zero byte.
    #[error("escaped zero byte at byte {at} of the path")]
    ZeroByte {
        /// Where.
        at: usize,
    },
    /// An escaped slash, where they are refused.
    #[error("escaped slash at byte {at} of the path")]
    EscapedSlash {
        /// Where.
        at: usize,
    },
    /// A segment `.` or `..`, where they are refused.
    #[error("dot segment in the path")]
    DotSegment,
}

/// Brings `path` to its normal form. It is copied into `buffer` only if it changes or might change.
///
/// The steps are: escapes, backslashes, dot segments, slashes, case. The result is a fixed point unless `percent` is
/// [`Percent::All`], where `%2541` becomes `%41`.
///
/// # Errors
///
/// [`PathError`], as the options ask for.
#[inline]
pub fn normalise<'a>(
    path: &'a [u8],
    options: &PathOptions,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], PathError> {
    if path.len() > options.longest {
        return Err(PathError::TooLong { len: path.len(), longest: options.longest });
    }
    if !may_change(path, options) {
        return Ok(path);
    }
    rewrite(path, options, buffer)?;
    Ok(buffer)
}

/// Writes a path in its normal form as a request line can hold it. It is copied only if it changes. O(n).
///
/// What [`normalise`] has decoded may not go out as it is: `/admin%3Fx` and `/admin?x` are two paths. So everything is escaped that
/// RFC 3986, section 3.3, does not allow in a path. Under [`Percent::All`] a percent sign is itself such a byte, and
/// `normalise(escape(path)) == path`; otherwise escapes are still there and stay as they are.
///
/// Two exceptions keep what the upstream reads the same as what the rules read. `%2F` and `%5C` stay where
/// [`EscapedSlashes::Keep`] has kept them (`%252F` cannot be told from them then, by rules neither). A backslash is only escaped
/// where [`EscapedSlashes::Decode`] may have made it.
#[must_use]
pub fn escape<'a>(path: &'a [u8], options: &PathOptions) -> Cow<'a, [u8]> {
    let is_fine = |at: usize| match path[at] {
        b'%' => is_escape(path, at, options),
        b'\\' => options.escaped_slashes != EscapedSlashes::Decode,
        byte => byte.is_ascii_alphanumeric() || IN_PATHS.contains(&byte),
    };
    if (0..path.len()).all(is_fine) {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len() + 16);
    for (at, &byte) in path.iter().enumerate() {
        if is_fine(at) {
            out.push(byte);
        } else {
            out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    Cow::Owned(out)
}

/// Whether the percent sign at `at` begins an escape that [`normalise`] has left.
fn is_escape(path: &[u8], at: usize, options: &PathOptions) -> bool {
    let Some(byte) = path.get(at + 1..at + 3).and_then(escaped) else { return false };
    match options.percent {
        Percent::All => options.escaped_slashes == EscapedSlashes::Keep && matches!(byte, b'/' | b'\\'),
        Percent::Keep | Percent::Unreserved => true,
    }
}

/// Whether the path holds an escape, a backslash, two slashes in a row or a segment that begins with a dot.
///
/// Eight bytes at a time, beside those that follow each of them; the last window overlaps the one before.
#[inline]
fn may_change(path: &[u8], options: &PathOptions) -> bool {
    if options.case == Case::Insensitive && path.iter().any(u8::is_ascii_uppercase) {
        return true;
    }
    let Some(last) = path.len().checked_sub(9) else {
        let word = match path.first_chunk::<8>() {
            Some(word) => u64::from_le_bytes(*word),
            None => short_word(path),
        };
        return is_odd(word, word >> 8);
    };
    let mut at = 0;
    loop {
        at = at.min(last);
        let window = path.get(at..at + 9).unwrap_or_default();
        let (Some(bytes), Some(next)) = (window.first_chunk::<8>(), window.last_chunk::<8>()) else {
            return true;
        };
        if is_odd(u64::from_le_bytes(*bytes), u64::from_le_bytes(*next)) {
            return true;
        }
        if at == last {
            return matches!(path.last(), Some(b'%' | b'\\'));
        }
        at += 8;
    }
}

/// Whether a window holds such a byte; `next` is the window that begins one byte further on.
#[inline(always)]
const fn is_odd(bytes: u64, next: u64) -> bool {
    let (escape, backslash) = (bytes ^ (ONES * b'%' as u64), bytes ^ (ONES * b'\\' as u64));
    // A dot and a slash differ in the lowest bit alone.
    let pair = (bytes ^ (ONES * b'/' as u64)) | ((next | ONES) ^ (ONES * b'/' as u64));
    (tops(escape) | tops(backslash) | tops(pair)) & (ONES << 7) != 0
}

/// The lowest byte that is zero has its top bit set here, and those below it have not.
#[inline(always)]
const fn tops(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word
}

fn rewrite(path: &[u8], options: &PathOptions, out: &mut Vec<u8>) -> Result<(), PathError> {
    out.clear();
    decode(path, options, out)?;
    if options.backslash_is_slash {
        out.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    dot_segments(options.dot_segments, out)?;
    if options.merge_slashes {
        out.dedup_by(|b, a| *a == b'/' && *b == b'/');
    }
    if options.case == Case::Insensitive {
        out.make_ascii_lowercase();
    }
    Ok(())
}

fn decode(path: &[u8], options: &PathOptions, out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        if byte != b'%' {
            out.push(byte);
            at += 1;
            continue;
        }
        let Some(decoded) = path.get(at + 1..at + 3).and_then(escaped) else {
            if options.percent != Percent::Keep {
                return Err(PathError::BrokenEscape { at });
            }
            out.push(byte);
            at += 1;
            continue;
        };
        if becomes_plain(decoded, at, options)? {
            out.push(decoded);
        } else {
            out.extend_from_slice(&path[at..at + 3]);
        }
        at += 3;
    }
    Ok(())
}

/// Whether the escape of `byte` is decoded.
fn becomes_plain(byte: u8, at: usize, options: &PathOptions) -> Result<bool, PathError> {
    if matches!(byte, b'/' | b'\\') {
        return match options.escaped_slashes {
            EscapedSlashes::Keep => Ok(false),
            EscapedSlashes::Refuse => Err(PathError::EscapedSlash { at }),
            EscapedSlashes::Decode => Ok(true),
        };
    }
    match options.percent {
        Percent::Keep => Ok(false),
        Percent::Unreserved => Ok(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)),
        Percent::All if byte == 0 => Err(PathError::ZeroByte { at }),
        Percent::All => Ok(true),
    }
}

pub(crate) fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    match digits {
        &[high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    }
}

/// Takes the dot segments out, in place: what is written never overtakes what is read.
fn dot_segments(rule: DotSegments, path: &mut Vec<u8>) -> Result<(), PathError> {
    if rule == DotSegments::Keep || path.first() != Some(&b'/') {
        return Ok(());
    }
    let (mut read, mut write) = (0, 0);
    while read < path.len() {
        let next =
            path[read + 1..].iter().position(|&byte| byte == b'/').map_or(path.len(), |len| read + 1 + len);
        let up = is_dots(&path[read + 1..next], 2);
        if up || is_dots(&path[read + 1..next], 1) {
            if rule == DotSegments::Refuse {
                return Err(PathError::DotSegment);
            }
            if up {
                write = path[..write].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            }
            if next == path.len() {
                path[write] = b'/';
                write += 1;
            }
        } else {
            path.copy_within(read..next, write);
            write += next - read;
        }
        read = next;
    }
    path.truncate(write);
    Ok(())
}

/// What a path may hold besides letters and digits: RFC 3986, section 3.3.
const IN_PATHS: &[u8] = b"/-._~!$&'()*+,;=:@";

const HEX: &[u8; 16] = b"0123456789ABCDEF";

const ONES: u64 = u64::from_le_bytes([1; 8]);

/// Whether a segment is so many dots, some of which may be escaped.
fn is_dots(segment: &[u8], count: usize) -> bool {
    let mut rest = segment;
    for _ in 0..count {
        let dot = |text: &[u8]| rest.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
        rest = match (dot(b"."), dot(b"%2e")) {
            (true, _) => &rest[1..],
            (_, true) => &rest[3..],
            _ => return false,
        };
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &PathOptions, path: &str, expected: &str) {
        let mut buffer = Vec::new();
        let normal = normalise(path.as_bytes(), options, &mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(normal), expected, "{path}");
    }

    #[test]
    fn defaults_follow_rfc_3986() {
        let options = PathOptions::default();
        for (path, expected) in [
            ("/a/b", "/a/b"),
            ("/%7Euser", "/~user"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%41", "/A"),
            ("/a%20b", "/a%20b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/../../a", "/a"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/..", "/"),
            ("/.", "/"),
            ("/...", "/..."),
            ("/a/..b", "/a/..b"),
            ("/.well-known", "/.well-known"),
            ("//a", "//a"),
            ("/a//..", "/a/"),
            ("//..", "/"),
            ("/a/b/c/./../../g", "/a/g"),
            ("*", "*"),
            ("", ""),
            ("../a", "../a"),
        ] {
            check(&options, path, expected);
        }
    }

    /// Wherever it lies in a path of whatever length, among bytes that are nearly the same.
    #[test]
    fn nothing_that_may_change_is_missed() {
        let options = PathOptions::default();
        for len in 0..70 {
            let plain: Vec<u8> = (0..len).map(|at| if at % 5 == 0 { b'/' } else { b'a' + at % 3 }).collect();
            assert!(!may_change(&plain, &options), "{len}");
            for at in 0..plain.len() {
                for text in ["%", "\\", "//", "/.", ".", "$", "&", "0", "\u{af}"] {
                    let mut path = plain.clone();
                    let end = (at + text.len()).min(path.len());
                    path[at..end].copy_from_slice(&text.as_bytes()[..end - at]);
                    let odd = path.contains(&b'%')
                        || path.contains(&b'\\')
                        || path.windows(2).any(|pair| pair == b"//" || pair == b"/.");
                    assert_eq!(may_change(&path, &options), odd, "{}", String::from_utf8_lossy(&path));
                }
            }
        }
    }

    #[test]
    fn options_do_what_they_say() {
        let d = PathOptions::default;
        check(&PathOptions { merge_slashes: true, ..d() }, "//a///b/", "/a/b/");
        check(&PathOptions { merge_slashes: true, ..d() }, "/a//../b", "/a/b");
        check(&PathOptions { case: Case::Insensitive, ..d() }, "/ABC/%41", "/abc/a");
        check(&PathOptions { backslash_is_slash: true, ..d() }, "/a\\..\\b", "/b");
        check(&PathOptions { percent: Percent::All, ..d() }, "/a%20%2541%2f", "/a %41%2f");
        let decode = PathOptions { escaped_slashes: EscapedSlashes::Decode, ..d() };
        check(&decode, "/x%2F..%2Fadmin", "/admin");
        check(&PathOptions { percent: Percent::Keep, ..d() }, "/%zz%4/%41/%2e", "/%zz%4/%41/");
        let keep = PathOptions { percent: Percent::Keep, dot_segments: DotSegments::Keep, ..d() };
        check(&keep, "/a/../%2e", "/a/../%2e");
    }

    #[test]
    fn what_is_bad_is_refused() {
        let refused = |options: &PathOptions, path: &str| {
            normalise(path.as_bytes(), options, &mut Vec::new()).map(<[u8]>::to_vec).unwrap_err()
        };
        let d = PathOptions::default;
        assert_eq!(refused(&d(), "/a%4"), PathError::BrokenEscape { at: 2 });
        assert_eq!(refused(&d(), "/%"), PathError::BrokenEscape { at: 1 });
        assert_eq!(
            refused(&PathOptions { longest: 3, ..d() }, "/abc"),
            PathError::TooLong { len: 4, longest: 3 }
        );
        let all = PathOptions { percent: Percent::All, ..d() };
        assert_eq!(refused(&all, "/a%00"), PathError::ZeroByte { at: 2 });
        let slashes = PathOptions { escaped_slashes: EscapedSlashes::Refuse, ..d() };
        assert_eq!(refused(&slashes, "/a%5c"), PathError::EscapedSlash { at: 2 });
        let dots = PathOptions { dot_segments: DotSegments::Refuse, ..d() };
        assert_eq!(refused(&dots, "/a/%2E."), PathError::DotSegment);
    }

    #[test]
    fn what_was_decoded_is_escaped_again() {
        let all = PathOptions { percent: Percent::All, ..PathOptions::default() };
        let slashes = PathOptions { escaped_slashes: EscapedSlashes::Decode, ..all.clone() };
        for (options, path, expected) in [
            (&all, "/admin%3Fx", "/admin%3Fx"),
            (&all, "/a%23b%20c%25", "/a%23b%20c%25"),
            (&all, "/%C3%A9%7f%09%22", "/%C3%A9%7F%09%22"),
            (&all, "/%41%2b+@:", "/A++@:"),
            (&all, "/a%2fb%2541", "/a%2fb%2541"),
            (&all, "/a\\b", "/a\\b"),
            (&slashes, "/a%2Fb%5C%252F", "/a/b%5C%252F"),
            (&PathOptions::default(), "/%41%20%2f|", "/A%20%2f%7C"),
        ] {
            let mut buffer = Vec::new();
            let normal = normalise(path.as_bytes(), options, &mut buffer).unwrap();
            assert_eq!(String::from_utf8_lossy(&escape(normal, options)), expected, "{path}");
        }
    }
}
