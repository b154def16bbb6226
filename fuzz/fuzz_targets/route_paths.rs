#![no_main]
//! Paths and hosts of requests, under every choice of normalisation.

use evenkeel_route::matching::{
    Case, Cidr, DotSegments, EscapedSlashes, HostMatch, PathOptions, Percent, normalise,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[a, b], path)) = data.split_first_chunk::<2>() else { return };
    let options = PathOptions {
        percent: [Percent::Keep, Percent::Unreserved, Percent::All][usize::from(a) % 3],
        escaped_slashes: [EscapedSlashes::Keep, EscapedSlashes::Refuse, EscapedSlashes::Decode]
            [usize::from(a) / 3 % 3],
        dot_segments: [DotSegments::Keep, DotSegments::Resolve, DotSegments::Refuse][usize::from(a) / 9 % 3],
        merge_slashes: b & 1 != 0,
        backslash_is_slash: b & 2 != 0,
        case: if b & 4 != 0 { Case::Insensitive } else { Case::Sensitive },
        ..PathOptions::default()
    };
    let (mut buffer, mut again) = (Vec::new(), Vec::new());
    if let Ok(normal) = normalise(path, &options, &mut buffer) {
        assert!(normal.len() <= path.len().max(1), "it never grows");
        if options.percent != Percent::All {
            assert_eq!(
                normalise(normal, &options, &mut again),
                Ok(normal),
                "the normal form is a fixed point"
            );
        }
        if options.dot_segments == DotSegments::Resolve && path.starts_with(b"/") {
            assert!(!normal.split(|&byte| byte == b'/').any(|segment| segment == b".."), "no way up is left");
        }
    }
    let Ok(text) = std::str::from_utf8(path) else { return };
    if let Ok(host) = text.parse::<HostMatch>() {
        let _ = host.matches(path);
        assert_eq!(host.to_string().parse(), Ok(host), "what is shown is read");
    }
    if let Ok(cidr) = text.parse::<Cidr>() {
        assert_eq!(cidr.to_string().parse(), Ok(cidr), "what is shown is read");
    }
});
