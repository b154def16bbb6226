#![no_main]
//! Answers of name servers, and the files that name them. The first byte says what was asked.

use std::time::Duration;

use evenkeel_dns::wire::{self, Kind, Name, Question};
use evenkeel_dns::{DnsConfig, Failure, Tracker, name_servers};
use evenkeel_fuzz::{mirror, pieces, tell};
use evenkeel_registry::TroubleKind;
use evenkeel_types::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    if first == b'n' {
        let text = String::from_utf8_lossy(rest);
        assert!(name_servers(&text).len() <= 8);
        if let Ok(name) = Name::new(&text) {
            assert_eq!(Name::new(name.as_str()), Ok(name.clone()), "the normal form is one");
            for kind in [Kind::A, Kind::Aaaa, Kind::Srv] {
                let asked = wire::encode(&Question { name: name.clone(), kind }, 7, true);
                assert!(asked.is_ok(), "what is a name can be asked for");
            }
        }
        return;
    }
    let config = match first % 3 {
        0 => DnsConfig::host("a.t", 80),
        _ => DnsConfig::srv("_s._tcp.t"),
    };
    let (mut tracker, mut mirror) = (Tracker::new(config).expect("good names"), mirror());
    let mut answers = pieces(rest);
    // Two rounds over what is there: the second time something is known.
    for second in [1, 100] {
        let mut lookup = tracker.begin(Timestamp::from_secs(second));
        let mut steps = 0;
        while let Some(question) = lookup.question().cloned() {
            steps += 1;
            assert!(steps < 10_000, "a lookup ends");
            let bytes = answers.next().unwrap_or(rest);
            // The number of the question and what it asks are put in, so that more than the first line is reached.
            let mut bytes = bytes.to_vec();
            if let Ok(asked) = wire::encode(&question, 7, false)
                && bytes.first() == Some(&0)
            {
                let tail = bytes.split_off(bytes.len().min(8));
                let counts = bytes.get(1..7).map(<[u8]>::to_vec).unwrap_or_default();
                bytes = asked[..2].to_vec();
                bytes.extend([0x81, 0x80, 0, 1]);
                bytes.extend(counts);
                bytes.resize(12, 0);
                bytes.extend(&asked[12..]);
                bytes.extend(tail);
            }
            let reply = wire::decode(&bytes, &question, 7);
            if let Ok(reply) = &reply {
                let _ = reply.finding(&question);
            }
            lookup.hear(
                reply.map_err(|error| Failure { kind: TroubleKind::Malformed, text: error.to_string() }),
            );
        }
        let events = tracker.conclude(Timestamp::from_secs(second), &lookup);
        assert!(!events.is_empty());
        tell(&mut mirror, second, events);
        let wait = tracker.next_at().saturating_since(Timestamp::from_secs(second));
        assert!(
            wait > Duration::ZERO && wait <= Duration::from_secs(300),
            "neither at once nor never: {wait:?}"
        );
    }
});
