//! Entries that share a place in an index, smallest first.

use super::byte_map::ByteMap;

/// No entry, one entry, or a list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListRef(u32);

impl ListRef {
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// A single entry.
    pub(crate) const fn one(entry: u32) -> Self {
        Self(entry)
    }

    #[inline]
    pub(crate) const fn is_some(self) -> bool {
        self.0 != u32::MAX
    }
}

/// A list that is being looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Listed<'a> {
    One(u32),
    Many(&'a List),
}

/// Several entries. Those that ask for one exact value of a header can be found by that value.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) entries: Box<[u32]>,
    pub(crate) by_header: Box<[ByHeader]>,
}

#[derive(Clone, Debug)]
pub(crate) struct ByHeader {
    pub(crate) name: Box<str>,
    /// The smallest entry in here.
    pub(crate) least: u32,
    pub(crate) values: ByteMap,
    pub(crate) lists: Box<[Box<[u32]>]>,
}

/// The exact header value that an entry asks for, if it asks for one.
pub(crate) type KeyOf<'a> = &'a dyn Fn(u32) -> Option<(&'a str, &'a [u8])>;

/// Makes lists.
pub(crate) struct Lists<'a> {
    pub(crate) lists: Vec<List>,
    pub(crate) key_of: KeyOf<'a>,
}

impl<'a> Lists<'a> {
    pub(crate) fn new(key_of: KeyOf<'a>) -> Self {
        Self { lists: Vec::new(), key_of }
    }

    pub(crate) fn add(&mut self, mut entries: Vec<u32>) -> ListRef {
        entries.sort_unstable();
        entries.dedup();
        match entries.as_slice() {
            [] => ListRef::NONE,
            [one] => ListRef(*one),
            _ => {
                self.lists.push(self.list(entries));
                ListRef(IS_LIST | (self.lists.len() - 1) as u32)
            }
        }
    }

    fn list(&self, entries: Vec<u32>) -> List {
        if entries.len() <= SCANNED {
            return List { entries: entries.into(), by_header: Box::default() };
        }
        let (keyed, plain): (Vec<u32>, Vec<u32>) =
            entries.into_iter().partition(|&entry| (self.key_of)(entry).is_some());
        let mut keyed: Vec<(&str, &[u8], u32)> = keyed
            .into_iter()
            .filter_map(|entry| (self.key_of)(entry).map(|(name, value)| (name, value, entry)))
            .collect();
        keyed.sort_unstable();
        let by_header = keyed.chunk_by(|a, b| a.0 == b.0).map(by_value).collect();
        List { entries: plain.into(), by_header }
    }
}

fn by_value(group: &[(&str, &[u8], u32)]) -> ByHeader {
    let values: Vec<&[(&str, &[u8], u32)]> = group.chunk_by(|a, b| a.1 == b.1).collect();
    ByHeader {
        name: group[0].0.into(),
        least: group.iter().map(|&(.., entry)| entry).min().unwrap_or(u32::MAX),
        values: ByteMap::new(values.iter().enumerate().map(|(i, value)| (value[0].1, i as u32))),
        lists: values.iter().map(|value| value.iter().map(|&(.., entry)| entry).collect()).collect(),
    }
}

#[inline]
pub(crate) fn resolve(lists: &[List], list: ListRef) -> Listed<'_> {
    if list.0 & IS_LIST == 0 {
        Listed::One(list.0)
    } else {
        Listed::Many(&lists[(list.0 & !IS_LIST) as usize])
    }
}

const IS_LIST: u32 = 1 << 31;
/// Longer lists are worth a lookup.
const SCANNED: usize = 8;
