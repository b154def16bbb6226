use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::document::Place;

/// One thing that is wrong with a configuration: where, what, what is allowed there, and what was probably meant.
///
/// It is shown as `file:line:column: field: problem`. Parts that are not known are left out: a configuration that was made
/// in the program has no file.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigError {
    inner: Box<Inner>,
}

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    file: Option<Arc<PathBuf>>,
    at: Option<Place>,
    field: String,
    problem: Problem,
    suggestion: Option<String>,
    /// Another place that has to do with it, and what stands there.
    also: Option<(Place, Option<Arc<PathBuf>>, &'static str)>,
}

impl ConfigError {
    pub(crate) fn new(problem: Problem) -> Self {
        let (file, at, field, suggestion, also) = (None, None, String::new(), None, None);
        Self { inner: Box::new(Inner { file, at, field, problem, suggestion, also }) }
    }

    pub(crate) fn at(mut self, at: Place) -> Self {
        self.inner.at.get_or_insert(at);
        self
    }

    pub(crate) fn place(&self) -> Option<Place> {
        self.inner.at
    }

    pub(crate) fn field_is(mut self, field: impl Into<String>) -> Self {
        self.inner.field = field.into();
        self
    }

    pub(crate) fn suggest(mut self, meant: Option<&str>) -> Self {
        self.inner.suggestion = meant.map(str::to_owned);
        self
    }

    pub(crate) fn also(mut self, at: Option<Place>, what: &'static str) -> Self {
        self.inner.also = at.map(|at| (at, None, what));
        self
    }

    /// Gives places their files.
    pub(crate) fn in_files(mut self, files: &[Arc<PathBuf>]) -> Self {
        let name = |place: &Place| files.get(usize::from(place.file)).cloned();
        if let Some(at) = &self.inner.at {
            self.inner.file = name(at);
        }
        if let Some((at, file, _)) = &mut self.inner.also {
            *file = name(at);
        }
        self
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> Option<&std::path::Path> {
        self.inner.file.as_deref().map(PathBuf::as_path)
    }

    /// The line, from 1.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        self.inner.at.map(|at| at.line)
    }

    /// The column, from 1, in characters.
    #[must_use]
    pub fn column(&self) -> Option<u32> {
        self.inner.at.map(|at| at.column)
    }

    /// The field, such as `clusters[2].breaker.open_for`; empty if it is the file as a whole.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.inner.field
    }

    /// What is wrong there.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.inner.problem
    }

    /// What was probably meant.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.inner.suggestion.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { file, at, field, problem, suggestion, also } = &*self.inner;
        if let Some(file) = file {
            write!(f, "{}:", file.display())?;
        }
        if let Some(at) = at {
            write!(f, "{}:{}: ", at.line, at.column)?;
        } else if file.is_some() {
            f.write_str(" ")?;
        }
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        write!(f, "{problem}")?;
        if let Some(meant) = suggestion {
            write!(f, "; did you mean {meant:?}?")?;
        }
        if let Problem::Unknown { allowed, .. } = problem
            && suggestion.is_none()
            && !allowed.is_empty()
        {
            write!(f, "; allowed are {}", allowed.join(", "))?;
        }
        if let Some((at, file, what)) = also {
            write!(f, "; {what} ")?;
            match file {
                Some(file) if Some(file) != self.inner.file.as_ref() => {
                    write!(f, "{}:{}", file.display(), at.line)?;
                }
                _ => write!(f, "line {}", at.line)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// A file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The ending of a file does not tell how it is written.
    #[error("the ending of the file does not tell how it is written: use .toml, .yaml, .yml or .json")]
    UnknownSyntax,
    /// The files are larger than [`Bounds::bytes`](crate::Bounds::bytes).
    #[error("more than {limit} bytes in all, which is the limit")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// More values than [`Bounds::values`](crate::Bounds::values); aliases count as what they stand for.
    #[error("more than {limit} values in all, which is the limit (an alias counts as what it stands for)")]
    TooManyValues {
        /// The bound.
        limit: usize,
    },
    /// Nested deeper than [`Bounds::depth`](crate::Bounds::depth).
    #[error("nested deeper than {limit} levels, which is the limit")]
    TooDeep {
        /// The bound.
        limit: usize,
    },
    /// It is not TOML, YAML or JSON.
    #[error("syntax: {0}")]
    Syntax(String),
    /// A number that no setting can hold.
    #[error("{0} is not a number that fits")]
    Number(String),
    /// The key stands in this table twice.
    #[error("the key {key:?} stands here twice, first in line {first}")]
    TwiceKey {
        /// The key.
        key: String,
        /// The line of the first.
        first: u32,
    },
    /// There is no such key or name here.
    #[error("unknown {what} {given:?}")]
    Unknown {
        /// `key`, `name`, `cluster` …
        what: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: Vec<String>,
    },
    /// A key that must be there is not.
    #[error("is missing")]
    Missing,
    /// A value of the wrong kind.
    #[error("is {given}, expected {expected}")]
    Kind {
        /// What was given.
        given: String,
        /// What is expected.
        expected: String,
    },
    /// The name of what may be there once stands twice.
    #[error("{name:?} stands here a second time")]
    Twice {
        /// The name.
        name: String,
    },
    /// The setting is given in two files.
    #[error("is given in two files")]
    InTwoFiles,
    /// A text holds a variable, and variables are not replaced.
    #[error(
        "{variable} is not replaced, environment variables are not read: write the value, and keep secrets in files that a setting ending in _file names"
    )]
    Variable {
        /// Such as `${PASSWORD}`.
        variable: String,
    },
    /// An `include` that leads nowhere or out of the folder, or stands where none is allowed.
    #[error("{0}")]
    Include(String),
    /// A value is out of range, or does not fit others. The text says what is allowed.
    #[error("{0}")]
    Invalid(String),
}

impl Problem {
    pub(crate) fn invalid(text: impl fmt::Display) -> Self {
        Self::Invalid(text.to_string())
    }
}

/// Everything that is wrong with a configuration. Nothing was built, and nothing that runs has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigErrors(pub(crate) Vec<ConfigError>);

impl ConfigErrors {
    /// Each of them, at least one, in the order of the configuration.
    #[must_use]
    pub fn all(&self) -> &[ConfigError] {
        &self.0
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something that works and is probably not meant. It is shown as an error is.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning(pub(crate) ConfigError);

impl Warning {
    /// Where and what.
    #[must_use]
    pub const fn details(&self) -> &ConfigError {
        &self.0
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
