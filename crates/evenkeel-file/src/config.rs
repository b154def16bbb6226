use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::Syntax;

/// Which file to follow, and how.
///
/// ```
/// use evenkeel_file::FileConfig;
/// let mut config = FileConfig::at("/etc/evenkeel/users.toml");
/// config.max_bytes = 1 << 20;
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct FileConfig {
    /// The file. It and its directory need not exist yet: until they do, the source has trouble.
    pub path: PathBuf,
    /// How it is written. The default is `None`: what the ending of the path says.
    pub syntax: Option<Syntax>,
    /// The name of the service in the file (`services.<name>`, or the `cluster_name` of EDS). The default is `None`: the
    /// name of the feed's service.
    pub entry: Option<String>,
    /// How often to look without having been told of a change. The default is 5 s: NFS, some overlays and a link to
    /// another directory tell nothing.
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub poll: Duration,
    /// How long a file that is being written in place must rest before it is read, if its writer does not close it. The
    /// default is 1 s: half of a list must not pass for all of it. A rename is read at once, and so is a file whose writer
    /// has closed it (seen on Linux only).
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    #[cfg_attr(feature = "serde", serde(with = "evenkeel_types::human_duration"))]
    pub write_quiet: Duration,
    /// The largest file that is read, in bytes. The default is 16 MiB, some 50 000 endpoints: a wrong path must not
    /// fill the memory.
    pub max_bytes: usize,
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            syntax: None,
            entry: None,
            poll: Duration::from_secs(5),
            write_quiet: Duration::from_secs(1),
            max_bytes: 16 << 20,
        }
    }
}

impl FileConfig {
    /// The defaults, for this file.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Whether the settings can stand; [`File::start`](crate::File::start) asks. Gives the syntax.
    ///
    /// # Errors
    ///
    /// [`FileError`] with the field.
    pub fn validate(&self) -> Result<Syntax, FileError> {
        if self.path.file_name().is_none() {
            return Err(FileError::Path { path: self.path.clone() });
        }
        if self.poll < SHORTEST_POLL {
            return Err(FileError::Poll { given: self.poll });
        }
        if self.max_bytes == 0 {
            return Err(FileError::MaxBytes);
        }
        self.syntax
            .or_else(|| Syntax::of(&self.path))
            .ok_or_else(|| FileError::Syntax { path: self.path.clone() })
    }
}

/// Looking costs two system calls; more often than this is a busy loop.
const SHORTEST_POLL: Duration = Duration::from_millis(10);

/// A file cannot be followed like this.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path does not end in a name.
    #[error("path is {path:?}, which names no file")]
    Path {
        /// What was given.
        path: PathBuf,
    },
    /// It is not known how the file is written.
    #[error("syntax is not given, and the ending of {path:?} does not tell: use .toml, .yaml, .yml or .json")]
    Syntax {
        /// What was given.
        path: PathBuf,
    },
    /// It would look all the time.
    #[error("poll is {given:?}: at least 10 ms are needed")]
    Poll {
        /// What was given.
        given: Duration,
    },
    /// Nothing could be read.
    #[error("max_bytes is 0: give the size of the largest file, such as 16 MiB")]
    MaxBytes,
    /// One name cannot serve several feeds.
    #[error(
        "entry is {entry:?}, and there are {feeds} feeds: leave it out, each feed has the name of its service"
    )]
    Entry {
        /// What was given.
        entry: String,
        /// How many feeds there are.
        feeds: usize,
    },
    /// There is nobody to tell.
    #[error("there are no feeds")]
    NoFeeds,
    /// The thread could not be started.
    #[error("cannot start the thread: {0}")]
    Thread(#[source] std::io::Error),
}
