//! What an upstream is told of the client: `X-Forwarded-*` and `Forwarded`.

use std::fmt::Write;
use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::head::{Field, Seen};

/// What upstreams are told of the client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardedSettings {
    /// `X-Forwarded-For`, `-Proto` and `-Host`. Default [`Policy::Replace`].
    pub x_forwarded: Policy,
    /// `Forwarded` of RFC 7239. Default `drop`: few read it, and one that is passed on unseen is a lie that somebody may believe.
    pub forwarded: Policy,
}

impl Default for ForwardedSettings {
    fn default() -> Self {
        Self { x_forwarded: Policy::Replace, forwarded: Policy::Drop }
    }
}

/// What becomes of a field that says where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// What the client says is forgotten, what we see is told: right at the edge.
    Replace,
    /// What we see is added at the end: right behind another proxy that one trusts.
    Append,
    /// It is taken off.
    Drop,
    /// It stays as it came.
    Keep,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The client, if it came over IP.
    pub client: Option<IpAddr>,
    /// The same as a value: a connection has one client, and a request costs no text.
    pub client_value: Option<&'a HeaderValue>,
    /// Whether it came encrypted.
    pub is_tls: bool,
    /// The host that was asked for.
    pub host: &'a HeaderValue,
}

/// Writes the fields.
pub fn write(headers: &mut HeaderMap, origin: Origin<'_>, settings: &ForwardedSettings, seen: &Seen) {
    x_forwarded(headers, origin, settings.x_forwarded);
    if settings.forwarded != Policy::Drop || seen.has(Field::Forwarded) {
        forwarded(headers, origin, settings.forwarded);
    }
}

/// What [`Origin::client_value`] is for an address.
pub fn value_of(client: IpAddr) -> Option<HeaderValue> {
    HeaderValue::try_from(client.to_string()).ok()
}

fn x_forwarded(headers: &mut HeaderMap, origin: Origin<'_>, policy: Policy) {
    match policy {
        Policy::Keep => return,
        Policy::Drop => {
            for name in [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST] {
                headers.remove(name);
            }
            return;
        }
        Policy::Replace | Policy::Append => {}
    }
    let is_kept = policy == Policy::Append;
    if let Some(client) = origin.client_value {
        push(headers, X_FORWARDED_FOR, client, is_kept);
    } else if !is_kept {
        headers.remove(X_FORWARDED_FOR);
    }
    // Protocol and host are those of the first proxy that saw the client.
    if !is_kept || !headers.contains_key(X_FORWARDED_PROTO) {
        let proto = HeaderValue::from_static(if origin.is_tls { "https" } else { "http" });
        headers.insert(X_FORWARDED_PROTO, proto);
    }
    if !is_kept || !headers.contains_key(X_FORWARDED_HOST) {
        headers.insert(X_FORWARDED_HOST, origin.host.clone());
    }
}

fn forwarded(headers: &mut HeaderMap, origin: Origin<'_>, policy: Policy) {
    match policy {
        Policy::Keep => {}
        Policy::Drop => {
            headers.remove(header::FORWARDED);
        }
        Policy::Replace | Policy::Append => {
            let mut text = String::new();
            let _ = match origin.client {
                Some(IpAddr::V4(ip)) => write!(text, "for={ip}"),
                Some(IpAddr::V6(ip)) => write!(text, "for=\"[{ip}]\""),
                None => write!(text, "for=unknown"),
            };
            let _ = write!(text, ";proto={}", if origin.is_tls { "https" } else { "http" });
            if let Ok(host) = origin.host.to_str()
                && !host.contains(['"', '\\'])
            {
                let _ = write!(text, ";host=\"{host}\"");
            }
            if let Ok(item) = HeaderValue::try_from(text) {
                push(headers, header::FORWARDED, &item, policy == Policy::Append);
            }
        }
    }
}

/// Puts `item` alone, or at the end of what is there.
fn push(headers: &mut HeaderMap, name: HeaderName, item: &HeaderValue, is_kept: bool) {
    if is_kept && headers.contains_key(&name) {
        let mut list = Vec::new();
        for value in headers.get_all(&name) {
            list.extend_from_slice(value.as_bytes());
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(item.as_bytes());
        if let Ok(value) = HeaderValue::from_bytes(&list) {
            headers.insert(name, value);
        }
    } else {
        headers.insert(name, item.clone());
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use super::*;

    fn after(policy: Policy, given: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let host = HeaderValue::from_static("shop.example");
        let client = IpAddr::from([10, 0, 0, 9]);
        let value = value_of(client);
        let origin = Origin { client: Some(client), client_value: value.as_ref(), is_tls: true, host: &host };
        let settings = ForwardedSettings { x_forwarded: policy, forwarded: policy };
        let seen = Seen::of(&headers);
        write(&mut headers, origin, &settings, &seen);
        let mut all: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        all.sort();
        all
    }

    #[test]
    fn each_policy_says_what_it_says() {
        let lies =
            [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(
            after(Policy::Replace, &lies),
            [
                "forwarded: for=10.0.0.9;proto=https;host=\"shop.example\"",
                "x-forwarded-for: 10.0.0.9",
                "x-forwarded-host: shop.example",
                "x-forwarded-proto: https"
            ]
        );
        assert_eq!(
            after(Policy::Append, &lies)[..2],
            [
                "forwarded: for=1.1.1.1, for=10.0.0.9;proto=https;host=\"shop.example\"",
                "x-forwarded-for: 1.1.1.1, 2.2.2.2, 10.0.0.9"
            ]
        );
        assert!(after(Policy::Drop, &lies).is_empty());
        assert_eq!(after(Policy::Keep, &lies).len(), 3);
    }
}
