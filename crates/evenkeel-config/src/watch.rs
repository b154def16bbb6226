use std::fmt;
use std::fs;
use std::io;
use std::ops::ControlFlow;
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
/// What is in the file when this is called is taken too, if it is not what is in force: the file may have changed since it was
/// read. When a change is taken is told at [`watch_changes`]. `told` hears of each attempt, on that thread. What is wrong changes
/// nothing, and is not tried again before the files change.
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
pub fn watch_file_with<T: Send + Sync + 'static>(
    running: &Arc<Running<T>>,
    path: impl Into<PathBuf>,
    every: Duration,
    agree: impl Fn(&Loaded) -> Result<(), String> + Send + 'static,
    told: impl Fn(Reload) + Send + 'static,
) -> io::Result<Watching> {
    let running = Arc::downgrade(running);
    watch(path.into(), every, move |path, occasion| {
        let Some(running) = running.upgrade() else { return ControlFlow::Break(()) };
        let loaded = Loaded::load(path);
        if occasion == Occasion::Begun && loaded.as_ref().is_ok_and(|loaded| running.is_of(loaded.config())) {
            return ControlFlow::Continue(());
        }
        let result = loaded.and_then(|loaded| {
            agree(&loaded).map_err(|why| loaded.refused(why))?;
            running.apply(loaded)
        });
        told(Reload { result });
        ControlFlow::Continue(())
    })
}

/// Looks at a configuration file, and at those that it includes, and calls `changed` with its path when they change: for
/// programs that do more than [`Running::apply`] then, such as opening sockets first. Opt-in: a thread of its own, until the
/// result is dropped or `changed` breaks. Watch before the file is read for the first time, or a change in between is missed.
///
/// It asks for size and time of change every `every` (1 s is plenty; at least 10 ms), which works on every file system. A change is
/// taken when it has rested for one such interval, so that a file that is being written is not read in the middle; what is
/// read too early all the same is a syntax error or a shorter list: replace files by renaming.
///
/// # Errors
///
/// If the operating system has no thread to give.
pub fn watch_changes(
    path: impl Into<PathBuf>,
    every: Duration,
    mut changed: impl FnMut(&Path) -> ControlFlow<()> + Send + 'static,
) -> io::Result<Watching> {
    watch(path.into(), every, move |path, occasion| match occasion {
        Occasion::Begun => ControlFlow::Continue(()),
        Occasion::Changed => changed(path),
    })
}

/// Why a watched file is looked at.
#[derive(Clone, Copy, PartialEq)]
enum Occasion {
    /// Once, if nothing changed within the first interval.
    Begun,
    Changed,
}

#[expect(clippy::disallowed_methods, reason = "a thread that waits, started on request")]
fn watch(
    path: PathBuf,
    every: Duration,
    mut act: impl FnMut(&Path, Occasion) -> ControlFlow<()> + Send + 'static,
) -> io::Result<Watching> {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    let every = every.max(Duration::from_millis(10));
    let mut seen = Seen::of(&path, None);
    let run = move || {
        let (mut resting, mut has_begun): (Option<Seen>, bool) = (None, false);
        while !flag.load(Ordering::Acquire) {
            thread::park_timeout(every);
            let now = Seen::of(&path, Some(resting.as_ref().unwrap_or(&seen)));
            if now == seen {
                resting = None;
                if !std::mem::replace(&mut has_begun, true) && act(&path, Occasion::Begun).is_break() {
                    return;
                }
                continue;
            }
            if resting.as_ref() != Some(&now) {
                resting = Some(now);
                continue;
            }
            if act(&path, Occasion::Changed).is_break() {
                return;
            }
            (seen, resting, has_begun) = (now, None, true);
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
