use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fs, thread};

use evenkeel_registry::{Event, Feed, FeedError, TroubleKind};
use evenkeel_types::Timestamp;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::disk::{self, Signature, Unread};
use crate::{Document, FileConfig, FileError, Syntax};

/// Follows a file into feeds, on a thread of its own (and one of the operating system's watch).
#[derive(Debug)]
pub struct File;

impl File {
    /// Follows one service of the file.
    ///
    /// # Errors
    ///
    /// [`FileError`]. A file that is missing or broken is no error here, but trouble of the source.
    pub fn start(feed: Feed, config: FileConfig) -> Result<Handle, FileError> {
        Self::start_all(vec![feed], config)
    }

    /// Follows several services of the file, each into the feed that has its name.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and if [`FileConfig::entry`] is set for more than one feed.
    pub fn start_all(feeds: Vec<Feed>, config: FileConfig) -> Result<Handle, FileError> {
        let syntax = config.validate()?;
        if feeds.is_empty() {
            return Err(FileError::NoFeeds);
        }
        if let Some(entry) = config.entry.clone().filter(|_| feeds.len() > 1) {
            return Err(FileError::Entry { entry, feeds: feeds.len() });
        }
        let (wakes, waiting) = channel();
        let follower = Follower::new(feeds, config, syntax, wakes.clone());
        let thread = thread::Builder::new()
            .name("evenkeel-file".to_owned())
            .spawn(move || follower.run(&waiting))
            .map_err(FileError::Thread)?;
        Ok(Handle { wakes, thread: Some(thread) })
    }
}

/// Stops following when it is dropped, and waits for the thread, which takes as long as one reading of the file.
#[derive(Debug)]
#[must_use = "dropping it stops following the file"]
pub struct Handle {
    wakes: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Stops, and waits for the thread. The set stays in the registry, stale.
    pub fn stop(self) {
        drop(self);
    }

    /// Whether the thread has ended by itself, because all sources were detached from the registry.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.wakes.send(Wake::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
enum Wake {
    Stop,
    /// Something in the directory is another now; `ours` if it bears the name of the file.
    Changed {
        ours: bool,
    },
    /// Somebody writes into the file and has not closed it.
    Writing,
    /// The watch failed or lost events.
    Lost,
}

struct Follower {
    feeds: Vec<Follow>,
    config: FileConfig,
    syntax: Syntax,
    wakes: Sender<Wake>,
    watched: Option<Watched>,
    /// What was read last and told to all feeds; `None` after trouble with the file, so that it is told anew.
    told: Option<(Signature, Vec<u8>)>,
    /// What the last poll saw, if it was not what was read.
    glimpsed: Option<Signature>,
    /// Until when a writer is given time.
    writing: Option<Instant>,
    next_poll: Instant,
}

struct Follow {
    feed: Feed,
    name: String,
    /// What is wrong with the service in the file that was read last.
    trouble: Option<Event>,
}

struct Watched {
    directory: (u64, u64),
    _watcher: RecommendedWatcher,
}

impl Follower {
    fn new(feeds: Vec<Feed>, config: FileConfig, syntax: Syntax, wakes: Sender<Wake>) -> Self {
        let named = |feed: Feed| {
            let name = config.entry.clone().unwrap_or_else(|| feed.service().as_str().to_owned());
            Follow { feed, name, trouble: None }
        };
        let feeds = feeds.into_iter().map(named).collect();
        let next_poll = present();
        Self {
            feeds,
            config,
            syntax,
            wakes,
            watched: None,
            told: None,
            glimpsed: None,
            writing: None,
            next_poll,
        }
    }

    fn run(mut self, waiting: &Receiver<Wake>) {
        self.watch();
        self.look(true);
        self.next_poll = later(present(), self.config.poll);
        while !self.feeds.is_empty() {
            match waiting.recv_timeout(self.next_wake().saturating_duration_since(present())) {
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(first) => {
                    if !self.hear(first, waiting) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.pass_time(),
            }
            self.tick();
        }
    }

    /// What has happened by now, taken together: a burst costs one reading. Whether to go on.
    fn hear(&mut self, first: Wake, waiting: &Receiver<Wake>) -> bool {
        let mut look = None;
        for wake in std::iter::once(first).chain(waiting.try_iter()) {
            match wake {
                Wake::Stop => return false,
                Wake::Changed { ours } => {
                    look = Some(ours || look == Some(true));
                    if ours {
                        self.writing = None;
                    }
                }
                Wake::Writing => {
                    self.writing = Some(later(present(), self.config.write_quiet));
                    look = None;
                }
                Wake::Lost => {
                    self.watched = None;
                    self.watch();
                    look = Some(true);
                }
            }
        }
        if let Some(force) = look.filter(|_| self.writing.is_none()) {
            self.look(force);
        }
        true
    }

    fn next_wake(&self) -> Instant {
        let own = self.writing.map_or(self.next_poll, |until| until.min(self.next_poll));
        // The feed's clock need not be ours: what waits for it is looked at again after a second at the latest.
        let wait = |Follow { feed, .. }: &Follow| {
            feed.next_deadline().map(|at| at.saturating_since(feed.now()).clamp(SHORTEST_WAIT, LONGEST_WAIT))
        };
        match self.feeds.iter().filter_map(wait).min() {
            Some(wait) => own.min(later(present(), wait)),
            None => own,
        }
    }

    fn pass_time(&mut self) {
        let now = present();
        if self.writing.is_some_and(|until| now >= until) {
            self.writing = None;
            self.look(true);
        }
        if now >= self.next_poll {
            self.next_poll = later(now, self.config.poll);
            if self.watched.as_ref().map(|watched| watched.directory) != disk::directory(&self.parent()) {
                self.watch();
            }
            if self.writing.is_none() {
                self.poll();
            }
        }
    }

    /// Looks without having been told. What is new is read only after it has rested, since nobody says whether it was
    /// renamed or is being written.
    fn poll(&mut self) {
        let found = disk::signature(&self.config.path).ok();
        let same = found.is_some() && found == self.told.as_ref().map(|(signature, _)| *signature);
        if same || found.is_none() || found == self.glimpsed || self.told.is_none() {
            self.glimpsed = None;
            self.look(false);
        } else {
            self.glimpsed = found;
            self.writing = Some(later(present(), self.config.write_quiet));
        }
    }

    /// Reads the file unless it is known to be the same, and tells.
    fn look(&mut self, force: bool) {
        let known = self.told.as_ref().map(|(signature, _)| *signature);
        if !force && known.is_some() && disk::signature(&self.config.path).ok() == known {
            return self.tell(&Event::fresh());
        }
        match disk::read(&self.config.path, self.config.max_bytes) {
            Ok(Some((bytes, signature))) => self.take(bytes, signature),
            Ok(None) => self.writing = Some(later(present(), RACED)),
            Err(Unread { kind, text }) => {
                self.told = None;
                self.tell(&Event::trouble(kind, text));
            }
        }
    }

    fn take(&mut self, bytes: Vec<u8>, signature: Signature) {
        if let Some((known, _)) = self.told.as_mut().filter(|(_, told)| *told == bytes) {
            *known = signature;
            return self.tell(&Event::fresh());
        }
        let path = self.config.path.display().to_string();
        let document = Document::parse(&bytes, self.syntax);
        let mut whole = true;
        for follow in &mut self.feeds {
            let answer = document.as_ref().map_err(Clone::clone).and_then(|all| all.service(&follow.name));
            let events = match answer {
                Ok(answer) => answer.into_events(),
                Err(fault) => vec![Event::trouble(TroubleKind::Malformed, format!("{path}: {fault}"))],
            };
            follow.trouble = events.iter().find(|event| matches!(event, Event::Trouble { .. })).cloned();
            for event in events {
                if let Err(FeedError::TooFast { retry_at }) = follow.feed.send(event) {
                    whole = false;
                    let wait = retry_at.saturating_since(follow.feed.now());
                    self.writing = Some(later(present(), wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)));
                }
            }
        }
        self.told = whole.then_some((signature, bytes));
    }

    /// Tells all, but for those whose service the present file does not show: they hear of that again.
    fn tell(&mut self, event: &Event) {
        let fresh = matches!(event, Event::Fresh { .. });
        for follow in &self.feeds {
            let said = follow.trouble.as_ref().filter(|_| fresh).unwrap_or(event);
            // Nothing here counts against the rate, and who is detached is dropped at the next turn.
            let _ = follow.feed.send(said.clone());
        }
    }

    fn tick(&mut self) {
        for Follow { feed, .. } in &self.feeds {
            let now: Timestamp = feed.now();
            if feed.next_deadline().is_some_and(|at| now >= at) {
                feed.tick();
            }
        }
        self.feeds.retain(|follow| follow.feed.is_attached());
    }

    fn parent(&self) -> PathBuf {
        let parent = self.config.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
    }

    /// Watches the directory. Without a watch, as on a system that has none left, polling is what remains.
    fn watch(&mut self) {
        self.watched = None;
        let parent = self.parent();
        let Some(directory) = disk::directory(&parent) else { return };
        let Some(name) = self.config.path.file_name().map(OsString::from) else { return };
        let (path, wakes) = (self.config.path.clone(), self.wakes.clone());
        let told = move |event: notify::Result<notify::Event>| {
            let wake = match event {
                Ok(event) => wake_of(&event, &path, &name),
                Err(_) => Some(Wake::Lost),
            };
            if let Some(wake) = wake {
                let _ = wakes.send(wake);
            }
        };
        let Ok(mut watcher) = notify::recommended_watcher(told) else { return };
        if watcher.watch(&parent, RecursiveMode::NonRecursive).is_ok() {
            self.watched = Some(Watched { directory, _watcher: watcher });
            // What happened before the watch began.
            let _ = self.wakes.send(Wake::Changed { ours: false });
        }
    }
}

fn wake_of(event: &notify::Event, path: &Path, name: &OsString) -> Option<Wake> {
    if event.need_rescan() {
        return Some(Wake::Changed { ours: true });
    }
    let ours = event.paths.iter().any(|path| path.file_name() == Some(name));
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => ours.then_some(Wake::Changed { ours }),
        EventKind::Access(_) => None,
        EventKind::Modify(ModifyKind::Data(_)) => ours.then_some(Wake::Writing),
        // A link has no writer who would close it.
        EventKind::Create(CreateKind::File | CreateKind::Any)
            if ours && !fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) =>
        {
            Some(Wake::Writing)
        }
        _ => Some(Wake::Changed { ours }),
    }
}

#[expect(clippy::disallowed_methods, reason = "the adapter's thread waits in real time")]
fn present() -> Instant {
    Instant::now()
}

/// A wait that overflows the clock is as good as a year.
fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).or_else(|| now.checked_add(Duration::from_secs(31_536_000))).unwrap_or(now)
}

const SHORTEST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How soon to read again what changed while it was read.
const RACED: Duration = Duration::from_millis(10);
