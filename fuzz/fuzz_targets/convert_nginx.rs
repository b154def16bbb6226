#![no_main]
//! Configuration files of nginx: read, and what comes of them written for all programs.

use evenkeel_convert::Dialect;
use evenkeel_fuzz::converted;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        converted(Dialect::Nginx, text);
    }
});
