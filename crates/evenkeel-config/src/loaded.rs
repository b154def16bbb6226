use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel_file::Syntax;
use serde::de::DeserializeOwned;

use crate::check::check;
use crate::document::{self, Bounds, Document};
use crate::error::{ConfigError, ConfigErrors, Problem, Warning};
use crate::model::Config;
use crate::read::read;

/// A configuration, and where each of its values stands.
///
/// A [`Config`] that was made in the program becomes one too, without places.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub(crate) config: Arc<Config>,
    pub(crate) document: Option<Arc<Document>>,
}

impl Loaded {
    /// Reads a file and those that it includes, within the default [`Bounds`]. Its ending says how it is written.
    ///
    /// # Errors
    ///
    /// The first thing that cannot be read, with its place. What can be read may still be wrong: see [`check`](Self::check).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        Self::load_within(path, Bounds::default())
    }

    /// As [`load`](Self::load), within other bounds.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn load_within(path: impl AsRef<Path>, bounds: Bounds) -> Result<Self, ConfigErrors> {
        Self::of(document::load(path.as_ref(), bounds)?)
    }

    /// Reads a text, which includes nothing.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse(text: &str, syntax: Syntax) -> Result<Self, ConfigErrors> {
        Self::parse_within(text, syntax, Bounds::default())
    }

    /// As [`parse`](Self::parse), within other bounds.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse_within(text: &str, syntax: Syntax, bounds: Bounds) -> Result<Self, ConfigErrors> {
        Self::of(Document::parse(text, syntax, bounds)?)
    }

    fn of(document: Document) -> Result<Self, ConfigErrors> {
        let config = read(&document.root).map_err(|error| error.in_files(&document.files))?;
        Ok(Self { config: Arc::new(config), document: Some(Arc::new(document)) })
    }

    /// Looks at everything that can be looked at without starting anything: ranges, names, references, combinations that would
    /// be ignored, certificates.
    ///
    /// # Errors
    ///
    /// All that is wrong, with places, in the order of the configuration.
    pub fn check(&self) -> Result<Vec<Warning>, ConfigErrors> {
        check(self)
    }

    /// The part `program`, which belongs to the program that reads this configuration. Its defaults, if it is not there.
    ///
    /// Let `P` deny unknown fields: nobody else looks at them.
    ///
    /// ```
    /// use evenkeel_config::{Loaded, Syntax};
    ///
    /// #[derive(Default, serde::Deserialize)]
    /// #[serde(default, deny_unknown_fields)]
    /// struct Own {
    ///     workers: usize,
    /// }
    /// let own: Own = Loaded::parse("program = { workers = 2 }", Syntax::Toml)?.program()?;
    /// assert_eq!(own.workers, 2);
    /// let wrong = Loaded::parse("program = { worker = 2 }", Syntax::Toml)?.program::<Own>().map(drop);
    /// let said = wrong.err().map(|errors| errors.to_string()).unwrap_or_default();
    /// assert!(said.starts_with("1:13: program.worker: unknown key"), "{said}");
    /// # Ok::<(), evenkeel_config::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first thing that cannot be read, with its place.
    pub fn program<P: DeserializeOwned + Default>(&self) -> Result<P, ConfigErrors> {
        let read = match (&self.document, &self.config.program) {
            (Some(document), _) => match document.root.entry("program") {
                Some(entry) => {
                    read(&entry.node).map_err(|error| error.under("program").in_files(&document.files))
                }
                None => return Ok(P::default()),
            },
            (None, Some(value)) => P::deserialize(value.clone())
                .map_err(|error| ConfigError::new(Problem::Invalid(error.to_string())).field_is("program")),
            (None, None) => return Ok(P::default()),
        };
        Ok(read?)
    }

    /// What a program says is wrong with its part.
    pub(crate) fn refused(&self, why: String) -> ConfigErrors {
        let error = ConfigError::new(Problem::Invalid(why)).field_is("program");
        let Some(document) = &self.document else { return error.into() };
        error.at(document.locate(&document::Path::from("program"))).in_files(&document.files).into()
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The settings alone.
    #[must_use]
    pub fn into_config(self) -> Config {
        Arc::unwrap_or_clone(self.config)
    }

    /// The files that it was read from, the main one first.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let files = self.document.iter().flat_map(|document| &document.files);
        files.map(|file| file.as_ref().clone()).collect()
    }
}

impl From<Config> for Loaded {
    fn from(config: Config) -> Self {
        Self { config: Arc::new(config), document: None }
    }
}
