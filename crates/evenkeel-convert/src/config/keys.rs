//! Rules for keys, as the keys of routes.

use evenkeel::router::KeySource;

use crate::key_rule::{KeyPart, KeyRule};
use crate::report::Verdict;

/// The key of the routes to a cluster whose program makes keys by `rule`, and in what it differs.
pub(super) fn of_routes(rule: &KeyRule) -> (Vec<KeySource>, Verdict, &'static str) {
    match rule {
        // The policy is told the address itself.
        KeyRule::Source => (Vec::new(), Verdict::Taken, ""),
        KeyRule::Text(parts) => match parts.as_slice() {
            [part] => of_part(part),
            _ => none(
                "keys of several parts are not joined in routes: let what stands before the proxy set one header",
            ),
        },
        KeyRule::Sample(part) => of_part(part),
        KeyRule::Converted { .. } => none("routes take values as they are, without converters"),
        KeyRule::Uri(_) => {
            (vec![KeySource::Path], Verdict::Differs, "the whole path as it was matched, without the query")
        }
        KeyRule::UrlParam(name) => {
            (vec![KeySource::Query(name.clone())], Verdict::Differs, "a parameter of the query, decoded")
        }
        KeyRule::Header { name, domain_only: false } => {
            let detail = "the whole value of the field: other servers where it is a list";
            (vec![KeySource::Header(name.clone())], Verdict::Differs, detail)
        }
        KeyRule::Header { .. } => none("domains are not taken out of header fields"),
        KeyRule::Envoy(policies) => {
            let found: Option<Vec<KeySource>> =
                policies.iter().map(|policy| of_part(&policy.of).0.into_iter().next()).collect();
            match found {
                Some(keys) if !keys.is_empty() => {
                    (keys, Verdict::Differs, "the first that is there, not all of them joined: other servers")
                }
                _ => none("this is not looked at by routes"),
            }
        }
    }
}

fn of_part(part: &KeyPart) -> (Vec<KeySource>, Verdict, &'static str) {
    let (key, detail) = match part {
        // A router knows the host apart from the fields.
        KeyPart::Header(name) | KeyPart::Item(name) if name.eq_ignore_ascii_case("host") => {
            return (vec![KeySource::Host], Verdict::Taken, "");
        }
        KeyPart::Header(name) => return (vec![KeySource::Header(name.clone())], Verdict::Taken, ""),
        KeyPart::Item(name) => (
            KeySource::Header(name.clone()),
            "the whole value of the field: other servers where it is a list",
        ),
        KeyPart::Cookie(name) => return (vec![KeySource::Cookie(name.clone())], Verdict::Taken, ""),
        KeyPart::Query(name) => {
            (KeySource::Query(name.clone()), "decoded: other servers where it has escapes")
        }
        KeyPart::Source => (KeySource::Source, "its bytes, not its text: other servers"),
        KeyPart::Path => (KeySource::Path, "as it was matched: other servers where it was normalised"),
        KeyPart::Host => (KeySource::Host, "as the client wrote it: other servers for other spellings"),
        KeyPart::Target => (KeySource::Path, "without the query: other servers"),
        KeyPart::Literal(_) | KeyPart::QueryString | KeyPart::Method => {
            return none("this is not looked at by routes");
        }
    };
    (vec![key], Verdict::Differs, detail)
}

const fn none(detail: &'static str) -> (Vec<KeySource>, Verdict, &'static str) {
    (Vec::new(), Verdict::NoEquivalent, detail)
}

/// The other way round: what a route says of a key, if programs can say it too.
pub(super) fn of_cluster(sources: &[KeySource]) -> Option<KeyRule> {
    let [source] = sources else { return None };
    let part = match source {
        KeySource::Header(name) => KeyPart::Header(name.clone()),
        KeySource::Cookie(name) => KeyPart::Cookie(name.clone()),
        KeySource::Query(name) => KeyPart::Query(name.clone()),
        KeySource::Source => return Some(KeyRule::Source),
        KeySource::Path => KeyPart::Path,
        KeySource::Host => KeyPart::Header("host".to_owned()),
        _ => return None,
    };
    Some(KeyRule::Text(vec![part]))
}
