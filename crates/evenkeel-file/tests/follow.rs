//! Real files, written as people and programs write them, and the adapter suite.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test of threads and files"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use evenkeel_file::{File, FileConfig, FileError, Handle};
use evenkeel_first_pick::{FirstPick, compared};
use evenkeel_registry::conformance::{Done, Limits, Refusal, StoreUnderTest, run};
use evenkeel_registry::{
    EvictionLimit, Feed, MirrorConfig, Registry, Saved, ServiceName, Settle, SourceName, SourceState,
    TroubleKind, Watch,
};
use evenkeel_types::{Endpoint, EndpointId, Timestamp};

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("evenkeel-file-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A registry with one followed file.
struct World {
    registry: Registry,
    service: ServiceName,
    source: SourceName,
    feed: Feed,
    handle: Option<Handle>,
}

impl World {
    fn new(config: FileConfig) -> Self {
        Self::with(config, None)
    }

    fn with(config: FileConfig, saved: Option<&Saved>) -> Self {
        let registry = Registry::default();
        let (service, source): (ServiceName, SourceName) =
            ("users".parse().unwrap(), "file".parse().unwrap());
        let start = Instant::now();
        let clock = move || Timestamp::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap());
        // What vanishes here is meant: the guards are the registry's, and tested there.
        let shrink = EvictionLimit { always: usize::MAX, ..EvictionLimit::default() };
        let mirror = MirrorConfig {
            shrink,
            settle: Settle { quiet: Duration::ZERO, max: Duration::ZERO },
            ..MirrorConfig::default()
        };
        let feed = registry.feed(&service, &source, mirror, clock).unwrap();
        if let Some(saved) = saved {
            feed.load(saved, SystemTime::now()).unwrap();
        }
        let handle = Some(File::start(feed.clone(), config).unwrap());
        Self { registry, service, source, feed, handle }
    }

    fn ids(&self) -> Vec<String> {
        self.registry.snapshot(&self.service).endpoints().iter().map(|e| e.id().to_string()).collect()
    }

    fn trouble(&self) -> Option<(TroubleKind, String)> {
        let sources = self.registry.sources(&self.service);
        sources.first()?.error.as_ref().map(|error| (error.kind, error.text.to_string()))
    }

    #[track_caller]
    fn until(&self, what: &str, seen: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !seen(self) {
            let ids = self.ids();
            let some = &ids[..ids.len().min(8)];
            assert!(
                start.elapsed() < PATIENCE,
                "{what}: {} such as {some:?}, {:?}",
                ids.len(),
                self.trouble()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[track_caller]
    fn until_ids(&self, wanted: &[&str]) {
        self.until(&format!("{wanted:?}"), |world| world.ids() == wanted);
    }

    #[track_caller]
    fn until_trouble(&self, kind: TroubleKind, text: &str) {
        self.until(text, |world| world.trouble().is_some_and(|(k, t)| k == kind && t.contains(text)));
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

fn list(ids: &[&str]) -> String {
    let entry =
        |id: &&str| format!("[[services.users.endpoints]]\nid = \"{id}\"\naddress = \"{id}.example:80\"\n");
    format!("version = 1\n{}", ids.iter().map(entry).collect::<String>())
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// The poll is too slow to help: what is seen is seen by the watch.
fn watched(path: &Path) -> FileConfig {
    FileConfig { poll: Duration::from_secs(3600), ..FileConfig::at(path) }
}

#[test]
fn a_rename_is_seen_again_and_again() {
    let dir = Dir::new();
    let path = dir.path("users.toml");
    replace(&path, &list(&["a"]));
    let world = World::new(watched(&path));
    world.until_ids(&["a"]);
    for round in 0..5 {
        let ids = if round % 2 == 0 { vec!["a", "b"] } else { vec!["a", "c"] };
        replace(&path, &list(&ids));
        world.until_ids(&ids);
    }
}

#[test]
fn half_a_write_is_not_read() {
    let dir = Dir::new();
    let path = dir.path("users.toml");
    replace(&path, &list(&["a", "b", "c"]));
    let world = World::new(FileConfig { write_quiet: Duration::from_secs(3600), ..watched(&path) });
    world.until_ids(&["a", "b", "c"]);
    let watch = world.registry.watch(&world.service);
    let _ = watch.take();
    let whole = list(&["a", "b", "c", "d"]);
    // The first half is a list that could be read: three are left out.
    let half = list(&["a"]).len();
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&whole.as_bytes()[..half]).unwrap();
    file.sync_all().unwrap();
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(2));
        assert_eq!(world.ids().len(), 3, "half a list was taken for the whole");
    }
    file.write_all(&whole.as_bytes()[half..]).unwrap();
    drop(file);
    world.until_ids(&["a", "b", "c", "d"]);
    let (_, changes) = watch.take().unwrap();
    assert_eq!(changes.len(), 1, "one addition: {changes:?}");
}

#[test]
fn a_writer_that_does_not_close_is_read_after_the_quiet() {
    let dir = Dir::new();
    let path = dir.path("users.toml");
    replace(&path, &list(&["a"]));
    let world = World::new(FileConfig { write_quiet: Duration::from_millis(50), ..watched(&path) });
    world.until_ids(&["a"]);
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(list(&["a", "b"]).as_bytes()).unwrap();
    world.until_ids(&["a", "b"]);
    drop(file);
}

#[cfg(unix)]
#[test]
fn a_config_map_swap_is_seen() {
    use std::os::unix::fs::symlink;
    let dir = Dir::new();
    let publish = |number: u32, text: &str| {
        let data = dir.path(&format!("..2026_{number}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("users.toml"), text).unwrap();
        symlink(format!("..2026_{number}"), dir.path("..data_tmp")).unwrap();
        fs::rename(dir.path("..data_tmp"), dir.path("..data")).unwrap();
    };
    publish(1, &list(&["a"]));
    symlink("..data/users.toml", dir.path("users.toml")).unwrap();
    let world = World::new(watched(&dir.path("users.toml")));
    world.until_ids(&["a"]);
    for number in 2..6 {
        let ids = if number % 2 == 0 { vec!["a", "b"] } else { vec!["a"] };
        publish(number, &list(&ids));
        world.until_ids(&ids);
        fs::remove_dir_all(dir.path(&format!("..2026_{}", number - 1))).unwrap();
    }
}

#[test]
fn a_file_that_vanished_is_trouble_and_comes_back() {
    let dir = Dir::new();
    let path = dir.path("users.toml");
    let world = World::new(watched(&path));
    world.until_trouble(TroubleKind::Unreachable, "users.toml");
    assert_eq!(world.registry.snapshot(&world.service).state(), SourceState::Pending);
    replace(&path, &list(&["a"]));
    world.until_ids(&["a"]);
    fs::remove_file(&path).unwrap();
    world.until_trouble(TroubleKind::Unreachable, "users.toml");
    assert_eq!(world.ids(), ["a"]);
    replace(&path, &list(&["a"]));
    world.until("live again", |world| {
        world.registry.snapshot(&world.service).state() == SourceState::Live && world.trouble().is_none()
    });
}

#[test]
fn a_broken_file_keeps_the_set_and_names_the_line() {
    let dir = Dir::new();
    let path = dir.path("users.toml");
    replace(&path, &list(&["a", "b"]));
    let world = World::new(watched(&path));
    world.until_ids(&["a", "b"]);
    replace(&path, "version = 1\n\n[[services.users.endpoints\n");
    world.until_trouble(TroubleKind::Malformed, "line 3: ");
    assert_eq!(world.ids(), ["a", "b"]);
    replace(&path, &format!("{}[[services.users.endpoints]]\nid = \"bad\"\n", list(&["a", "b", "c"])));
    world.until_ids(&["a", "b", "c"]);
    let rejects = world.registry.rejects(&world.service, &world.source);
    let last = format!("{:?}", rejects.last().unwrap());
    assert!(last.contains("bad") && last.contains("line 11"), "{last}");
    replace(&path, &list(&["a"]).replace("users", "user"));
    world.until_trouble(TroubleKind::Malformed, "\"users\" is not listed; those listed are: user");
    assert_eq!(world.ids(), ["a", "b", "c"], "a name spelt wrongly empties nothing");
}

#[test]
fn a_hundred_megabytes_are_not_read() {
    let dir = Dir::new();
    let path = dir.path("users.toml");
    replace(&path, &list(&["a"]));
    let world = World::new(watched(&path));
    world.until_ids(&["a"]);
    let big = dir.path("big");
    fs::File::create(&big).unwrap().set_len(100 << 20).unwrap();
    let start = Instant::now();
    fs::rename(&big, &path).unwrap();
    world.until_trouble(TroubleKind::TooLarge, "above max_bytes");
    assert!(start.elapsed() < Duration::from_secs(2), "it was read");
    assert_eq!(world.ids(), ["a"]);
}

#[cfg(unix)]
#[test]
fn lost_permission_is_trouble() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let path = dir.path("users.toml");
    replace(&path, &list(&["a"]));
    let world = World::new(watched(&path));
    world.until_ids(&["a"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        // Root reads everything, so the file is hidden behind a directory that cannot be one.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        world.until_trouble(TroubleKind::Malformed, "not a file");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, list(&["a"])).unwrap();
    } else {
        world.until_trouble(TroubleKind::Denied, "users.toml");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    world.until("live again", |world| world.trouble().is_none());
    assert_eq!(world.ids(), ["a"]);
}

#[test]
fn a_directory_that_is_replaced_is_watched_anew() {
    let dir = Dir::new();
    let inner = dir.path("etc");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("users.toml");
    fs::write(&path, list(&["a"])).unwrap();
    let quick = FileConfig {
        poll: Duration::from_millis(20),
        write_quiet: Duration::from_millis(20),
        ..FileConfig::at(&path)
    };
    let world = World::new(quick);
    world.until_ids(&["a"]);
    fs::rename(&inner, dir.path("old")).unwrap();
    world.until_trouble(TroubleKind::Unreachable, "users.toml");
    fs::create_dir(&inner).unwrap();
    fs::write(&path, list(&["b"])).unwrap();
    world.until("b", |world| world.ids().contains(&"b".to_owned()));
}

#[cfg(unix)]
#[test]
fn a_link_to_elsewhere_is_polled() {
    let (dir, elsewhere) = (Dir::new(), Dir::new());
    let target = elsewhere.path("real.toml");
    fs::write(&target, list(&["a"])).unwrap();
    std::os::unix::fs::symlink(&target, dir.path("users.toml")).unwrap();
    let path = dir.path("users.toml");
    let quick = FileConfig {
        poll: Duration::from_millis(20),
        write_quiet: Duration::from_millis(20),
        ..FileConfig::at(path)
    };
    let world = World::new(quick);
    world.until_ids(&["a"]);
    fs::write(&target, list(&["a", "b"])).unwrap();
    world.until_ids(&["a", "b"]);
}

#[test]
fn several_services_from_one_file() {
    let dir = Dir::new();
    let path = dir.path("all.json");
    fs::write(&path, r#"{"version":1,"services":{"a":{"endpoints":[{"address":"a:1"}]},"b":{"endpoints":[{"address":"b:1"}]}}}"#).unwrap();
    let registry = Registry::default();
    let feed = |name: &str| {
        registry
            .feed(&name.parse().unwrap(), &"file".parse().unwrap(), MirrorConfig::default(), || {
                Timestamp::from_secs(1)
            })
            .unwrap()
    };
    let (a, b) = (feed("a"), feed("b"));
    let clash = File::start_all(
        vec![a.clone(), b.clone()],
        FileConfig { entry: Some("x".into()), ..FileConfig::at(&path) },
    );
    assert!(matches!(clash, Err(FileError::Entry { feeds: 2, .. })));
    let handle = File::start_all(vec![a, b], FileConfig::at(&path)).unwrap();
    let seen = |name: &str| registry.snapshot(&name.parse().unwrap()).endpoints().len() == 1;
    let start = Instant::now();
    while !(seen("a") && seen("b")) {
        assert!(start.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(2));
    }
    handle.stop();
}

#[test]
fn bad_settings_name_the_field() {
    let registry = Registry::default();
    let start = |config: FileConfig| {
        let feed =
            registry.feed(&"a".parse().unwrap(), &"file".parse().unwrap(), MirrorConfig::default(), || {
                Timestamp::ORIGIN
            });
        let feed = feed.unwrap();
        File::start(feed, config).map(drop).unwrap_err().to_string()
    };
    assert!(start(FileConfig::default()).starts_with("path is \"\""));
    assert!(start(FileConfig::at("/x/list.txt")).starts_with("syntax is not given"));
    assert!(
        start(FileConfig { poll: Duration::ZERO, ..FileConfig::at("/x/a.toml") }).starts_with("poll is 0ns")
    );
    assert!(start(FileConfig { max_bytes: 0, ..FileConfig::at("/x/a.toml") }).starts_with("max_bytes is 0"));
    let text = "path = \"/x/a.yaml\"\npoll = \"2s\"";
    let config: FileConfig = toml::from_str(text).unwrap();
    assert_eq!(config.poll, Duration::from_secs(2));
    assert!(toml::from_str::<FileConfig>("pth = 1").is_err());
}

#[test]
fn the_handle_stops_at_once() {
    let dir = Dir::new();
    let path = dir.path("users.toml");
    fs::write(&path, list(&["a"])).unwrap();
    let mut world = World::new(watched(&path));
    world.until_ids(&["a"]);
    let start = Instant::now();
    world.handle.take().unwrap().stop();
    assert!(start.elapsed() < Duration::from_secs(1));
}

/// Time from the rename to the snapshot, beside that from the rename to a bare notification.
#[test]
fn latency() {
    let dir = Dir::new();
    let path = dir.path("users.toml");
    replace(&path, &list(&["a"]));
    let world = World::new(watched(&path));
    world.until_ids(&["a"]);
    let (raw_tx, raw) = std::sync::mpsc::channel();
    let mut bare = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let to = notify::event::ModifyKind::Name(notify::event::RenameMode::To);
        if event.is_ok_and(|event| event.kind == notify::EventKind::Modify(to)) {
            let _ = raw_tx.send(Instant::now());
        }
    })
    .unwrap();
    notify::Watcher::watch(&mut bare, &dir.0, notify::RecursiveMode::NonRecursive).unwrap();
    let (wake_tx, wakes) = std::sync::mpsc::channel();
    let watch = Arc::new(std::sync::Mutex::new(world.registry.watch(&world.service)));
    watch.lock().unwrap().on_change(move || _ = wake_tx.send(Instant::now()));
    let first = FirstPick::follow(&world.registry, &world.service);
    let (mut mine, mut theirs, mut picks) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..200 {
        let beside = path.with_extension("new");
        let id = format!("b{round}");
        fs::write(&beside, list(&["a", &id])).unwrap();
        let _ = watch.lock().unwrap().take();
        while raw.try_recv().is_ok() || wakes.try_recv().is_ok() {}
        let wished = id.clone();
        first.wish(move |endpoint| endpoint.id().as_str() == wished);
        let start = Instant::now();
        fs::rename(&beside, &path).unwrap();
        theirs.push(raw.recv_timeout(PATIENCE).unwrap() - start);
        let seen = loop {
            let at = wakes.recv_timeout(PATIENCE).unwrap();
            if world.ids().contains(&id) {
                break at;
            }
        };
        mine.push(seen - start);
        picks.push(first.after(start));
    }
    println!("{}", compared("file", &picks, &theirs));
    mine.sort();
    theirs.sort();
    let at = |all: &[Duration], percent: usize| all[all.len() * percent / 100];
    println!(
        "file: rename to snapshot p50 {:?}, p99 {:?}; bare inotify p50 {:?}, p99 {:?} (200 changes)",
        at(&mine, 50),
        at(&mine, 99),
        at(&theirs, 50),
        at(&theirs, 99)
    );
    let many: Vec<_> = (0..10_000).map(|n| format!("n{n:05}")).collect();
    let text = list(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let start = Instant::now();
    replace(&path, &text);
    world.until("10 000", |world| world.registry.snapshot(&world.service).endpoints().len() == 10_000);
    println!("file: 10 000 endpoints, {} bytes of TOML, in {:?}", text.len(), start.elapsed());
}

/// A file as the suite's store.
struct Disk {
    dir: Dir,
    entries: BTreeMap<EndpointId, Endpoint>,
    checkpoint: BTreeMap<EndpointId, Endpoint>,
    malformed: bool,
    world: World,
}

impl Disk {
    fn path(&self) -> PathBuf {
        self.dir.path("users.yaml")
    }

    fn write(&self) -> Done {
        let mut text = "version: 1\nservices:\n  users:\n    endpoints:".to_owned();
        for endpoint in self.entries.values() {
            let (id, address, weight) = (endpoint.id(), endpoint.address(), endpoint.weight().get());
            write!(text, "\n    - {{id: {id}, address: '{address}', weight: {weight}}}").unwrap();
        }
        if self.entries.is_empty() {
            text += " []";
        }
        if self.malformed {
            text += "\n    - {id: bad, address: nonsense}";
        }
        replace(&self.path(), &text);
        Ok(())
    }
}

impl StoreUnderTest for Disk {
    fn wait(&mut self, time: Duration) {
        thread::sleep(time);
        self.world.registry.tick(self.world.feed.now());
    }

    fn put(&mut self, endpoint: &Endpoint) -> Done {
        self.put_many(std::slice::from_ref(endpoint))
    }

    fn put_many(&mut self, endpoints: &[Endpoint]) -> Done {
        self.entries.extend(endpoints.iter().map(|endpoint| (endpoint.id().clone(), endpoint.clone())));
        self.write()
    }

    fn remove(&mut self, id: &EndpointId) -> Done {
        self.entries.remove(id);
        self.write()
    }

    fn put_malformed(&mut self) -> Done {
        self.malformed = true;
        self.write()
    }

    fn stop(&mut self) -> Done {
        fs::rename(self.path(), self.dir.path("away")).map_err(|error| Refusal::Failed(error.to_string()))
    }

    fn go_on(&mut self) -> Done {
        self.malformed = false;
        self.write()
    }

    fn checkpoint(&mut self) -> Done {
        self.checkpoint = self.entries.clone();
        Ok(())
    }

    fn restart_older(&mut self) -> Done {
        self.entries = self.checkpoint.clone();
        self.write()
    }

    fn restart_empty(&mut self) -> Done {
        self.entries.clear();
        self.write()
    }

    fn save(&mut self) -> Result<Saved, Refusal> {
        self.world.feed.save(SystemTime::now()).ok_or_else(|| Refusal::Failed("nothing to save".to_owned()))
    }

    fn restart_adapter(&mut self, saved: &Saved) -> Result<Watch, Refusal> {
        self.world.handle.take().unwrap().stop();
        self.world = World::with(watched(&self.path()), Some(saved));
        Ok(self.world.registry.watch(&self.world.service))
    }

    fn limits(&self) -> Limits {
        Limits { reconnect: Duration::from_secs(10), ..Limits::default() }
    }
}

#[test]
fn the_suite_for_adapters() {
    let dir = Dir::new();
    let world = World::new(watched(&dir.path("users.yaml")));
    let watch = world.registry.watch(&world.service);
    let (entries, checkpoint) = (BTreeMap::new(), BTreeMap::new());
    let mut disk = Disk { dir, entries, checkpoint, malformed: false, world };
    let report = run(&mut disk, watch);
    println!("{report}");
    assert!(report.is_ok(), "{report}");
}
