//! Regular expressions for paths: all of a host in one automaton.

use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, PatternSet};

use super::error::RuleProblem;
use super::lists::ListRef;

/// The expressions of one group of hosts. One pass over the path finds all that match.
#[derive(Clone, Debug)]
pub(crate) struct Regexes {
    all: Regex,
    lists: Box<[ListRef]>,
    /// The smallest entry behind them.
    pub(crate) least: u32,
}

impl Regexes {
    pub(crate) fn new(
        patterns: &[String],
        lists: Box<[ListRef]>,
        least: u32,
        size: usize,
    ) -> Result<Self, RuleProblem> {
        // All: else the search ends with the first that matches, and the others are not found.
        let all = build(patterns, size.saturating_mul(patterns.len()), MatchKind::All)
            .map_err(|reason| RuleProblem::Regex { pattern: patterns.join(" | "), reason })?;
        Ok(Self { all, lists, least })
    }

    pub(crate) fn len(&self) -> usize {
        self.lists.len()
    }

    pub(crate) fn each(&self, path: &[u8], found: &mut PatternSet, mut visit: impl FnMut(ListRef)) {
        found.clear();
        self.all.which_overlapping_matches(&Input::new(path), found);
        found.iter().for_each(|pattern| visit(self.lists[pattern.as_usize()]));
    }
}

/// One expression, which must match the whole text.
pub(crate) fn compile_one(pattern: &str, ignore_case: bool, size: usize) -> Result<Regex, RuleProblem> {
    let refused = |reason| RuleProblem::Regex { pattern: pattern.to_owned(), reason };
    // Alone first: `a)|(b` is an expression only with brackets around it.
    syntax::parse_with(pattern, &syntax()).map_err(|error| refused(error.to_string()))?;
    build(&[whole(pattern, ignore_case)], size, MatchKind::LeftmostFirst).map_err(refused)
}

/// The expression for the whole of a text.
pub(crate) fn whole(pattern: &str, ignore_case: bool) -> String {
    let flags = if ignore_case { "(?i)" } else { "" };
    format!("{flags}^(?:{pattern})$")
}

fn build(patterns: &[String], size: usize, kind: MatchKind) -> Result<Regex, String> {
    let config = Regex::config()
        .match_kind(kind)
        .nfa_size_limit(Some(size))
        .onepass_size_limit(Some(size))
        .utf8_empty(false);
    Regex::builder().configure(config).syntax(syntax()).build_many(patterns).map_err(|error| {
        match error.size_limit() {
            Some(limit) => format!("compiled it is larger than the limit of {limit} bytes"),
            None => source_of(&error),
        }
    })
}

fn syntax() -> syntax::Config {
    syntax::Config::new().utf8(false).nest_limit(DEEPEST)
}

fn source_of(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

const DEEPEST: u32 = 64;
