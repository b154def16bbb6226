use crate::error::{ConfigError, Problem};

/// What a configuration may cost before it is understood.
///
/// A wrong path, a file gone wild or a few lines of nested YAML aliases end in an error, not in a machine without memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// All files together, in bytes. Default 32 MiB: a hundred thousand routes.
    pub bytes: usize,
    /// All values together; a YAML alias counts as what it stands for. Default 4,000,000, some 600 MB of tree.
    pub values: usize,
    /// The deepest nesting. Default 48; the deepest setting lies at a dozen.
    pub depth: usize,
    /// Included files. Default 1,000.
    pub files: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 32 << 20, values: 4_000_000, depth: 48, files: 1000 }
    }
}

/// How many values there are so far.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) bounds: Bounds,
    values: usize,
}

impl Budget {
    pub(crate) const fn new(bounds: Bounds) -> Self {
        Self { bounds, values: 0 }
    }

    pub(crate) fn take(&mut self, values: usize) -> Result<(), Problem> {
        self.values = self.values.saturating_add(values);
        let limit = self.bounds.values;
        if self.values > limit { Err(Problem::TooManyValues { limit }) } else { Ok(()) }
    }

    /// Asks, and takes nothing: for a parser that builds its own tree first.
    pub(crate) fn expect(&self, values: usize) -> Result<(), Problem> {
        let limit = self.bounds.values;
        if self.values.saturating_add(values) > limit {
            Err(Problem::TooManyValues { limit })
        } else {
            Ok(())
        }
    }

    pub(crate) const fn deep(&self, depth: usize) -> Result<(), Problem> {
        let limit = self.bounds.depth;
        if depth > limit { Err(Problem::TooDeep { limit }) } else { Ok(()) }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self::new(problem)
    }
}
