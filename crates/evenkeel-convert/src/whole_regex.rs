//! Expressions that look for a part of a text, as ones that take the whole of it.

/// A regular expression that need not match a whole text, as one that must.
pub(crate) fn whole_regex(pattern: &str) -> String {
    let (start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => ("", rest),
        None => (".*", pattern),
    };
    let is_escaped = pattern
        .strip_suffix('$')
        .is_some_and(|rest| rest.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1);
    let (pattern, end) = match pattern.strip_suffix('$') {
        Some(rest) if !is_escaped => (rest, ""),
        _ => (pattern, ".*"),
    };
    // An alternation at the top binds less than what is put around it.
    if has_choice(pattern) { format!("{start}(?:{pattern}){end}") } else { format!("{start}{pattern}{end}") }
}

/// The same, with or without regard to case.
pub(crate) fn with_case(pattern: &str, ignores_case: bool) -> String {
    if ignores_case { format!("(?i){pattern}") } else { pattern.to_owned() }
}

/// Whether an expression is a choice at its top.
fn has_choice(pattern: &str) -> bool {
    let (mut depth, mut in_class, mut is_escaped) = (0_u32, false, false);
    for c in pattern.chars() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ']' => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// The other way round: an expression that takes the whole of a text, for a program that looks for a part.
pub(crate) fn anchored(pattern: &str) -> (bool, String) {
    match pattern.strip_prefix("(?i)") {
        Some(rest) => (true, anchored(rest).1),
        None if has_choice(pattern) => (false, format!("^(?:{pattern})$")),
        None => (false, format!("^{pattern}$")),
    }
}
