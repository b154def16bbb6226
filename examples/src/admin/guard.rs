//! Who may ask. A page in a browser of the operator's must not be able to, whatever name it was loaded under.

use std::net::IpAddr;

use super::answer::Answer;
use super::asked::Asked;
use super::settings::{AdminSettings, Serves};

/// What to answer instead, if the request is not to be served.
pub(crate) fn refusal(asked: &Asked<'_>, settings: &AdminSettings) -> Option<Answer> {
    if asked.body.len() > settings.max_body {
        let message = format!("the body is longer than {} bytes", settings.max_body);
        return Some(Answer::failed(413, "body_too_long", &message));
    }
    let host = match asked.header("host") {
        Ok(Some(host)) => host,
        _ => return Some(Answer::failed(400, "host", "one field host is needed")),
    };
    // A name that its owner points at this machine would make this the origin of that owner's page (DNS rebinding).
    if !is_known(name_of(host), settings) {
        let message =
            "this host name is not served here: use localhost or a loopback address, or add it to `hosts`";
        return Some(Answer::failed(421, "host", message));
    }
    if asked.method == "POST" { refusal_of_post(asked, host) } else { None }
}

/// A form of another page can post, but not this type, and not without telling its origin.
fn refusal_of_post(asked: &Asked<'_>, host: &str) -> Option<Answer> {
    let is_json = asked.header("content-type").is_ok_and(|kind| kind.is_some_and(is_json));
    if !is_json {
        let message = "a POST must have the content-type application/json";
        return Some(Answer::failed(415, "content_type", message));
    }
    let is_same_site =
        asked.header("sec-fetch-site").is_ok_and(|site| matches!(site, None | Some("same-origin" | "none")));
    // Programs that are no browsers send no origin.
    let is_same_origin =
        asked.header("origin").is_ok_and(|origin| origin.is_none_or(|origin| is_origin(origin, host)));
    let message = "a POST of another origin is refused";
    (!is_same_site || !is_same_origin).then(|| Answer::failed(403, "origin", message))
}

fn is_json(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn is_origin(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// The host without its port; an IPv6 address without its brackets.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

fn is_known(name: &str, settings: &AdminSettings) -> bool {
    let is_open = settings.serves == Serves::Everybody;
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || is_open)
        || settings.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<u16> {
        let settings = AdminSettings { hosts: vec!["Ops.example".into()], max_body: 4, ..Default::default() };
        let asked = Asked::new(method, "/", headers, body).expect("a path");
        refusal(&asked, &settings).map(|answer| answer.status)
    }

    #[test]
    fn only_known_hosts_are_served() {
        for host in
            ["localhost", "LOCALHOST:1", "127.0.0.1:80", "127.9.9.9", "[::1]:80", "[::1]", "ops.example:1"]
        {
            assert_eq!(status("GET", &[("host", host)], b""), None, "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1", "[2001:db8::1]", "", "127.0.0.1.evil"]
        {
            assert_eq!(status("GET", &[("host", host)], b""), Some(421), "{host}");
        }
        assert_eq!(status("GET", &[], b""), Some(400));
        assert_eq!(status("GET", &[("host", "localhost"), ("Host", "localhost")], b""), Some(400));
    }

    #[test]
    fn a_post_says_what_it_is_and_where_it_comes_from() {
        let (host, json) = (("host", "localhost:9"), ("content-type", "application/json; charset=utf-8"));
        assert_eq!(status("POST", &[host], b""), Some(415));
        assert_eq!(status("POST", &[host, ("content-type", "text/plain")], b""), Some(415));
        assert_eq!(status("POST", &[host, json], b""), None);
        assert_eq!(status("POST", &[host, json], b"12345"), Some(413));
        for (origin, told) in [
            ("http://localhost:9", None),
            ("https://LOCALHOST:9", None),
            ("http://localhost:8", Some(403)),
            ("http://localhost:9.evil", Some(403)),
            ("http://evil.example", Some(403)),
            ("null", Some(403)),
            ("", Some(403)),
        ] {
            assert_eq!(status("POST", &[host, json, ("origin", origin)], b""), told, "{origin}");
        }
        for (site, told) in [("same-origin", None), ("cross-site", Some(403)), ("same-site", Some(403))] {
            assert_eq!(status("POST", &[host, json, ("sec-fetch-site", site)], b""), told, "{site}");
        }
    }
}
