use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::error::{ConvertError, Problem};
use crate::glob;
use crate::limits::Limits;
use crate::place::Place;

/// A text with its name.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What may be read, and how much of it is left.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) limits: Limits,
    /// The folder that includes stay in, canonical; none if there are no files at all.
    root: Option<PathBuf>,
    /// The folder that relative includes start from.
    base: PathBuf,
    bytes: u64,
    files: u32,
    words: u64,
}

impl Files {
    /// Nothing but a text that is there already.
    pub(crate) fn none(limits: &Limits) -> Self {
        Self { limits: limits.clone(), root: None, base: PathBuf::new(), bytes: 0, files: 0, words: 0 }
    }

    /// The file at `path`, and what it includes below `root` (its own folder, unless given).
    pub(crate) fn open(
        path: &Path,
        root: Option<&Path>,
        limits: &Limits,
    ) -> Result<(Self, Text), ConvertError> {
        let name = path.display().to_string();
        let at = Place::start(&name);
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let root = root.unwrap_or(folder);
        let canonical = root.canonicalize().map_err(|error| unreadable(&at, root, &error))?;
        let mut files = Self::none(limits);
        files.root = Some(canonical);
        files.base = folder.canonicalize().map_err(|error| unreadable(&at, folder, &error))?;
        let text = files.read(path, &name, &at)?;
        Ok((files, text))
    }

    /// Counts a text that did not come from a file.
    pub(crate) fn count(&mut self, text: &Text) -> Result<(), ConvertError> {
        no_zero_byte(text)?;
        self.bytes += text.text.len() as u64;
        if self.bytes > self.limits.bytes {
            return Err(too_many(&Place::start(&text.name), "bytes of configuration", self.limits.bytes));
        }
        Ok(())
    }

    /// Counts a word.
    pub(crate) fn count_word(&mut self, place: &Place) -> Result<(), ConvertError> {
        self.words += 1;
        if self.words > self.limits.words {
            return Err(too_many(place, "words", self.limits.words));
        }
        Ok(())
    }

    /// What a pattern names: files in the order of their names.
    pub(crate) fn include(&mut self, pattern: &str, at: &Place) -> Result<Vec<Text>, ConvertError> {
        let Some(root) = self.root.clone() else {
            let expected = "includes need a file and its folder; this text has none";
            return Err(ConvertError::unexpected(at, format!("include {pattern}"), expected));
        };
        let whole = self.base.join(pattern);
        if whole.components().any(|part| part == Component::ParentDir) {
            // What `..` leads to depends on links: it is resolved by the check below, file by file, and never globbed.
            if glob::is_pattern(pattern) {
                return Err(ConvertError::unexpected(at, pattern, "a pattern with \"..\" is not followed"));
            }
        }
        let mut found = Vec::new();
        if glob::is_pattern(pattern) {
            glob::find(&whole, &root, self.limits.files, &mut found).map_err(|error| match error {
                glob::GlobError::TooMany => too_many(at, "files", self.limits.files.into()),
                glob::GlobError::Outside => outside(at, &whole, &root),
            })?;
            found.sort();
        } else {
            found.push(whole);
        }
        let mut texts = Vec::new();
        for path in found {
            let canonical = path.canonicalize().map_err(|error| unreadable(at, &path, &error))?;
            if !canonical.starts_with(&root) {
                return Err(outside(at, &path, &root));
            }
            let name = canonical.strip_prefix(&self.base).unwrap_or(&canonical).display().to_string();
            texts.push(self.read(&canonical, &name, at)?);
        }
        Ok(texts)
    }

    fn read(&mut self, path: &Path, name: &str, at: &Place) -> Result<Text, ConvertError> {
        self.files += 1;
        if self.files > self.limits.files {
            return Err(too_many(at, "files", self.limits.files.into()));
        }
        // Asked before it is opened, since to open a pipe waits for somebody who writes.
        let metadata = fs::metadata(path).map_err(|error| unreadable(at, path, &error))?;
        if !metadata.is_file() {
            let error = std::io::Error::other("it is not a plain file");
            return Err(unreadable(at, path, &error));
        }
        let file = fs::File::open(path).map_err(|error| unreadable(at, path, &error))?;
        let left = self.limits.bytes.saturating_sub(self.bytes);
        let mut bytes = Vec::new();
        file.take(left.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(at, path, &error))?;
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limits.bytes {
            return Err(too_many(at, "bytes of configuration", self.limits.bytes));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let place = place_after(name, &String::from_utf8_lossy(&error.as_bytes()[..valid]));
            ConvertError::new(&place, Problem::Syntax("this byte is not UTF-8".to_owned()))
        })?;
        let text = Text { name: name.to_owned(), text };
        no_zero_byte(&text)?;
        Ok(text)
    }
}

/// Where a text ends.
pub(crate) fn place_after(name: &str, before: &str) -> Place {
    let line = before.matches('\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u32 + 1;
    Place { file: name.into(), line, column }
}

fn no_zero_byte(text: &Text) -> Result<(), ConvertError> {
    match text.text.split_once('\0') {
        Some((before, _)) => {
            let problem = Problem::Syntax("a zero byte: this is no text file".to_owned());
            Err(ConvertError::new(&place_after(&text.name, before), problem))
        }
        None => Ok(()),
    }
}

fn too_many(place: &Place, what: &'static str, limit: u64) -> ConvertError {
    ConvertError::new(place, Problem::TooMany { what, limit })
}

fn unreadable(place: &Place, path: &Path, error: &std::io::Error) -> ConvertError {
    let path = path.display().to_string();
    ConvertError::new(place, Problem::Unreadable { path, error: error.to_string() })
}

fn outside(place: &Place, path: &Path, root: &Path) -> ConvertError {
    let (path, root) = (path.display().to_string(), root.display().to_string());
    ConvertError::new(place, Problem::Outside { path, root })
}
