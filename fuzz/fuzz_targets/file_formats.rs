#![no_main]
//! Files of endpoints: our own format and Envoy's EDS, as TOML, YAML and JSON. The first byte says which.

use evenkeel_file::{Document, Syntax};
use evenkeel_fuzz::{mirror, tell};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&first, text)) = data.split_first() else { return };
    let syntax = [Syntax::Toml, Syntax::Yaml, Syntax::Json][usize::from(first) % 3];
    let events = Document::events(text, syntax, "users");
    assert!(!events.is_empty(), "an adapter that says nothing looks as if it hung");
    tell(&mut mirror(), 1, events);
    if let Ok(document) = Document::parse(text, syntax) {
        for service in document.services() {
            if let Ok(answer) = document.service(&service) {
                tell(&mut mirror(), 1, answer.into_events());
            }
        }
    }
});
