//! The machine that follows a directory: its table, and any order of changes, notifications and answers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::collections::{BTreeMap, VecDeque};

use evenkeel_registry::{Event, Revision, TroubleKind};
use evenkeel_types::{Endpoint, EndpointId};
use evenkeel_zookeeper::{Ask, Before, Directory, Entries, Format, Touch};
use proptest::prelude::*;

fn directory(max: usize) -> Directory {
    Directory::new("/s", Entries { format: Format::Native, ..Entries::default() }, max)
}

fn data(name: &str, port: u16) -> Vec<u8> {
    format!(r#"{{"id":"{name}","address":"10.0.0.1:{port}"}}"#).into_bytes()
}

/// Brings a machine into each of its states.
fn in_state(state: &str) -> Directory {
    let mut directory = directory(10);
    if state == "away" {
        return directory;
    }
    directory.connected(1);
    assert_eq!(directory.next_ask(1), Some(Ask::List));
    match state {
        "listing" => {}
        "missing" => directory.missing(Before::Nobody),
        _ => {
            directory.listed(["a".to_owned()]);
            let ask = directory.next_ask(1);
            assert_eq!(ask, Some(Ask::Read { name: "a".into(), path: "/s/a".into() }));
            if state == "synced" {
                directory.read("a", Some(Ok(&data("a", 1))));
            }
        }
    }
    while directory.next_event().is_some() {}
    directory
}

/// What it does then: events, then what it asks for.
fn seen(directory: &mut Directory) -> String {
    let mut words = Vec::new();
    while let Some(event) = directory.next_event() {
        words.push(match event {
            Event::Full { endpoints, .. } => format!("full {}", endpoints.len()),
            Event::Delta { upserts, removals, .. } => format!("delta +{} -{}", upserts.len(), removals.len()),
            Event::Fresh { .. } => "fresh".to_owned(),
            Event::Trouble { kind, .. } => format!("trouble {kind:?}"),
            Event::Reject { .. } => "reject".to_owned(),
            other => format!("{other:?}"),
        });
    }
    while let Some(ask) = directory.next_ask(8) {
        words.push(match ask {
            Ask::List => "list".to_owned(),
            Ask::Read { name, .. } => format!("read {name}"),
        });
    }
    words.join(", ")
}

#[test]
fn every_state_and_every_input() {
    type Input = (&'static str, fn(&mut Directory));
    let inputs: [Input; 12] = [
        ("connected", |d| d.connected(2)),
        ("disconnected", Directory::disconnected),
        ("resync", Directory::resync),
        ("changed", |d| d.touched("/s/b", Touch::Changed)),
        ("gone", |d| d.touched("/s/a", Touch::Gone)),
        ("path gone", |d| d.touched("/s", Touch::Gone)),
        ("grandchild", |d| d.touched("/s/a/x", Touch::Changed)),
        ("listed", |d| d.listed(["c".to_owned()])),
        ("missing, set known", |d| d.missing(Before::Somebody)),
        ("read", |d| d.read("a", Some(Ok(&data("a", 2))))),
        ("probe fits", |d| d.probed(Some(1))),
        ("probe: no node", |d| d.probed(None)),
    ];
    #[rustfmt::skip]
    let table = [
        // input              away    listing      reading                synced         missing
        ("connected",          "list", "list",      "list",                "list",        "list"),
        ("disconnected",       "",     "",          "",                    "",            ""),
        ("resync",             "",     "",          "",                    "",            "list"),
        ("changed",            "",     "",          "",                    "read b",      "list"),
        ("gone",               "",     "",          "",                    "delta +0 -1", "list"),
        ("path gone",          "",     "",          "",                    "list",        "list"),
        ("grandchild",         "",     "",          "",                    "",            ""),
        ("listed",             "",     "read c",    "",                    "",            ""),
        ("missing, set known", "",     "full 0",    "",                    "",            ""),
        ("read",               "",     "",          "full 1",              "",            ""),
        ("probe fits",         "",     "",          "",                    "fresh",       "list"),
        ("probe: no node",     "",     "",          "",                    "",            ""),
    ];
    for ((name, input), row) in inputs.into_iter().zip(table) {
        assert_eq!(name, row.0);
        for (state, expected) in
            [("away", row.1), ("listing", row.2), ("reading", row.3), ("synced", row.4), ("missing", row.5)]
        {
            let mut directory = in_state(state);
            input(&mut directory);
            // A resync of a synced one lists, of one that reads after its round.
            let expected = if (name, state) == ("resync", "synced") { "list" } else { expected };
            assert_eq!(seen(&mut directory), expected, "{state}, {name}");
        }
    }
}

#[test]
fn a_path_that_is_not_there_is_no_proof_of_absence() {
    let mut nobody = in_state("listing");
    nobody.missing(Before::Nobody);
    assert_eq!(seen(&mut nobody), "trouble Server");
    nobody.probed(None);
    assert_eq!(seen(&mut nobody), "", "and is not said again and again, which would look like agreement");
    nobody.touched("/s", Touch::Changed);
    assert_eq!(seen(&mut nobody), "list");
}

#[test]
fn too_many_children_leave_the_set() {
    let mut directory = in_state("listing");
    directory.listed((0..11).map(|n| n.to_string()));
    assert_eq!(seen(&mut directory), "trouble TooLarge");
    directory.probed(Some(11));
    assert_eq!(seen(&mut directory), "");
    directory.probed(Some(10));
    assert_eq!(seen(&mut directory), "list");
}

#[test]
fn a_notification_that_was_lost_is_found_by_two_probes() {
    let mut directory = in_state("synced");
    directory.probed(Some(2));
    assert_eq!(seen(&mut directory), "");
    directory.probed(Some(2));
    assert_eq!(seen(&mut directory), "list");
}

#[test]
fn a_bad_entry_is_told_once_and_its_endpoint_leaves() {
    let mut directory = in_state("synced");
    directory.touched("/s/a", Touch::Changed);
    assert_eq!(seen(&mut directory), "read a");
    directory.read("a", Some(Ok(b"{")));
    assert_eq!(seen(&mut directory), "reject, delta +0 -1");
    directory.resync();
    assert_eq!(seen(&mut directory), "list");
    directory.listed(["a".to_owned()]);
    assert_eq!(seen(&mut directory), "read a");
    directory.read("a", Some(Ok(b"{")));
    assert_eq!(seen(&mut directory), "full 0", "the same fault is not told again");
}

#[test]
fn a_new_session_is_a_new_incarnation() {
    let full = |session| {
        let mut directory = in_state("away");
        directory.connected(session);
        directory.next_ask(1);
        directory.listed([]);
        match directory.next_event() {
            Some(Event::Full { revision: Some(revision), .. }) => revision,
            other => panic!("{other:?}"),
        }
    };
    assert!(!full(1).same_incarnation(&full(2)));
    assert_eq!(full(1), full(1));
}

/// What a mirror would hold, and whether every delta starts where it is.
#[derive(Default)]
struct Mirror {
    at: Option<Revision>,
    set: BTreeMap<EndpointId, Endpoint>,
}

impl Mirror {
    fn take(&mut self, event: Event) {
        match event {
            Event::Full { revision, endpoints, .. } => {
                self.at = revision;
                self.set = endpoints.into_iter().map(|e| (e.id().clone(), e)).collect();
            }
            Event::Delta { from, to, upserts, removals } => {
                assert_eq!(self.at.as_ref(), Some(&from));
                assert!(to.same_incarnation(&from) && to != from);
                self.at = Some(to);
                for removal in removals {
                    assert!(self.set.remove(&removal.id).is_some(), "{removal:?} was not there");
                }
                self.set.extend(upserts.into_iter().map(|e| (e.id().clone(), e)));
            }
            Event::Fresh { .. } => assert!(self.at.is_some()),
            Event::Reject { .. } | Event::Trouble { kind: TroubleKind::Server, .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody writes: name, port (0: nonsense).
    Put(u8, u16),
    Delete(u8),
    /// The server answers an ask, the n-th of those that are open.
    Answer(usize),
    /// A notification arrives.
    Notice,
    /// An answer arrives, if nothing that was notified before it is still on its way.
    Arrive,
    Reconnect,
    Resync,
    Probe,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u8, 0..4_u16).prop_map(|(name, port)| Step::Put(name, port)),
        2 => (0..6_u8).prop_map(Step::Delete),
        6 => any::<usize>().prop_map(Step::Answer),
        5 => Just(Step::Notice),
        6 => Just(Step::Arrive),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Resync),
        1 => Just(Step::Probe),
    ]
}

enum Answered {
    Names(Option<Vec<String>>),
    Data(String, Option<Vec<u8>>),
    Count(usize),
}

/// A server, the wire and the machine.
struct World {
    store: BTreeMap<String, Vec<u8>>,
    directory: Directory,
    mirror: Mirror,
    open: Vec<Ask>,
    notices: VecDeque<(u64, String, Touch)>,
    answers: VecDeque<(u64, Answered)>,
    sent: u64,
    session: i64,
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Put(name, port) => {
                let name = format!("n{name}");
                let data = if port == 0 { b"nonsense".to_vec() } else { data(&name, port) };
                self.store.insert(name.clone(), data);
                self.notify(&name, Touch::Changed);
            }
            Step::Delete(name) => {
                let name = format!("n{name}");
                if self.store.remove(&name).is_some() {
                    self.notify(&name, Touch::Gone);
                }
            }
            Step::Answer(n) => {
                if !self.open.is_empty() {
                    let ask = self.open.swap_remove(n % self.open.len());
                    let answer = match ask {
                        Ask::List => Answered::Names(Some(self.store.keys().cloned().collect())),
                        Ask::Read { name, .. } => {
                            Answered::Data(name.clone(), self.store.get(&name).cloned())
                        }
                    };
                    self.sent += 1;
                    self.answers.push_back((self.sent, answer));
                }
            }
            Step::Notice => {
                if let Some((_, name, touch)) = self.notices.pop_front() {
                    self.directory.touched(&format!("/s/{name}"), touch);
                }
            }
            Step::Arrive => {
                let next = self.notices.front().map_or(u64::MAX, |(at, ..)| *at);
                if self.answers.front().is_some_and(|(at, _)| *at < next) {
                    match self.answers.pop_front().unwrap().1 {
                        Answered::Names(Some(names)) => self.directory.listed(names),
                        Answered::Names(None) => self.directory.missing(Before::Nobody),
                        Answered::Data(name, data) => self.directory.read(&name, data.as_deref().map(Ok)),
                        Answered::Count(count) => self.directory.probed(Some(count)),
                    }
                }
            }
            Step::Reconnect => {
                self.open.clear();
                self.answers.clear();
                self.notices.clear();
                self.session += 1;
                self.directory.disconnected();
                self.directory.connected(self.session);
            }
            Step::Resync => self.directory.resync(),
            Step::Probe => {
                self.sent += 1;
                self.answers.push_back((self.sent, Answered::Count(self.store.len())));
            }
        }
        while let Some(event) = self.directory.next_event() {
            self.mirror.take(event);
        }
        while let Some(ask) = self.directory.next_ask(3) {
            self.open.push(ask);
        }
    }

    fn notify(&mut self, name: &str, touch: Touch) {
        self.sent += 1;
        self.notices.push_back((self.sent, name.to_owned(), touch));
    }
}

proptest! {
    #[test]
    fn the_set_is_that_of_the_store_in_the_end(steps in prop::collection::vec(any_step(), 0..200)) {
        let mut world = World {
            store: BTreeMap::new(), directory: directory(100), mirror: Mirror::default(), open: Vec::new(),
            notices: VecDeque::new(), answers: VecDeque::new(), sent: 0, session: 1,
        };
        world.step(Step::Reconnect);
        for step in steps {
            world.step(step);
        }
        for _ in 0..400 {
            for step in [Step::Answer(0), Step::Notice, Step::Arrive] {
                world.step(step);
            }
        }
        prop_assert!(world.directory.is_synced(), "it is stuck");
        let entries = Entries { format: Format::Native, ..Entries::default() };
        let good = world.store.iter().filter(|(name, data)| entries.read(name, data).is_ok());
        let good: Vec<_> = good.map(|(name, data)| (name.clone(), data.clone())).collect();
        let held = world.mirror.set.values();
        let held: Vec<_> = held.map(|e| (e.id().to_string(), data(e.id().as_str(), e.address().port().unwrap()))).collect();
        prop_assert_eq!(held, good);
    }

    #[test]
    fn no_path_does_harm(paths in prop::collection::vec("(/s)?(/.{0,5}){0,3}", 0..20), gone: bool) {
        let mut directory = in_state("synced");
        for path in paths {
            directory.touched(&path, if gone { Touch::Gone } else { Touch::Changed });
            let mut mirror = Mirror::default();
            while let Some(event) = directory.next_event() {
                if let Event::Full { .. } = event { mirror.take(event); }
            }
        }
        while directory.next_ask(100).is_some() {}
    }
}
