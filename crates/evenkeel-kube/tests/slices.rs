//! The machine under the adapter, without IO: what each word does, moves between slices, and any sequence at all.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

#[path = "support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evenkeel_kube::{Family, Mapping, PortChoice, Relist, Slice, Slices};
use evenkeel_registry::{Cause, Event, Revision};
use evenkeel_types::{Announced, Endpoint, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{numbered, pod, slice, terminating};

const LINGER: Duration = Duration::from_millis(500);

fn read(mut value: Value, version: u64) -> Slice {
    if value.is_object() {
        value["metadata"]["resourceVersion"] = version.to_string().into();
    }
    Slice::from_json(value.to_string().as_bytes()).unwrap()
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// What a feed holds that is told these events; it is stricter than the registry.
#[derive(Default)]
struct Feed {
    set: BTreeMap<String, Endpoint>,
    at: Option<Revision>,
    rejects: Vec<String>,
    causes: Vec<(String, Cause)>,
    events: usize,
}

impl Feed {
    fn hear(&mut self, slices: &mut Slices) {
        while let Some(event) = slices.next_event() {
            self.events += 1;
            match event {
                Event::Full { revision, endpoints, .. } => {
                    let revision = revision.unwrap();
                    let newer =
                        self.at.as_ref().is_none_or(|at| *at == revision || !at.same_incarnation(&revision));
                    assert!(newer, "a full set is a new incarnation, or the one held");
                    self.at = Some(revision);
                    let count = endpoints.len();
                    self.set = endpoints.into_iter().map(|e| (e.id().to_string(), e)).collect();
                    assert_eq!(self.set.len(), count, "an id twice");
                }
                Event::Delta { from, to, upserts, removals } => {
                    assert_eq!(self.at.as_ref(), Some(&from), "a gap");
                    assert!(from.same_incarnation(&to) && from != to);
                    self.at = Some(to);
                    assert!(!upserts.is_empty() || !removals.is_empty(), "says nothing");
                    for endpoint in upserts {
                        let old = self.set.insert(endpoint.id().to_string(), endpoint.clone());
                        assert_ne!(old, Some(endpoint), "says nothing new");
                    }
                    for removal in removals {
                        assert!(self.set.remove(removal.id.as_str()).is_some(), "gone twice");
                        self.causes.push((removal.id.to_string(), removal.cause));
                    }
                }
                Event::Fresh { .. } => assert!(self.at.is_some(), "nothing is fresh"),
                Event::Reject { id, reason } => self.rejects.push(format!("{} {reason}", id.unwrap())),
                other => panic!("{other:?}"),
            }
        }
    }

    fn ids(&self) -> Vec<&str> {
        self.set.keys().map(String::as_str).collect()
    }
}

fn listed(slices: &mut Slices, feed: &mut Feed, list: &[Value], version: u64) {
    slices.began();
    for value in list {
        slices.listed(read(value.clone(), version)).unwrap();
    }
    slices.complete();
    feed.hear(slices);
}

fn new() -> (Slices, Feed) {
    (Slices::new("users", Mapping::default(), 1_000, LINGER), Feed::default())
}

#[test]
fn readers_see_a_list_when_it_is_whole() {
    let (mut slices, mut feed) = new();
    listed(&mut slices, &mut feed, &[slice("a", &[numbered(1), numbered(2)])], 5);
    assert_eq!(feed.ids(), ["uid-p00001", "uid-p00002"]);
    slices.began();
    slices.listed(read(slice("a", &[numbered(3)]), 9)).unwrap();
    slices.alive();
    feed.hear(&mut slices);
    assert_eq!(feed.ids().len(), 2, "half a list is none");
    // It fails, and a second one comes.
    slices.failed();
    slices.listed(read(slice("a", &[numbered(4)]), 9)).unwrap();
    slices.complete();
    feed.hear(&mut slices);
    assert_eq!(feed.ids().len(), 2, "what was not begun does not end");
    listed(&mut slices, &mut feed, &[slice("b", &[numbered(5)])], 12);
    assert_eq!(feed.ids(), ["uid-p00005"]);
    // The feed has lost its position.
    slices.resend();
    feed.hear(&mut slices);
    assert_eq!(feed.ids(), ["uid-p00005"]);
}

#[test]
fn a_move_between_slices_is_not_seen() {
    for first_added in [true, false] {
        let (mut slices, mut feed) = new();
        listed(
            &mut slices,
            &mut feed,
            &[slice("a", &[numbered(1), numbered(2)]), slice("b", &[numbered(3)])],
            5,
        );
        let before = (feed.set.clone(), feed.events);
        let (without, with) = (slice("a", &[numbered(1)]), slice("b", &[numbered(2), numbered(3)]));
        let order = if first_added { [with, without] } else { [without, with] };
        for (step, value) in (0_u64..).zip(order) {
            slices.changed(at(10 * step), read(value, 6 + step)).unwrap();
            feed.hear(&mut slices);
            assert_eq!(feed.set, before.0);
        }
        slices.tick(at(60_000));
        feed.hear(&mut slices);
        assert_eq!(
            (&feed.set, feed.events),
            (&before.0, before.1),
            "nothing happened, added first: {first_added}"
        );
        assert_eq!(slices.next_deadline(), None);
    }
}

#[test]
fn who_vanishes_lingers_unless_it_said_so() {
    let (mut slices, mut feed) = new();
    listed(&mut slices, &mut feed, &[slice("a", &[numbered(1), numbered(2), numbered(3), numbered(4)])], 5);
    let draining = slice("a", &[numbered(1), terminating(numbered(2)), numbered(3), numbered(4)]);
    slices.changed(at(0), read(draining, 6)).unwrap();
    feed.hear(&mut slices);
    assert_eq!(feed.set["uid-p00002"].announced(), Announced::Draining);
    // 2 goes, as it said; 3 vanishes; the address of 4 is another's.
    let successor = pod("new", "10.0.0.4");
    slices.changed(at(100), read(slice("a", &[numbered(1), successor]), 7)).unwrap();
    feed.hear(&mut slices);
    assert_eq!(feed.ids(), ["uid-new", "uid-p00001", "uid-p00003"]);
    let causes: BTreeMap<_, _> = std::mem::take(&mut feed.causes).into_iter().collect();
    assert_eq!((causes["uid-p00002"], causes["uid-p00004"]), (Cause::Deregistered, Cause::Replaced));
    assert_eq!(slices.next_deadline(), Some(at(600)));
    slices.tick(at(599));
    feed.hear(&mut slices);
    assert_eq!(feed.ids().len(), 3);
    slices.tick(at(10)); // the clock goes back: nothing
    slices.tick(at(600));
    feed.hear(&mut slices);
    assert_eq!(feed.ids(), ["uid-new", "uid-p00001"]);
    assert_eq!(feed.causes, [("uid-p00003".to_owned(), Cause::Unknown)]);
    // The whole slice is deleted.
    slices.deleted(at(700), &read(slice("a", &[]), 8)).unwrap();
    slices.tick(at(1_200));
    feed.hear(&mut slices);
    assert_eq!(feed.ids(), Vec::<&str>::new());
    slices.deleted(at(1_300), &read(slice("never", &[]), 9)).unwrap();
    feed.hear(&mut slices);
}

#[test]
fn both_families_are_one_endpoint() {
    for (first_family, wanted) in
        [(Family::V4, ["10.0.0.1:8080", "[fd00::1]:8080"]), (Family::V6, ["[fd00::1]:8080", "10.0.0.1:8080"])]
    {
        let mapping = Mapping { first_family, ..Mapping::default() };
        let (mut slices, mut feed) = (Slices::new("users", mapping, 1_000, LINGER), Feed::default());
        let lists = [slice("v4", &[pod("a", "10.0.0.1")]), slice("v6", &[pod("a", "fd00::1")])];
        listed(&mut slices, &mut feed, &lists, 5);
        assert_eq!(feed.set["uid-a"].addresses().map(ToString::to_string).collect::<Vec<_>>(), wanted);
        // Told by one slice first: as the newer says.
        slices.changed(at(0), read(slice("v6", &[terminating(pod("a", "fd00::1"))]), 6)).unwrap();
        feed.hear(&mut slices);
        assert_eq!(feed.set["uid-a"].announced(), Announced::Draining);
        slices.deleted(at(0), &read(slice("v6", &[]), 7)).unwrap();
        feed.hear(&mut slices);
        let a = &feed.set["uid-a"];
        assert_eq!((a.addresses().count(), a.announced()), (1, Announced::Up), "as the other says");
    }
}

#[test]
fn of_two_slices_the_newer_says_what_it_is_like() {
    let (mut slices, mut feed) = new();
    slices.began();
    slices.listed(read(slice("new", &[terminating(numbered(1))]), 9)).unwrap();
    slices.listed(read(slice("old", &[numbered(1)]), 8)).unwrap();
    slices.complete();
    feed.hear(&mut slices);
    assert_eq!(feed.set["uid-p00001"].announced(), Announced::Draining);
}

#[test]
fn bad_entries_are_told_once_and_cost_nobody_else() {
    let (mut slices, mut feed) = new();
    let mut bad = numbered(2);
    bad["addresses"] = json!(["nowhere"]);
    let mut names = slice("names", &[]);
    names["addressType"] = "FQDN".into();
    let mut foreign = slice("foreign", &[numbered(9)]);
    foreign["metadata"]["labels"] = json!({});
    let mixed = slice("a", &[numbered(1), bad.clone(), numbered(1), json!(7)]);
    listed(&mut slices, &mut feed, &[mixed.clone(), names, foreign, json!([])], 5);
    assert_eq!(feed.ids(), ["uid-p00001"]);
    let told = std::mem::take(&mut feed.rejects);
    for part in [
        "#1 p00002 EndpointSlice a: \"nowhere\" is no IP",
        "uid-p00001 is in the slice twice",
        "#3 EndpointSlice a: is no object",
        "names EndpointSlice names: addressType is FQDN",
        "EndpointSlice foreign: belongs to the service ``",
        "metadata.name",
    ] {
        assert!(told.iter().any(|reject| reject.contains(part)), "{part}: {told:#?}");
    }
    assert_eq!(told.len(), 6);
    slices.changed(at(0), read(mixed.clone(), 6)).unwrap();
    listed(&mut slices, &mut feed, &[mixed], 7);
    assert_eq!(feed.rejects, Vec::<String>::new(), "the same is not told again");
    let many: Vec<_> = (0..500).map(|_| bad.clone()).collect();
    slices.changed(at(0), read(slice("many", &many), 8)).unwrap();
    feed.hear(&mut slices);
    assert_eq!(feed.rejects.len(), 17);
    assert!(feed.rejects.iter().any(|reject| reject.contains("484 more")), "{:?}", feed.rejects);
}

#[test]
fn a_slice_that_cannot_be_read_keeps_what_it_said() {
    let (mut slices, mut feed) = new();
    listed(&mut slices, &mut feed, &[slice("a", &[numbered(1)]), slice("b", &[numbered(2)])], 5);
    let mut broken = slice("a", &[numbered(3)]);
    broken["ports"] = "http".into();
    slices.changed(at(0), read(broken.clone(), 6)).unwrap();
    listed(&mut slices, &mut feed, &[broken, slice("b", &[numbered(2)])], 7);
    assert_eq!((feed.ids(), feed.rejects.len()), (vec!["uid-p00001", "uid-p00002"], 1));
    slices.changed(at(1), read(slice("a", &[numbered(1), numbered(3)]), 8)).unwrap();
    slices.tick(at(9_000));
    feed.hear(&mut slices);
    assert_eq!(feed.ids().len(), 3);
    listed(&mut slices, &mut feed, &[slice("b", &[numbered(2)])], 9);
    assert_eq!(feed.ids(), ["uid-p00002"], "deleted while nobody looked");
}

/// The controller makes the last slice of a Service without pods one without ports, by an update of the slice that had them.
#[test]
fn a_service_that_is_scaled_to_zero_has_nobody() {
    for port in [PortChoice::Only, PortChoice::Named("http".into()), PortChoice::Number(8080)] {
        let mapping = Mapping { port, ..Mapping::default() };
        let (mut slices, mut feed) = (Slices::new("users", mapping, 1_000, LINGER), Feed::default());
        listed(&mut slices, &mut feed, &[slice("a", &[numbered(1), numbered(2)])], 5);
        slices
            .changed(at(0), read(slice("a", &[terminating(numbered(1)), terminating(numbered(2))]), 6))
            .unwrap();
        let mut placeholder = slice("a", &[]);
        placeholder["ports"] = json!([]);
        placeholder["endpoints"] = json!(null);
        slices.changed(at(1), read(placeholder.clone(), 7)).unwrap();
        feed.hear(&mut slices);
        assert_eq!((feed.ids(), &feed.rejects), (vec![], &vec![]));
        // And listed anew.
        listed(&mut slices, &mut feed, &[placeholder], 8);
        assert_eq!((feed.ids(), &feed.rejects), (vec![], &vec![]));
    }
}

/// Somebody adds a port to the Service, or renames one: which is meant is not to be guessed, but who left has left.
#[test]
fn a_slice_without_the_port_keeps_nobody_who_left() {
    let two = json!([{"name": "http", "port": 8080}, {"name": "metrics", "port": 9090}]);
    let renamed = json!([{"name": "web", "port": 8080}]);
    for (port, ports) in [(PortChoice::Only, two), (PortChoice::Named("http".into()), renamed)] {
        let mapping = Mapping { port, ..Mapping::default() };
        let (mut slices, mut feed) = (Slices::new("users", mapping, 1_000, LINGER), Feed::default());
        listed(&mut slices, &mut feed, &[slice("a", &[numbered(1), numbered(2), numbered(3)])], 5);
        let mut odd = slice("a", &[terminating(numbered(1)), numbered(2), numbered(4)]);
        odd["ports"] = ports;
        slices.changed(at(0), read(odd.clone(), 6)).unwrap();
        slices.tick(at(600));
        feed.hear(&mut slices);
        assert_eq!(feed.ids(), ["uid-p00001", "uid-p00002"], "the third has left, the fourth has no port");
        assert_eq!(feed.set["uid-p00001"].announced(), Announced::Draining);
        assert_eq!(feed.rejects.len(), 1, "{:?}", feed.rejects);
        // The same over a list, also without the first.
        odd["endpoints"] = json!([numbered(2), numbered(4)]);
        listed(&mut slices, &mut feed, &[odd.clone()], 7);
        assert_eq!((feed.ids(), feed.rejects.len()), (vec!["uid-p00002"], 1));
        odd["endpoints"] = json!([]);
        slices.changed(at(601), read(odd, 8)).unwrap();
        slices.tick(at(9_000));
        feed.hear(&mut slices);
        assert_eq!(feed.ids(), Vec::<&str>::new());
    }
}

#[test]
fn bounds_and_time_travel() {
    let mut feed = Feed::default();
    let mut slices = Slices::new("users", Mapping::default(), 3, LINGER);
    let three = slice("a", &[numbered(1), numbered(2), numbered(3)]);
    listed(&mut slices, &mut feed, &[three], 5);
    let more = read(slice("b", &[numbered(4)]), 6);
    assert_eq!(slices.changed(at(0), more.clone()), Err(Relist::TooMany { most: 3 }));
    slices.began();
    slices.listed(read(slice("a", &[numbered(1), numbered(2), numbered(3)]), 5)).unwrap();
    assert_eq!(slices.listed(more), Err(Relist::TooMany { most: 3 }));
    slices.complete();
    feed.hear(&mut slices);
    assert_eq!(feed.ids().len(), 3, "the set stays");
    slices.began();
    for name in ["a", "b", "c"] {
        slices.listed(read(slice(name, &[]), 5)).unwrap();
    }
    assert_eq!(slices.listed(read(slice("d", &[]), 5)), Err(Relist::TooMany { most: 3 }), "slices count too");

    let (mut slices, mut feed) = new();
    listed(&mut slices, &mut feed, &[slice("a", &[numbered(1)])], 50);
    let older = read(slice("a", &[]), 49);
    let back = Err(Relist::WentBack { given: 49, highest: 50 });
    assert_eq!((slices.changed(at(0), older.clone()), slices.deleted(at(0), &older)), (back.clone(), back));
    assert_eq!(slices.changed(at(0), read(slice("a", &[numbered(1), numbered(2)]), 50)), Ok(()));
    // A version that is no number says nothing about time.
    let mut opaque = slice("b", &[numbered(7)]);
    opaque["metadata"]["resourceVersion"] = "x-1".into();
    slices.changed(at(0), Slice::from_json(opaque.to_string().as_bytes()).unwrap()).unwrap();
    feed.hear(&mut slices);
    assert_eq!(feed.ids().len(), 3);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Vec<(u8, bool)>),
    Delete(u8),
    Relist,
    Fail,
    Wait(u16),
    Back,
    Resend,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let entries = proptest::collection::vec((0..12_u8, any::<bool>()), 0..6);
    let step = prop_oneof![
        6 => (0..5_u8, entries).prop_map(|(name, entries)| Step::Put(name, entries)),
        2 => (0..5_u8).prop_map(Step::Delete),
        1 => Just(Step::Relist),
        1 => Just(Step::Fail),
        3 => (0..800_u16).prop_map(Step::Wait),
        1 => Just(Step::Back),
        1 => Just(Step::Resend),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: no gap, no id twice, and in the end the set of the store.
    #[test]
    fn any_sequence_ends_at_the_store(steps in steps()) {
        let (mut slices, mut feed) = new();
        let mut store: BTreeMap<u8, (Value, BTreeSet<u8>)> = BTreeMap::new();
        let (mut now, mut version, mut watching) = (0, 10, false);
        let relist = |slices: &mut Slices, feed: &mut Feed, store: &BTreeMap<u8, (Value, BTreeSet<u8>)>, version| {
            let all: Vec<_> = store.values().map(|(value, _)| value.clone()).collect();
            listed(slices, feed, &all, version);
        };
        for step in steps {
            version += 1;
            match step {
                Step::Put(name, entries) => {
                    let pods: Vec<_> = entries.iter().map(|&(number, draining)| {
                        let pod = numbered(u32::from(number));
                        if draining { terminating(pod) } else { pod }
                    }).collect();
                    let value = slice(&format!("s{name}"), &pods);
                    store.insert(name, (value.clone(), entries.iter().map(|entry| entry.0).collect()));
                    if watching { slices.changed(at(now), read(value, version)).unwrap(); }
                }
                Step::Delete(name) => {
                    if let Some((value, _)) = store.remove(&name)
                        && watching { slices.deleted(at(now), &read(value, version)).unwrap(); }
                }
                Step::Relist => { relist(&mut slices, &mut feed, &store, version); watching = true; }
                Step::Fail => { slices.failed(); watching = false; }
                Step::Wait(ms) => { now += u64::from(ms); slices.tick(at(now)); }
                Step::Back => { slices.tick(at(0)); slices.alive(); }
                Step::Resend => slices.resend(),
            }
            feed.hear(&mut slices);
        }
        if !watching { relist(&mut slices, &mut feed, &store, version + 1); }
        while let Some(until) = slices.next_deadline() { slices.tick(until); }
        feed.hear(&mut slices);
        let wanted: BTreeSet<_> = store.values().flat_map(|(_, ids)| ids).map(|id| format!("uid-p{id:05}")).collect();
        prop_assert_eq!(feed.set.keys().cloned().collect::<BTreeSet<_>>(), wanted);
    }

    /// Nothing that a server can say is a reason to panic.
    #[test]
    fn garbage_is_read_or_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Slice::from_json(&bytes);
    }

    /// The same for JSON of the right form with anything in any place.
    #[test]
    fn any_field_may_be_anything(which in 0..24_usize, junk in junk(), twice in any::<bool>()) {
        let mut value = slice("a", &[numbered(1), numbered(2)]);
        value["metadata"]["resourceVersion"] = "5".into();
        let paths = ["", "/metadata", "/metadata/name", "/metadata/labels", "/metadata/resourceVersion", "/addressType",
            "/ports", "/ports/0", "/ports/0/name", "/ports/0/port", "/ports/0/protocol", "/endpoints", "/endpoints/0",
            "/endpoints/0/addresses", "/endpoints/0/addresses/0", "/endpoints/0/conditions",
            "/endpoints/0/conditions/ready", "/endpoints/0/targetRef", "/endpoints/0/targetRef/uid",
            "/endpoints/0/targetRef/name", "/endpoints/0/nodeName", "/endpoints/0/zone", "/endpoints/0/targetRef/kind",
            "/apiVersion"];
        *value.pointer_mut(paths[which]).unwrap() = junk;
        let (mut slices, mut feed) = new();
        listed(&mut slices, &mut feed, &[slice("z", &[numbered(3)])], 1);
        let read = Slice::from_json(value.to_string().as_bytes()).unwrap();
        for _ in 0..=usize::from(twice) { let _ = slices.changed(at(1), read.clone()); }
        slices.began();
        slices.listed(read).unwrap();
        slices.listed(Slice::from_json(slice("z", &[numbered(3)]).to_string().as_bytes()).unwrap()).unwrap();
        slices.complete();
        feed.hear(&mut slices);
        prop_assert!(feed.set.contains_key("uid-p00003"), "the good one counts");
        prop_assert!(feed.set.len() <= 3);
    }
}

fn junk() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[]], {"a": 1}])),
    ]
}
