//! What the targets share.

use evenkeel_convert::{Dialect, Options, Setup, read, write};
use evenkeel_registry::{Event, FeedError, Mirror, MirrorConfig};
use evenkeel_types::{Announced, Endpoint, Timestamp};

/// A mirror without pauses, as a registry has one for each source.
#[must_use]
pub fn mirror() -> Mirror {
    let config = MirrorConfig { max_events_per_second: u32::MAX, ..MirrorConfig::default() };
    let (service, source) = ("users".parse().expect("a name"), "fuzz".parse().expect("a name"));
    Mirror::new(service, source, config).expect("the defaults can stand")
}

/// Tells a mirror what an adapter made of its input, and holds it to the laws that no input may break: one entry for each
/// id, sorted, within the bounds, and no set emptied without proof.
pub fn tell(mirror: &mut Mirror, second: u64, events: impl IntoIterator<Item = Event>) {
    for event in events {
        // Who has announced that it goes needs no further proof.
        let stays = |endpoint: &Endpoint| {
            !endpoint.weight().is_drain() && endpoint.announced() != Announced::Draining
        };
        let before = mirror.snapshot().endpoints().iter().filter(|endpoint| stays(endpoint)).count();
        let proof = is_proof(&event);
        match mirror.apply(Timestamp::from_secs(second), event) {
            Ok(_) | Err(FeedError::NeedFull { .. } | FeedError::TooFast { .. }) => {}
            Err(other) => panic!("an adapter's event is refused: {other}"),
        }
        let snapshot = mirror.snapshot();
        let endpoints = snapshot.endpoints();
        assert!(endpoints.windows(2).all(|pair| pair[0].id() < pair[1].id()), "sorted, and each once");
        assert!(endpoints.len() <= mirror.config().max_endpoints);
        assert!(before == 0 || proof || !endpoints.is_empty(), "emptied without proof");
    }
}

fn is_proof(event: &Event) -> bool {
    match event {
        Event::Absent { .. } => true,
        Event::Delta { removals, .. } => !removals.is_empty(),
        _ => false,
    }
}

/// Reads a configuration of another program, and holds what comes of it to the laws that no input may break: it is written as
/// ours and read again as what it was, it is written for all programs, and a program's own words for it are words of that
/// program.
pub fn converted(from: Dialect, text: &str) {
    let options = Options::default();
    let Ok(conversion) = read(from, text, "fuzz", &options) else { return };
    let toml = conversion.setup.to_toml().expect("what was read can be written");
    let again = Setup::from_toml(&toml, "fuzz").expect("what was written can be read");
    assert_eq!(again.to_toml().expect("it could be written before"), toml);
    for to in [Dialect::Config, Dialect::Nginx, Dialect::Haproxy, Dialect::Envoy] {
        let written = write(to, &conversion.setup);
        if to == from
            && let Err(error) = read(to, &written.text, "fuzz", &options)
        {
            panic!("{to} does not read what was written for it: {error}\n{}", written.text);
        }
    }
}

/// The pieces of an input, split at 0xff, which is in no UTF-8 text.
pub fn pieces(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|&byte| byte == 0xff)
}
