//! The field `Location` of a redirect, from a template.

use evenkeel_route::matching::{Match, PathMatch};

use super::action::Redirect;
use super::error::{RouterError, RouterProblem};

#[derive(Debug)]
pub(crate) struct Location {
    parts: Box<[Part]>,
    pub(crate) status: u16,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Host,
    Path,
    Query,
    Capture(Box<str>),
}

impl Location {
    pub(crate) fn new(redirect: &Redirect, paths: &[PathMatch], field: &str) -> Result<Self, RouterError> {
        if ![301, 302, 303, 307, 308].contains(&redirect.status) {
            let problem = RouterProblem::Setting(" is no redirect: allowed are 301, 302, 303, 307 and 308");
            return Err(RouterError::new(format!("{field}.status"), problem));
        }
        let field = format!("{field}.location");
        let text = redirect.location.as_str();
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = RouterProblem::Setting(" is no address: 1 to 4096 visible characters of ASCII");
            return Err(RouterError::new(field, problem));
        }
        Ok(Self { parts: parse(text, paths, &field)?, status: redirect.status })
    }

    /// The address for a request.
    pub(crate) fn of(&self, host: &[u8], found: &Match<'_>, query: &[u8]) -> String {
        let mut location = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => location.push_str(text),
                Part::Host => push(&mut location, without_port(host), b":[]"),
                Part::Path => push_path(&mut location, found.path()),
                Part::Query if query.is_empty() => {}
                Part::Query => {
                    location.push('?');
                    push(&mut location, query, PATH);
                }
                Part::Capture(name) => {
                    let value = found.capture(name).unwrap_or_default();
                    // At the beginning it would choose the scheme or the host.
                    if location.is_empty() {
                        push_path(&mut location, value);
                    } else {
                        push(&mut location, value, PATH);
                    }
                }
            }
        }
        location
    }
}

/// At the beginning, `//evil.example` would be the address of another host; after one, a path without a slash would go on
/// with its name.
fn push_path(location: &mut String, path: &[u8]) {
    let path = if location.is_empty() { trim_slashes(path) } else { path.strip_prefix(b"/").unwrap_or(path) };
    if !location.ends_with('/') {
        location.push('/');
    }
    push(location, path, PATH);
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let start = path.iter().position(|&byte| byte != b'/' && byte != b'\\').unwrap_or(path.len());
    &path[start..]
}

/// Escapes what is neither unreserved nor in `also`.
fn push(location: &mut String, text: &[u8], also: &[u8]) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) {
            location.push(char::from(byte));
        } else {
            location.push('%');
            location.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)])));
        }
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    let end = match host.iter().rposition(|&byte| byte == b':') {
        Some(at) if !host[at..].contains(&b']') && host[at + 1..].iter().all(u8::is_ascii_digit) => at,
        _ => host.len(),
    };
    &host[..end]
}

fn parse(text: &str, paths: &[PathMatch], field: &str) -> Result<Box<[Part]>, RouterError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            parts.push(Part::Text(before.into()));
        }
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| RouterError::new(field, RouterProblem::Placeholder(after.to_owned())))?;
        parts.push(match name {
            "host" => Part::Host,
            "path" => Part::Path,
            "query" => Part::Query,
            name if is_captured(name, paths) => Part::Capture(name.into()),
            name => return Err(RouterError::new(field, RouterProblem::Placeholder(name.to_owned()))),
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts.into())
}

fn is_captured(name: &str, paths: &[PathMatch]) -> bool {
    paths.iter().any(|path| match path {
        PathMatch::Template(template) => {
            template.contains(&format!("{{{name}}}")) || template.contains(&format!("{{*{name}}}"))
        }
        _ => false,
    })
}

/// What paths and queries hold besides unreserved characters: RFC 3986, section 3.3. An escape stays one.
const PATH: &[u8] = b"!$&'()*+,;=:@/?%";
const HEX: &[u8; 16] = b"0123456789ABCDEF";
const LONGEST: usize = 4096;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use evenkeel_route::matching::{HttpRule, HttpRules, HttpRulesConfig, Request, Scratch};

    fn location(template: &str, host: &str, target: &str) -> String {
        let paths = vec![PathMatch::Template("/old/{name}/{*rest}".into()), PathMatch::Any];
        let redirect = Redirect { location: template.into(), status: 308 };
        let location = Location::new(&redirect, &paths, "action").expect("a valid template");
        let mut rules = Vec::new();
        for path in paths {
            rules.push(HttpRule { paths: vec![path], ..HttpRule::default() });
        }
        let rules =
            HttpRules::new(&HttpRulesConfig { rules, ..HttpRulesConfig::default() }).expect("valid rules");
        let (request, mut scratch) = (Request::new("GET", host, target), Scratch::default());
        let found =
            rules.find(&request, &mut scratch).ok().flatten().expect("the last rule takes everything");
        location.of(request.host, &found, request.query)
    }

    #[test]
    fn placeholders_are_filled_in() {
        let all = "https://{host}{path}{query}";
        assert_eq!(location(all, "example.com:80", "/a?b=c"), "https://example.com/a?b=c");
        assert_eq!(location(all, "[::1]:8080", "/"), "https://[::1]/");
        assert_eq!(location("/new/{rest}/of/{name}", "h", "/old/ann/x/y"), "/new/x/y/of/ann");
        assert_eq!(location("/plain", "h", "/a"), "/plain");
    }

    #[test]
    fn a_request_cannot_choose_the_host() {
        for path in ["//evil.example", "///evil.example", "/\\evil.example"] {
            let location = location("{path}", "h", path);
            assert!(location.starts_with('/') && !location[1..].starts_with(['/', '\\']), "{location}");
        }
        assert_eq!(location("https://example.com{path}", "h", "*"), "https://example.com/*");
        assert_eq!(location("https://{host}{path}", "a\r\nb", "/\r\nc"), "https://a%0D%0Ab/%0D%0Ac");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let error = |location: &str, status| {
            let redirect = Redirect { location: location.into(), status };
            Location::new(&redirect, &[], "action").unwrap_err().to_string()
        };
        assert!(error("/", 200).starts_with("action.status is no redirect"));
        assert!(error("", 307).starts_with("action.location is no address"));
        assert!(error("/\n", 307).starts_with("action.location is no address"));
        assert!(error("/{name}", 307).starts_with("action.location: {name} stands for nothing"));
        assert!(error("/{host", 307).starts_with("action.location: {host} stands for nothing"));
    }
}
