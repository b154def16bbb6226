#![no_main]
//! Answers of Consul: the index in the first piece, then a body, again and again.

use evenkeel_consul::{ConsulConfig, Follower, Head};
use evenkeel_fuzz::{mirror, pieces, tell};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let config = ConsulConfig { service: "users".to_owned(), ..ConsulConfig::default() };
    let (mut follower, mut mirror) = (Follower::new(&config), mirror());
    let mut parts = pieces(data);
    let mut second = 0;
    while let (Some(head), Some(body)) = (parts.next(), parts.next()) {
        second += 1;
        let head = String::from_utf8_lossy(head);
        let mut fields = head.split('\n');
        let head = Head {
            index: fields.next(),
            last_contact: fields.next(),
            known_leader: fields.next(),
            filtered: fields.next(),
        };
        if let Ok(events) = follower.answered(head, body) {
            tell(&mut mirror, second, events);
        }
        let _ = follower.ask();
    }
});
