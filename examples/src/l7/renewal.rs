//! Certificates that are renewed under the same names: they are read again, though nothing in the configuration changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::listener::Listener;
use super::worker::{Shared, SharedListener};

/// A thread that looks at the files. It ends when this is dropped.
pub struct Renewal {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Renewal {
    /// Looks every so often, and tells what it has read again, or why it could not.
    ///
    /// # Errors
    ///
    /// If there is no thread.
    pub fn follow(
        shared: Arc<Shared>,
        listeners: Vec<SharedListener>,
        every: Duration,
        told: impl Fn(&str) + Send + 'static,
    ) -> io::Result<Self> {
        let is_over = Arc::<AtomicBool>::default();
        let ends = Arc::clone(&is_over);
        let mut files = Files { shared, listeners, seen: BTreeMap::new() };
        files.look(&|_| {});
        let thread = std::thread::Builder::new().name("certificates".into()).spawn(move || {
            while !ends.load(Ordering::Acquire) {
                std::thread::park_timeout(every);
                files.look(&told);
            }
        })?;
        Ok(Self { is_over, thread: Some(thread) })
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Who reads files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reader {
    Listener(String),
    Upstream(String),
}

impl std::fmt::Display for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listener(name) => write!(f, "listener {name}"),
            Self::Upstream(name) => write!(f, "program.upstream.{name}"),
        }
    }
}

/// By what one sees that a file is another one: length, time of change, number in its file system. Links are followed.
type Stamp = (PathBuf, Option<(u64, SystemTime, u64)>);

fn stamp(path: PathBuf) -> Stamp {
    let found = fs::metadata(&path).ok();
    let stamp = found.and_then(|found| Some((found.len(), found.modified().ok()?, found.ino())));
    (path, stamp)
}

struct Seen {
    /// What has been read.
    read: Vec<Stamp>,
    /// What has come since then, and must rest: a certificate and its key are not replaced in the same moment.
    resting: Option<Vec<Stamp>>,
}

struct Files {
    shared: Arc<Shared>,
    listeners: Vec<SharedListener>,
    seen: BTreeMap<Reader, Seen>,
}

impl Files {
    fn look(&mut self, told: &dyn Fn(&str)) {
        let now = self.stamps();
        self.seen.retain(|reader, _| now.contains_key(reader));
        for (reader, now) in now {
            let Some(seen) = self.seen.get_mut(&reader) else {
                self.seen.insert(reader, Seen { read: now, resting: None });
                continue;
            };
            let is_same_set = seen.read.iter().map(|(path, _)| path).eq(now.iter().map(|(path, _)| path));
            if !is_same_set {
                // Other settings: whoever brought them has read the files.
                *seen = Seen { read: now, resting: None };
            } else if seen.read == now {
                seen.resting = None;
            } else if seen.resting.as_ref() != Some(&now) {
                seen.resting = Some(now);
            } else {
                *seen = Seen { read: now, resting: None };
                match self.renew(&reader) {
                    Ok(true) => told(&format!("{reader}: certificates read again")),
                    Ok(false) => {}
                    Err(error) => told(&format!("certificates not read again: {error}")),
                }
            }
        }
    }

    fn stamps(&self) -> BTreeMap<Reader, Vec<Stamp>> {
        let mut all = BTreeMap::new();
        for listener in &self.listeners {
            let listener = listener.load();
            if let Some(tls) = &listener.config.tls {
                let files = [&tls.cert_file, &tls.key_file].into_iter().chain(&tls.client_ca_file);
                let stamps = files.cloned().map(stamp).collect();
                all.insert(Reader::Listener(listener.config.name.clone()), stamps);
            }
        }
        for (name, upstream) in &self.shared.live.load().settings.upstream {
            if let Some(file) = upstream.tls.as_ref().and_then(|tls| tls.ca_file.clone()) {
                all.insert(Reader::Upstream(name.clone()), vec![stamp(file)]);
            }
        }
        all
    }

    /// Whether it was done; it is not if there are other settings by now, which came with what the files hold.
    fn renew(&self, reader: &Reader) -> Result<bool, String> {
        match reader {
            Reader::Listener(name) => {
                let Some(place) = self.listeners.iter().find(|place| place.load().config.name == *name)
                else {
                    return Ok(false);
                };
                let before = place.load_full();
                let renewed = Listener::new(&before.config, Some(Arc::clone(&before.room)));
                let renewed = Arc::new(renewed.map_err(|error| error.to_string())?);
                let found = place.compare_and_swap(&before, renewed);
                Ok(Arc::ptr_eq(&found, &before))
            }
            Reader::Upstream(name) => {
                let before = self.shared.live.load_full();
                let renewed = before.renewed(&BTreeSet::from([name.clone()]));
                let renewed = Arc::new(renewed.map_err(|error| error.to_string())?);
                let found = self.shared.live.compare_and_swap(&before, renewed);
                Ok(Arc::ptr_eq(&found, &before))
            }
        }
    }
}
