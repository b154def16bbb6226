//! Laws of the follower: it leads to the set of the store whatever is cut, and survives any bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use evenkeel_etcd::{Ask, Follower, FollowerConfig, Seen, entry};
use evenkeel_registry::{Event, MirrorConfig, Registry, Revision, TroubleKind};
use evenkeel_types::{Endpoint, EndpointId, Timestamp};
use proptest::prelude::*;

/// etcd, as far as the follower sees it.
#[derive(Default)]
struct Store {
    revision: u64,
    entries: BTreeMap<u8, (u16, u64)>,
    history: Vec<(u64, String)>,
}

impl Store {
    fn put(&mut self, key: u8, port: u16) {
        self.revision += 1;
        self.entries.insert(key, (port, self.revision));
        self.history.push((self.revision, format!("{{\"kv\":{}}}", kv(key, port, self.revision))));
    }

    fn delete(&mut self, key: u8) {
        if self.entries.remove(&key).is_some() {
            self.revision += 1;
            let event = format!("{{\"type\":\"DELETE\",\"kv\":{}}}", kv(key, 0, self.revision));
            self.history.push((self.revision, event));
        }
    }

    /// A page of at most `limit`, from `from` on.
    fn page(&self, from: usize, limit: usize) -> String {
        let kvs: Vec<_> = self.entries.iter().map(|(key, (port, at))| kv(*key, *port, *at)).collect();
        let page = &kvs[from.min(kvs.len())..(from + limit).min(kvs.len())];
        let more = from + limit < kvs.len();
        format!(
            "{{{},\"kvs\":[{}],\"more\":{more},\"count\":\"{}\"}}",
            self.header(),
            page.join(","),
            kvs.len()
        )
    }

    fn changes(&self, after: u64, most: usize) -> Option<String> {
        let events: Vec<_> = self.history.iter().filter(|(at, _)| *at > after).take(most).collect();
        let text = events.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(",");
        (!events.is_empty()).then(|| format!("{{\"result\":{{{},\"events\":[{text}]}}}}", self.header()))
    }

    fn header(&self) -> String {
        format!("\"header\":{{\"cluster_id\":\"5\",\"revision\":\"{}\"}}", self.revision + 1)
    }

    fn set(&self) -> Vec<Endpoint> {
        let good = self.entries.iter().filter(|(_, (port, _))| *port > 0);
        good.map(|(key, (port, _))| {
            let id: EndpointId = format!("{key:03}").parse().unwrap();
            Endpoint::new(id, format!("10.0.0.1:{port}").parse().unwrap())
        })
        .collect()
    }
}

/// Port 0 stands for a value that cannot be read.
fn kv(key: u8, port: u16, revision: u64) -> String {
    let value = if port == 0 { "nonsense".to_owned() } else { format!("10.0.0.1:{port}") };
    let (key, value) = (STANDARD.encode(format!("s/{key:03}")), STANDARD.encode(value));
    format!("{{\"key\":\"{key}\",\"value\":\"{value}\",\"mod_revision\":\"{}\"}}", revision + 1)
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u16),
    Delete(u8),
    /// The follower reads, at most so many changes in a line.
    Read(usize),
    /// … and tells.
    Tell,
    /// A line is cut off.
    Cut(usize),
    /// The watch is told that its position is gone.
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u8, 0..4_u16).prop_map(|(key, port)| Step::Put(key, port)),
        2 => (0..12_u8).prop_map(Step::Delete),
        3 => (1..5_usize).prop_map(Step::Read),
        2 => Just(Step::Tell),
        1 => (0..200_usize).prop_map(Step::Cut),
        1 => Just(Step::Compact),
    ]
}

/// A follower whose events go to a real mirror with no guards, since the model knows none.
struct Under {
    store: Store,
    follower: Follower,
    registry: Registry,
    feed: evenkeel_registry::Feed,
    /// How far the watch has read.
    read: u64,
}

impl Under {
    fn new(page_size: u32) -> Self {
        let registry = Registry::default();
        let mut mirror = MirrorConfig::default();
        mirror.empty.hold = evenkeel_registry::Hold::Never;
        mirror.shrink.always = usize::MAX;
        mirror.settle.quiet = std::time::Duration::ZERO;
        mirror.settle.max = std::time::Duration::ZERO;
        mirror.max_events_per_second = u32::MAX;
        let service = "users".parse().unwrap();
        let feed =
            registry.feed(&service, &"etcd".parse().unwrap(), mirror, || Timestamp::from_secs(1)).unwrap();
        let config = FollowerConfig { prefix: "s/".to_owned(), page_size, max_entries: 100 };
        // One entry that is good for ever: a list without one is an error.
        let mut store = Store::default();
        store.put(200, 9);
        Self { store, follower: Follower::new(config), registry, feed, read: 0 }
    }

    fn send(&self, events: Vec<Event>) {
        for event in events {
            self.feed.send(event).unwrap();
        }
    }

    /// Lists until the follower watches.
    fn list(&mut self, page: usize) {
        let mut from = 0;
        while let Ask::List(_) = self.follower.ask() {
            let events = self.follower.listed(self.store.page(from, page).as_bytes()).unwrap();
            self.send(events);
            from += page;
            self.read = self.store.revision;
        }
    }

    fn read(&mut self, most: usize) {
        if let Some(line) = self.store.changes(self.read, most) {
            assert_eq!(self.follower.watched(line.as_bytes()).unwrap(), Seen::Changes);
            self.read = (self.read + u64::try_from(most).unwrap()).min(self.store.revision);
        }
    }

    fn tell(&mut self) {
        let events = self.follower.take_events();
        self.send(events);
    }
}

proptest! {
    #[test]
    fn it_leads_to_the_set_of_the_store(steps in prop::collection::vec(step(), 1..60), page in 1..5_usize) {
        let mut under = Under::new(u32::try_from(page).unwrap());
        under.list(page);
        for step in steps {
            match step {
                Step::Put(key, port) => under.store.put(key, port),
                Step::Delete(key) => under.store.delete(key),
                Step::Read(most) => under.read(most),
                Step::Tell => under.tell(),
                Step::Cut(at) => {
                    if let Some(line) = under.store.changes(under.read, 3) {
                        let cut = &line.as_bytes()[..at.min(line.len() - 1)];
                        prop_assert_eq!(under.follower.watched(cut).unwrap_err().kind, TroubleKind::Malformed);
                    }
                }
                Step::Compact => {
                    let line = br#"{"result":{"header":{"cluster_id":"5"},"canceled":true,"compact_revision":"9"}}"#;
                    prop_assert_eq!(under.follower.watched(line), Ok(Seen::Compacted));
                }
            }
            under.list(page);
        }
        under.read(1000);
        under.tell();
        let snapshot = under.registry.snapshot(&"users".parse().unwrap());
        // A key whose value is bad now keeps its last good description, if one was seen.
        let bad = |endpoint: &Endpoint| {
            let key: u8 = endpoint.id().as_str().parse().unwrap();
            under.store.entries.get(&key).is_some_and(|(port, _)| *port == 0)
        };
        let seen: Vec<_> =
            snapshot.endpoints().iter().map(|e| Endpoint::clone(e)).filter(|e| !bad(e)).collect();
        prop_assert_eq!(seen, under.store.set());
        let held = under.registry.sources(&"users".parse().unwrap())[0].revision.clone();
        prop_assert!(held.is_none_or(|held: Revision| held.incarnation() == "5.0"));
    }

    #[test]
    fn any_bytes_are_survived(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20)) {
        let mut under = Under::new(2);
        for (turn, line) in lines.iter().enumerate() {
            let _ = under.follower.listed(line);
            let _ = under.follower.watched(line);
            let _ = under.follower.probed(line);
            let _ = entry::read(&"a".parse().unwrap(), line);
            if turn % 3 == 0 {
                under.follower.relist();
                under.store.put(u8::try_from(turn).unwrap(), 80);
                under.list(2);
            }
            let _ = under.follower.take_events();
        }
    }

    #[test]
    fn json_of_the_wrong_shape_is_survived(text in r#"\{"(result|header|kvs|error|events|canceled)":(\{\}|\[\{\}\]|"x"|-1|null|1e400|99999999999999999999)\}"#) {
        let mut under = Under::new(2);
        under.list(2);
        let _ = under.follower.watched(text.as_bytes());
        let _ = under.follower.probed(text.as_bytes());
        under.follower.relist();
        let _ = under.follower.listed(text.as_bytes());
    }
}
