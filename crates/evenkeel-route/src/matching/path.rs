use regex_automata::meta::Regex;
use thiserror::Error;

use super::error::{RuleProblem, RulesError};
use super::http_rule::Limits;
use super::normal::{Case, PathOptions, normalise};
use super::regexes::compile_one;
use super::trie::{BREAK, WILD, segment_len};

/// Which paths a rule takes.
///
/// | written | matches | not |
/// |---|---|---|
/// | `exact = "/a"` | `/a` | `/a/`, `/a/b` |
/// | `prefix = "/a"` | `/a`, `/a/`, `/a/b` | `/ab` |
/// | `raw_prefix = "/a"` | `/a`, `/a/b`, `/ab` | `/b` |
/// | `template = "/users/{id}"` | `/users/7` | `/users/`, `/users/7/x` |
/// | `template = "/users/*/posts"` | `/users/7/posts` | `/users/7` |
/// | `template = "/users/{id}/**"` | `/users/7`, `/users/7/`, `/users/7/x/y` | `/users` |
/// | `template = "/files/{*path}"` | the same, and keeps the rest as `path` | |
/// | `regex = "/v[0-9]+/.*"` | the whole path must match | |
///
/// A capture takes one whole segment that is not empty. The rest that `**` and `{*name}` take may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum PathMatch {
    /// Any path, also `*` and the empty one.
    Any,
    /// This path.
    Exact(String),
    /// This path and everything below it.
    Prefix(String),
    /// Every path that begins with this text.
    RawPrefix(String),
    /// Paths of this form.
    Template(String),
    /// Paths of which the whole matches this regular expression.
    Regex(String),
}

/// The text is no path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParsePathError {
    /// A path begins with a slash.
    #[error("{0:?} does not begin with a slash")]
    NoSlash(String),
    /// A prefix that ends in a slash would not take the path without it.
    #[error("the prefix {0:?} ends in a slash: leave it out, or write raw_prefix")]
    FinalSlash(String),
    /// Control characters, question marks and hashes are in no path.
    #[error("{pattern:?} holds {byte:?}, which is in no path")]
    Byte {
        /// The pattern.
        pattern: String,
        /// The byte.
        byte: char,
    },
    /// A capture is a whole segment.
    #[error(
        "{segment:?} in {pattern:?}: braces and stars stand for a whole segment, as \"{{name}}\" or \"*\""
    )]
    Capture {
        /// The pattern.
        pattern: String,
        /// The segment.
        segment: String,
    },
    /// Two captures of one name.
    #[error("{pattern:?} captures {name:?} twice")]
    Twice {
        /// The pattern.
        pattern: String,
        /// The name.
        name: String,
    },
    /// The rest is the last segment.
    #[error("{0:?} goes on after the rest: \"**\" and \"{{*name}}\" come last")]
    AfterRest(String),
    /// An empty segment in a template.
    #[error("{0:?} has an empty segment")]
    EmptySegment(String),
    /// More segments than anybody uses.
    #[error("{segments} segments: at most {limit} are allowed")]
    TooDeep {
        /// How many.
        segments: usize,
        /// How many are allowed.
        limit: usize,
    },
}

/// A path pattern, ready to use.
#[derive(Clone, Debug)]
pub(crate) enum Path {
    Any,
    Trie(Shape),
    RawPrefix(Box<[u8]>),
    Regex { pattern: String, regex: Box<Regex> },
}

/// A pattern that the trie takes.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// As in [`super::trie::Pattern`].
    pub(crate) key: Vec<u8>,
    pub(crate) open: bool,
    pub(crate) names: Box<[Name]>,
}

/// A named part of a path.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) name: Box<str>,
    /// How many bytes lie before the first wild segment of the pattern: in every path that matches as many.
    pub(crate) skip: u32,
    /// How many segments there are from there to the named one.
    pub(crate) segments: u16,
    pub(crate) is_rest: bool,
}

impl Path {
    pub(crate) fn new(
        path: &PathMatch,
        field: impl Fn() -> String,
        options: &PathOptions,
        limits: &Limits,
    ) -> Result<Self, RulesError> {
        let refuse = |problem: RuleProblem| RulesError::new(field(), problem);
        let text = match path {
            PathMatch::Any => return Ok(Self::Any),
            PathMatch::Regex(pattern) => {
                check_length(pattern, limits).map_err(refuse)?;
                let ignore_case = options.case == Case::Insensitive;
                let regex = compile_one(pattern, ignore_case, limits.regex_bytes).map_err(refuse)?;
                return Ok(Self::Regex {
                    pattern: super::regexes::whole(pattern, ignore_case),
                    regex: Box::new(regex),
                });
            }
            PathMatch::Exact(text)
            | PathMatch::Prefix(text)
            | PathMatch::RawPrefix(text)
            | PathMatch::Template(text) => text,
        };
        check_length(text, limits).map_err(refuse)?;
        check_bytes(text).map_err(|error| refuse(error.into()))?;
        let text = normal(text, options).map_err(refuse)?;
        let shape =
            |template, open| Shape::new(&text, template, open, options, limits.segments).map(Self::Trie);
        let built = match path {
            PathMatch::RawPrefix(_) => Ok(Self::RawPrefix(lower(text.as_bytes(), options).into())),
            PathMatch::Prefix(_) if text == "/" => shape(false, true),
            PathMatch::Prefix(_) if text.ends_with('/') => Err(ParsePathError::FinalSlash(text.clone())),
            PathMatch::Prefix(_) => shape(false, true),
            PathMatch::Template(_) => shape(true, false),
            _ => shape(false, false),
        };
        built.map_err(|error| refuse(error.into()))
    }

    pub(crate) fn names(&self) -> &[Name] {
        if let Self::Trie(shape) = self { &shape.names } else { &[] }
    }

    /// Whether it takes `path`, in normal form: the slow way, which the index must agree with.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Trie(shape) => shape.matches(path),
            Self::RawPrefix(prefix) => path.starts_with(prefix),
            Self::Regex { regex, .. } => regex.is_match(path),
        }
    }
}

impl Shape {
    fn new(
        text: &str,
        is_template: bool,
        open: bool,
        options: &PathOptions,
        deepest: usize,
    ) -> Result<Self, ParsePathError> {
        let mut shape = Self { key: Vec::new(), open, names: Box::default() };
        if text == "/" && open {
            return Ok(shape);
        }
        shape.key.reserve_exact(text.len());
        let mut names: Vec<Name> = Vec::new();
        // Where the first wild segment begins, and its number.
        let mut wild = None;
        for (segment, part) in text.split('/').skip(1).enumerate() {
            if segment >= deepest {
                return Err(ParsePathError::TooDeep {
                    segments: text.split('/').count() - 1,
                    limit: deepest,
                });
            }
            if shape.open && is_template {
                return Err(ParsePathError::AfterRest(text.to_owned()));
            }
            let Some((name, is_rest)) = (if is_template { capture(text, part)? } else { None }) else {
                shape.key.push(BREAK);
                shape.key.extend(lower(part.as_bytes(), options));
                continue;
            };
            if names.iter().any(|other| *other.name == *name && !name.is_empty()) {
                return Err(ParsePathError::Twice { pattern: text.to_owned(), name: name.to_owned() });
            }
            if !name.is_empty() {
                let (skip, first) = *wild.get_or_insert((shape.key.len(), segment));
                // Patterns are bounded far below what these hold.
                let (skip, segments) = (skip as u32, (segment - first) as u16);
                names.push(Name { name: name.into(), skip, segments, is_rest });
            }
            wild = wild.or(Some((shape.key.len(), segment)));
            if is_rest {
                shape.open = true;
            } else {
                shape.key.extend([BREAK, WILD]);
            }
        }
        shape.names = names.into();
        Ok(shape)
    }

    fn matches(&self, path: &[u8]) -> bool {
        if path.first() != Some(&b'/') {
            return false;
        }
        let mut given = path.split(|&byte| byte == b'/').skip(1);
        for wanted in self.key.split(|&byte| byte == BREAK).skip(1) {
            let Some(segment) = given.next() else { return false };
            let fits = if wanted == [WILD] { !segment.is_empty() } else { wanted == segment };
            if !fits {
                return false;
            }
        }
        self.open || given.next().is_none()
    }
}

impl Name {
    /// The part of `path` that has this name. The path matches.
    #[inline]
    pub(crate) fn of<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        let mut rest = path.get(self.skip as usize..).unwrap_or_default();
        for _ in 0..self.segments {
            rest = rest.get(segment_len(rest)..).unwrap_or_default();
        }
        let end = if self.is_rest { rest.len() } else { segment_len(rest) };
        rest.get(1..end).unwrap_or_default()
    }
}

/// The name of a capture, empty if it has none, and whether it takes the rest.
fn capture<'t>(pattern: &str, segment: &'t str) -> Result<Option<(&'t str, bool)>, ParsePathError> {
    match segment {
        "" => return Err(ParsePathError::EmptySegment(pattern.to_owned())),
        "*" => return Ok(Some(("", false))),
        "**" => return Ok(Some(("", true))),
        _ if !segment.contains(['{', '}', '*']) => return Ok(None),
        _ => {}
    }
    let inside = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let named = inside.map(|inside| inside.strip_prefix('*').map_or((inside, false), |name| (name, true)));
    match named {
        Some((name, is_rest)) if is_name(name) => Ok(Some((name, is_rest))),
        _ => Err(ParsePathError::Capture { pattern: pattern.to_owned(), segment: segment.to_owned() }),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn check_length(text: &str, limits: &Limits) -> Result<(), RuleProblem> {
    if text.len() > limits.pattern_bytes {
        return Err(RuleProblem::TooLong { len: text.len(), limit: limits.pattern_bytes });
    }
    Ok(())
}

fn check_bytes(text: &str) -> Result<(), ParsePathError> {
    if !text.starts_with('/') {
        return Err(ParsePathError::NoSlash(text.to_owned()));
    }
    match text.chars().find(|&c| c.is_control() || c == '?' || c == '#') {
        Some(byte) => Err(ParsePathError::Byte { pattern: text.to_owned(), byte }),
        None => Ok(()),
    }
}

/// The pattern as it is, if it is in normal form but for its case.
fn normal(text: &str, options: &PathOptions) -> Result<String, RuleProblem> {
    let options = PathOptions { case: Case::Sensitive, longest: usize::MAX, ..options.clone() };
    let mut buffer = Vec::new();
    let normal = match normalise(text.as_bytes(), &options, &mut buffer) {
        Ok(normal) => String::from_utf8_lossy(normal).into_owned(),
        Err(error) => error.to_string(),
    };
    if normal == text { Ok(normal) } else { Err(RuleProblem::NotNormal { written: text.to_owned(), normal }) }
}

fn lower(text: &[u8], options: &PathOptions) -> Vec<u8> {
    if options.case == Case::Insensitive { text.to_ascii_lowercase() } else { text.to_vec() }
}
