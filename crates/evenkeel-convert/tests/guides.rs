//! Walks through the guides: their files are written, their commands run, their output compared. To write the output anew:
//! `EVENKEEL_BLESS=1 cargo test -p evenkeel-convert --test guides`.
#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_guide_from_nginx() {
    walk("migrating-from-nginx.md");
}

#[test]
fn the_guide_from_haproxy() {
    walk("migrating-from-haproxy.md");
}

#[test]
fn the_guide_from_envoy() {
    walk("migrating-from-envoy.md");
}

fn walk(guide: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(guide);
    let text = fs::read_to_string(&path).unwrap();
    let folder = std::env::temp_dir().join(format!("evenkeel-convert-{}-{guide}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (mut walked, mut commands, mut inside) = (String::new(), 0, None);
    let mut block = String::new();
    for line in text.lines() {
        match (&inside, line.strip_prefix("```")) {
            (None, Some(language)) => {
                inside = Some(language.to_owned());
                block.clear();
                walked.push_str(line);
                walked.push('\n');
            }
            (Some(language), Some(_)) => {
                match language.as_str() {
                    "console" => {
                        let (told, count) = console(&block, &folder);
                        walked.push_str(&told);
                        commands += count;
                    }
                    "toml" => {
                        let found = fs::read_to_string(folder.join("evenkeel.toml")).unwrap();
                        assert!(found.contains(block.trim_end()), "{guide}:\n{block}\nis not in\n{found}");
                        walked.push_str(&block);
                    }
                    _ => {
                        if let Some(name) =
                            block.lines().next().and_then(|line| line.strip_prefix("# file: "))
                        {
                            fs::write(folder.join(name), &block).unwrap();
                        }
                        walked.push_str(&block);
                    }
                }
                inside = None;
                walked.push_str("```\n");
            }
            (Some(_), None) => block.push_str(&format!("{line}\n")),
            (None, None) => walked.push_str(&format!("{line}\n")),
        }
    }
    assert!(commands >= 3, "{guide} has {commands} commands");
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        fs::write(&path, &walked).unwrap();
    }
    assert_eq!(walked, text, "{guide}");
    fs::remove_dir_all(folder).unwrap();
}

/// Runs what follows a dollar sign, and gives commands with their output.
fn console(block: &str, folder: &Path) -> (String, usize) {
    let program = Path::new(env!("CARGO_BIN_EXE_evenkeel-convert")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let (mut told, mut last, mut count) = (String::new(), 0, 0);
    for command in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
        told.push_str(&format!("$ {command}\n"));
        if command == "echo $?" {
            told.push_str(&format!("{last}\n"));
            continue;
        }
        let output = Command::new("bash")
            .arg("-c")
            .arg(command)
            .current_dir(folder)
            .env("PATH", &path)
            .output()
            .unwrap();
        told.push_str(&String::from_utf8(output.stderr).unwrap());
        told.push_str(&String::from_utf8(output.stdout).unwrap());
        last = output.status.code().unwrap();
        count += 1;
    }
    (told, count + block.matches("echo $?").count())
}
