//! What is said of bad input, word by word: the cases are in `errors.txt`. Run with `EVENKEEL_BLESS=1` to write what is said
//! now, and read the difference.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::fmt::Write;

use evenkeel_config::{Loaded, Syntax};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/errors.txt");

fn said(text: &str, syntax: Syntax) -> String {
    match Loaded::parse(text, syntax).and_then(|loaded| loaded.check()) {
        Err(errors) => errors.to_string(),
        Ok(warnings) if warnings.is_empty() => "ok".to_owned(),
        Ok(warnings) => {
            warnings.iter().map(|warning| format!("warning: {warning}")).collect::<Vec<_>>().join("\n")
        }
    }
}

#[test]
fn every_error_says_where_what_and_what_is_allowed() {
    let file = std::fs::read_to_string(CASES).unwrap();
    let (mut written, mut wrong, mut cases) = (String::new(), String::new(), 0);
    for case in file.split("=== ").skip(1) {
        let (title, rest) = case.split_once('\n').unwrap();
        let (text, expected) = rest.split_once("\n---\n").unwrap_or((rest.trim_end_matches("\n---"), ""));
        let syntax = match title.split_whitespace().next().unwrap() {
            "toml" => Syntax::Toml,
            "yaml" => Syntax::Yaml,
            "json" => Syntax::Json,
            other => panic!("{other}"),
        };
        let found = said(text, syntax);
        writeln!(written, "=== {title}\n{text}\n---\n{found}\n").unwrap();
        if found != expected.trim_end() {
            writeln!(wrong, "=== {title}\nexpected: {}\nfound:    {found}", expected.trim_end()).unwrap();
        }
        cases += 1;
    }
    assert!(cases >= 40, "{cases}");
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        std::fs::write(CASES, written).unwrap();
    } else {
        assert!(wrong.is_empty(), "{wrong}");
    }
}
