//! Expressions that look for a part of a text, as ones that take the whole of it.

/// A regular expression that need not match a whole text, as one that must.
pub(crate) fn whole_regex(pattern: &str) -> String {
    let choices = choices(pattern);
    // An anchor is one of its own choice alone.
    if choices.len() > 1 && choices.iter().any(|choice| choice.starts_with('^') || choice.ends_with('$')) {
        let whole: Vec<String> = choices.into_iter().map(whole_regex).collect();
        return format!("(?:{})", whole.join("|"));
    }
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
    choices(pattern).len() > 1
}

/// What an expression is a choice of, at its top.
fn choices(pattern: &str) -> Vec<&str> {
    let (mut depth, mut in_class, mut is_escaped) = (0_u32, false, false);
    let (mut choices, mut start) = (Vec::new(), 0);
    for (at, c) in pattern.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ']' => in_class = false,
            _ if in_class => {}
            '[' => in_class = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => {
                choices.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    choices.push(&pattern[start..]);
    choices
}

/// The other way round: an expression that takes the whole of a text, for a program that looks for a part.
pub(crate) fn anchored(pattern: &str) -> (bool, String) {
    match pattern.strip_prefix("(?i)") {
        Some(rest) => (true, anchored(rest).1),
        None if has_choice(pattern) => (false, format!("^(?:{pattern})$")),
        None => (false, format!("^{pattern}$")),
    }
}

#[cfg(test)]
mod tests {
    use super::whole_regex;

    #[test]
    fn anchors_belong_to_their_choice() {
        assert_eq!(whole_regex("^/a"), "/a.*");
        assert_eq!(whole_regex("/a|/b"), ".*(?:/a|/b).*");
        assert_eq!(whole_regex("^/a|/b$"), "(?:/a.*|.*/b)");
        assert_eq!(whole_regex("^/(a|b)$"), "/(a|b)");
        assert_eq!(whole_regex(r"^/a\\|\|b$"), r"(?:/a\\.*|.*\|b)");
    }
}
