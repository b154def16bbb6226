//! Files and texts as a tree that knows where its values stand.

mod bounds;
mod include;
mod json;
mod lines;
mod node;
mod path;
mod toml;
mod yaml;

use std::path::PathBuf;
use std::sync::Arc;

use evenkeel_file::Syntax;

pub use bounds::Bounds;
pub(crate) use bounds::Budget;
pub(crate) use include::{files_of, includes_of, load};
pub(crate) use node::{Entry, Node, Place, Value};
pub(crate) use path::{Path, Step, bare};

use crate::error::{ConfigError, Problem};

/// One tree of all files.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) root: Node,
    /// By number of the file in a [`Place`]. Empty for a text without a file.
    pub(crate) files: Vec<Arc<PathBuf>>,
}

impl Document {
    pub(crate) fn parse(text: &str, syntax: Syntax, bounds: Bounds) -> Result<Self, ConfigError> {
        if text.len() > bounds.bytes {
            return Err(Problem::TooLarge { limit: bounds.bytes }.into());
        }
        let root = parse(text, syntax, 0, &mut Budget::new(bounds))?;
        refuse_variables(&root)?;
        if let Some(include) = root.entry("include") {
            let problem = Problem::Include("a text includes nothing: load the file that it stands in".into());
            return Err(ConfigError::new(problem).at(include.at).field_is("include"));
        }
        Ok(Self { root, files: Vec::new() })
    }

    /// Where the value at this path stands, or the innermost of those around it that is there.
    ///
    /// Errors of other crates name lists without an index where each entry has a key of its own (`rules.consecutive`):
    /// then it is the first entry with such a key.
    pub(crate) fn locate(&self, path: &Path) -> Place {
        let (mut node, mut at) = (&self.root, self.root.at);
        for step in &path.0 {
            let next = match step {
                Step::Index(index) => node.item(*index).map(|node| (node, node.at)),
                Step::Key(key) => match &node.value {
                    Value::List(items) => {
                        let mut found = items.iter().filter_map(|item| item.entry(key));
                        found.next().map(|entry| (&entry.node, entry.node.at))
                    }
                    _ => node.entry(key).map(|entry| (&entry.node, value_or_key(entry))),
                },
            };
            let Some((inner, place)) = next else { break };
            (node, at) = (inner, place);
        }
        at
    }
}

/// A table stands where its key does; another value for itself.
fn value_or_key(entry: &Entry) -> Place {
    if matches!(entry.node.value, Value::Map(_) | Value::List(_)) { entry.at } else { entry.node.at }
}

pub(crate) fn parse(text: &str, syntax: Syntax, file: u16, budget: &mut Budget) -> Result<Node, ConfigError> {
    // Editors of some systems begin a file with a mark of its encoding.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = match syntax {
        Syntax::Toml => toml::parse(text, file, budget)?,
        Syntax::Yaml => yaml::parse(text, file, budget)?,
        Syntax::Json => json::parse(text, file, budget)?,
        _ => return Err(Problem::UnknownSyntax.into()),
    };
    match &root.value {
        Value::Map(_) => Ok(root),
        _ => {
            let problem = Problem::Kind { given: root.kind().into(), expected: "a table".into() };
            Err(ConfigError::new(problem).at(root.at))
        }
    }
}

/// Nobody shall believe that `${PASSWORD}` was replaced. Bodies of answers are free texts.
fn refuse_variables(root: &Node) -> Result<(), ConfigError> {
    let mut left = vec![(root, Path::default())];
    while let Some((node, path)) = left.pop() {
        match &node.value {
            Value::Text(text) if text.contains("${") => {
                let is_body = matches!(path.0.last(), Some(Step::Key(key)) if key == "body");
                if let Some(variable) = variable(text).filter(|_| !is_body) {
                    let problem = Problem::Variable { variable: variable.to_owned() };
                    return Err(ConfigError::new(problem).at(node.at).field_is(path.to_string()));
                }
            }
            Value::List(items) => {
                left.extend(items.iter().enumerate().rev().map(|(i, item)| (item, path.index(i))));
            }
            Value::Map(entries) => {
                left.extend(entries.iter().rev().map(|entry| (&entry.node, path.key(&entry.key))));
            }
            _ => {}
        }
    }
    Ok(())
}

fn variable(text: &str) -> Option<&str> {
    text.match_indices("${").find_map(|(start, _)| {
        let rest = &text[start..];
        let name = rest.get(2..rest.find('}')?)?;
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        is_name.then(|| &rest[..name.len() + 3])
    })
}
