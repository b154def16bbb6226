//! Answers in, events out, without a socket: what each answer of DNS means, and when to ask again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use evenkeel_dns::wire::{Data, Finding, Kind, Name, Question, Rcode, Record, Reply};
use evenkeel_dns::{Answers, DnsConfig, Failure, Families, TargetAddresses, Tracker};
use evenkeel_registry::{Coverage, Event, Mirror, MirrorConfig, Proof, Settle, SourceState, TroubleKind};
use evenkeel_types::{Endpoint, Timestamp};
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A zone and its faults: lines such as `a.x A 10.0.0.1`, `s.x SRV 1 5 80 a.x`, `c.x CNAME a.x`, `gone.x NXDOMAIN`,
/// `bad.x SERVFAIL`, `mute.x TIMEOUT`, `bare.x NXDOMAIN-WITHOUT-SOA`, each with a time to live in front if not 30.
#[derive(Default)]
struct Zone(Vec<(Name, u64, String, String)>);

impl Zone {
    fn of(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split_whitespace().peekable();
            let ttl = words.peek().and_then(|word| word.parse().ok());
            if ttl.is_some() {
                words.next();
            }
            let owner = name(words.next().unwrap());
            let kind = words.next().unwrap().to_owned();
            (owner, ttl.unwrap_or(30), kind, words.collect::<Vec<_>>().join(" "))
        };
        Self(text.split(';').map(str::trim).filter(|line| !line.is_empty()).map(line).collect())
    }

    fn ask(&self, question: &Question) -> Result<Reply, Failure> {
        let mut reply = Reply {
            rcode: Rcode::NoError,
            truncated: false,
            answer: Vec::new(),
            additional: Vec::new(),
            negative: Some(("x".into(), secs(5))),
            referral: false,
        };
        for (owner, ttl, kind, rest) in self.0.iter().filter(|(owner, ..)| *owner == question.name) {
            let data = match (kind.as_str(), question.kind) {
                ("NXDOMAIN", _) => {
                    reply.rcode = Rcode::NameError;
                    reply.negative = Some(("x".into(), secs(*ttl)));
                    continue;
                }
                ("NXDOMAIN-WITHOUT-SOA", _) => {
                    (reply.rcode, reply.negative) = (Rcode::NameError, None);
                    continue;
                }
                ("REFERRAL", _) => {
                    (reply.referral, reply.negative) = (true, None);
                    continue;
                }
                ("SERVFAIL", _) => {
                    reply.rcode = Rcode::ServerFailure;
                    continue;
                }
                ("TIMEOUT", _) => {
                    return Err(Failure { kind: TroubleKind::Timeout, text: "no answer".into() });
                }
                ("CNAME", _) => {
                    // As an authoritative server whose alias leads out of the zone.
                    reply.negative = None;
                    Data::Alias(name(rest))
                }
                ("A", Kind::A) | ("AAAA", Kind::Aaaa) => Data::Ip(rest.parse::<IpAddr>().unwrap()),
                ("SRV", Kind::Srv) => {
                    let words: Vec<_> = rest.split(' ').collect();
                    let number = |n: usize| words[n].parse::<u16>().unwrap();
                    let target = (words[3] != ".").then(|| name(words[3]));
                    Data::Srv { priority: number(0), weight: number(1), port: number(2), target }
                }
                _ => continue,
            };
            reply.answer.push(Record { owner: owner.clone(), ttl: secs(*ttl), data });
        }
        Ok(reply)
    }
}

/// One round: what was told, and after how many seconds to ask again.
fn round(tracker: &mut Tracker, now: u64, zone: &str) -> (Vec<Event>, f64) {
    let (now, zone) = (Timestamp::from_secs(now), Zone::of(zone));
    let mut lookup = tracker.begin(now);
    let mut questions = 0;
    while let Some(question) = lookup.question() {
        let reply = zone.ask(question);
        lookup.hear(reply);
        questions += 1;
        assert!(questions < 10_000, "endless questions");
    }
    let events = tracker.conclude(now, &lookup);
    (events, tracker.next_at().saturating_since(now).as_secs_f64())
}

/// In short: `full[…] 30`, `absent 5`, `trouble(Server)`, with rejects in front. Waits are in whole seconds, rounded up, since some
/// are drawn.
fn told((events, wait): &(Vec<Event>, f64)) -> String {
    let wait = wait.ceil();
    let endpoint = |e: &Endpoint| {
        let addresses: Vec<_> = e.addresses().map(ToString::to_string).collect();
        let id = if e.id().as_str() == addresses[0] { String::new() } else { format!("{}=", e.id()) };
        format!("{id}{}*{}@{}", addresses.join("+"), e.weight().get(), e.priority().get())
    };
    let word = |event: &Event| match event {
        Event::Full { endpoints, coverage, .. } => {
            let all: Vec<_> = endpoints.iter().map(endpoint).collect();
            let part = if *coverage == Coverage::Complete { "full" } else { "part" };
            format!("{part}[{}] {wait}", all.join(" "))
        }
        Event::Absent { proof: Proof::NoTarget } => format!("no target {wait}"),
        Event::Absent { proof: Proof::NameError { negative_ttl } } => {
            format!("absent {} {wait}", negative_ttl.as_secs_f64())
        }
        Event::Reject { id, reason } => format!("reject({}: {reason})", id.as_deref().unwrap_or("?")),
        Event::Trouble { kind, .. } => format!("trouble({kind:?})"),
        other => format!("{other:?}"),
    };
    events.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(config: DnsConfig, zone: &str, wanted: &str) {
    let mut tracker = Tracker::new(config).unwrap();
    assert_eq!(told(&round(&mut tracker, 100, zone)), wanted, "{zone}");
}

fn host() -> DnsConfig {
    DnsConfig::host("h.x", 80)
}

fn srv() -> DnsConfig {
    DnsConfig::srv("s.x.")
}

#[test]
fn addresses() {
    check(
        host(),
        "h.x A 10.0.0.2; h.x A 10.0.0.1; h.x A 10.0.0.1",
        "full[10.0.0.1:80*1@0 10.0.0.2:80*1@0] 30",
    );
    check(host(), "h.x A 10.0.0.1; h.x AAAA fd00::1", "full[10.0.0.1:80*1@0] 30");
    check(host(), "h.x AAAA fd00::1", "full[[fd00::1]:80*1@0] 30");
    let both = DnsConfig { families: Families::Both, ..host() };
    check(both.clone(), "h.x A 10.0.0.1; 7 h.x AAAA fd00::1", "full[10.0.0.1:80*1@0 [fd00::1]:80*1@0] 7");
    check(both, "h.x AAAA fd00::1", "full[[fd00::1]:80*1@0] 30");
    check(DnsConfig { families: Families::V4, ..host() }, "h.x AAAA fd00::1", "absent 5 5");
    check(DnsConfig { families: Families::V6, ..host() }, "h.x AAAA fd00::1", "full[[fd00::1]:80*1@0] 30");
    // What filters answer with is no address.
    check(host(), "h.x A 0.0.0.0", "trouble(Malformed)");
}

#[test]
fn time_to_live_has_a_floor_and_a_ceiling() {
    check(host(), "0 h.x A 10.0.0.1", "full[10.0.0.1:80*1@0] 1");
    check(host(), "86400 h.x A 10.0.0.1", "full[10.0.0.1:80*1@0] 300");
    check(host(), "0 h.x NXDOMAIN", "absent 1 1");
    check(host(), "86400 h.x NXDOMAIN", "absent 300 300");
    // The lowest on the way counts.
    check(host(), "3 h.x CNAME c.x; 20 c.x CNAME b.x; 9 b.x A 10.0.0.1", "full[10.0.0.1:80*1@0] 3");
    check(srv(), "20 s.x SRV 1 1 80 a.x; 9 a.x A 10.0.0.1", "full[a.x:80=10.0.0.1:80*1@0] 9");
}

#[test]
fn nobody_and_failure_are_two_things() {
    check(host(), "h.x NXDOMAIN", "absent 30 30");
    check(host(), "", "absent 5 5");
    check(host(), "h.x NXDOMAIN-WITHOUT-SOA", "full[] 10");
    check(host(), "h.x SERVFAIL", "trouble(Server)");
    check(host(), "h.x TIMEOUT", "trouble(Timeout)");
    check(host(), "h.x REFERRAL", "trouble(Denied)");
    check(srv(), "s.x NXDOMAIN", "absent 30 30");
    check(srv(), "s.x SERVFAIL", "trouble(Server)");
    check(srv(), "s.x SRV 0 0 0 .", "no target 30");
    check(host(), "h.x CNAME h.x", "trouble(Malformed)");
    check(host(), "h.x CNAME i.x; i.x CNAME h.x", "trouble(Malformed)");
    check(host(), "h.x CNAME gone.x; gone.x NXDOMAIN", "absent 30 30");
}

#[test]
fn srv_records() {
    let hosts = "a.x A 10.0.0.1; b.x A 10.0.0.2; c.x A 10.0.0.4; c.x A 10.0.0.3";
    let with = |records: &str| format!("{records}; {hosts}");
    // Priorities are ranked; weight 0 is no drain.
    check(
        srv(),
        &with("s.x SRV 900 0 80 a.x; s.x SRV 7 65535 80 b.x; s.x SRV 900 5 81 a.x"),
        "full[a.x:80=10.0.0.1:80*1@1 a.x:81=10.0.0.1:81*5@1 b.x:80=10.0.0.2:80*65535@0] 30",
    );
    check(srv(), &with("s.x SRV 1 2 80 c.x"), "full[c.x:80=10.0.0.3:80+10.0.0.4:80*2@0] 30");
    let each = DnsConfig { target_addresses: TargetAddresses::EachAnEndpoint, ..srv() };
    check(each, &with("s.x SRV 1 2 80 c.x"), "full[10.0.0.3:80*2@0 10.0.0.4:80*2@0] 30");
    check(
        srv(),
        &with("s.x SRV 1 2 80 a.x; s.x SRV 0 0 0 ."),
        "reject(.: the target \".\" beside others: it means that there are none) full[a.x:80=10.0.0.1:80*2@0] 30",
    );
    check(
        srv(),
        &with("s.x SRV 1 2 80 a.x; s.x SRV 2 9 80 a.x; s.x SRV 1 1 0 b.x"),
        "reject(b.x:0: the port is 0) reject(a.x:80: a second record for this target and port) \
         full[a.x:80=10.0.0.1:80*2@0] 30",
    );
    check(
        srv(),
        &with("s.x SRV 1 2 80 a.x; s.x SRV 1 2 80 gone.x; gone.x NXDOMAIN"),
        "reject(gone.x:80: the target has no address) full[a.x:80=10.0.0.1:80*2@0] 30",
    );
    check(
        srv(),
        &with("s.x SRV 1 2 80 a.x; s.x SRV 1 2 80 bad.x; bad.x SERVFAIL"),
        "reject(bad.x:80: no answer about the target, its last address stays: bad.x A: SERVFAIL) \
         full[a.x:80=10.0.0.1:80*2@0] 1",
    );
    check(
        srv(),
        "s.x SRV 1 2 80 gone.x; gone.x NXDOMAIN",
        "reject(gone.x:80: the target has no address) trouble(Malformed)",
    );
}

#[test]
fn more_priorities_than_tiers_are_rejected() {
    let zone: String = (0..200).map(|n| format!("s.x SRV {} 1 {} a.x;", n * 300, n + 1)).collect();
    let mut tracker = Tracker::new(srv()).unwrap();
    let (events, _) = round(&mut tracker, 1, &format!("{zone} a.x A 10.0.0.1"));
    let rejects = events.iter().filter(|event| matches!(event, Event::Reject { .. })).count();
    let Some(Event::Full { endpoints, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!((rejects, endpoints.len()), (71, 129));
    assert_eq!(endpoints.iter().map(|e| e.priority().get()).max(), Some(128));
}

#[test]
fn a_target_that_cannot_be_asked_for_keeps_its_address() {
    let mut tracker = Tracker::new(srv()).unwrap();
    let good = "s.x SRV 1 1 80 a.x; a.x A 10.0.0.1";
    assert_eq!(told(&round(&mut tracker, 100, good)), "full[a.x:80=10.0.0.1:80*1@0] 30");
    let told = told(&round(&mut tracker, 200, "s.x SRV 1 1 80 a.x; a.x TIMEOUT"));
    assert!(told.ends_with("full[a.x:80=10.0.0.1:80*1@0] 1 trouble(Timeout)"), "{told}");
}

// One wrong target among many is no reason for a fleet to ask about all of them once a second.
#[test]
fn a_target_without_an_answer_is_asked_for_ever_more_seldom() {
    let mut tracker = Tracker::new(srv()).unwrap();
    let zone = "s.x SRV 1 1 80 a.x; s.x SRV 1 1 80 bad.x; bad.x SERVFAIL; a.x A 10.0.0.1";
    for (n, most) in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0].into_iter().enumerate() {
        let (events, wait) = round(&mut tracker, 100 * n as u64, zone);
        assert!(matches!(events.last(), Some(Event::Full { .. })), "{events:?}");
        assert!((most / 2.0..=most).contains(&wait), "{n}: {wait}");
    }
    let mended = "s.x SRV 1 1 80 a.x; s.x SRV 1 1 80 bad.x; bad.x A 10.0.0.2; a.x A 10.0.0.1";
    assert_eq!(round(&mut tracker, 1_000, mended).1, 30.0);
    assert!(round(&mut tracker, 1_100, zone).1 <= 1.0, "it starts anew");
}

// A resolver that dies after the records costs two time limits, not one for each target.
#[test]
fn a_round_ends_soon_when_nobody_answers() {
    let names: Vec<_> = (0..50).map(|n| format!("t{n:02}.x")).collect();
    let records: String = names.iter().map(|name| format!("s.x SRV 1 1 80 {name};")).collect();
    let questions = |tracker: &mut Tracker, now: u64, zone: &str| {
        let (now, zone) = (Timestamp::from_secs(now), Zone::of(zone));
        let (mut lookup, mut questions) = (tracker.begin(now), Vec::new());
        while let Some(question) = lookup.question().cloned() {
            lookup.hear(zone.ask(&question));
            questions.push(question.name.as_str().to_owned());
        }
        (questions, tracker.conclude(now, &lookup))
    };
    let addresses: String = names.iter().map(|name| format!("{name} A 10.0.0.1;")).collect();
    let mute: String = names.iter().map(|name| format!("{name} TIMEOUT;")).collect();
    let mut tracker = Tracker::new(srv()).unwrap();
    assert_eq!(questions(&mut tracker, 0, &(records.clone() + &addresses)).0.len(), 51);
    let (asked, events) = questions(&mut tracker, 100, &(records.clone() + &mute));
    assert_eq!(asked.len(), 3);
    let [.., Event::Full { endpoints, .. }, Event::Trouble { kind, .. }] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!((endpoints.len(), *kind), (50, TroubleKind::Timeout));
    // Two that are mute by themselves are asked for last from then on, so that the others are heard.
    let two =
        addresses.replace("t00.x A 10.0.0.1", "t00.x TIMEOUT").replace("t01.x A 10.0.0.1", "t01.x TIMEOUT");
    let mut tracker = Tracker::new(srv()).unwrap();
    assert_eq!(questions(&mut tracker, 0, &(records.clone() + &two)).0.len(), 3);
    let (asked, events) = questions(&mut tracker, 100, &(records + &two));
    assert!(asked.len() > 3, "{asked:?} {events:?}");
}

#[test]
fn what_rotates_counts_for_no_longer_than_we_wait() {
    let rotating = DnsConfig { answers: Answers::Rotating, max_ttl: secs(60), ..host() };
    let mut tracker = Tracker::new(rotating).unwrap();
    let (events, wait) = round(&mut tracker, 0, "86400 h.x A 10.0.0.1");
    let [Event::Full { coverage, .. }] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((*coverage, wait), (Coverage::Partial { ttl: secs(60) }, 60.0));
}

#[test]
fn failures_wait_longer_and_longer_with_jitter() {
    let mut tracker = Tracker::new(host()).unwrap();
    let mut waits = Vec::new();
    for n in 0..10 {
        let (events, wait) = round(&mut tracker, 1000 * n, "h.x TIMEOUT");
        let [Event::Trouble { retry_at, .. }] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(*retry_at, Some(tracker.next_at()));
        let full = f64::from(1_u32 << n.min(5)).min(30.0);
        assert!((full / 2.0..=full).contains(&wait), "{n}: {wait}");
        waits.push(wait);
    }
    let mut other = Tracker::new(DnsConfig { seed: 1, ..host() }).unwrap();
    let others: Vec<_> = (0..10).map(|n| round(&mut other, 1000 * n, "h.x TIMEOUT").1).collect();
    assert_ne!(waits, others, "two processes do not ask at the same time");
    assert_eq!(round(&mut tracker, 99_999, "h.x A 10.0.0.1").1, 30.0);
    assert!(round(&mut tracker, 100_000, "h.x TIMEOUT").1 <= 1.0, "a success starts anew");
}

fn mirror() -> Mirror {
    let settle = Settle { quiet: Duration::ZERO, max: Duration::ZERO };
    let config = MirrorConfig { settle, ..MirrorConfig::default() };
    Mirror::new("users".parse().unwrap(), "dns".parse().unwrap(), config).unwrap()
}

/// Rounds at these seconds, and what readers see after each: ids, or the state if there are none.
#[track_caller]
fn shows(config: DnsConfig, rounds: &[(u64, &str, &str)]) {
    let (mut tracker, mut mirror) = (Tracker::new(config).unwrap(), mirror());
    for (at, zone, wanted) in rounds {
        let now = Timestamp::from_secs(*at);
        for event in round(&mut tracker, *at, zone).0 {
            mirror.apply(now, event).unwrap();
        }
        let seen: Vec<_> = mirror
            .snapshot()
            .endpoints()
            .iter()
            .map(|e| format!("{}@{}", e.id(), e.priority().get()))
            .collect();
        let seen = if seen.is_empty() { format!("{:?}", mirror.state()) } else { seen.join(" ") };
        assert_eq!(seen, *wanted, "at {at}");
    }
}

#[test]
fn nxdomain_is_believed_the_second_time() {
    shows(
        host(),
        &[
            (0, "h.x A 10.0.0.1", "10.0.0.1:80@0"),
            (30, "5 h.x NXDOMAIN", "10.0.0.1:80@0"),
            (31, "h.x SERVFAIL", "10.0.0.1:80@0"),
            (34, "5 h.x NXDOMAIN", "10.0.0.1:80@0"),
            (35, "5 h.x NXDOMAIN", "Absent"),
            (40, "h.x SERVFAIL", "Stale { since: Timestamp(40000000000) }"),
            (45, "h.x A 10.0.0.1", "10.0.0.1:80@0"),
        ],
    );
    shows(
        host(),
        &[
            (0, "h.x A 10.0.0.1", "10.0.0.1:80@0"),
            (30, "5 h.x NXDOMAIN", "10.0.0.1:80@0"),
            (35, "h.x A 10.0.0.2", "10.0.0.2:80@0"),
        ],
    );
    shows(srv(), &[(0, "s.x SRV 1 1 80 a.x; a.x A 10.0.0.1", "a.x:80@0"), (30, "s.x SRV 0 0 0 .", "Absent")]);
}

#[test]
fn rotating_answers_are_joined_and_age_out() {
    let rotating = DnsConfig { answers: Answers::Rotating, ..host() };
    shows(
        rotating,
        &[
            (0, "10 h.x A 10.0.0.1; 10 h.x A 10.0.0.2", "10.0.0.1:80@0 10.0.0.2:80@0"),
            (10, "10 h.x A 10.0.0.3", "10.0.0.1:80@0 10.0.0.2:80@0 10.0.0.3:80@0"),
            (19, "10 h.x A 10.0.0.1", "10.0.0.1:80@0 10.0.0.2:80@0 10.0.0.3:80@0"),
            (20, "10 h.x A 10.0.0.1", "10.0.0.1:80@0 10.0.0.3:80@0"),
            (30, "10 h.x A 10.0.0.1", "10.0.0.1:80@0"),
        ],
    );
}

#[test]
fn an_outage_ages_nobody_out_of_rotating_answers() {
    let rotating = DnsConfig { answers: Answers::Rotating, ..host() };
    shows(
        rotating,
        &[
            (0, "10 h.x A 10.0.0.1", "10.0.0.1:80@0"),
            (10, "10 h.x A 10.0.0.2", "10.0.0.1:80@0 10.0.0.2:80@0"),
            (20, "h.x SERVFAIL", "10.0.0.1:80@0 10.0.0.2:80@0"),
            (100, "10 h.x A 10.0.0.1", "10.0.0.1:80@0 10.0.0.2:80@0"),
            (110, "10 h.x A 10.0.0.1", "10.0.0.1:80@0"),
        ],
    );
    // A target that cannot be asked for shortens the wait, and not what the other answers are worth.
    let rotating = DnsConfig { answers: Answers::Rotating, ..srv() };
    shows(
        rotating,
        &[
            (0, "s.x SRV 1 1 80 a.x; a.x A 10.0.0.1", "a.x:80@0"),
            (
                5,
                "s.x SRV 1 1 80 b.x; s.x SRV 1 1 80 bad.x; bad.x SERVFAIL; b.x A 10.0.0.2",
                "a.x:80@0 b.x:80@0",
            ),
            (
                8,
                "s.x SRV 1 1 80 b.x; s.x SRV 1 1 80 bad.x; bad.x SERVFAIL; b.x A 10.0.0.2",
                "a.x:80@0 b.x:80@0",
            ),
        ],
    );
}

#[test]
fn ranks_hold_over_rotating_answers() {
    let rotating = DnsConfig { answers: Answers::Rotating, ..srv() };
    let hosts = "10 a.x A 10.0.0.1; 10 b.x A 10.0.0.2; 10 c.x A 10.0.0.3";
    let zone = |records: &str| format!("{records}; {hosts}");
    shows(
        rotating,
        &[
            (0, &zone("10 s.x SRV 20 1 80 b.x"), "b.x:80@0"),
            (10, &zone("10 s.x SRV 10 1 80 a.x"), "a.x:80@0 b.x:80@1"),
            (15, &zone("10 s.x SRV 15 1 80 c.x"), "a.x:80@0 b.x:80@2 c.x:80@1"),
        ],
    );
}

#[test]
fn bad_settings_name_the_field() {
    for (config, wanted) in [
        (DnsConfig::host("a b", 80), "name: \"a b\" is no DNS name"),
        (DnsConfig::srv(""), "name: \"\" is no DNS name"),
        (DnsConfig::host("a", 0), "port is 0"),
        (DnsConfig { min_ttl: Duration::ZERO, ..host() }, "min_ttl is 0ns: allowed are 100ms to 86400s"),
        (DnsConfig { max_ttl: Duration::from_millis(500), ..host() }, "max_ttl is 500ms: allowed are 1s to"),
        (DnsConfig { max_retry: Duration::MAX, ..host() }, "max_retry is"),
        (DnsConfig { attempts: 0, ..host() }, "attempts is 0: allowed are 1 to 10"),
        (DnsConfig { max_answer_bytes: 65_536, ..host() }, "max_answer_bytes is 65536"),
        (DnsConfig { servers: vec![([127, 0, 0, 1], 53).into(); 9], ..host() }, "servers has 9 entries"),
    ] {
        let said = Tracker::new(config).unwrap_err().to_string();
        assert!(said.starts_with(wanted), "{said}");
    }
    let config: DnsConfig = toml::from_str(
        "name = \"a\"\nport = 80\nmin_ttl = \"2s\"\nservers = [\"[::1]:53\"]\nanswers = \"rotating\"",
    )
    .unwrap();
    assert_eq!((config.min_ttl, config.answers), (secs(2), Answers::Rotating));
    assert!(toml::from_str::<DnsConfig>("nme = \"a\"").is_err());
}

fn any_line() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec!["h.x", "s.x", "a.x", "b.x", "c.x"]);
    let kinds = prop::sample::select(vec![
        "A 10.0.0.1",
        "A 10.0.0.2",
        "AAAA fd00::1",
        "SRV 1 1 80 a.x",
        "SRV 2 0 80 b.x",
        "SRV 0 0 0 .",
        "CNAME a.x",
        "CNAME b.x",
        "CNAME h.x",
        "NXDOMAIN",
        "SERVFAIL",
        "TIMEOUT",
        "NXDOMAIN-WITHOUT-SOA",
        "REFERRAL",
    ]);
    (0_u64..100_000, names, kinds).prop_map(|(ttl, name, kind)| format!("{ttl} {name} {kind}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is answered: rounds end, the next one is neither at once nor never, what is told is taken by a mirror, and
    /// a set goes only by proof, or by answers that say so.
    #[test]
    fn no_answer_leaves_it_stuck(
        service in any::<bool>(),
        families in prop::sample::select(vec![Families::V4, Families::V6, Families::PreferV4, Families::Both]),
        answers in prop::sample::select(vec![Answers::Complete, Answers::Rotating]),
        rounds in prop::collection::vec((0_u64..600, prop::collection::vec(any_line(), 0..8)), 1..20),
    ) {
        let config = DnsConfig { families, answers, ..if service { srv() } else { host() } };
        let run = || {
            let (mut tracker, mut mirror) = (Tracker::new(config.clone()).unwrap(), mirror());
            let mut log = Vec::new();
            for (at, lines) in &rounds {
                let (events, wait) = round(&mut tracker, *at, &lines.join(";"));
                assert!((0.5..=300.0).contains(&wait), "{wait}");
                assert!(!events.is_empty());
                let trouble = events.iter().any(|event| matches!(event, Event::Trouble { .. }));
                let before = mirror.snapshot().endpoints().len();
                for event in &events {
                    mirror.apply(Timestamp::from_secs(*at), event.clone()).unwrap();
                }
                if trouble {
                    assert_eq!(mirror.snapshot().endpoints().len(), before, "a failure changes no set");
                    assert!(matches!(mirror.state(), SourceState::Pending | SourceState::Stale { .. }));
                }
                log.push((events, wait));
            }
            log
        };
        prop_assert_eq!(run(), run(), "the same answers are told alike");
    }

    /// Aliases of any shape end.
    #[test]
    fn aliases_end(links in prop::collection::vec((0_u8..12, 0_u8..12), 0..40)) {
        let label = |n: u8| name(&format!("n{n}.x"));
        let answer = links.iter().map(|(from, to)| Record { owner: label(*from), ttl: secs(1), data: Data::Alias(label(*to)) });
        let reply = Reply { rcode: Rcode::NoError, truncated: false, answer: answer.collect(), additional: vec![], negative: None, referral: false };
        let finding = reply.finding(&Question { name: label(0), kind: Kind::A });
        prop_assert!(!matches!(finding, Finding::Found { .. }), "there is no address");
        let _: BTreeMap<u8, u8> = links.into_iter().collect();
    }
}
