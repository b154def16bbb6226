#![no_main]
//! Sets that were saved on a disk.

use std::time::SystemTime;

use evenkeel_fuzz::mirror;
use evenkeel_registry::{Saved, SourceState};
use evenkeel_types::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(saved) = Saved::from_json(data) else { return };
    assert_eq!(Saved::from_json(saved.to_json().as_bytes()), Ok(saved.clone()), "what is written is read");
    let _ = saved.age(SystemTime::UNIX_EPOCH);
    let mut mirror = mirror();
    if mirror.load(Timestamp::from_secs(1), &saved, SystemTime::UNIX_EPOCH).is_ok() {
        let snapshot = mirror.snapshot();
        assert!(!matches!(snapshot.state(), SourceState::Live), "a disk is never live");
        assert!(snapshot.endpoints().windows(2).all(|pair| pair[0].id() < pair[1].id()));
        assert!(snapshot.endpoints().len() <= mirror.config().max_endpoints);
    }
});
