//! Every policy has laws, docs, a bench and an example. Whoever adds one and forgets a part hears of it here.

use std::fs;
use std::path::{Path, PathBuf};

use evenkeel::PolicyConfig;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

fn names() -> Vec<&'static str> {
    PolicyConfig::all().iter().map(PolicyConfig::name).collect()
}

#[test]
fn all_lists_every_policy_that_has_a_name() {
    let source = read("crates/evenkeel-balance/src/config.rs");
    let named = source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once("=> \""));
    let mut named: Vec<_> =
        named.filter_map(|(_, rest)| rest.split('"').next()).filter(|n| *n != "custom").collect();
    let mut listed = names();
    named.sort_unstable();
    listed.sort_unstable();
    assert_eq!(named, listed);
    assert!(listed.len() >= 5);
}

#[test]
fn every_policy_runs_the_laws() {
    let laws = read("crates/evenkeel-balance/tests/laws.rs");
    for name in names() {
        assert!(laws.contains(&format!("fn {name}()")), "tests/laws.rs has no test called {name}");
    }
}

#[test]
fn every_policy_says_what_it_is_for() {
    for name in names() {
        let source = read(&format!("crates/evenkeel-balance/src/{name}.rs"));
        for part in ["**Idea.**", "**Cost.**", "**When.**", "**When not.**", "**Source.**"] {
            assert!(source.contains(part), "{name}.rs has no paragraph {part}");
        }
        assert!(read("docs/GLOSSARY.md").contains(name), "docs/GLOSSARY.md does not name {name}");
    }
}

#[test]
fn every_policy_has_a_bench() {
    for file in ["choose", "pick", "picker"] {
        let bench = read(&format!("benches/benches/{file}.rs"));
        for name in names() {
            assert!(bench.contains(&format!("fn {name}(")), "benches/{file}.rs has no bench called {name}");
        }
    }
}

#[test]
fn every_policy_has_an_example_that_is_listed() {
    for name in names() {
        let example = format!("policy_{name}");
        let source = read(&format!("examples/examples/{example}.rs"));
        assert!(source.contains(&format!("PolicyConfig::{name}()")), "{example} uses another policy");
        assert!(read("examples/README.md").contains(&example), "examples/README.md does not list {example}");
    }
}
