use std::path::{Path, PathBuf};

use crate::dialect::Dialect;
use crate::error::ConvertError;
use crate::files::{Files, Text};
use crate::limits::Limits;
use crate::report::Report;
use crate::setup::Setup;
use crate::{envoy, haproxy, nginx};

/// How a configuration is read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder that includes must stay in. Default: that of the file. Without a file nothing is included.
    pub root: Option<PathBuf>,
    /// How much is read.
    pub limits: Limits,
    /// The secret that signs the cookies by which users stay at an endpoint, at least 16 bytes. Default none, and then such
    /// cookies have no equivalent: a secret of our own choice would be none.
    pub cookie_secret: Option<String>,
}

/// What a configuration says in evenkeel's words, and what became of each line.
#[derive(Clone, Debug, Default)]
pub struct Conversion {
    /// The configuration.
    pub setup: Setup,
    /// What became of each line.
    pub report: Report,
}

/// A configuration as text, and what became of each setting.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The text.
    pub text: String,
    /// What became of each setting.
    pub report: Report,
}

/// Reads a configuration that is in memory; `name` is what messages call it. Nothing is included.
///
/// # Errors
///
/// [`ConvertError`] with file, line and column, if the text does not follow its syntax, says what its program refuses too, or
/// is beyond the limits. What evenkeel cannot say is no error: it is in the report.
pub fn read(from: Dialect, text: &str, name: &str, options: &Options) -> Result<Conversion, ConvertError> {
    let mut files = Files::none(&options.limits);
    let text = Text { name: name.to_owned(), text: text.to_owned() };
    files.count(&text)?;
    read_text(from, &mut files, &text, options)
}

/// Reads a file and what it includes.
///
/// # Errors
///
/// As [`read`], and if a file cannot be read or lies outside the root folder.
pub fn read_file(
    from: Dialect,
    path: impl AsRef<Path>,
    options: &Options,
) -> Result<Conversion, ConvertError> {
    let (mut files, text) = Files::open(path.as_ref(), options.root.as_deref(), &options.limits)?;
    read_text(from, &mut files, &text, options)
}

fn read_text(
    from: Dialect,
    files: &mut Files,
    text: &Text,
    options: &Options,
) -> Result<Conversion, ConvertError> {
    match from {
        Dialect::Evenkeel => {
            Ok(Conversion { setup: Setup::from_toml(&text.text, &text.name)?, report: Report::default() })
        }
        Dialect::Config => crate::config::read(text),
        Dialect::Nginx => nginx::read(files, text, options),
        Dialect::Haproxy => haproxy::read(files, text, options),
        Dialect::Envoy => envoy::read(files, text, options),
    }
}

/// Writes a configuration. What the dialect cannot say is in the report, and as a rule left out.
#[must_use]
pub fn write(to: Dialect, setup: &Setup) -> Written {
    match to {
        Dialect::Evenkeel => crate::own::write(setup),
        Dialect::Config => crate::config::write(setup),
        Dialect::Nginx => nginx::write(setup),
        Dialect::Haproxy => haproxy::write(setup),
        Dialect::Envoy => envoy::write(setup),
    }
}
