//! Every case that the documentation names is in its file, and no number is left out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use evenkeel_scenario::parse;

/// Those of the list; the others are said by their neighbours.
const NUMBERS: [u32; 62] = [
    1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 15, 16, 17, 18, 20, 21, 23, 24, 26, 27, 28, 29, 30, 32, 33, 34, 36,
    37, 39, 40, 41, 43, 44, 45, 46, 49, 50, 51, 54, 55, 56, 57, 58, 61, 62, 64, 65, 67, 68, 69, 71, 72, 73,
    74, 76, 77, 78, 79, 81, 82, 83,
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The numbers of the last table, each with its cases.
fn rows() -> Vec<(u32, Vec<String>)> {
    let page = std::fs::read_to_string(workspace().join("docs/scenarios.md")).unwrap();
    let (_, table) = page.split_once("\n| no. | says | cases |").unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let number = cells.first()?.trim().parse().ok()?;
        let cases = cells.get(2)?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((number, cases))
    };
    table.lines().filter_map(row).collect()
}

/// Whether there is `crate/file: title`.
fn is_there(case: &str) -> bool {
    let (file, title) = case.split_once(": ").unwrap_or_else(|| panic!("{case:?} is no case"));
    let (name, file) = file.split_once('/').unwrap_or_else(|| panic!("{case:?} names no file"));
    let path = workspace().join(format!("crates/evenkeel-{name}/tests/scenarios/{file}.txt"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text).unwrap().iter().any(|scenario| scenario.title == title)
}

#[test]
fn every_number_has_its_cases() {
    let rows = rows();
    let told: BTreeSet<u32> = rows.iter().map(|(number, _)| *number).collect();
    assert_eq!(told, BTreeSet::from(NUMBERS));
    assert_eq!(rows.len(), NUMBERS.len(), "each number has one row");
    for (number, cases) in rows {
        assert!(!cases.is_empty(), "{number} has no case");
        let missing: Vec<&String> = cases.iter().filter(|case| !is_there(case)).collect();
        assert!(missing.is_empty(), "{number}: there is no {missing:?}");
    }
}
