//! The mirror: every state and event; replay; bounds; and that what it ends with is what the source said last.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use evenkeel_registry::{
    Cause, Change, ChangeKind, Coverage, Event, FeedError, Hold, InvalidMirrorConfig, LogEntry, Mirror,
    MirrorConfig, Proof, Removal, Revision, Saved, SourceState, TroubleKind,
};
use evenkeel_types::{Announced, Endpoint, EndpointId, Timestamp, Weight};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

fn secs(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn endpoint(number: u8, weight: u32) -> Endpoint {
    let id = format!("e{number}").parse().unwrap();
    Endpoint::new(id, format!("10.0.0.{number}:80").parse().unwrap()).with_weight(Weight::new(weight))
}

fn mirror(config: MirrorConfig) -> Mirror {
    Mirror::new("users".parse().unwrap(), "store".parse().unwrap(), config).unwrap()
}

fn at(token: u64) -> Revision {
    Revision::new(1, token).unwrap()
}

#[test]
fn every_state_and_every_event() {
    use SourceState::{Absent, Live, Pending};
    const STALE: SourceState = SourceState::Stale { since: Timestamp::from_secs(2) };
    const HELD: SourceState = Live;
    let events = [
        Event::full(at(3), vec![endpoint(1, 1)]),
        Event::full(at(3), vec![]),
        Event::Absent { proof: Proof::Deleted },
        Event::fresh(),
        Event::trouble(TroubleKind::Server, "500"),
        Event::reject(None, "nonsense"),
    ];
    let start = |state| {
        let mut mirror = mirror(MirrorConfig::default());
        if state != Pending {
            let set = if state == Absent { vec![] } else { vec![endpoint(1, 1)] };
            mirror.apply(secs(1), Event::full(at(1), set)).unwrap();
        }
        if state == STALE {
            mirror.apply(secs(2), Event::trouble(TroubleKind::Timeout, "")).unwrap();
        }
        assert_eq!(mirror.state(), state);
        mirror
    };
    for (from, row) in [
        (Pending, [Live, Absent, Absent, Pending, Pending, Pending]),
        (Live, [Live, HELD, Absent, Live, STALE, Live]),
        (STALE, [Live, HELD, Absent, Live, STALE, STALE]),
        (Absent, [Live, Absent, Absent, Absent, STALE, Absent]),
    ] {
        for (event, to) in events.iter().zip(row) {
            let mut mirror = start(from);
            let result = mirror.apply(secs(2), event.clone());
            assert_eq!(result.is_err(), from == Pending && *event == Event::fresh(), "{from:?}, {event:?}");
            assert_eq!(mirror.state(), to, "{from:?}, {event:?}");
        }
    }
}

#[test]
fn settings_that_cannot_stand_are_named() {
    let default = MirrorConfig::default;
    for (config, field) in [
        (MirrorConfig { max_endpoints: 0, ..default() }, "max_endpoints"),
        (MirrorConfig { max_weight: Weight::new(0), ..default() }, "max_weight"),
        (MirrorConfig { max_events_per_second: 0, ..default() }, "max_events_per_second"),
        (MirrorConfig { max_stale: Some(Duration::ZERO), ..default() }, "max_stale"),
        (MirrorConfig { silent_after: Some(Duration::ZERO), ..default() }, "silent_after"),
    ] {
        assert_eq!(config.validate(), Err(InvalidMirrorConfig::Zero { field }));
    }
    let mut config = default();
    config.empty.hold = Hold::For(Duration::ZERO);
    assert_eq!(config.validate(), Err(InvalidMirrorConfig::EmptyHold));
    config.empty.hold = Hold::Never;
    config.empty.agreeing = 1;
    assert!(config.validate().unwrap_err().to_string().contains("empty.agreeing"));
    let mut config = default();
    config.settle.max = Duration::ZERO;
    assert!(config.validate().unwrap_err().to_string().contains("settle.max"));
    let mut config = default();
    config.shrink.window = Duration::ZERO;
    assert_eq!(config.validate(), Err(InvalidMirrorConfig::ShrinkWindow));
}

#[test]
fn bad_entries_are_counted_and_the_rest_is_used() {
    let mut mirror =
        mirror(MirrorConfig { max_endpoints: 3, max_weight: Weight::new(9), ..MirrorConfig::default() });
    let twice = endpoint(2, 1).with_address("10.9.9.9:80".parse().unwrap());
    let set = vec![endpoint(1, 10), twice, endpoint(2, 1), endpoint(3, 1), endpoint(4, 1), endpoint(5, 1)];
    mirror.apply(secs(1), Event::set(set.clone())).unwrap();
    let shown = |mirror: &Mirror| {
        mirror.snapshot().endpoints().iter().map(|e| e.id().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&mirror), ["e2", "e3", "e4"]);
    assert_eq!(
        mirror.snapshot().endpoints()[0].address().to_string(),
        "10.0.0.2:80",
        "no order of the answer decides"
    );
    assert_eq!(mirror.status(secs(1)).rejected, 3);
    let reasons: Vec<_> =
        mirror.rejects().map(|r| format!("{} {}", r.id.clone().unwrap(), r.reason)).collect();
    assert!(reasons.iter().any(|r| r.starts_with("e2 two entries")), "{reasons:?}");
    assert!(reasons.iter().any(|r| r.starts_with("e1 weight 10")), "{reasons:?}");
    let set = vec![endpoint(0, 1), endpoint(3, 1), endpoint(4, 1), endpoint(2, 1)];
    mirror.apply(secs(2), Event::set(set)).unwrap();
    assert_eq!(shown(&mirror), ["e2", "e3", "e4"], "who is known stays");
    for number in 0..1_000 {
        mirror.apply(secs(3), Event::reject(Some(&"x".repeat(10_000)), number.to_string())).unwrap();
    }
    assert_eq!(mirror.rejects().count(), 32);
    assert!(mirror.rejects().all(|r| r.id.as_ref().unwrap().as_str().len() == 256));
}

#[test]
fn a_flood_is_refused_and_says_until_when() {
    let mut mirror = mirror(MirrorConfig { max_events_per_second: 10, ..MirrorConfig::default() });
    let set = || Event::set(vec![endpoint(1, 1)]);
    for _ in 0..10 {
        mirror.apply(secs(1), set()).unwrap();
    }
    let Err(FeedError::TooFast { retry_at }) = mirror.apply(secs(1), set()) else { panic!("taken") };
    assert_eq!(retry_at, Timestamp::from_millis(1_100));
    mirror.apply(secs(1), Event::fresh()).unwrap();
    mirror.apply(retry_at, set()).unwrap();
}

#[test]
fn a_suspect_that_was_out_of_use_stays_out_of_use() {
    let mut mirror = mirror(MirrorConfig::default());
    let down = (0..20).map(|n| endpoint(n, 1).with_announced(Announced::Down)).collect();
    mirror.apply(secs(1), Event::full(at(1), down)).unwrap();
    mirror.apply(secs(2), Event::full(at(2), vec![endpoint(0, 1)])).unwrap();
    let snapshot = mirror.snapshot();
    assert!(!snapshot.suspects().is_empty());
    assert!(
        snapshot.suspects().iter().all(|id| snapshot.endpoint(id).unwrap().announced() == Announced::Down)
    );
}

#[test]
fn a_corrupt_file_is_a_typed_error() {
    let mut source = mirror(MirrorConfig::default());
    source.apply(secs(1), Event::set(vec![endpoint(1, 1)])).unwrap();
    let json = source.save(secs(1), SystemTime::UNIX_EPOCH).to_json();
    for cut in 0..json.len() {
        assert!(Saved::from_json(&json.as_bytes()[..cut]).is_err(), "cut at {cut}");
    }
    let later = json.replace("\"version\":1", "\"version\":2");
    assert!(Saved::from_json(later.as_bytes()).unwrap_err().to_string().contains("form 2"));
    let other = Saved::from_json(json.replace("users", "orders").as_bytes()).unwrap();
    let refused = mirror(MirrorConfig::default()).load(secs(1), &other, SystemTime::UNIX_EPOCH);
    assert!(refused.unwrap_err().to_string().contains("orders"));
}

#[derive(Clone, Debug)]
enum Op {
    Full(Vec<(u8, u32)>, bool),
    Delta(Vec<(u8, u32)>, Vec<(u8, u8)>),
    Event(Event),
    Staged(Vec<(u8, u32)>),
    Tick,
    Reopen,
}

fn set() -> impl Strategy<Value = Vec<(u8, u32)>> {
    let some = btree_set(0..12_u8, 0..12);
    (some, 0..3_u32)
        .prop_map(|(ids, weight)| ids.into_iter().map(|id| (id, weight + u32::from(id % 2))).collect())
}

fn op() -> impl Strategy<Value = (i64, Op)> {
    let proof =
        prop_oneof![Just(Proof::Deleted), Just(Proof::NameError { negative_ttl: Duration::from_secs(5) }),];
    let op = prop_oneof![
        3 => (set(), any::<bool>()).prop_map(|(set, whole)| Op::Full(set, whole)),
        4 => (set(), vec((0..12_u8, 0..3_u8), 0..4)).prop_map(|(set, gone)| Op::Delta(set, gone)),
        1 => proof.prop_map(|proof| Op::Event(Event::Absent { proof })),
        1 => Just(Op::Event(Event::trouble(TroubleKind::Timeout, "no answer"))),
        1 => Just(Op::Event(Event::fresh())),
        1 => Just(Op::Event(Event::reject(Some("x"), "bad"))),
        1 => set().prop_map(Op::Staged),
        3 => Just(Op::Tick),
        1 => Just(Op::Reopen),
    ];
    (prop_oneof![4 => 0..500_i64, 2 => 0..40_000_i64, 1 => -3_000..0_i64], op)
}

fn endpoints(set: &[(u8, u32)]) -> Vec<Endpoint> {
    set.iter().map(|(id, weight)| endpoint(*id, *weight)).collect()
}

/// Plays, and checks at each step that the changes lead from one snapshot to the next.
fn play(ops: &[(i64, Op)], mirror: &mut Mirror) -> Result<i64, TestCaseError> {
    let (mut now, mut token) = (1_000_i64, 0_u64);
    let mut told: BTreeMap<EndpointId, Endpoint> = BTreeMap::new();
    let mut step = |mirror: &mut Mirror, now: i64, event: Option<Event>| {
        let at = Timestamp::from_millis(now.unsigned_abs());
        let generation = mirror.generation();
        let result = match event {
            Some(event) => mirror.apply(at, event),
            None => Ok(mirror.tick(at)),
        };
        let refused = result.is_err();
        let fed = result.unwrap_or_default();
        follow(&mut told, &fed.changes);
        let snapshot = mirror.snapshot();
        prop_assert!(snapshot.endpoints().iter().map(AsRef::as_ref).eq(told.values()), "{:?}", fed);
        prop_assert_eq!(mirror.generation() - generation, u64::from(!fed.is_empty()));
        prop_assert!(snapshot.suspects().iter().all(|id| snapshot.endpoint(id).is_some()));
        prop_assert!(
            refused || mirror.next_deadline().is_none_or(|next| next > at),
            "it never asks for the past"
        );
        Ok(())
    };
    for (move_by, op) in ops {
        now = (now + move_by).max(0);
        token += 1;
        match op {
            Op::Full(set, true) => step(mirror, now, Some(Event::full(at(token), endpoints(set))))?,
            Op::Full(set, false) => {
                let coverage = Coverage::Partial { ttl: Duration::from_secs(5) };
                step(mirror, now, Some(Event::Full { revision: None, endpoints: endpoints(set), coverage }))?;
            }
            Op::Delta(set, gone) => {
                let causes = [Cause::Unknown, Cause::Deregistered, Cause::Expired];
                let removals = gone.iter().map(|(id, cause)| Removal {
                    id: format!("e{id}").parse().unwrap(),
                    cause: causes[usize::from(*cause)],
                });
                let from = mirror.revision().cloned().unwrap_or_else(|| at(0));
                let delta = Event::Delta {
                    from,
                    to: at(token),
                    upserts: endpoints(set),
                    removals: removals.collect(),
                };
                step(mirror, now, Some(delta))?;
            }
            Op::Event(event) => step(mirror, now, Some(event.clone()))?,
            Op::Staged(set) => {
                step(mirror, now, Some(Event::Begin))?;
                step(mirror, now, Some(Event::Stage { endpoints: endpoints(set) }))?;
                let commit = Event::Commit { revision: Some(at(token)), coverage: Coverage::Complete };
                step(mirror, now, Some(commit))?;
            }
            Op::Tick => step(mirror, now, None)?,
            Op::Reopen => mirror.reopen(Timestamp::from_millis(now.unsigned_abs())),
        }
    }
    Ok(now)
}

fn follow(told: &mut BTreeMap<EndpointId, Endpoint>, changes: &[Change]) {
    for change in changes {
        let endpoint = Endpoint::clone(&change.endpoint);
        let known = match change.kind {
            ChangeKind::Removed { .. } => told.remove(change.id()).is_some(),
            ChangeKind::Added => told.insert(change.id().clone(), endpoint).is_none(),
            _ => told.insert(change.id().clone(), endpoint).is_some(),
        };
        assert!(known, "{change:?}");
    }
}

proptest! {
    #[test]
    fn the_same_log_gives_the_same_snapshots(ops in vec(op(), 0..60), seed in any::<u64>(), flap in 0..2_u64) {
        let flap = Duration::from_secs(3 * flap);
        let max_stale = Some(Duration::from_secs(60));
        let config = MirrorConfig { log: 10_000, seed, flap, max_stale, ..MirrorConfig::default() };
        let mut original = mirror(config.clone());
        play(&ops, &mut original)?;
        let log = original.take_log();
        prop_assert_eq!(log.lost, 0);
        let lines: Vec<_> = log.entries.iter().map(LogEntry::to_line).collect();
        let entries = lines.iter().map(|line| LogEntry::from_line(line).unwrap());
        let replayed = Mirror::replay("users".parse().unwrap(), "store".parse().unwrap(), config, entries).unwrap();
        prop_assert_eq!(replayed.snapshot(), original.snapshot());
        prop_assert_eq!(replayed.next_deadline(), original.next_deadline());
    }

    #[test]
    fn in_the_end_the_set_is_what_the_source_said(ops in vec(op(), 0..60), last in set()) {
        let mut mirror = mirror(MirrorConfig::default());
        let now = play(&ops, &mut mirror)?;
        let highest = now + 100_000;
        let _ = mirror.apply(Timestamp::from_millis(highest.unsigned_abs()), Event::set(endpoints(&last)));
        for _ in 0..40 {
            let Some(next) = mirror.next_deadline() else { break };
            let _ = mirror.tick(next);
        }
        prop_assert_eq!(mirror.next_deadline(), None, "every hold ends");
        let mut expected = endpoints(&last);
        expected.sort_by(|a, b| a.id().cmp(b.id()));
        let snapshot = mirror.snapshot();
        prop_assert!(snapshot.endpoints().iter().map(AsRef::as_ref).eq(expected.iter()), "{:?}", snapshot);
        prop_assert!(snapshot.suspects().is_empty());
    }
}
