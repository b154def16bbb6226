#![no_main]
//! Header fields that clients send: sticky cookies, overrides.

use std::time::Duration;

use evenkeel_route::affinity::{CookieConfig, CookieKey, MAX_OVERRIDES, StickyCookie, override_at};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let key = CookieKey { id: 1, secret: "sixteen bytes of it".to_owned() };
    let config = CookieConfig { keys: vec![key], ..CookieConfig::default() };
    let cookie = StickyCookie::new(&config).expect("it can stand");
    let now = Duration::from_secs(1_000_000);
    assert!(cookie.read_field(data, now).is_err(), "nobody guesses a signature");
    for attempt in [0, 1, MAX_OVERRIDES as u32, u32::MAX] {
        let _ = override_at(data, attempt);
    }
    let Ok(id) = std::str::from_utf8(data).unwrap_or_default().parse() else { return };
    let value = cookie.value(&id, now);
    assert_eq!(cookie.read(&value, now).map(|home| home.endpoint), Ok(id), "what we issued is known");
    let among = format!("other=1; {}={value}; last", config.name);
    assert!(cookie.read_field(among.as_bytes(), now).is_ok());
});
