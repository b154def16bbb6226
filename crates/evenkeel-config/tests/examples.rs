//! The files of `config/` load, are right, run, and are reloaded into each other.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::path::PathBuf;

use evenkeel_config::{Loaded, Running};

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
