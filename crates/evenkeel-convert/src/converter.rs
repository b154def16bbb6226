//! HAProxy's converters, as far as they make keys out of texts: a key for each request must be the same byte for byte.
//!
//! Source: HAProxy's configuration manual, section 7.3.1, and what version 2.6.12 answers where the manual is silent: a field that is
//! not there is no sample, a word that is not there is an empty one.

use serde::{Deserialize, Serialize};

/// A step between a sample of HAProxy and the key.
///
/// ```
/// use evenkeel_convert::{Converter, Key, KeyPart, KeyRule, RequestParts};
///
/// // balance hash path,field(2,/)
/// let by = vec![Converter::Field { index: 2, separators: "/".into(), count: 1 }];
/// let rule = KeyRule::Converted { of: KeyPart::Path, by };
/// let request = RequestParts { target: b"/users/7?x=1", ..RequestParts::default() };
/// assert_eq!(rule.of(&request), Some(Key::Bytes(b"users".to_vec())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Converter {
    /// `lower`: letters of ASCII in lower case.
    Lower,
    /// `upper`: letters of ASCII in upper case.
    Upper,
    /// `bytes(offset[,length])`: a part, an empty one behind the end.
    Bytes {
        /// How many bytes are left out.
        offset: u32,
        /// How many follow at most. Default all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        length: Option<u32>,
    },
    /// `field(index,separators[,count])`: what stands between separators, of which each is one. No such field, no key.
    Field {
        /// Which one, from 1; from -1 counted from the end. 0 is none.
        index: i32,
        /// Bytes that separate.
        separators: String,
        /// How many fields, with what is between them; 0 is all to the end that is counted towards.
        count: u32,
    },
    /// `word(index,separators[,count])`: as a field, but separators side by side are one, and those at the ends none. No such word, an
    /// empty key.
    Word {
        /// Which one, from 1; from -1 counted from the end. 0 is none.
        index: i32,
        /// Bytes that separate.
        separators: String,
        /// How many words, with what is between them; 0 is all to the end that is counted towards.
        count: u32,
    },
}

impl Converter {
    /// What becomes of a sample; none if there is none any more.
    pub(crate) fn apply(&self, mut sample: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Lower => sample.make_ascii_lowercase(),
            Self::Upper => sample.make_ascii_uppercase(),
            Self::Bytes { offset, length } => {
                sample.drain(..sample.len().min(*offset as usize));
                sample.truncate(length.map_or(usize::MAX, |length| length as usize));
            }
            Self::Field { index, separators, count } => {
                return taken(&sample, *index, |text| fields(text, separators), *count);
            }
            Self::Word { index, separators, count } => {
                return Some(
                    taken(&sample, *index, |text| words(text, separators), *count).unwrap_or_default(),
                );
            }
        }
        Some(sample)
    }
}

/// Where pieces begin and end, in their order.
type Pieces = Vec<(usize, usize)>;

/// From the piece of this number on so many of them: to the end of the text if there are fewer. Counted from the end, everything is
/// the other way round.
fn taken(text: &[u8], index: i32, pieces: impl Fn(&[u8]) -> Pieces, count: u32) -> Option<Vec<u8>> {
    if index < 0 {
        let mirrored: Vec<u8> = text.iter().rev().copied().collect();
        let mut found = taken(&mirrored, index.checked_neg()?, pieces, count)?;
        found.reverse();
        return Some(found);
    }
    let first = usize::try_from(index).ok()?.checked_sub(1)?;
    let pieces = pieces(text);
    let &(start, _) = pieces.get(first)?;
    let last = (count as usize).checked_sub(1).and_then(|more| pieces.get(first.checked_add(more)?));
    let end = last.map_or(text.len(), |&(_, end)| end);
    text.get(start..end).map(<[u8]>::to_vec)
}

fn fields(text: &[u8], separators: &str) -> Pieces {
    let mut start = 0;
    let mut pieces = Pieces::new();
    for (at, byte) in text.iter().enumerate() {
        if separators.as_bytes().contains(byte) {
            pieces.push((start, at));
            start = at + 1;
        }
    }
    pieces.push((start, text.len()));
    pieces
}

fn words(text: &[u8], separators: &str) -> Pieces {
    fields(text, separators).into_iter().filter(|(start, end)| start < end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(converter: &Converter, texts: [&str; 4], expected: [Option<&str>; 4]) {
        for (text, expected) in texts.into_iter().zip(expected) {
            let found = converter.apply(text.as_bytes().to_vec());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{converter:?} of {text:?}");
        }
    }

    /// What HAProxy 2.6.12 answered to these texts.
    const TEXTS: [&str; 4] = ["a-b-c", "--a--b--", "-a", "abcdef"];

    #[test]
    fn fields_are_those_of_haproxy() {
        for (index, count, expected) in [
            (1, 1, [Some("a"), Some(""), Some(""), Some("abcdef")]),
            (2, 1, [Some("b"), Some(""), Some("a"), None]),
            (-1, 1, [Some("c"), Some(""), Some("a"), Some("abcdef")]),
            (-2, 1, [Some("b"), Some(""), Some(""), None]),
            (2, 2, [Some("b-c"), Some("-a"), Some("a"), None]),
            (2, 0, [Some("b-c"), Some("-a--b--"), Some("a"), None]),
            (-1, 2, [Some("b-c"), Some("-"), Some("-a"), Some("abcdef")]),
            (-2, 0, [Some("a-b"), Some("--a--b-"), Some(""), None]),
            (9, 1, [None; 4]),
            (0, 1, [None; 4]),
            (i32::MIN, 1, [None; 4]),
        ] {
            check(&Converter::Field { index, separators: "-".into(), count }, TEXTS, expected);
        }
    }

    #[test]
    fn words_are_those_of_haproxy() {
        for (index, count, expected) in [
            (1, 1, ["a", "a", "a", "abcdef"]),
            (2, 1, ["b", "b", "", ""]),
            (-1, 1, ["c", "b", "a", "abcdef"]),
            (1, 2, ["a-b", "a--b", "a", "abcdef"]),
            (1, 9, ["a-b-c", "a--b--", "a", "abcdef"]),
            (1, 0, ["a-b-c", "a--b--", "a", "abcdef"]),
            (-1, 2, ["b-c", "a--b", "-a", "abcdef"]),
            (-1, 0, ["a-b-c", "--a--b", "-a", "abcdef"]),
            (9, 1, ["", "", "", ""]),
        ] {
            check(&Converter::Word { index, separators: "-".into(), count }, TEXTS, expected.map(Some));
        }
    }

    #[test]
    fn parts_are_those_of_haproxy() {
        for (offset, length, expected) in [
            (2, None, ["b-c", "a--b--", "", "cdef"]),
            (2, Some(3), ["b-c", "a--", "", "cde"]),
            (90, None, ["", "", "", ""]),
            (0, Some(0), ["", "", "", ""]),
        ] {
            check(&Converter::Bytes { offset, length }, TEXTS, expected.map(Some));
        }
        check(&Converter::Upper, TEXTS, ["A-B-C", "--A--B--", "-A", "ABCDEF"].map(Some));
        check(&Converter::Lower, ["A-b", "É", "", "Z"], ["a-b", "É", "", "z"].map(Some));
    }
}
