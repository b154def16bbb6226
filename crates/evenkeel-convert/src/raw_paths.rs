use evenkeel_route::matching::{DotSegments, EscapedSlashes, PathOptions, Percent};

/// Paths as they came: HAProxy looks at nothing else, and Envoy neither, unless it is told otherwise.
pub(crate) fn raw_paths() -> PathOptions {
    PathOptions {
        percent: Percent::Keep,
        escaped_slashes: EscapedSlashes::Keep,
        dot_segments: DotSegments::Keep,
        ..PathOptions::default()
    }
}
