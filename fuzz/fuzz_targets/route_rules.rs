#![no_main]
//! Tables of rules from a file, and requests against them: patterns, templates, regular expressions, queries, cookies.
//! The table is TOML up to the first 0xff; then host, path, query and header fields, each a piece.

use evenkeel_fuzz::pieces;
use evenkeel_route::matching::{HttpRules, HttpRulesConfig, Request, Scratch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = pieces(data);
    let Some(Ok(text)) = parts.next().map(std::str::from_utf8) else { return };
    let Ok(mut config) = toml::from_str::<HttpRulesConfig>(text) else { return };
    // So that an input is not slow by what it is allowed to cost.
    config.limits.regex_bytes = config.limits.regex_bytes.min(1 << 16);
    let Ok(rules) = HttpRules::new(&config) else { return };
    assert_eq!(rules.len(), config.rules.len());
    let mut scratch = Scratch::default();
    loop {
        let (Some(host), Some(path)) = (parts.next(), parts.next()) else { return };
        let field = parts.next().unwrap_or_default();
        let headers = [("cookie", field), ("x-version", field)];
        let request = Request::new("GET", host, path).with_headers(&headers);
        if let Ok(Some(found)) = rules.find(&request, &mut scratch) {
            assert!(found.rule() < rules.len());
            for (_, value) in found.captures() {
                assert!(value.len() <= found.path().len());
            }
        }
    }
});
