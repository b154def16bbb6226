//! How far a long run is.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on the standard error, and nothing if that is no terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) =
            ProgressStyle::with_template("{elapsed} [{bar:40}] {pos} of {len} runs, {eta} to go")
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// So many are done, of so many.
    pub(crate) fn tell(&self, done: usize, of: usize) {
        self.0.set_length(of as u64);
        self.0.set_position(done as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
