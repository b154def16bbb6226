//! The index of paths: a radix tree over whole segments.
//!
//! ```text
//! /users/{id}          node "/users" ── * ── here: rule 0
//! /users/me                          └─ "/me"  here: rule 1
//! /users/** (open)     below: rule 2
//! ```
//!
//! A label spans as many segments as have no branch, so a lonely route is one comparison. Many children are found by one
//! hash of a segment. Where a literal and a capture both fit, both are followed: the smallest entry decides, not
//! the most specific one. The number of nodes visited is bounded by the number of patterns that fit so far, and a subtree
//! whose smallest entry cannot win is not entered.

use super::byte_map::{equal, fold, short_word};
use super::lists::{ListRef, Lists};

/// One path pattern, as the trie takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pattern<'k> {
    /// Segments, each after a [`BREAK`]; a wild one is [`WILD`].
    pub(crate) key: &'k [u8],
    /// Whether more segments may follow.
    pub(crate) open: bool,
    /// What it stands for.
    pub(crate) entry: u32,
}

/// Stands for `/` in a key, so that keys sort by segments.
pub(crate) const BREAK: u8 = 1;
/// A segment of which only this byte exists takes any segment that is not empty.
pub(crate) const WILD: u8 = 2;

#[derive(Clone, Debug, Default)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    /// Labels that do not fit into their nodes.
    labels: Vec<u8>,
    /// The hash tables of all nodes with many children: a part of the hash, and the child.
    slots: Vec<(u32, u32)>,
}

/// One cache line, which holds all that a step down needs as a rule.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Node {
    /// Where a long label lies.
    label: u32,
    label_len: u32,
    /// The smallest entry in this subtree.
    least: u32,
    here: ListRef,
    below: ListRef,
    wild: u32,
    /// Children lie side by side; more than [`FEW`] have a hash table as well.
    first: u32,
    /// How many children there are, or the mask of their table.
    count: u32,
    /// Where the table begins.
    table: u32,
    short_label: [u8; SHORT],
}

/// Where a walk came that has one way to go.
#[derive(Debug)]
pub(crate) struct Straight<'p> {
    /// What takes everything below a place that was passed.
    pub(crate) below: ListRef,
    /// What takes just this path.
    pub(crate) here: ListRef,
    /// The place and what is left of the path, where there was more than one way: [`Trie::walk`] goes on from there.
    pub(crate) fork: Option<(u32, &'p [u8])>,
}

impl Trie {
    /// Adds a tree of these patterns and returns its root.
    pub(crate) fn add(&mut self, patterns: &mut [Pattern<'_>], lists: &mut Lists<'_>) -> u32 {
        patterns.sort_unstable();
        let root = self.reserve(1);
        self.fill(root, patterns, 0, lists);
        root
    }

    fn reserve(&mut self, count: usize) -> u32 {
        let first = self.nodes.len();
        let empty = Node {
            label: 0,
            label_len: 0,
            least: u32::MAX,
            here: ListRef::NONE,
            below: ListRef::NONE,
            wild: NONE,
            first: 0,
            count: 0,
            table: NONE,
            short_label: [0; SHORT],
        };
        self.nodes.resize(first + count, empty);
        first as u32
    }

    /// Makes `node` the place reached after the first `at` bytes of every one of `patterns`.
    fn fill(&mut self, node: u32, patterns: &[Pattern<'_>], at: usize, lists: &mut Lists<'_>) {
        if let [only] = patterns
            && !only.key[at..].contains(&WILD)
        {
            return self.fill_alone(node, only, at);
        }
        let ending = patterns.iter().take_while(|pattern| pattern.key.len() == at).count();
        let (ending, going_on) = patterns.split_at(ending);
        let entries = |open| ending.iter().filter(move |pattern| pattern.open == open).map(|p| p.entry);
        let here = lists.add(entries(false).collect());
        let below = lists.add(entries(true).collect());
        let groups: Vec<&[Pattern<'_>]> =
            going_on.chunk_by(|a, b| segment(a.key, at) == segment(b.key, at)).collect();
        let (wild, literal): (Vec<&[Pattern<'_>]>, Vec<&[Pattern<'_>]>) =
            groups.into_iter().partition(|group| segment(group[0].key, at) == [BREAK, WILD]);
        let first = self.reserve(literal.len());
        let mut names = Vec::with_capacity(literal.len());
        for (i, group) in literal.iter().enumerate() {
            let child = first + i as u32;
            let name = segment(group[0].key, at);
            let end = end_of_label(group, at + name.len());
            names.push(with_slashes(name));
            self.set_label(child, &group[0].key[at..end]);
            self.fill(child, group, end, lists);
        }
        let wild = wild.first().map_or(NONE, |group| {
            let child = self.reserve(1);
            self.fill(child, group, at + 2, lists);
            child
        });
        let (table, count) =
            if literal.len() > FEW { self.table(&names, first) } else { (NONE, literal.len() as u32) };
        let node = &mut self.nodes[node as usize];
        *node = Node { here, below, wild, first, count, table, ..*node };
        node.least = patterns.iter().map(|pattern| pattern.entry).min().unwrap_or(u32::MAX);
    }

    /// As [`fill`](Self::fill), for one pattern whose rest is literal: most hosts of a large table have one route.
    fn fill_alone(&mut self, node: u32, pattern: &Pattern<'_>, at: usize) {
        let list = ListRef::one(pattern.entry);
        let mut end = node;
        if pattern.key.len() > at {
            end = self.reserve(1);
            self.set_label(end, &pattern.key[at..]);
            let node = &mut self.nodes[node as usize];
            *node = Node { least: pattern.entry, first: end, count: 1, ..*node };
        }
        let end = &mut self.nodes[end as usize];
        end.least = pattern.entry;
        *if pattern.open { &mut end.below } else { &mut end.here } = list;
    }

    fn set_label(&mut self, node: u32, key: &[u8]) {
        let node = &mut self.nodes[node as usize];
        (node.label, node.label_len) = (self.labels.len() as u32, key.len() as u32);
        let slashes = key.iter().map(|&byte| if byte == BREAK { b'/' } else { byte });
        match node.short_label.get_mut(..key.len()) {
            Some(short) => short.iter_mut().zip(slashes).for_each(|(place, byte)| *place = byte),
            None => self.labels.extend(slashes),
        }
    }

    /// A table of children by the hash of their first segments: where it begins, and its mask.
    fn table(&mut self, names: &[Vec<u8>], first: u32) -> (u32, u32) {
        let size = (names.len() * 3).next_power_of_two();
        let start = self.slots.len();
        self.slots.resize(start + size, (0, NONE));
        for (i, name) in names.iter().enumerate() {
            let (_, hash) = first_segment(name);
            let mut at = hash as usize & (size - 1);
            while self.slots[start + at].1 != NONE {
                at = (at + 1) & (size - 1);
            }
            self.slots[start + at] = ((hash >> 32) as u32, first + i as u32);
        }
        (start as u32, (size - 1) as u32)
    }

    /// Walks down as long as there is one way to go: the usual case, without what the others need.
    #[inline(always)]
    pub(crate) fn straight<'p>(&self, root: u32, path: &'p [u8]) -> Straight<'p> {
        let (mut at, mut rest) = (root, path);
        let mut below = ListRef::NONE;
        loop {
            let node = &self.nodes[at as usize];
            if node.below.is_some() {
                if below.is_some() {
                    return Straight { below, here: ListRef::NONE, fork: Some((at, rest)) };
                }
                below = node.below;
            }
            if rest.is_empty() {
                return Straight { below, here: node.here, fork: None };
            }
            let step = if node.wild == NONE {
                self.child(node, rest)
            } else if node.count == 0 {
                after_segment(rest).map(|tail| (node.wild, tail))
            } else {
                match (self.child_apart(node, rest), after_segment(rest)) {
                    (Some(_), Some(_)) => {
                        return Straight { below, here: ListRef::NONE, fork: Some((at, rest)) };
                    }
                    (literal, wild) => literal.or(wild.map(|tail| (node.wild, tail))),
                }
            };
            match step {
                Some(step) => (at, rest) = step,
                None => return Straight { below, here: ListRef::NONE, fork: None },
            }
        }
    }

    /// As [`child`](Self::child), out of line.
    #[inline(never)]
    fn child_apart<'p>(&self, node: &Node, rest: &'p [u8]) -> Option<(u32, &'p [u8])> {
        self.child(node, rest)
    }

    /// Visits the lists of all patterns that match `path`, which is empty or begins with a slash.
    ///
    /// `visit` lowers `best`, and what cannot be below it is passed over. With `open`, the path stands for everything
    /// that begins with its segments, and only patterns that match all of that are visited.
    #[inline]
    pub(crate) fn walk(
        &self,
        root: u32,
        path: &[u8],
        open: bool,
        best: &mut u32,
        visit: &mut impl FnMut(ListRef, &mut u32),
    ) {
        let (mut at, mut rest) = (root, path);
        loop {
            let node = &self.nodes[at as usize];
            if node.below.is_some() {
                visit(node.below, best);
            }
            if rest.is_empty() {
                if !open && node.here.is_some() {
                    visit(node.here, best);
                }
                return;
            }
            let literal = self.child(node, rest).filter(|(child, _)| self.may_win(*child, *best));
            let wild =
                if node.wild != NONE && self.may_win(node.wild, *best) { after_segment(rest) } else { None };
            match (literal, wild) {
                (Some(step), None) => (at, rest) = step,
                (None, Some(tail)) => (at, rest) = (node.wild, tail),
                (Some(step), Some(tail)) => {
                    self.branch(node.wild, tail, open, best, visit);
                    if !self.may_win(step.0, *best) {
                        return;
                    }
                    (at, rest) = step;
                }
                (None, None) => return,
            }
        }
    }

    /// The recursion, out of line: as deep as a pattern has captures.
    #[inline(never)]
    fn branch(
        &self,
        root: u32,
        path: &[u8],
        open: bool,
        best: &mut u32,
        visit: &mut impl FnMut(ListRef, &mut u32),
    ) {
        self.walk(root, path, open, best, visit);
    }

    fn may_win(&self, node: u32, best: u32) -> bool {
        self.nodes[node as usize].least < best
    }

    #[inline(always)]
    fn child<'p>(&self, node: &Node, rest: &'p [u8]) -> Option<(u32, &'p [u8])> {
        if node.table == NONE {
            let mut child = node.first;
            while child < node.first + node.count {
                if let Some(tail) = self.after_label(child, rest) {
                    return Some((child, tail));
                }
                child += 1;
            }
            return None;
        }
        let (_, hash) = first_segment(rest);
        let mut at = hash as u32 & node.count;
        loop {
            let (tag, child) = self.slots[(node.table + at) as usize];
            if child == NONE {
                return None;
            }
            // The label begins with the segment, so it is compared once, here.
            if tag == (hash >> 32) as u32
                && let Some(tail) = self.after_label(child, rest)
            {
                return Some((child, tail));
            }
            at = (at + 1) & node.count;
        }
    }

    /// What is left of `rest` after the label of `child`, if it begins with it and ends there or goes on with a slash.
    #[inline(always)]
    fn after_label<'p>(&self, child: u32, rest: &'p [u8]) -> Option<&'p [u8]> {
        let node = &self.nodes[child as usize];
        let len = node.label_len as usize;
        let (head, tail) = rest.split_at_checked(len)?;
        if !matches!(tail.first(), None | Some(b'/')) {
            return None;
        }
        let is_equal = match node.short_label.get(..len) {
            Some(short) => equal(head, short),
            None => self.has_long_label(node, head),
        };
        is_equal.then_some(tail)
    }
}

impl Trie {
    #[inline(never)]
    fn has_long_label(&self, node: &Node, text: &[u8]) -> bool {
        self.labels.get(node.label as usize..).is_some_and(|labels| labels.starts_with(text))
    }
}

fn segment(key: &[u8], at: usize) -> &[u8] {
    let rest = &key[at..];
    let len = rest.iter().skip(1).position(|&byte| byte == BREAK).map_or(rest.len(), |len| len + 1);
    &rest[..len]
}

/// How far a label that ends at `end` can be drawn out: while all patterns go on alike, and none ends in between.
fn end_of_label(group: &[Pattern<'_>], mut end: usize) -> usize {
    let (first, last) = (group[0].key, group[group.len() - 1].key);
    while first.len() > end && last.len() > end {
        let next = segment(first, end);
        if next != segment(last, end) || next == [BREAK, WILD] {
            break;
        }
        end += next.len();
    }
    end
}

fn with_slashes(key: &[u8]) -> Vec<u8> {
    key.iter().map(|&byte| if byte == BREAK { b'/' } else { byte }).collect()
}

/// What follows the first segment of `rest`, if that is not empty.
#[inline]
fn after_segment(rest: &[u8]) -> Option<&[u8]> {
    let len = segment_len(rest);
    (len > 1).then(|| &rest[len..])
}

/// The length of the first segment of `rest` with the slash before it.
#[inline]
pub(crate) fn segment_len(rest: &[u8]) -> usize {
    walk_segment(rest, |_| {})
}

/// The same, and a hash of the segment.
#[inline(always)]
fn first_segment(rest: &[u8]) -> (usize, u64) {
    let mut state = SEED;
    let len = walk_segment(rest, |word| state = fold(state ^ word, STEP));
    (len, state)
}

/// The length of the first segment of `rest`, by words of eight bytes, each of which `each` sees without what follows the
/// segment. There is always one, the last, that is not full.
#[inline(always)]
fn walk_segment(rest: &[u8], mut each: impl FnMut(u64)) -> usize {
    let mut tail = rest.get(1..).unwrap_or_default();
    loop {
        let (word, is_full) = match tail.first_chunk::<8>() {
            Some(word) => (u64::from_le_bytes(*word), true),
            None => (short_word(tail), false),
        };
        let zero_where_slash = word ^ SLASHES;
        // The lowest byte that is zero has its top bit set here; higher ones may have it wrongly.
        let found = zero_where_slash.wrapping_sub(ONES) & !zero_where_slash & TOPS;
        if found != 0 {
            // The lowest bit that is set, and all below the byte that it ends.
            let before = (found ^ found.wrapping_sub(1)) >> 8;
            each(word & before);
            return rest.len() - tail.len() + found.trailing_zeros() as usize / 8;
        }
        each(word);
        if !is_full {
            return rest.len();
        }
        tail = &tail[8..];
    }
}

const NONE: u32 = u32::MAX;
/// Up to so many children are compared one by one: cheaper than a hash.
const FEW: usize = 3;
/// Labels up to this length lie in their nodes.
const SHORT: usize = 28;
const SEED: u64 = 0x2d35_8dcc_aa6c_78a5;
const STEP: u64 = 0x8bb8_4b93_962e_acc9;
const ONES: u64 = u64::from_le_bytes([1; 8]);
const TOPS: u64 = u64::from_le_bytes([0x80; 8]);
const SLASHES: u64 = u64::from_le_bytes([b'/'; 8]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_measured() {
        for (rest, len) in [
            ("/", 1),
            ("/a", 2),
            ("//", 1),
            ("/a/b", 2),
            ("/abcdefgh", 9),
            ("/abcdefgh/", 9),
            ("/abcdefghijklmnop/q", 17),
            ("/abcdefg\u{1}/0", 9),
            ("/abcdefg0/", 9),
            ("", 0),
        ] {
            assert_eq!(segment_len(rest.as_bytes()), len, "{rest}");
        }
    }

    #[test]
    fn what_follows_a_segment_does_not_change_its_hash() {
        let mut seen = std::collections::BTreeSet::new();
        for len in 0..40 {
            let name: String =
                std::iter::once('/').chain((0..len).map(|i| char::from(b'a' + i % 23))).collect();
            let alone = first_segment(name.as_bytes());
            assert_eq!(alone.0, name.len());
            assert!(seen.insert(alone.1), "{name}");
            for more in ["/", "/b", "/abcdefg", "/abcdefgh", "/abcdefghijkl", "//"] {
                assert_eq!(first_segment((name.clone() + more).as_bytes()), alone, "{name}{more}");
            }
        }
    }
}
