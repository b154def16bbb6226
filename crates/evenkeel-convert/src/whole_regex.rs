//! Expressions that look for a part of a text, as ones that take the whole of it.

/// A regular expression that need not match a whole text, as one that must.
pub(crate) fn whole_regex(pattern: &str) -> String {
    let (start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => ("", rest),
        None => (".*", pattern),
    };
    let is_escaped = pattern.strip_suffix('$').is_some_and(|rest| {
        rest.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
    });
    let (pattern, end) = match pattern.strip_suffix('$') {
        Some(rest) if !is_escaped => (rest, ""),
        _ => (pattern, ".*"),
    };
    // An alternation at the top binds less than what is put around it.
    if pattern.contains('|') { format!("{start}(?:{pattern}){end}") } else { format!("{start}{pattern}{end}") }
}

/// The same, with or without regard to case.
pub(crate) fn with_case(pattern: &str, ignores_case: bool) -> String {
    if ignores_case { format!("(?i){pattern}") } else { pattern.to_owned() }
}
