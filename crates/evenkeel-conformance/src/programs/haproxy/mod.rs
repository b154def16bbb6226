//! Replays HAProxy.
//!
//! A case is a backend section in HAProxy's own words. What is replayed follows from its directives and from the form of
//! its answers, not from the name of the file.

mod command;
mod converted;
mod directives;
mod expression;
mod key;
mod replay;

use super::each_case;
use crate::{Tally, UnknownFile, Vector};
use directives::Section;
use key::Keys;

/// Replays a file of HAProxy.
///
/// # Errors
///
/// [`UnknownFile`], if no case has directives, commands and answers of a known kind.
pub fn replay(vector: &Vector) -> Result<Tally, UnknownFile> {
    each_case(vector, |case, tally| {
        let section = Section::read(case)?;
        let keys = Keys::of(vector, &section)?;
        replay::case(vector, case, &section, &keys, tally)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Case;

    #[test]
    fn a_case_that_is_not_known_costs_no_other() {
        let case = |directive: &str| {
            let config = [directive, "server a 10.0.0.1:80", "server b 10.0.0.2:80"];
            Case(json!({"id": directive, "config": config, "servers": [{}, {}], "picks": [0, 1, 0]}))
        };
        let cases = vec![case("balance roundrobin"), case("balance random"), case("balance static-rr")];
        let tally = replay(&Vector { cases, ..Vector::default() }).unwrap();
        assert_eq!((tally.passed, tally.total), (6, 7));
        assert!(tally.mismatches[0].contains("balance random"), "{:?}", tally.mismatches);
        assert!(replay(&Vector { cases: vec![case("balance random")], ..Vector::default() }).is_err());
    }
}
