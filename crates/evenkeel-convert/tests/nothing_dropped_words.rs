//! Nothing is silently dropped by the readers of nginx and HAProxy: a word that nobody knows is put into every line, and a line that nobody
//! knows behind every line. Each must come back: as an error, as a finding that says there is no equivalent, or in the configuration.
#![allow(clippy::panic, clippy::unwrap_used)]

use evenkeel_convert::{Dialect, Options, Verdict, read};

const WORD: &str = "unheard_of";

/// A text in which one line was changed.
struct Changed {
    line: String,
    text: String,
    /// The heads of the blocks around that line.
    around: Vec<String>,
}

/// Whether the word comes back, or a block around it is told as a whole.
fn is_told(from: Dialect, changed: &Changed) -> bool {
    let options = Options { cookie_secret: Some("sixteen bytes or more".to_owned()), ..Options::default() };
    let Ok(found) = read(from, &changed.text, "f", &options) else { return true };
    let none = || found.report.findings.iter().filter(|finding| finding.verdict == Verdict::NoEquivalent);
    none().any(|finding| finding.subject.contains(WORD))
        || none().any(|finding| changed.around.contains(&finding.subject))
        || format!("{:?}", found.setup).contains(WORD)
}

/// The text, once for each line, with that line changed.
fn changed(text: &str, change: impl Fn(&str) -> Option<String>) -> Vec<Changed> {
    let lines: Vec<&str> = text.lines().collect();
    let mut around: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for (at, before) in lines.iter().enumerate() {
        if before.ends_with('}') {
            around.pop();
        }
        if let Some(head) = before.strip_suffix('{') {
            around.push(head.trim().to_owned());
        }
        if let Some(line) = change(before) {
            let mut texts = lines.clone();
            texts[at] = &line;
            all.push(Changed { text: texts.join("\n") + "\n", around: around.clone(), line });
        }
    }
    all
}

fn all_are_told(from: Dialect, texts: &[Changed], least: usize) {
    assert!(texts.len() >= least, "{} texts", texts.len());
    let silent: Vec<&str> =
        texts.iter().filter(|changed| !is_told(from, changed)).map(|changed| changed.line.as_str()).collect();
    assert!(silent.is_empty(), "{} of {} dropped:\n{}", silent.len(), texts.len(), silent.join("\n"));
}

#[test]
fn words_of_haproxy_that_nobody_knows_are_told() {
    read(Dialect::Haproxy, HAPROXY, "f", &Options::default()).unwrap();
    let with_word = |line: &str| (!line.is_empty()).then(|| format!("{line} {WORD}"));
    all_are_told(Dialect::Haproxy, &changed(HAPROXY, with_word), 100);
}

#[test]
fn lines_of_haproxy_that_nobody_knows_are_told() {
    let with_line = |line: &str| (!line.is_empty()).then(|| format!("{line}\n    {WORD} x"));
    all_are_told(Dialect::Haproxy, &changed(HAPROXY, with_line), 100);
}

#[test]
fn words_of_nginx_that_nobody_knows_are_told() {
    read(Dialect::Nginx, NGINX, "f", &Options::default()).unwrap();
    let with_word = |line: &str| {
        // Every word is a host there, and nobody asks for those of the server that takes the rest.
        if line.trim_start().starts_with("server_name") {
            return None;
        }
        let (before, end) = line.split_at_checked(line.len().checked_sub(1)?)?;
        [";", "{"].contains(&end).then(|| format!("{} {WORD} {end}", before.trim_end()))
    };
    all_are_told(Dialect::Nginx, &changed(NGINX, with_word), 100);
}

#[test]
fn lines_of_nginx_that_nobody_knows_are_told() {
    let with_line = |line: &str| {
        let is_whole = line.ends_with([';', '{']);
        is_whole.then(|| format!("{line}\n    {WORD} x;"))
    };
    all_are_told(Dialect::Nginx, &changed(NGINX, with_line), 100);
}

/// Each keyword that is read, where it can stand.
const HAPROXY: &str = include_str!("data/haproxy/all_words.cfg");
/// Each directive that is read, where it can stand.
const NGINX: &str = include_str!("data/nginx/all_words.conf");
