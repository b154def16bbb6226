//! Expressions for a part of a text's beginnings.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Dot, Hir, HirKind, Look, Repetition};

/// An expression for the whole of a text, as one that takes of these texts those which begin with `prefix`. The error is why there
/// is none.
///
/// What may follow each letter of the prefix is worked out letter by letter: J. A. Brzozowski, "Derivatives of Regular
/// Expressions", 1964.
pub(crate) fn below(prefix: &str, pattern: &str) -> Result<String, &'static str> {
    // Paths begin with a slash anyway.
    if prefix.is_empty() || prefix == "/" {
        return Ok(pattern.to_owned());
    }
    let whole = ParserBuilder::new()
        .utf8(false)
        .nest_limit(DEEPEST)
        .build()
        .parse(pattern)
        .map_err(|_| "it does not compile here: look-around and back-references are not known")?;
    let known = [Look::Start, Look::End];
    if whole.properties().look_set().iter().any(|look| !known.contains(&look)) || !prefix.is_ascii() {
        return Err("what it looks at around a place is not followed: write one expression for both");
    }
    let mut rest = whole.clone();
    for (at, letter) in prefix.bytes().enumerate() {
        rest = after(&rest, letter, at == 0);
        if rest.to_string().len() > LONGEST {
            return Err("together they are too long: write one expression for both");
        }
    }
    if rest.properties().minimum_len().is_none() {
        return Err("no path is both, so nginx never goes there");
    }
    let start = regex_syntax::escape(prefix);
    if rest == whole {
        // It takes anything at its beginning, and stays as it was written.
        let rest =
            pattern.strip_prefix("(?i)").map_or_else(|| pattern.to_owned(), |rest| format!("(?i:{rest})"));
        return Ok(if rest.contains('|') { format!("{start}(?:{rest})") } else { format!("{start}{rest}") });
    }
    let any = Hir::dot(Dot::AnyCharExceptLF).to_string();
    Ok(format!("{start}(?:{})", rest.to_string().replace(&any, ".")))
}

/// What may follow this letter, where an expression may begin with it.
fn after(hir: &Hir, letter: u8, is_start: bool) -> Hir {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Hir::fail(),
        HirKind::Literal(text) => match text.0.split_first() {
            Some((&first, rest)) if first == letter => Hir::literal(rest.to_vec()),
            _ => Hir::fail(),
        },
        HirKind::Class(class) => {
            let is_in = match class {
                Class::Unicode(class) => {
                    let letter = char::from(letter);
                    class.iter().any(|range| (range.start()..=range.end()).contains(&letter))
                }
                Class::Bytes(class) => {
                    class.iter().any(|range| (range.start()..=range.end()).contains(&letter))
                }
            };
            if is_in { Hir::empty() } else { Hir::fail() }
        }
        HirKind::Repetition(repetition) if repetition.max == Some(0) => Hir::fail(),
        HirKind::Repetition(repetition) => {
            let left = Repetition {
                min: repetition.min.saturating_sub(1),
                max: repetition.max.map(|max| max.saturating_sub(1)),
                ..repetition.clone()
            };
            Hir::concat(vec![after(&repetition.sub, letter, is_start), Hir::repetition(left)])
        }
        HirKind::Capture(capture) => after(&capture.sub, letter, is_start),
        HirKind::Concat(parts) => {
            let mut choices = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                let rest =
                    std::iter::once(after(part, letter, is_start)).chain(parts[at + 1..].iter().cloned());
                choices.push(Hir::concat(rest.collect()));
                if !may_be_nothing(part, is_start) {
                    break;
                }
            }
            either(choices)
        }
        HirKind::Alternation(parts) => {
            either(parts.iter().map(|part| after(part, letter, is_start)).collect())
        }
    }
}

/// Any of these that can match at all.
fn either(mut choices: Vec<Hir>) -> Hir {
    choices.retain(|choice| choice.properties().minimum_len().is_some());
    let mut different: Vec<Hir> = Vec::new();
    for choice in choices {
        if !different.contains(&choice) {
            different.push(choice);
        }
    }
    Hir::alternation(different)
}

/// Whether an expression takes the empty text where another letter follows.
fn may_be_nothing(hir: &Hir, is_start: bool) -> bool {
    match hir.kind() {
        HirKind::Empty => true,
        HirKind::Look(look) => is_start && *look == Look::Start,
        HirKind::Literal(_) | HirKind::Class(_) => false,
        HirKind::Repetition(repetition) => repetition.min == 0 || may_be_nothing(&repetition.sub, is_start),
        HirKind::Capture(capture) => may_be_nothing(&capture.sub, is_start),
        HirKind::Concat(parts) => parts.iter().all(|part| may_be_nothing(part, is_start)),
        HirKind::Alternation(parts) => parts.iter().any(|part| may_be_nothing(part, is_start)),
    }
}

/// As rules allow.
const DEEPEST: u32 = 64;
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::below;
    use regex_automata::meta::Regex;

    /// Both at once, by trying texts.
    fn check(prefix: &str, pattern: &str, texts: &[&str]) {
        let whole = |pattern: &str| Regex::new(&format!("^(?:{pattern})$")).unwrap();
        let (both, alone) = (below(prefix, pattern), whole(pattern));
        for text in texts {
            let wanted = text.starts_with(prefix) && alone.is_match(text);
            let found = both.as_ref().is_ok_and(|both| whole(both).is_match(text));
            assert_eq!(found, wanted, "{prefix} {pattern} {text}: {both:?}");
        }
    }

    #[test]
    fn it_takes_what_both_take() {
        let texts = [
            "/a/x.php", "/a/b", "/b/x.php", "/a/", "/A/x.PHP", "/a/x.PHP", "/a.php", "/a/bb", "/a/c/d",
            "/a/.php", "/",
        ];
        for pattern in [
            r".*\.php",
            r"(?i).*\.php",
            "/b|/a/b+",
            ".*/b.*",
            "(?:/a/b|.*/c/.*)",
            "/a/(b|c/d)",
            "/[a-c]/b{1,2}",
            "(/a){1,2}/b",
            ".*",
            "(^/a/b|/c)",
            ".*(/b|/)$",
            "(?:/a)?/a/.*",
            "/.*/b",
            "(?:/(?:a|c))*.*d",
        ] {
            for prefix in ["/a/", "/a", "/a/b", "/"] {
                check(prefix, pattern, &texts);
            }
        }
    }

    #[test]
    fn it_stays_readable() {
        assert_eq!(below("/up/", r".*\.php").unwrap(), r"/up/.*\.php");
        assert_eq!(below("/up/", r"(?i).*\.php").unwrap(), r"/up/(?i:.*\.php)");
        assert!(below("/up/", "/down/.*").unwrap_err().contains("never goes there"));
        assert!(below("/up/", r"/up/\bx").is_err());
    }
}
