//! The request that a key is put into, and the hash that the route's policies make of it.

use std::net::IpAddr;

use evenkeel_balance::compat::envoy::{HashPolicy, HashSource, Request, Rewrite, request_hash};
use evenkeel_convert::{Key, KeyRule, RequestParts};
use regex::bytes::Regex;
use serde_json::Value;

use super::Refused;
use crate::Case;
use crate::programs::template::filled;

/// A request with places for a key.
pub(super) struct Template {
    policies: Vec<HashPolicy>,
    /// What the reader made of the policies, if it knows them all.
    rule: Option<Option<KeyRule>>,
    /// Names and values.
    headers: Vec<(String, String)>,
    target: String,
    /// What a missing key takes with it: the header that it would stand in.
    is_plain: bool,
}

impl Template {
    pub(super) fn of(case: &Case, rule: Option<Option<KeyRule>>) -> Result<Self, Refused> {
        let policies = policies(&case.0["config"]["hash_policy"])?;
        let request = &case.0["request"];
        let header = policies.iter().find_map(|policy| match &policy.source {
            HashSource::Header { name, .. } => Some(name.clone()),
            _ => None,
        });
        let plain = || {
            let by_source = policies.iter().any(|policy| matches!(policy.source, HashSource::SourceIp));
            let mut headers = vec![(header.unwrap_or_else(|| "x-key".to_owned()), "<key>".to_owned())];
            headers.extend(by_source.then(|| ("x-forwarded-for".to_owned(), "<key>".to_owned())));
            headers
        };
        let headers = request["headers"].as_array().map_or_else(plain, |headers| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            headers.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
        });
        let target = request["target"].as_str().unwrap_or("/").to_owned();
        Ok(Self { policies, rule, headers, target, is_plain: request.is_null() })
    }

    /// The hash of the request with this key, if its policies find anything in it.
    pub(super) fn hash(&self, key: Option<&[u8]>) -> Option<u64> {
        let is_there = |value: &str| key.is_some() || !self.is_plain && !value.contains("<key");
        let fill = |text: &str| filled(text, key.unwrap_or_default());
        let mut headers: Vec<(&str, Vec<u8>)> = self
            .headers
            .iter()
            .filter(|(_, value)| is_there(value))
            .map(|(name, value)| (name.as_str(), fill(value)))
            .collect();
        let target = fill(&self.target);
        headers.push((":path", target.clone()));
        let forwarded = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-for"));
        let source = forwarded.map_or(Some(LOOPBACK), |(_, value)| client_of(value));
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let Some(rule) = &self.rule else {
            return request_hash(&self.policies, &Request { headers: &headers, target: &target, source });
        };
        match rule.as_ref()?.of(&RequestParts {
            method: "GET",
            target: &target,
            headers: &headers,
            source,
        })? {
            Key::Hash(hash) => Some(hash),
            _ => None,
        }
    }
}

/// Where the recorded requests came from, unless a header said otherwise.
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// The last address of the header: that is whom Envoy trusts.
fn client_of(forwarded: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(forwarded).ok()?;
    text.rsplit(',').next()?.trim().parse().ok()
}

/// The `hash_policy` of a route; the header `x-key`, if there is none.
fn policies(config: &Value) -> Result<Vec<HashPolicy>, Refused> {
    let Some(policies) = config.as_array() else {
        return Ok(vec![HashPolicy { source: HashSource::header("x-key"), terminal: false }]);
    };
    let mut known = Vec::new();
    for policy in policies {
        let terminal = policy["terminal"].as_bool().unwrap_or(false);
        if let Some(source) = source(policy)? {
            known.push(HashPolicy { source, terminal });
        }
    }
    Ok(known)
}

/// What a policy looks at; `None` for what no recorded request holds.
fn source(policy: &Value) -> Result<Option<HashSource>, Refused> {
    let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let header = &policy["header"];
    Ok(if header.is_object() {
        let rewrite = rewrite(&header["regex_rewrite"])?;
        Some(HashSource::Header { name: name(&header["header_name"]), rewrite })
    } else if policy["query_parameter"].is_object() {
        Some(HashSource::QueryParameter(name(&policy["query_parameter"]["name"])))
    } else if policy["cookie"].is_object() {
        Some(HashSource::Cookie(name(&policy["cookie"]["name"])))
    } else if policy["filter_state"].is_object() {
        // Nothing is found there, but the policy may be terminal.
        Some(HashSource::header(""))
    } else {
        policy["connection_properties"]["source_ip"]
            .as_bool()
            .unwrap_or(false)
            .then_some(HashSource::SourceIp)
    })
}

fn rewrite(config: &Value) -> Result<Option<Rewrite>, Refused> {
    let Some(pattern) = config["pattern"]["regex"].as_str() else { return Ok(None) };
    let expression = Regex::new(pattern).map_err(|_| Refused::Expression(pattern.to_owned()))?;
    let substitution = substitution(config["substitution"].as_str().unwrap_or_default());
    let rule = move |value: &[u8]| expression.replace_all(value, substitution.as_bytes()).into_owned();
    Ok(Some(Rewrite::new(rule)))
}

/// RE2 writes a group as `\1`, this crate as `${1}`.
fn substitution(re2: &str) -> String {
    let mut ours = String::new();
    let mut letters = re2.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '$' => ours.push_str("$$"),
            '\\' => match letters.next() {
                Some(digit) if digit.is_ascii_digit() => ours.push_str(&format!("${{{digit}}}")),
                Some(other) => ours.push(other),
                None => {}
            },
            other => ours.push(other),
        }
    }
    ours
}

#[cfg(test)]
mod tests {
    use evenkeel_balance::hash::xxh64;
    use serde_json::json;

    use super::*;

    fn hash(case: Value, key: Option<&str>) -> Option<u64> {
        Template::of(&Case(case), None).unwrap().hash(key.map(str::as_bytes))
    }

    fn of(text: &str) -> Option<u64> {
        Some(xxh64(text.as_bytes(), 0))
    }

    #[test]
    fn a_key_goes_where_the_request_says() {
        assert_eq!(hash(json!({}), Some("ab")), of("ab"));
        assert_eq!(hash(json!({}), None), None);
        let query = json!([{"query_parameter": {"name": "q"}}]);
        let target = json!({"headers": [], "target": "/?p=1&q=x<key reversed>y<key>"});
        assert_eq!(
            hash(json!({"config": {"hash_policy": query}, "request": target}), Some("ab")),
            of("xbayab")
        );
        let cookie = json!([{"cookie": {"name": "c"}}]);
        let headers = json!({"headers": [["cookie", "b=1; c=<key>"]]});
        assert_eq!(
            hash(json!({"config": {"hash_policy": cookie}, "request": headers}), Some("ab")),
            of("ab")
        );
        let source = json!([{"connection_properties": {"source_ip": true}}]);
        assert_eq!(hash(json!({"config": {"hash_policy": source}}), Some("FD00::0:1")), of("fd00::1"));
    }

    #[test]
    fn a_value_is_rewritten_by_its_groups() {
        let rewrite = json!({"pattern": {"regex": "^user:(.*)-(.*)$"}, "substitution": "\\2$\\1"});
        let header = json!([{"header": {"header_name": "x-key", "regex_rewrite": rewrite}}]);
        assert_eq!(hash(json!({"config": {"hash_policy": header}}), Some("user:a-b")), of("b$a"));
        assert_eq!(substitution("\\0\\\\$"), "${0}\\$$");
    }
}
