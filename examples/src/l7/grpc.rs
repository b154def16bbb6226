//! How gRPC says that something failed: in a field or a trailer, under status 200.

use std::time::Duration;

use evenkeel::route::retry::Ending;
use hyper::header::HeaderMap;

/// Whether a message of this `Content-Type` is one of gRPC.
pub fn is_grpc(kind: &[u8]) -> bool {
    kind.starts_with(b"application/grpc") && matches!(kind.get(16), None | Some(b'+' | b';'))
}

/// How a call ended, by a head without a body, or by trailers.
pub fn ending(fields: &HeaderMap) -> Option<Ending> {
    let code = fields.get("grpc-status")?.to_str().ok()?.parse::<u8>().ok()?;
    let pushback = fields.get("grpc-retry-pushback-ms");
    let pushback = pushback.and_then(|millis| millis.to_str().ok()?.parse().ok()).map(Duration::from_millis);
    // Codes that nobody has given a meaning are taken as UNKNOWN, as the protocol says.
    Some(Ending::Grpc { code: if code <= 16 { code } else { 2 }, pushback })
}
