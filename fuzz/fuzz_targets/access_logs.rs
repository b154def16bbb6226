#![no_main]
//! Access logs: the first byte says which format; before 0xff stands the template of the lines, if there is one, behind it the log.

use std::io::Cursor;
use std::time::Duration;

use evenkeel_fuzz::pieces;
use evenkeel_sim::log::{FormatConfig, Records, ReplayConfig};
use evenkeel_types::Ratio;
use libfuzzer_sys::fuzz_target;

const FORMATS: [&str; 8] = ["nginx", "haproxy", "envoy", "haproxy_tcp", "envoy_json", "evenkeel", "json", "csv"];

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let number = usize::from(first) % FORMATS.len();
    let (template, log) = match (number, pieces(rest).collect::<Vec<_>>().as_slice()) {
        (0..=2, [template, log]) => (String::from_utf8(template.to_vec()).ok(), log.to_vec()),
        _ => (None, rest.to_vec()),
    };
    let format = FormatConfig::named(FORMATS[number], template).expect("a known name");
    let mut config = ReplayConfig::new("fuzz.log".into(), format);
    config.max_malformed = Ratio::ONE;
    config.window = Duration::from_secs(30 * 86_400);
    let Ok(mut records) = Records::new(&config, Box::new(Cursor::new(log))) else { return };
    let (mut last, mut count) = (0, 0);
    while let Ok(Some(record)) = records.read_next() {
        assert!(record.at >= last, "in order");
        assert!(record.service > 0 && record.seen > 0, "no request takes nothing");
        (last, count) = (record.at, count + 1);
    }
    let counts = records.counts();
    assert!(count <= counts.requests);
    assert_eq!(counts.lines, counts.requests + counts.malformed + counts.skipped(), "each line once");
    assert!(counts.first.len() <= 10);
});
