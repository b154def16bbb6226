//! The requests of a log, in order.

use std::io::BufRead;
use std::path::Path;

use evenkeel_types::SplitMix64;

use super::lines::{Line, Lines, open};
use super::window::Window;
use super::{LogError, Malformed, Parser, Record, ReplayConfig, Said, Skip};

/// Reads a log, and tells its requests in the order in which they began.
///
/// Where times are written in steps, seconds or milliseconds, requests are spread at random within their step, in the same
/// way each time: else all of a second would arrive at once. Memory: what began within the window.
pub struct Records {
    lines: Lines<Box<dyn BufRead + Send>>,
    path: String,
    parser: Parser,
    window: Window,
    counts: Counts,
    allowed: evenkeel_types::Ratio,
    is_ended: bool,
}

/// What has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that are not empty.
    pub lines: u64,
    /// Requests to replay.
    pub requests: u64,
    /// Lines that could not be read.
    pub malformed: u64,
    /// The first ten of them.
    pub first: Vec<Malformed>,
    /// Requests that no server had.
    pub not_sent: u64,
    /// Requests that no server answered.
    pub unanswered: u64,
    /// Requests that took longer than `longest`.
    pub too_long: u64,
}

impl Records {
    /// Opens the file of the settings.
    ///
    /// # Errors
    ///
    /// [`LogError::Invalid`] and [`LogError::Read`].
    pub fn open(config: &ReplayConfig) -> Result<Self, LogError> {
        // Settings first: they are wrong whether the file is there or not.
        let parser = Parser::new(config)?;
        let from = open(&config.path).map_err(|error| unread(&config.path, 0, &error))?;
        Ok(Self::with(config, parser, from))
    }

    /// Reads from elsewhere.
    ///
    /// # Errors
    ///
    /// [`LogError::Invalid`].
    pub fn new(config: &ReplayConfig, from: Box<dyn BufRead + Send>) -> Result<Self, LogError> {
        Ok(Self::with(config, Parser::new(config)?, from))
    }

    fn with(config: &ReplayConfig, parser: Parser, from: Box<dyn BufRead + Send>) -> Self {
        Self {
            lines: Lines::new(from),
            path: config.path.display().to_string(),
            parser,
            window: Window::new(config.window),
            counts: Counts::default(),
            allowed: config.max_malformed,
            is_ended: false,
        }
    }

    /// What has been read so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The next request; nothing after the last.
    ///
    /// # Errors
    ///
    /// Any [`LogError`]. After it there is nothing more to ask.
    pub fn read_next(&mut self) -> Result<Option<Record>, LogError> {
        loop {
            if let Some(record) = self.window.pop(self.is_ended) {
                return Ok(Some(record));
            }
            if self.is_ended {
                return Ok(None);
            }
            self.read()?;
        }
    }

    /// Reads a line, or the end.
    fn read(&mut self) -> Result<(), LogError> {
        let said = match self.lines.next() {
            Ok(Some(Line::Whole(line))) => self.parser.read(line),
            Ok(Some(Line::TooLong)) => Err(super::Wrong::TooLong),
            Ok(None) => {
                self.is_ended = true;
                return self.check(true);
            }
            Err(error) => return Err(unread(Path::new(&self.path), self.lines.number(), &error)),
        };
        let line = self.lines.number();
        let counts = &mut self.counts;
        counts.lines += 1;
        match said {
            Ok(Said::Nothing) => counts.lines -= 1,
            Ok(Said::Skip(Skip::NotSent)) => counts.not_sent += 1,
            Ok(Said::Skip(Skip::Unanswered)) => counts.unanswered += 1,
            Ok(Said::Skip(Skip::TooLong)) => counts.too_long += 1,
            Ok(Said::Request(record)) => {
                counts.requests += 1;
                let within = SplitMix64::mix(line) % record.steps.0.max(1);
                self.window.push(Record { at: record.at.saturating_add(within), line, ..record })?;
            }
            Err(wrong) => {
                counts.malformed += 1;
                if counts.first.len() < SHOWN {
                    counts.first.push(Malformed { line, what: wrong.to_string() });
                }
                return self.check(false);
            }
        }
        Ok(())
    }

    /// Whether too many lines are malformed: known at the end, or when none of the first thousand can be read.
    fn check(&self, is_ended: bool) -> Result<(), LogError> {
        let Counts { lines, malformed, .. } = self.counts;
        let allowed = u128::from(self.allowed.parts_per_million()) * u128::from(lines);
        let is_too_many = u128::from(malformed) * 1_000_000 > allowed;
        let is_hopeless = malformed == lines && malformed >= HOPELESS;
        if is_too_many && (is_ended || is_hopeless) {
            let (first, allowed) = (self.counts.first.clone(), self.allowed.as_f64().to_string());
            return Err(LogError::Malformed { malformed, lines, allowed, first });
        }
        Ok(())
    }
}

impl Counts {
    /// Requests that could be read and are not replayed.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.not_sent + self.unanswered + self.too_long
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records")
            .field("path", &self.path)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

fn unread(path: &Path, lines: u64, error: &std::io::Error) -> LogError {
    LogError::Read { path: path.display().to_string(), lines, error: error.to_string() }
}

const SHOWN: usize = 10;
const HOPELESS: u64 = 1000;
