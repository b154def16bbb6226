//! The files of `config/` load, are right, run, and are reloaded into each other; so do the files that pages show.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::path::PathBuf;

use evenkeel_config::{Loaded, Running, Syntax};

fn examples() -> Vec<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

fn load(path: &PathBuf) -> Loaded {
    Loaded::load(path).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn they_load_and_nothing_is_wrong_with_them() {
    for path in examples() {
        let warnings = load(&path).check().unwrap_or_else(|errors| panic!("{errors}"));
        assert!(warnings.is_empty(), "{}: {}", path.display(), warnings[0]);
    }
}

/// Pages whose every example is a whole file. Parts of one are looked at where the page is used.
const PAGES: [&str; 4] =
    ["book/trouble.md", "migrating-from-envoy.md", "migrating-from-haproxy.md", "migrating-from-nginx.md"];

#[test]
fn whoever_copies_from_a_page_has_a_file_that_is_right() {
    for page in PAGES {
        let path = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/{}"), page);
        let text = std::fs::read_to_string(path).unwrap();
        let examples: Vec<&str> = text.split("```toml\n").skip(1).collect();
        assert!(!examples.is_empty(), "{page}");
        for example in examples {
            let (example, _) = example.split_once("```").unwrap();
            let loaded =
                Loaded::parse(example, Syntax::Toml).unwrap_or_else(|errors| panic!("{page}: {errors}"));
            let warnings = loaded.check().unwrap_or_else(|errors| panic!("{page}: {errors}"));
            assert!(warnings.is_empty(), "{page}: {}", warnings[0]);
        }
    }
}

#[test]
fn they_run_and_are_reloaded_into_each_other() {
    let examples = examples();
    let running = Running::<()>::start(load(&examples[0])).unwrap_or_else(|errors| panic!("{errors}"));
    for path in examples.iter().cycle().take(2 * examples.len() + 1) {
        let loaded = load(path);
        let names: Vec<String> =
            loaded.config().clusters.iter().map(|settings| settings.cluster.name.clone()).collect();
        running.apply(loaded.clone()).unwrap_or_else(|errors| panic!("{errors}"));
        for name in &names {
            assert!(running.cluster(name).is_some(), "{name}");
        }
        assert_eq!(running.clusters().len(), names.len());
        let again = running.apply(loaded).unwrap();
        assert!(again.is_empty(), "{}: {again}", path.display());
    }
    assert_eq!(running.report().reloads, 2 * (2 * examples.len() as u64 + 1));
}
