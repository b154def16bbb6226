//! Laws of the client: both variants lead to the same sets, which are those of the control plane; any bytes are survived.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_registry::{Event, TroubleKind};
use evenkeel_types::{EndpointId, Timestamp};
use evenkeel_xds::{Assignment, Cluster, End, Follow, Frames, Scope, Variant, XdsClient, XdsConfig};
use proptest::prelude::*;
use support::plane::{Manners, Plane, Stream};
use support::{Resources, cluster, encoded, simple};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A client at a plane.
struct Side {
    variant: Variant,
    client: XdsClient,
    stream: Option<Stream>,
    sets: BTreeMap<Follow, Option<Vec<EndpointId>>>,
    /// What was said to the server and heard, for the eye.
    now: Timestamp,
}

impl Side {
    fn new(variant: Variant) -> Self {
        let config = XdsConfig { variant, ..XdsConfig::new(["http://a:1"], "n") };
        let mut client = XdsClient::new(&config, Scope::Followed);
        for name in ["a", "b"] {
            client.follow(&Follow::Endpoints(name.to_owned()));
        }
        for name in ["c1", "c2"] {
            client.follow(&Follow::Cluster(name.to_owned()));
        }
        Self { variant, client, stream: None, sets: BTreeMap::new(), now: Timestamp::ORIGIN }
    }

    fn open(&mut self) {
        if self.stream.is_none() {
            self.stream = Some(Stream::new(self.variant == Variant::Delta));
            self.client.opened(self.now);
        }
    }

    fn close(&mut self) {
        if self.stream.take().is_some() {
            self.client.ended(self.now, End::Closed, TroubleKind::Closed, "closed");
        }
        self.hear();
    }

    /// Until both have nothing to say.
    fn settle(&mut self, plane: &Plane) {
        let Some(stream) = &mut self.stream else { return };
        let mut responses = stream.push(plane);
        for _ in 0..100 {
            for response in responses.drain(..) {
                self.client.received(self.now, &response).unwrap();
            }
            // Long enough for a refusal that waits.
            self.now = self.now.saturating_add(Duration::from_secs(15));
            while let Some(request) = self.client.next_request(self.now) {
                responses.extend(stream.request(plane, &request).1);
            }
            if responses.is_empty() {
                break;
            }
        }
        assert!(responses.is_empty(), "client and server talk for ever");
        self.hear();
    }

    /// Who is there. That a cluster does not exist which never did, delta alone can say.
    fn there(&self) -> BTreeMap<Follow, Vec<EndpointId>> {
        let sets = self.sets.iter().filter_map(|(follow, set)| Some((follow.clone(), set.clone()?)));
        sets.filter(|(_, set)| !set.is_empty()).collect()
    }

    fn hear(&mut self) {
        for (follow, event) in self.client.take_events() {
            let set = self.sets.entry(follow).or_default();
            match event {
                Event::Full { endpoints, .. } => {
                    let mut ids: Vec<_> = endpoints.iter().map(|e| e.id().clone()).collect();
                    ids.sort();
                    *set = Some(ids);
                }
                Event::Absent { .. } => *set = Some(Vec::new()),
                _ => {}
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Which of the names, and who is there; `None` for an assignment that is not valid.
    Assign(usize, Option<Vec<u8>>),
    /// Which cluster, and its service; `None` for one that is not valid.
    Cluster(usize, Option<usize>),
    Remove(usize),
    Push,
    Disconnect,
    Connect,
    /// The server is another one: all that it knows is an older state.
    Older,
    Keep,
}

fn step() -> impl Strategy<Value = Step> {
    let set = prop::option::weighted(0.8, prop::collection::btree_set(0..6_u8, 0..4));
    prop_oneof![
        4 => (0..4_usize, set).prop_map(|(at, set)| Step::Assign(at, set.map(|set| set.into_iter().collect()))),
        3 => (0..2_usize, prop::option::weighted(0.85, 0..4_usize)).prop_map(|(at, to)| Step::Cluster(at, to)),
        1 => (0..2_usize).prop_map(Step::Remove),
        5 => Just(Step::Push),
        1 => Just(Step::Disconnect),
        2 => Just(Step::Connect),
        1 => Just(Step::Older),
        1 => Just(Step::Keep),
    ]
}

#[derive(Clone, Default)]
struct Truth {
    endpoints: Resources,
    clusters: Resources,
}

impl Truth {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Assign(at, set) => {
                let mut message = simple(NAMES[*at], set.as_deref().unwrap_or(&[1]));
                if set.is_none() {
                    message.endpoints[0].priority = 200;
                }
                self.endpoints.insert(NAMES[*at].to_owned(), encoded(&message));
            }
            Step::Cluster(at, to) => {
                let name = ["c1", "c2"][*at];
                let mut message = cluster(name, to.map_or("", |to| NAMES[to]));
                if to.is_none() {
                    message.eds_cluster_config = None;
                }
                self.clusters.insert(name.to_owned(), encoded(&message));
            }
            Step::Remove(at) => _ = self.clusters.remove(["c1", "c2"][*at]),
            _ => {}
        }
    }
}

fn run(steps: &[Step], terse: bool) -> Result<(), TestCaseError> {
    let mut sides = [Side::new(Variant::StateOfTheWorld), Side::new(Variant::Delta)];
    let (mut truth, mut kept) = (Truth::default(), Truth::default());
    // All four exist from the start: what was never told of is told so by delta alone.
    for at in 0..4 {
        truth.take(&Step::Assign(at, Some(vec![9])));
    }
    let mut plane = Plane { manners: Manners { terse, stubborn: false }, ..Plane::default() };
    let mut version = 0;
    let mut push = |plane: &mut Plane, truth: &Truth| {
        version += 1;
        plane.clusters.set(&version.to_string(), &truth.clusters);
        plane.endpoints.set(&version.to_string(), &truth.endpoints);
    };
    push(&mut plane, &truth);
    for step in steps {
        truth.take(step);
        match step {
            Step::Disconnect => sides.iter_mut().for_each(Side::close),
            Step::Connect => sides.iter_mut().for_each(Side::open),
            Step::Push => push(&mut plane, &truth),
            Step::Keep => kept = truth.clone(),
            Step::Older if !kept.endpoints.is_empty() => {
                truth = kept.clone();
                sides.iter_mut().for_each(Side::close);
                push(&mut plane, &truth);
            }
            _ => {}
        }
        for side in &mut sides {
            side.settle(&plane);
        }
        prop_assert_eq!(sides[0].there(), sides[1].there(), "after {:?}", step);
    }
    // In the end all is valid, and everybody is connected.
    for at in 0..4 {
        truth.take(&Step::Assign(at, Some(vec![u8::try_from(at).unwrap() + 1, 50])));
    }
    truth.take(&Step::Cluster(0, Some(2)));
    truth.take(&Step::Remove(1));
    push(&mut plane, &truth);
    for side in &mut sides {
        side.open();
        side.settle(&plane);
        let ids = |numbers: [u8; 2]| -> Option<Vec<EndpointId>> {
            let mut ids: Vec<EndpointId> =
                numbers.iter().map(|n| format!("10.0.0.{n}:80").parse().unwrap()).collect();
            ids.sort();
            Some(ids)
        };
        prop_assert_eq!(&side.sets[&Follow::Endpoints("a".to_owned())], &ids([1, 50]));
        prop_assert_eq!(&side.sets[&Follow::Endpoints("b".to_owned())], &ids([2, 50]));
        prop_assert_eq!(&side.sets[&Follow::Cluster("c1".to_owned())], &ids([3, 50]));
        prop_assert!(!side.there().contains_key(&Follow::Cluster("c2".to_owned())));
        prop_assert!(side.client.assignments().count() == 3, "who is not followed is forgotten");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_variants_lead_to_the_same_sets(steps in prop::collection::vec(step(), 1..40), terse: bool) {
        run(&steps, terse)?;
    }

    #[test]
    fn any_bytes_are_survived(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..12),
        delta: bool,
    ) {
        let variant = if delta { Variant::Delta } else { Variant::StateOfTheWorld };
        let mut side = Side::new(variant);
        side.open();
        for part in &parts {
            let _ = side.client.received(side.now, part);
            let _ = side.client.next_request(side.now);
            let _ = Assignment::read(part);
            let _ = Cluster::read(part);
            side.hear();
        }
    }

    #[test]
    fn a_damaged_response_costs_no_set(
        at in 0..400_usize, byte: u8, cut in prop::option::of(0..400_usize), delta: bool,
    ) {
        let variant = if delta { Variant::Delta } else { Variant::StateOfTheWorld };
        let mut side = Side::new(variant);
        let mut plane = Plane::default();
        let resources = |numbers: &[u8]| {
            NAMES.iter().map(|name| ((*name).to_owned(), encoded(&simple(name, numbers)))).collect::<Resources>()
        };
        plane.endpoints.set("1", &resources(&[1, 2]));
        side.open();
        side.settle(&plane);
        plane.endpoints.set("2", &resources(&[1, 2, 3]));
        let mut response = side.stream.as_mut().unwrap().push(&plane).pop().unwrap();
        if let Some(cut) = cut {
            response.truncate(cut);
        }
        if let Some(place) = response.get_mut(at) {
            *place = byte;
        }
        if side.client.received(side.now, &response).is_ok() {
            while side.client.next_request(side.now).is_some() {}
        }
        side.hear();
        // It may have become another valid one; it has not become an absence.
        for name in ["a", "b"] {
            prop_assert!(side.sets[&Follow::Endpoints(name.to_owned())].is_some());
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
        read in 1..20_usize,
    ) {
        let mut frames = Frames::new(50);
        let bytes: Vec<u8> = messages.iter().flat_map(|message| Frames::framed(message)).collect();
        let mut out = Vec::new();
        for chunk in bytes.chunks(read) {
            frames.push(chunk);
            while let Some(message) = frames.next_message().unwrap() {
                out.push(message.to_vec());
            }
        }
        prop_assert_eq!(out, messages);
    }

    #[test]
    fn clocks_that_jump_do_no_harm(times in prop::collection::vec(any::<u64>(), 1..30)) {
        let mut side = Side::new(Variant::StateOfTheWorld);
        let mut plane = Plane::default();
        plane.endpoints.set("1", &[("a".to_owned(), encoded(&simple("a", &[1])))].into());
        for (turn, time) in times.iter().enumerate() {
            side.now = Timestamp::from_nanos(*time);
            match turn % 4 {
                0 => side.open(),
                1 => side.settle(&plane),
                2 => side.client.tick(side.now),
                _ => side.close(),
            }
            side.client.alive(side.now, Duration::MAX);
            let _ = side.client.next_deadline();
            side.hear();
        }
    }
}
