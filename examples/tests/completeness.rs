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

/// All files below a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(root().join(folder)).expect(folder).map(|entry| entry.expect("an entry").path());
    let paths = entries.flat_map(|path| match path.is_dir() {
        true => files(&path.display().to_string()),
        false => vec![path],
    });
    paths.collect()
}

/// The file of a policy: `NAME.rs` in the folder of its family, or `NAME/mod.rs` for another program's.
fn source_of(name: &str) -> String {
    let is_meant =
        |path: &&PathBuf| path.ends_with(format!("{name}.rs")) || path.ends_with(format!("{name}/mod.rs"));
    let found = files("crates/evenkeel-balance/src").into_iter().find(|path| is_meant(&path));
    fs::read_to_string(found.expect(name)).expect(name)
}

#[test]
fn every_policy_runs_the_laws() {
    let tests = files("crates/evenkeel-balance/tests");
    let laws: String = tests.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
    assert!(names().len() >= 5);
    for name in names() {
        assert!(laws.contains(&format!("fn {name}()")), "no test of the laws is called {name}");
    }
}

#[test]
fn every_policy_says_what_it_is_for() {
    let glossary = read("docs/GLOSSARY.md");
    for name in names() {
        let source = source_of(name);
        for part in ["**Idea.**", "**Cost.**", "**When.**", "**When not.**", "**Source.**"] {
            assert!(source.contains(part), "{name} has no paragraph {part}");
        }
        assert!(glossary.contains(&format!("`{name}`")), "docs/GLOSSARY.md does not name {name}");
    }
}

#[test]
fn every_policy_has_a_bench() {
    for file in ["choose", "pick", "picker"] {
        let bench = read(&format!("benches/benches/{file}.rs"));
        assert!(
            bench.contains("for name in names()"),
            "benches/{file}.rs does not walk through all policies"
        );
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
