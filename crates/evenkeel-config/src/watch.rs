use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crate::document;
use crate::error::ConfigErrors;
use crate::loaded::Loaded;
use crate::running::{Diff, Running};

/// Looks at a configuration file, and at those that it includes, and goes over to what is in them when they change. Opt-in: a
/// thread of its own, until the result is dropped.
///
/// It asks for size and time of change every `every` (1 s is plenty; at least 10 ms), which works on every file system. A change is
/// taken when it has rested for one such interval, so that a file that is being written is not read in the middle; what is
/// read too early all the same is a syntax error or a shorter list: replace files by renaming. `told` hears of each attempt, on that
/// thread. What is wrong changes nothing, and is not tried again before the files change.
///
/// # Errors
///
/// If the operating system has no thread to give.
pub fn watch_file<T: Send + Sync + 'static>(
    running: &Arc<Running<T>>,
    path: impl Into<PathBuf>,
    every: Duration,
    told: impl Fn(Reload) + Send + 'static,
) -> io::Result<Watching> {
    watch_file_with(running, path, every, |_| Ok(()), told)
}

/// As [`watch_file`]. `agree` is asked first, for programs that have a part of their own in the file: what it says is wrong with
/// `program` refuses the whole.
///
/// # Errors
///
/// As there.
#[expect(clippy::disallowed_methods, reason = "a thread that waits, started on request")]
pub fn watch_file_with<T: Send + Sync + 'static>(
    running: &Arc<Running<T>>,
    path: impl Into<PathBuf>,
    every: Duration,
    agree: impl Fn(&Loaded) -> Result<(), String> + Send + 'static,
    told: impl Fn(Reload) + Send + 'static,
) -> io::Result<Watching> {
    let stopped = Arc::new(AtomicBool::new(false));
    let (flag, running, path) = (Arc::clone(&stopped), Arc::downgrade(running), path.into());
    let every = every.max(Duration::from_millis(10));
    let mut seen = Seen::of(&path, None);
    let run = move || {
        let mut changed: Option<Seen> = None;
        while !flag.load(Ordering::Acquire) {
            thread::park_timeout(every);
            let now = Seen::of(&path, Some(changed.as_ref().unwrap_or(&seen)));
            if now == seen {
                changed = None;
                continue;
            }
            if changed.as_ref() != Some(&now) {
                changed = Some(now);
                continue;
            }
            let Some(running) = running.upgrade() else { return };
            let result = Loaded::load(&path).and_then(|loaded| {
                agree(&loaded).map_err(|why| loaded.refused(why))?;
                running.apply(loaded)
            });
            told(Reload { result });
            (seen, changed) = (now, None);
        }
    };
    let thread = thread::Builder::new().name("evenkeel-watch".to_owned());
    let thread = thread.spawn(run)?;
    Ok(Watching { stopped, thread: Some(thread) })
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reload {
    /// What changed, or why nothing did.
    pub result: Result<Diff, ConfigErrors>,
}

/// A file that is watched, until this is dropped.
#[must_use = "the file is no longer watched when this is dropped"]
pub struct Watching {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // `told` may be what drops it.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").finish_non_exhaustive()
    }
}

/// Size and time of change of the files, and what the main one includes. Included ones that come and go count too.
#[derive(PartialEq)]
struct Seen {
    main: Stamp,
    patterns: Vec<String>,
    included: Vec<(PathBuf, Stamp)>,
}

type Stamp = Option<(u64, SystemTime)>;

impl Seen {
    /// The main file is read only when it is not as it was `before`.
    fn of(path: &Path, before: Option<&Self>) -> Self {
        let main = stamp(path);
        let patterns = match before {
            Some(before) if before.main == main => before.patterns.clone(),
            _ => document::includes_of(path),
        };
        let included = document::files_of(path, &patterns);
        let included = included.into_iter().map(|file| {
            let stamp = stamp(&file);
            (file, stamp)
        });
        Self { main, included: included.collect(), patterns }
    }
}

fn stamp(file: &Path) -> Stamp {
    let meta = fs::metadata(file).ok()?;
    Some((meta.len(), meta.modified().ok()?))
}
