#![no_main]
//! The line of an agent, and settings of checks that are texts.

use evenkeel_probe::{AgentAnswer, Payload, ProbeConfig, Statuses};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let said = AgentAnswer::read(data);
    let line = data.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    assert_eq!(said, AgentAnswer::read(line), "one line counts");
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(payload) = Payload::from_hex(text) {
        assert!(payload.as_bytes().len() <= text.len());
    }
    if let Ok(statuses) = text.parse::<Statuses>() {
        let again = statuses.to_string().parse::<Statuses>();
        assert_eq!(again, Ok(statuses), "what is shown is read");
    }
    let _ = toml::from_str::<ProbeConfig>(text);
});
