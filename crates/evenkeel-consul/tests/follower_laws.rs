//! Laws of the follower: what the last answer says is what is seen, whatever the indexes do, and any bytes are survived.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

use std::time::Duration;

use evenkeel_consul::{ConsulConfig, Follower, Head, Pace};
use evenkeel_registry::{Event, MirrorConfig, Registry, TroubleKind};
use evenkeel_types::Timestamp;
use proptest::prelude::*;

fn follower() -> Follower {
    Follower::new(&ConsulConfig { service: "users".to_owned(), ..ConsulConfig::default() })
}

fn head(index: &str) -> Head<'_> {
    Head { index: Some(index), last_contact: Some("0"), known_leader: Some("true"), filtered: None }
}

fn body(ports: &[u16]) -> String {
    let entry = |(n, port): (usize, &u16)| {
        format!(
            r#"{{"Node":{{"Node":"n","Address":"10.0.0.1"}},"Service":{{"ID":"{n:03}","Port":{port}}},"Checks":[{{"CheckID":"a","Status":"passing"}}]}}"#
        )
    };
    format!("[{}]", ports.iter().enumerate().map(entry).collect::<Vec<_>>().join(","))
}

proptest! {
    #[test]
    fn the_last_answer_is_what_is_seen(
        answers in prop::collection::vec((0..6_u64, prop::collection::vec(0..3_u16, 0..5)), 1..30),
    ) {
        let registry = Registry::default();
        let mut mirror = MirrorConfig::default();
        mirror.empty.hold = evenkeel_registry::Hold::Never;
        mirror.shrink.always = usize::MAX;
        (mirror.settle.quiet, mirror.settle.max) = (Duration::ZERO, Duration::ZERO);
        let (service, source) = ("users".parse().unwrap(), "consul".parse().unwrap());
        let feed = registry.feed(&service, &source, mirror, || Timestamp::from_secs(1)).unwrap();
        let mut follower = follower();
        let mut last: Option<(u64, Vec<u16>)> = None;
        for (index, ports) in answers {
            // The same index means the same answer, or it is not the same index.
            let ports = match &last {
                Some((before, same)) if *before == index && index > 0 => same.clone(),
                _ => ports,
            };
            let fell = last.as_ref().is_some_and(|(before, _)| index < *before) || index == 0;
            let answered = follower.answered(head(&index.to_string()), body(&ports).as_bytes());
            if !ports.is_empty() && ports.iter().all(|port| *port == 0) {
                let before = registry.snapshot(&service).endpoints().len();
                prop_assert_eq!(answered.unwrap_err().kind, TroubleKind::Malformed);
                prop_assert!(!follower.ask().1, "the next query does not wait");
                prop_assert_eq!(registry.snapshot(&service).endpoints().len(), before);
                continue;
            }
            for event in answered.unwrap() {
                feed.send(event).unwrap();
            }
            prop_assert_eq!(follower.ask().1, !fell, "whether the next query waits");
            let good = ports.iter().filter(|port| **port > 0).count();
            prop_assert_eq!(registry.snapshot(&service).endpoints().len(), good);
            last = Some((index, ports));
        }
    }

    #[test]
    fn answers_cut_short_are_refused_whole(ports in prop::collection::vec(1..9_u16, 1..5), cut in 1..400_usize) {
        let whole = body(&ports);
        let part = &whole.as_bytes()[..whole.len() - cut.min(whole.len())];
        let error = follower().answered(head("3"), part).unwrap_err();
        prop_assert_eq!(error.kind, TroubleKind::Malformed);
    }

    #[test]
    fn any_bytes_are_survived(index in "\\PC{0,12}", contact in "\\PC{0,12}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let head = Head { index: Some(&index), last_contact: Some(&contact), ..Head::default() };
        let events = follower().answered(head, &bytes).unwrap_or_default();
        let full = |event: &Event| matches!(event, Event::Full { .. });
        prop_assert!(!events.iter().any(full) || bytes.first() == Some(&b'[') || bytes.iter().any(u8::is_ascii_whitespace));
    }

    #[test]
    fn the_pace_is_kept(burst in 1..5_u32, pauses in prop::collection::vec(0..1500_u64, 1..60)) {
        let mut pace = Pace::new(burst, Duration::from_secs(1));
        let (mut now, mut asked) = (Timestamp::from_secs(10), Vec::new());
        for pause in pauses {
            now = now.saturating_add(Duration::from_millis(pause));
            let at = now.saturating_add(pace.take(now));
            prop_assert!(asked.last().is_none_or(|before| *before <= at));
            asked.push(at);
            now = at;
        }
        // In any second there are no more than the burst, and one more.
        for window in asked.windows(usize::try_from(burst).unwrap() + 2) {
            prop_assert!(window[window.len() - 1].saturating_since(window[0]) >= Duration::from_secs(1));
        }
    }
}
