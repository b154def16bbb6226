//! Rules that can never take a request.
//!
//! A pattern is looked up in the index as if it were a request: a host pattern `*.a.b` as a name below `a.b` that no
//! rule names, a capture as a segment that no rule names, a prefix as a path that goes on. What is found takes everything
//! that the pattern takes.

use super::host::HostMatch;
use super::http_rule::{HeaderMatch, HttpRule};
use super::http_rules::{Entry, HttpRules};
use super::lists::{ListRef, Listed, resolve};
use super::path::Path;
use super::trie::{BREAK, WILD};

/// A rule whose requests an earlier one takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Shadow {
    /// The number of the rule.
    pub rule: usize,
    /// The number of the first rule that takes its requests.
    pub by: usize,
    /// How many of its pairs of host and path (of ranges, in rules for connections) are taken. If it is all of them, the rule can be deleted.
    pub taken: usize,
    /// How many pairs it has.
    pub of: usize,
}

impl Shadow {
    /// Whether the rule never takes a request.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.taken == self.of
    }
}

pub(crate) fn find(rules: &HttpRules) -> Vec<Shadow> {
    let mut shadows: Vec<Shadow> = Vec::new();
    let mut from = 0;
    while let Some(entry) = rules.entries.get(from) {
        let rule = &rules.rules[entry.rule as usize];
        let any = [HostMatch::Any];
        let hosts: &[HostMatch] = if rule.hosts.is_empty() { &any } else { &rule.hosts };
        let end = from + rule.paths.len().max(1);
        let mut shadow = Shadow { rule: entry.rule as usize, by: usize::MAX, taken: 0, of: 0 };
        for at in from..end {
            for host in hosts {
                shadow.of += 1;
                if let Some(by) = covering(rules, from as u32, &rules.entries[at], host) {
                    shadow.taken += 1;
                    shadow.by = shadow.by.min(by);
                }
            }
        }
        if shadow.taken > 0 {
            shadows.push(shadow);
        }
        from = end;
    }
    shadows.sort_by_key(|shadow| shadow.rule);
    shadows
}

/// The first rule before `before` that takes whatever `entry` takes on `host`.
fn covering(rules: &HttpRules, before: u32, entry: &Entry, host: &HostMatch) -> Option<usize> {
    let mut best = before;
    let rule = &rules.rules[entry.rule as usize];
    let consider = |other: u32, best: &mut u32| {
        let covers = || {
            let earlier = &rules.entries[other as usize];
            let methods = earlier.methods == 0 || entry.methods != 0 && entry.methods & !earlier.methods == 0;
            methods && asks_no_more(&rules.rules[earlier.rule as usize], rule)
        };
        if other < *best && covers() {
            *best = other;
        }
    };
    let mut visit = |list: ListRef, best: &mut u32| match resolve(&rules.index.lists, list) {
        Listed::One(other) => consider(other, best),
        Listed::Many(list) => {
            list.entries.iter().take_while(|&&other| other < before).for_each(|&other| consider(other, best));
            for by_header in &list.by_header {
                // An earlier rule that asks for a value covers only rules that ask for it too.
                let same = |header: &&HeaderMatch| header.name.eq_ignore_ascii_case(&by_header.name);
                for header in rule.headers.iter().filter(same) {
                    if let super::ValueMatch::Exact(value) = &header.test
                        && let Some(found) = by_header.values.get(value.as_bytes())
                    {
                        by_header.lists[found as usize].iter().for_each(|&other| consider(other, best));
                    }
                }
            }
        }
    };
    let name = match host {
        HostMatch::Any => String::new(),
        HostMatch::Exact(name) => name.clone(),
        HostMatch::Suffix(suffix) => format!("{UNHEARD_OF}{suffix}"),
        HostMatch::Prefix(prefix) => format!("{prefix}{UNHEARD_OF}"),
    };
    rules.index.hosts.each(name.as_bytes(), |group| {
        let group = &rules.index.groups[group as usize];
        if group.least >= best {
            return;
        }
        if group.any.is_some() {
            visit(group.any, &mut best);
        }
        let (path, open) = match &rules.paths[entry.path as usize] {
            Path::Trie(shape) => (spelt(&shape.key), shape.open),
            // Whether it ends in a slash or not: a literal segment cannot fit, but a capture may.
            Path::RawPrefix(prefix) if prefix.last() == Some(&b'/') => {
                (prefix[..prefix.len() - 1].to_vec(), true)
            }
            Path::RawPrefix(prefix) => ([&**prefix, UNHEARD_OF.as_bytes()].concat(), true),
            Path::Any | Path::Regex { .. } => return,
        };
        rules.index.trie.walk(group.root, &path, open, &mut best, &mut visit);
        if let Some(raw) = &group.raw {
            match &rules.paths[entry.path as usize] {
                Path::RawPrefix(prefix) => raw.each(prefix, |list| visit(list, &mut best)),
                // A raw prefix `/a/` does not take the path `/a`, which the prefix `/a` does.
                _ => raw.each(&path, |list| visit(list, &mut best)),
            }
        }
    });
    (best < before).then(|| rules.entries[best as usize].rule as usize)
}

/// Whether everything that `earlier` asks for besides host, path and method, `later` asks for too.
fn asks_no_more(earlier: &HttpRule, later: &HttpRule) -> bool {
    let same_header = |a: &HeaderMatch, b: &HeaderMatch| {
        a.name.eq_ignore_ascii_case(&b.name) && a.test == b.test && a.invert == b.invert
    };
    let fraction = match (earlier.fraction, later.fraction) {
        (None, _) => true,
        (Some(earlier), _) if earlier.share == evenkeel_types::Ratio::ONE => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => earlier.salt == later.salt && earlier.share >= later.share,
    };
    let listeners = earlier.listeners.is_empty()
        || !later.listeners.is_empty() && later.listeners.iter().all(|name| earlier.listeners.contains(name));
    fraction
        && listeners
        && earlier.headers.iter().all(|a| later.headers.iter().any(|b| same_header(a, b)))
        && earlier.query.iter().all(|a| later.query.contains(a))
        && earlier.cookies.iter().all(|a| later.cookies.contains(a))
}

/// A key of the trie as a path.
fn spelt(key: &[u8]) -> Vec<u8> {
    key.iter()
        .map(|&byte| match byte {
            BREAK => b'/',
            WILD => UNHEARD_OF.as_bytes()[0],
            byte => byte,
        })
        .collect()
}

/// A text that no pattern holds.
const UNHEARD_OF: &str = "\0";
