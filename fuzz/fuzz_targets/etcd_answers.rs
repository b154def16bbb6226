#![no_main]
//! What etcd answers: lists, lines of a watch, probes, values, and addresses of members.

use evenkeel_adapter::BaseUrl;
use evenkeel_etcd::{Ask, Follower, FollowerConfig, entry};
use evenkeel_fuzz::{mirror, pieces, tell};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(url) = text.parse::<BaseUrl>()
    {
        assert_eq!(url.to_string().parse::<BaseUrl>().map(|again| again.to_string()), Ok(url.to_string()));
    }
    let id = "users-1".parse().expect("an id");
    if let Ok(endpoint) = entry::read(&id, data) {
        assert_eq!(endpoint.id(), &id);
        let written = entry::write(entry::Format::Own, &endpoint);
        assert_eq!(entry::read(&id, written.as_bytes()), Ok(endpoint), "what is written is read");
    }
    let config = FollowerConfig { prefix: "s/".to_owned(), page_size: 2, max_entries: 50 };
    let (mut follower, mut mirror) = (Follower::new(config), mirror());
    for (step, piece) in (1..).zip(pieces(data)) {
        let probe = piece.first() == Some(&b'p');
        let events = match follower.ask() {
            _ if probe => follower.probed(&piece[1..]).map(|_| Vec::new()),
            Ask::List(_) => follower.listed(piece),
            Ask::Watch(_) => follower.watched(piece).map(|_| follower.take_events()),
        };
        match events {
            Ok(events) => tell(&mut mirror, step, events),
            Err(_) => follower.relist(),
        }
        assert!(follower.known() <= 50, "memory is bounded");
    }
});
