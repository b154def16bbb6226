use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;
use thiserror::Error;

/// One file of recorded answers: JSON lines, told apart by `type`.
#[derive(Clone, Debug, Default)]
pub struct Vector {
    /// Where it was read.
    pub path: PathBuf,
    /// The line of type `meta`.
    pub meta: Value,
    /// The key lists by their id.
    pub keys: BTreeMap<String, Vec<String>>,
    /// The cases, in order.
    pub cases: Vec<Case>,
}

/// One case: a configuration of the program and what it then did.
#[derive(Clone, Debug)]
pub struct Case(pub Value);

/// Why a file could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The file itself.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line that is no JSON object of a known type.
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from one.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl Vector {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`Unreadable`], if it cannot be opened, or a line is not of the format.
    pub fn read(path: &Path) -> Result<Self, Unreadable> {
        let text =
            fs::read_to_string(path).map_err(|error| Unreadable::Io { path: path.to_owned(), error })?;
        Self::parse(path, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// [`Unreadable::Line`], if a line is not of the format.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Unreadable> {
        let mut vector =
            Self { path: path.to_owned(), meta: Value::Null, keys: BTreeMap::new(), cases: Vec::new() };
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            vector.take(line).map_err(|problem| Unreadable::Line {
                path: path.to_owned(),
                line: index + 1,
                problem,
            })?;
        }
        if vector.meta.is_null() {
            let problem = "no line of type `meta`".to_owned();
            return Err(Unreadable::Line { path: path.to_owned(), line: 1, problem });
        }
        Ok(vector)
    }

    fn take(&mut self, line: &str) -> Result<(), String> {
        let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        match value["type"].as_str() {
            Some("meta") => self.meta = value,
            Some("keys") => {
                let id = value["id"].as_str().ok_or("key list without `id`")?;
                let keys = value["keys"].as_array().ok_or("key list without `keys`")?;
                let keys = keys.iter().map(|key| key.as_str().map(str::to_owned).ok_or("a key is no string"));
                self.keys.insert(id.to_owned(), keys.collect::<Result<_, _>>()?);
            }
            Some("case") => self.cases.push(Case(value)),
            other => return Err(format!("unknown type {other:?}")),
        }
        Ok(())
    }

    /// The program that was recorded.
    #[must_use]
    pub fn program(&self) -> &str {
        self.meta["program"].as_str().unwrap_or_default()
    }

    /// What of it was recorded.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.meta["algorithm"].as_str().unwrap_or_default()
    }

    /// The name of the file without its folder and ending.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }

    /// Whether it holds measurements (shares, times), which a replay meets within a band, and no answers.
    ///
    /// Files named `behaviour_…` do, and those of Envoy in which no case lists picks.
    #[must_use]
    pub fn is_measurement(&self) -> bool {
        let are_measured = || !self.cases.is_empty() && self.cases.iter().all(Case::is_measured);
        self.stem().starts_with("behaviour_") || self.program() == "envoy" && are_measured()
    }

    /// The keys of a case, one for each pick: by the list that it names, or as it lists them itself, in `keys` or `key_order`.
    /// `None` if it has none.
    ///
    /// # Errors
    ///
    /// The list is not known, or no list of texts.
    pub fn keys_of(&self, case: &Case) -> Result<Option<Vec<Vec<u8>>>, String> {
        match self.key_list(&case.0["key_order"])? {
            Some(keys) => Ok(Some(keys)),
            None => self.key_list(&case.0["keys"]),
        }
    }

    /// The same, as many as there are picks.
    pub(crate) fn keys_for(&self, case: &Case, picks: usize) -> Result<Option<Vec<Vec<u8>>>, String> {
        match self.keys_of(case)? {
            Some(keys) if keys.len() != picks => Err(format!("{picks} picks for {} keys", keys.len())),
            keys => Ok(keys),
        }
    }

    /// The keys that a value lists, or whose list it names.
    pub(crate) fn key_list(&self, list: &Value) -> Result<Option<Vec<Vec<u8>>>, String> {
        let bytes = |key: &str| key.as_bytes().to_vec();
        match list {
            Value::Null => Ok(None),
            Value::String(id) => match self.keys.get(id) {
                Some(keys) => Ok(Some(keys.iter().map(|key| bytes(key)).collect())),
                None => Err(format!("there is no key list {id:?}")),
            },
            Value::Array(keys) => {
                let keys = keys.iter().map(|key| key.as_str().map(bytes).ok_or("a key is no text"));
                Ok(Some(keys.collect::<Result<_, _>>()?))
            }
            _ => Err("`keys` is neither a list nor the name of one".to_owned()),
        }
    }
}

impl Case {
    /// The name of the case.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0["id"].as_str().unwrap_or_default()
    }

    /// The servers, in configured order.
    #[must_use]
    pub fn servers(&self) -> &[Value] {
        self.0["servers"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Whether it lists shares or events, and no picks.
    fn is_measured(&self) -> bool {
        let has = |field: &str| self.0[field].is_array() || self.0[field].is_object();
        ["counts", "events", "half_second_buckets"].iter().any(|field| has(field))
            && !["picks", "runs", "requests", "ops", "steps", "phases"].iter().any(|field| has(field))
    }

    /// The weight of a server: 1 if none is given.
    #[must_use]
    pub fn weight(server: &Value) -> u32 {
        server["weight"].as_u64().map_or(1, |weight| u32::try_from(weight).unwrap_or(u32::MAX))
    }
}
