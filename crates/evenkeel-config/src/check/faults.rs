use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Document, Path, Place};
use crate::error::{ConfigError, ConfigErrors, Problem, Warning};
use crate::loaded::Loaded;
use crate::suggest::nearest;

/// What was found so far, and where.
pub(crate) struct Faults<'l> {
    document: Option<&'l Arc<Document>>,
    errors: Vec<ConfigError>,
    warnings: Vec<Warning>,
}

impl<'l> Faults<'l> {
    pub(crate) fn new(loaded: &'l Loaded) -> Self {
        Self { document: loaded.document.as_ref(), errors: Vec::new(), warnings: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn end(mut self) -> Result<Vec<Warning>, ConfigErrors> {
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        let place = |error: &ConfigError| error.place().map(|at| (at.file, at.line, at.column));
        self.errors.sort_by_key(place);
        Err(ConfigErrors(self.errors))
    }

    pub(crate) fn place(&self, path: &Path) -> Option<Place> {
        self.document.map(|document| document.locate(path))
    }

    fn made(&self, path: &Path, problem: Problem) -> ConfigError {
        let error = ConfigError::new(problem).field_is(path.to_string());
        match self.place(path) {
            Some(at) => error.at(at),
            None => error,
        }
    }

    fn with_files(&self, error: ConfigError) -> ConfigError {
        match self.document {
            Some(document) => error.in_files(&document.files),
            None => error,
        }
    }

    pub(crate) fn error(&mut self, path: &Path, problem: Problem) {
        let error = self.with_files(self.made(path, problem));
        self.errors.push(error);
    }

    /// An error that has to do with another place.
    pub(crate) fn error_also(&mut self, path: &Path, problem: Problem, other: &Path, what: &'static str) {
        let error = self.made(path, problem).also(self.place(other), what);
        let error = self.with_files(error);
        self.errors.push(error);
    }

    /// An error of another crate, whose text begins with the field as seen from `base`, if it names one.
    pub(crate) fn foreign(&mut self, base: &Path, text: &str) {
        let (path, problem) = foreign(base, text);
        self.error(&path, problem);
    }

    /// A name that nothing has.
    pub(crate) fn unknown<'n>(
        &mut self,
        path: &Path,
        what: &'static str,
        given: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) {
        let meant = nearest(given, known.clone());
        let mut allowed: Vec<String> = known.take(20).map(str::to_owned).collect();
        allowed.sort();
        let problem = Problem::Unknown { what, given: given.to_owned(), allowed };
        let error = self.with_files(self.made(path, problem).suggest(meant));
        self.errors.push(error);
    }

    pub(crate) fn warn(&mut self, path: &Path, text: String, other: Option<(&Path, &'static str)>) {
        let mut warning = self.made(path, Problem::Invalid(text));
        if let Some((other, what)) = other {
            warning = warning.also(self.place(other), what);
        }
        let warning = self.with_files(warning);
        self.warnings.push(Warning(warning));
    }

    /// That names are there, and each once.
    pub(crate) fn names<'n>(&mut self, list: &str, names: impl Iterator<Item = &'n str>) {
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        let list = Path::from(list);
        for (i, name) in names.enumerate() {
            let path = || list.index(i).key("name");
            if name.is_empty() {
                self.error(&path(), Problem::invalid("is empty: give each a name"));
            } else if let Some(first) = known.insert(name, i) {
                let problem = Problem::Twice { name: name.to_owned() };
                self.error_also(&path(), problem, &list.index(first).key("name"), "the first is in");
            }
        }
    }
}

/// The field that an error of another crate names, as seen from `base`, and the rest of its text.
pub(crate) fn foreign(base: &Path, text: &str) -> (Path, Problem) {
    let (field, rest) = split_field(text);
    (base.join(field), Problem::Invalid(rest.to_owned()))
}

/// Splits `rules.ewma.over is 0: …` after the field, and `check: text` too.
fn split_field(text: &str) -> (&str, &str) {
    let is_field =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '[' | ']');
    let end = text.find(|c| !is_field(c)).unwrap_or(text.len());
    let (field, rest) = text.split_at(end);
    if field.is_empty() || !field.starts_with(|c: char| c.is_ascii_lowercase()) || field.ends_with('.') {
        return ("", text);
    }
    if let Some(rest) = rest.strip_prefix(": ") {
        return (field, rest);
    }
    let verbs = [" is ", " holds ", " has ", " of ", " = "];
    if verbs.iter().any(|verb| rest.starts_with(verb)) { (field, rest.trim_start()) } else { ("", text) }
}

#[cfg(test)]
mod tests {
    use super::split_field;

    #[test]
    fn fields_are_taken_off_messages() {
        for (text, field, rest) in [
            ("rules.ewma.alpha is 0: must be above", "rules.ewma.alpha", "is 0: must be above"),
            ("rules[3].hosts[0]: bad", "rules[3].hosts[0]", "bad"),
            ("connection.endpoints is empty: give", "connection.endpoints", "is empty: give"),
            ("fallbacks go in a circle: a", "", "fallbacks go in a circle: a"),
            ("there are no feeds", "", "there are no feeds"),
            ("", "", ""),
        ] {
            assert_eq!(split_field(text), (field, rest), "{text}");
        }
    }
}
