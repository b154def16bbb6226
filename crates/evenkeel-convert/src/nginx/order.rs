//! In which order nginx asks locations, as an order of routes.
//!
//! Source: nginx's documentation of `location`, and `ngx_http_core_find_location` in `src/http/ngx_http_core_module.c`: the
//! exact path; else the longest prefix, and what is inside of it; then, unless that is `^~`, the expressions in their order,
//! before the prefix itself.

use std::cmp::Reverse;
use std::ops::Range;

use super::location::{Kind, Matcher};

/// A location.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) matcher: Matcher,
    /// Its own routes, as places in the order of the file.
    pub(crate) routes: Range<usize>,
    /// The locations inside of it.
    pub(crate) inside: Vec<Block>,
}

/// The routes of these locations in the order in which they must be asked; and where no order does as nginx: the location, and
/// what happens.
pub(crate) fn order(blocks: &[Block]) -> (Vec<usize>, Vec<(String, String)>) {
    let mut clashes = Vec::new();
    let sorted = level(blocks, false, &mut clashes);
    ([sorted.firm, sorted.late].concat(), clashes)
}

/// The routes of the locations of one block.
#[derive(Default)]
struct Sorted {
    /// What nginx takes at once.
    firm: Vec<usize>,
    /// What it takes after it has asked the expressions of the blocks around.
    late: Vec<usize>,
}

/// `is_asked` tells whether a block around has expressions that nginx asks before the prefixes in here.
fn level(blocks: &[Block], is_asked: bool, clashes: &mut Vec<(String, String)>) -> Sorted {
    let of = |kind: Kind| blocks.iter().filter(move |block| block.matcher.kind == kind);
    let mut sorted = Sorted::default();
    of(Kind::Exact).for_each(|block| sorted.firm.extend(block.routes.clone()));
    let has_regexes = of(Kind::Regex).next().is_some();
    let mut prefixes: Vec<(&str, &Block)> =
        blocks.iter().filter_map(|block| Some((block.matcher.prefix()?, block))).collect();
    prefixes.sort_by_key(|(prefix, _)| Reverse(prefix.len()));
    // Longer prefixes whose requests wait for expressions.
    let mut waiting: Vec<&str> = Vec::new();
    for (prefix, block) in prefixes {
        let is_firm = block.matcher.kind == Kind::Firm;
        let waits = is_asked || has_regexes && !is_firm;
        let inside = level(&block.inside, waits, clashes);
        let is_first = !inside.firm.is_empty() || !waits;
        if is_first {
            let what = if is_firm && !waits {
                format!("location ^~ {prefix}")
            } else {
                format!("what is inside of location {prefix}")
            };
            for longer in waiting.iter().filter(|longer| longer.starts_with(prefix)) {
                let detail = format!("{what} is asked first, where nginx prefers {longer}, which is longer");
                clashes.push(((*longer).to_owned(), detail));
            }
        }
        if is_firm && is_asked && has_regexes {
            let detail =
                "the expressions beside it are asked first, where nginx asks only those of the blocks around";
            clashes.push((format!("^~ {prefix}"), detail.to_owned()));
        }
        sorted.firm.extend(inside.firm);
        let own = inside.late.into_iter().chain(block.routes.clone());
        if waits {
            sorted.late.extend(own);
            waiting.push(prefix);
        } else {
            sorted.firm.extend(own);
        }
    }
    of(Kind::Regex).for_each(|block| sorted.firm.extend(block.routes.clone()));
    sorted
}
