//! Files that other files name, read into one tree. Only the main file includes, and only from its own folder and those
//! below it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::Arc;

use evenkeel_file::Syntax;

use super::bounds::{Bounds, Budget};
use super::node::{Entry, Node, Place, Value};
use super::{Document, Path, parse, refuse_variables};
use crate::error::{ConfigError, Problem};

pub(crate) fn load(path: &FilePath, bounds: Bounds) -> Result<Document, ConfigError> {
    let mut reader = Reader { budget: Budget::new(bounds), bytes: bounds.bytes, bounds, files: Vec::new() };
    match reader.all(path) {
        Ok(root) => Ok(Document { root, files: reader.files }),
        // An error without a place is about the file that was read last.
        Err(error) if error.place().is_none() && !reader.files.is_empty() => {
            let file = super::lines::bounded(reader.files.len() - 1) as u16;
            Err(error.at(Place { file, line: 1, column: 1 }).in_files(&reader.files))
        }
        Err(error) => Err(error.in_files(&reader.files)),
    }
}

/// What the file includes, as it is written. What cannot be read includes nothing.
pub(crate) fn includes_of(path: &FilePath) -> Vec<String> {
    let bounds = Bounds::default();
    let mut reader = Reader { budget: Budget::new(bounds), bytes: bounds.bytes, bounds, files: Vec::new() };
    let include = reader.one(path).ok().and_then(|mut root| take_include(&mut root));
    let patterns = include.iter().filter_map(|include| patterns(include).ok()).flatten();
    let text = |pattern: &Node| match &pattern.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    patterns.filter_map(text).collect()
}

/// The files that these patterns stand for now, beside the main file.
pub(crate) fn files_of(path: &FilePath, patterns: &[String]) -> Vec<PathBuf> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
    patterns.iter().flat_map(|pattern| matching(folder, pattern).unwrap_or_default()).collect()
}

struct Reader {
    budget: Budget,
    /// How many are left.
    bytes: usize,
    bounds: Bounds,
    files: Vec<Arc<PathBuf>>,
}

impl Reader {
    fn all(&mut self, path: &FilePath) -> Result<Node, ConfigError> {
        let mut root = self.one(path)?;
        let Some(include) = take_include(&mut root) else {
            return Ok(root);
        };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => FilePath::new("."),
        };
        let mut seen = vec![fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())];
        for (i, pattern) in patterns(&include)?.into_iter().enumerate() {
            let wrong =
                |problem: Problem| ConfigError::new(problem).at(pattern.at).field_is(format!("include[{i}]"));
            let Value::Text(text) = &pattern.value else {
                let problem = Problem::Kind { given: pattern.kind().into(), expected: "a text".into() };
                return Err(wrong(problem));
            };
            for found in matching(folder, text).map_err(|text| wrong(Problem::Include(text)))? {
                let real = fs::canonicalize(&found)
                    .map_err(|error| wrong(Problem::Include(format!("{}: {error}", found.display()))))?;
                if seen.contains(&real) {
                    continue;
                }
                seen.push(real);
                if self.files.len() > self.bounds.files {
                    let text = format!("more than {} files, which is the limit", self.bounds.files);
                    return Err(wrong(Problem::Include(text)));
                }
                let part = self.one(&found)?;
                if let Some(inner) = part.entry("include") {
                    let text = "only the main file includes others".to_owned();
                    return Err(ConfigError::new(Problem::Include(text)).at(inner.at).field_is("include"));
                }
                merge(&mut root, part, &Path::default())?;
            }
        }
        Ok(root)
    }

    fn one(&mut self, path: &FilePath) -> Result<Node, ConfigError> {
        let number = u16::try_from(self.files.len()).unwrap_or(u16::MAX);
        self.files.push(Arc::new(path.to_path_buf()));
        let syntax = Syntax::of(path).ok_or(Problem::UnknownSyntax)?;
        let text = self.read(path)?;
        let root = parse(&text, syntax, number, &mut self.budget)?;
        refuse_variables(&root)?;
        Ok(root)
    }

    fn read(&mut self, path: &FilePath) -> Result<String, ConfigError> {
        let unreadable = |error: std::io::Error| ConfigError::new(Problem::Unreadable(error.to_string()));
        let file = File::open(path).map_err(unreadable)?;
        let kind = file.metadata().map_err(unreadable)?;
        if !kind.is_file() {
            return Err(Problem::Unreadable("it is not a file".to_owned()).into());
        }
        let mut bytes = Vec::new();
        let most = u64::try_from(self.bytes).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() > self.bytes {
            return Err(Problem::TooLarge { limit: self.bounds.bytes }.into());
        }
        self.bytes -= bytes.len();
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Problem::Syntax(format!("byte {at} is not UTF-8")).into()
        })
    }
}

fn take_include(root: &mut Node) -> Option<Entry> {
    let Value::Map(entries) = &mut root.value else { return None };
    let at = entries.iter().position(|entry| entry.key == "include")?;
    Some(entries.remove(at))
}

fn patterns(include: &Entry) -> Result<Vec<&Node>, ConfigError> {
    match &include.node.value {
        Value::List(patterns) => Ok(patterns.iter().collect()),
        _ => {
            let problem = Problem::Kind {
                given: include.node.kind().into(),
                expected: "a list of paths such as \"conf.d/*.toml\"".into(),
            };
            Err(ConfigError::new(problem).at(include.node.at).field_is("include"))
        }
    }
}

/// The files of a pattern, sorted by name. Only the last part of it may hold a `*`; without one the file must exist.
fn matching(folder: &FilePath, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let relative = FilePath::new(pattern);
    if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{pattern:?} leaves the folder of the main file: write a path below it"));
    }
    let name = relative.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| format!("{pattern:?} names no file"))?;
    let parent = folder.join(relative.parent().unwrap_or(FilePath::new("")));
    if parent.to_string_lossy().contains('*') && pattern.matches('*').count() > name.matches('*').count() {
        return Err(format!("{pattern:?}: only the name of the file may hold a *, not its folder"));
    }
    let inside = |found: &FilePath| {
        let real = fs::canonicalize(found).map_err(|error| format!("{}: {error}", found.display()))?;
        let root = fs::canonicalize(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        if real.starts_with(root) {
            Ok(())
        } else {
            Err(format!("{} leads out of the folder of the main file", found.display()))
        }
    };
    if !name.contains('*') {
        let found = parent.join(name);
        inside(&found)?;
        return Ok(vec![found]);
    }
    let listed = match fs::read_dir(&parent) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", parent.display())),
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|error| format!("{}: {error}", parent.display()))?;
        if entry.file_name().to_str().is_some_and(|given| !given.starts_with('.') && fits(name, given)) {
            inside(&entry.path())?;
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name fits a pattern, in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Puts one tree into another: these lists go on, tables are joined, and all else is given once.
fn merge(into: &mut Node, part: Node, path: &Path) -> Result<(), ConfigError> {
    let (Value::Map(entries), Value::Map(more)) = (&mut into.value, part.value) else { return Ok(()) };
    for new in more {
        let path = path.key(&new.key);
        let Some(old) = entries.iter_mut().find(|old| old.key == new.key) else {
            entries.push(new);
            continue;
        };
        let goes_on = LISTS.contains(&path.to_string().as_str());
        match (&mut old.node.value, new.node.value) {
            (Value::List(old), Value::List(new)) if goes_on => old.extend(new),
            (Value::Map(_), Value::Map(inner)) => {
                let part = Node { at: new.node.at, value: Value::Map(inner) };
                merge(&mut old.node, part, &path)?;
            }
            _ => {
                let error = ConfigError::new(Problem::InTwoFiles).at(new.at).field_is(path.to_string());
                return Err(error.also(Some(old.at), "the other one is"));
            }
        }
    }
    Ok(())
}

const LISTS: [&str; 4] = ["listeners", "clusters", "http.routes", "stream.routes"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.yaml", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "x", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
