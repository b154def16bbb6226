use std::fmt::Display;

use serde::de::{Error, Expected, Unexpected};

use crate::document::bare;
use crate::error::{ConfigError, Problem};
use crate::suggest::nearest;

impl Error for ConfigError {
    fn custom<T: Display>(text: T) -> Self {
        let text = text.to_string();
        // A policy is looked for by its own parser, which names those that there are.
        let policy =
            text.strip_prefix("unknown policy \"").and_then(|rest| rest.split_once("\": allowed are "));
        if let Some((given, allowed)) = policy {
            let allowed: Vec<String> = allowed.split(", ").map(str::to_owned).collect();
            let meant = nearest(given, allowed.iter().map(String::as_str)).map(str::to_owned);
            let problem = Problem::Unknown { what: "policy", given: given.to_owned(), allowed };
            return Self::new(problem).suggest(meant.as_deref());
        }
        Self::new(Problem::Invalid(text))
    }

    fn invalid_type(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let kind = Problem::Kind { given: shortened(&given), expected: expected.to_string() };
        Self::new(kind)
    }

    fn invalid_value(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(given, expected)
    }

    fn invalid_length(len: usize, expected: &dyn Expected) -> Self {
        let kind = Problem::Kind { given: format!("{len} values"), expected: expected.to_string() };
        Self::new(kind)
    }

    fn unknown_variant(given: &str, allowed: &'static [&'static str]) -> Self {
        unknown("name", given, allowed)
    }

    fn unknown_field(given: &str, allowed: &'static [&'static str]) -> Self {
        unknown("key", given, allowed)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::Missing).field_is(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(Problem::Twice { name: field.to_owned() })
    }
}

fn unknown(what: &'static str, given: &str, allowed: &'static [&'static str]) -> ConfigError {
    let mut names: Vec<String> = allowed.iter().map(|&name| name.to_owned()).collect();
    names.sort();
    let given: String = given.chars().take(100).collect();
    let meant = nearest(&given, allowed.iter().copied());
    ConfigError::new(Problem::Unknown { what, given, allowed: names }).suggest(meant)
}

pub(crate) fn shortened(given: &Unexpected<'_>) -> String {
    let text = given.to_string();
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl ConfigError {
    /// The error, seen from the table around it.
    pub(crate) fn under(self, key: &str) -> Self {
        let field = match self.field() {
            "" => bare(key),
            inner if inner.starts_with('[') => bare(key) + inner,
            inner => bare(key) + "." + inner,
        };
        self.field_is(field)
    }

    /// The error, seen from the list around it.
    pub(crate) fn in_list(self, index: usize) -> Self {
        let field = match self.field() {
            inner if inner.is_empty() || inner.starts_with('[') => format!("[{index}]{inner}"),
            inner => format!("[{index}].{inner}"),
        };
        self.field_is(field)
    }
}
