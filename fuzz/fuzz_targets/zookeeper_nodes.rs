#![no_main]
//! Nodes of ZooKeeper in all three forms, and any order of notices and answers.

use evenkeel_fuzz::{mirror, pieces, tell};
use evenkeel_zookeeper::{Ask, Before, Directory, Entries, Format, Reading, Touch, Writing, node_name};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let format = [Format::Curator, Format::ServerSets, Format::Native][usize::from(first) % 3];
    let entries = Entries { format, ..Entries::default() };
    let text = String::from_utf8_lossy(rest);
    let name = node_name(&text);
    assert!(!name.contains('/') && !name.contains('\0'), "{name:?} is the name of a node");
    let mut mirror = mirror();
    let mut directory = Directory::new("/s", entries.clone(), 20);
    directory.connected(1);
    for (step, piece) in (1..).zip(pieces(rest)) {
        for node in ["a", "member_0000000001"] {
            if let Ok(Reading::Endpoint { endpoint, .. }) = entries.read(node, piece) {
                // What is written for it is read as itself, where it can be written.
                let writing = Writing { service: "s", registered_ms: 1 };
                if let Ok(written) = entries.write(&endpoint, &writing) {
                    let own = entries.name(endpoint.id());
                    let again = entries.read(&own, &written);
                    assert!(matches!(again, Ok(Reading::Endpoint { .. })), "{again:?}");
                }
            }
        }
        let name = String::from_utf8_lossy(piece);
        match piece.first().copied().unwrap_or_default() % 8 {
            0 => directory.touched(&format!("/s/{name}"), Touch::Changed),
            1 => directory.touched(&format!("/s/{name}"), Touch::Gone),
            2 => directory.touched("/s/a", Touch::Changed),
            3 => directory.resync(),
            4 => directory.probed(Some(piece.len())),
            5 => {
                directory.disconnected();
                directory.connected(step as i64);
            }
            _ => {}
        }
        for _ in 0..8 {
            match directory.next_ask(4) {
                Some(Ask::List) if piece.is_empty() => directory.missing(Before::Nobody),
                Some(Ask::List) => directory.listed(["a".to_owned(), "b".to_owned(), name.to_string()]),
                Some(Ask::Read { name, .. }) => {
                    directory.read(&name, (piece.len() % 5 != 0).then_some(Ok(piece)))
                }
                None => break,
            }
        }
        while let Some(event) = directory.next_event() {
            tell(&mut mirror, step, [event]);
        }
    }
});
