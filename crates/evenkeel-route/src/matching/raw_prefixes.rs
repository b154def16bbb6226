//! Prefixes that need not end at a slash.

use super::lists::ListRef;

/// Sorted, each with a link to the longest other one that it begins with. All prefixes of a text that are in here lie on
/// the chain that begins at the last one not greater than the text: what lies between a prefix and the text in this
/// order begins with that prefix too. One binary search, then at most one step for each byte of the path.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawPrefixes {
    sorted: Box<[Prefix]>,
}

#[derive(Clone, Debug)]
struct Prefix {
    text: Box<[u8]>,
    list: ListRef,
    shorter: Option<u32>,
}

impl RawPrefixes {
    /// `prefixes` are sorted and differ.
    pub(crate) fn new(prefixes: Vec<(Box<[u8]>, ListRef)>) -> Self {
        let mut sorted: Vec<Prefix> = Vec::with_capacity(prefixes.len());
        for (text, list) in prefixes {
            let mut shorter = sorted.len().checked_sub(1).map(|last| last as u32);
            while let Some(at) = shorter {
                if text.starts_with(&sorted[at as usize].text) {
                    break;
                }
                shorter = sorted[at as usize].shorter;
            }
            sorted.push(Prefix { text, list, shorter });
        }
        Self { sorted: sorted.into() }
    }

    pub(crate) fn each(&self, path: &[u8], mut visit: impl FnMut(ListRef)) {
        let after = self.sorted.partition_point(|prefix| *prefix.text <= *path);
        let mut next = after.checked_sub(1).map(|at| at as u32);
        while let Some(at) = next {
            let prefix = &self.sorted[at as usize];
            if path.starts_with(&prefix.text) {
                visit(prefix.list);
            }
            next = prefix.shorter;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lists::{Listed, Lists, resolve};
    use super::*;

    #[test]
    fn finds_all_prefixes_of_a_text() {
        let texts = ["/", "/a", "/ab", "/abc/", "/b", "/ba", "/c"];
        let mut lists = Lists::new(&|_| None);
        let prefixes: Vec<(Box<[u8]>, ListRef)> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| (text.as_bytes().into(), lists.add(vec![i as u32])))
            .collect();
        let prefixes = RawPrefixes::new(prefixes);
        for path in ["/", "/a", "/abcd", "/abc/d", "/bz", "/baa", "", "x", "/zzz", "/c"] {
            let mut found = Vec::new();
            prefixes.each(path.as_bytes(), |list| match resolve(&[], list) {
                Listed::One(entry) => found.push(texts[entry as usize]),
                Listed::Many(_) => unreachable!(),
            });
            found.sort_unstable();
            let expected: Vec<&str> = texts.into_iter().filter(|text| path.starts_with(text)).collect();
            assert_eq!(found, expected, "{path}");
        }
    }
}
