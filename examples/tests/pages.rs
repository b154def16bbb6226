//! What pages promise: links lead somewhere, programs are compiled, commands name what there is, configuration is read.

#![allow(clippy::panic, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use evenkeel_config::{Loaded, Syntax};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace").to_owned()
}

/// All files below a folder that end so, without what is built.
fn files(folder: &Path, end: &str, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && name != "target" && !name.starts_with('.') {
            files(&path, end, into);
        } else if !is_folder && name.ends_with(end) {
            into.push(path);
        }
    }
}

fn all(end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), end, &mut found);
    found.sort();
    found
}

/// The pages, but for parts that are put into other pages.
fn pages() -> Vec<PathBuf> {
    let pages: Vec<PathBuf> = all(".md").into_iter().filter(|page| !page.ends_with("guide.md")).collect();
    assert!(pages.len() > 80, "{pages:?}");
    pages
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of a page: what stands behind the three ticks, and the lines.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, lines)), None) => {
                lines.push_str(line);
                lines.push('\n');
            }
            (None, Some(kind)) => open = Some((kind.trim().to_owned(), String::new())),
            (None, None) => {}
        }
    }
    blocks
}

/// The text without blocks and without what stands between ticks.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n").split('`').step_by(2).collect()
}

/// What a heading is called in links.
fn slug(heading: &str) -> String {
    let heading = heading.trim().to_lowercase();
    let kept = heading.chars().filter(|&c| c.is_alphanumeric() || "_- ".contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &Path) -> BTreeSet<String> {
    let text = read(page);
    let mut is_code = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        if !is_code && heading.len() < line.len() && heading.starts_with(' ') {
            // Of a link in a heading the text counts.
            let plain: String =
                heading.split("](").map(|part| part.split_once(')').map_or(part, |(_, rest)| rest)).collect();
            found.insert(slug(if heading.contains("](") { &plain } else { heading }));
        }
    }
    found
}

#[test]
fn links_lead_somewhere() {
    let (mut count, mut wrong) = (0, Vec::new());
    for page in pages() {
        for rest in prose(&read(&page)).split("](").skip(1) {
            let Some((target, _)) = rest.split_once(')') else { continue };
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            count += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = page.parent().expect("a page lies in a folder");
            let to = if path.is_empty() { page.clone() } else { folder.join(path) };
            let is_anchor = || {
                anchor.is_empty()
                    || to.extension().is_none_or(|end| end != "md")
                    || anchors(&to).contains(anchor)
            };
            if !to.exists() || !is_anchor() {
                wrong.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(count > 500, "{count} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Pages that crates put into their documentation are compiled, and run unless they say otherwise. What is no program says `ignore`.
#[test]
fn programs_on_pages_are_compiled() {
    let mut compiled = BTreeSet::new();
    for source in all(".rs") {
        let text = read(&source);
        for rest in text.split("include_str!(\"").skip(1) {
            let Some((path, _)) = rest.split_once('"') else { continue };
            compiled.extend(source.parent().and_then(|folder| folder.join(path).canonicalize().ok()));
        }
    }
    let mut missing = Vec::new();
    for page in pages() {
        // Sketches of what was weighed, some of which was never built.
        let is_sketch = page.starts_with(root().join("docs/decisions"));
        let has_program =
            blocks(&read(&page)).iter().any(|(kind, _)| kind.starts_with("rust") && !kind.contains("ignore"));
        if has_program && !is_sketch && !compiled.contains(&page.canonicalize().expect("it is there")) {
            missing.push(page.display().to_string());
        }
    }
    assert!(missing.is_empty(), "no crate includes:\n{}", missing.join("\n"));
}

/// Where a package lies, by its name.
fn package(name: &str) -> Option<PathBuf> {
    let is_it = |manifest: &PathBuf| read(manifest).contains(&format!("\nname = \"{name}\"\n"));
    all("Cargo.toml").into_iter().find(is_it).and_then(|manifest| manifest.parent().map(Path::to_owned))
}

#[test]
fn commands_on_pages_name_what_there_is() {
    let (mut count, mut wrong) = (0, Vec::new());
    for page in pages() {
        let scripts =
            blocks(&read(&page)).into_iter().filter(|(kind, _)| ["sh", "console"].contains(&kind.as_str()));
        for (_, script) in scripts {
            for line in script.lines() {
                let line = line.split(" #").next().unwrap_or("").trim_start_matches("$ ");
                let words: Vec<&str> =
                    line.split_whitespace().skip_while(|word| word.contains('=')).collect();
                let is_ours = words.first().is_some_and(|word| ["cargo", "bash"].contains(word));
                if !is_ours {
                    continue;
                }
                count += 1;
                if let Some(what) = unknown(&words) {
                    wrong.push(format!("{}: {line}: no {what}", page.display()));
                }
            }
        }
    }
    assert!(count > 20, "{count} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first thing that a command names and that is not there.
fn unknown(words: &[&str]) -> Option<String> {
    if let ["bash", script, ..] = words {
        return (!root().join(script).is_file()).then(|| (*script).to_owned());
    }
    let own = words.split(|word| *word == "--").next().unwrap_or_default();
    let after =
        |flag: &str| own.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1]).collect::<Vec<_>>();
    let mut folders = Vec::new();
    for name in after("-p") {
        match package(name) {
            Some(folder) => folders.push(folder),
            None => return Some(format!("package {name}")),
        }
    }
    let lacks =
        |paths: &[String]| !folders.iter().any(|folder| paths.iter().any(|path| folder.join(path).is_file()));
    for name in after("--bin") {
        if lacks(&[format!("src/bin/{name}.rs"), format!("src/bin/{name}/main.rs")]) {
            return Some(format!("program {name}"));
        }
    }
    for (flag, below) in [("--example", "examples"), ("--test", "tests"), ("--bench", "benches")] {
        for name in after(flag) {
            if lacks(&[format!("{below}/{name}.rs"), format!("{below}/{name}/main.rs")]) {
                return Some(format!("{flag} {name}"));
            }
        }
    }
    let files = words.iter().filter(|word| word.ends_with(".toml") && word.contains('/'));
    files.map(|file| root().join(file)).find(|file| !file.is_file()).map(|file| file.display().to_string())
}

#[test]
fn the_cluster_on_the_page_about_trouble_is_read() {
    let found = blocks(&read(&root().join("docs/book/trouble.md")));
    let (_, text) = found.iter().find(|(kind, _)| kind == "toml").expect("there is a configuration");
    if let Err(errors) = Loaded::parse(text, Syntax::Toml) {
        panic!("{errors}\n{text}");
    }
}
