//! Routes: matches, actions, changes of headers.

use evenkeel::router::{Action, KeySource, RouteConfig};
use evenkeel_route::matching::{HttpRule, PathMatch, ValueMatch};
use evenkeel_route::retry::RetryConfig;
use evenkeel_route::split::HeaderChange;
use serde_json::{Map, Value, json};

use super::{Writer, time_text};
use crate::key_rule::{EnvoyHash, KeyPart, KeyRule};
use crate::report::Tells;
use crate::unsaid;

impl Writer<'_> {
    /// One route of Envoy for each path.
    pub(super) fn route(&mut self, route: &RouteConfig) -> Vec<Value> {
        unsaid::route(route, &SAID, &mut self.report);
        if !unsaid::is_sayable(route, &SAID) {
            return Vec::new();
        }
        let subject = format!("routes.{}", route.name);
        let paths = if route.rule.paths.is_empty() { vec![PathMatch::Any] } else { route.rule.paths.clone() };
        let methods: Vec<Option<&String>> = if route.rule.methods.is_empty() {
            vec![None]
        } else {
            route.rule.methods.iter().map(Some).collect()
        };
        let mut all = Vec::new();
        for path in &paths {
            for method in &methods {
                let Some(matches) = matching(path, method.map(String::as_str), &route.rule) else {
                    self.none(
                        format!("{subject}.match"),
                        "templates and some tests are left out: write a regex",
                    );
                    continue;
                };
                let mut value = Map::new();
                value.insert("name".into(), json!(route.name));
                value.insert("match".into(), matches);
                let (field, action) = self.action(route);
                value.insert(field.into(), action);
                for (field, changes) in
                    [("request", &route.headers.request), ("response", &route.headers.response)]
                {
                    self.headers(field, changes, &mut value);
                }
                all.push(Value::Object(value));
            }
        }
        self.taken(subject, "a route");
        all
    }

    fn action(&mut self, route: &RouteConfig) -> (&'static str, Value) {
        let mut value = Map::new();
        let mut clusters = Vec::new();
        match &route.action {
            Action::Cluster(name) => {
                clusters.push(name.clone());
                value.insert("cluster".into(), json!(name));
            }
            Action::Split(split) => {
                clusters.extend(split.arms.iter().map(|arm| arm.cluster.clone()));
                let arms: Vec<Value> = split
                    .arms
                    .iter()
                    .map(|arm| json!({ "name": arm.cluster, "weight": arm.weight }))
                    .collect();
                value.insert("weighted_clusters".into(), json!({ "clusters": arms }));
                if split.stickiness != evenkeel_route::split::Stickiness::Drawn || !split.canaries.is_empty()
                {
                    self.differs(
                        format!("routes.{}.action.split", route.name),
                        "drawn for each request, without canaries",
                    );
                }
            }
            Action::Redirect(redirect) => return self.redirect(route, redirect),
            Action::Respond(answer) => {
                let mut response = json!({ "status": answer.status });
                if !answer.body.is_empty() {
                    response["body"] = json!({ "inline_string": answer.body });
                }
                return ("direct_response", response);
            }
            Action::Ramp(_) | Action::BlueGreen(_) => {
                self.none(
                    format!("routes.{}.action", route.name),
                    "Envoy moves nobody by itself: requests are answered 503",
                );
                return ("direct_response", json!({ "status": 503 }));
            }
        }
        value.insert("timeout".into(), json!(time_text(route.timeout.unwrap_or_default())));
        if let Some(retry) = &route.retry {
            value.insert("retry_policy".into(), retry_policy(retry));
        }
        if let Some(mirror) = &route.mirror {
            let share = json!({ "numerator": mirror.share.parts_per_million(), "denominator": "MILLION" });
            value.insert(
                "request_mirror_policies".into(),
                json!([{ "cluster": mirror.cluster, "runtime_fraction": { "default_value": share } }]),
            );
        }
        let policies = self.hash_policies(route, &clusters);
        if !policies.is_empty() {
            value.insert("hash_policy".into(), json!(policies));
        }
        ("route", Value::Object(value))
    }

    /// What Envoy hashes for the requests of a route. What it cannot is told.
    fn hash_policies(&mut self, route: &RouteConfig, clusters: &[String]) -> Vec<Value> {
        let rule = clusters.first().and_then(|name| self.setup.keys.get(name));
        let (subject, wanted): (String, Vec<Option<EnvoyHash>>) = match rule {
            Some(KeyRule::Envoy(policies)) => {
                (format!("keys.{}", clusters[0]), policies.iter().cloned().map(Some).collect())
            }
            Some(rule) if route.key.is_empty() => {
                let of = part_of_rule(rule).map(|of| EnvoyHash { of, terminal: true });
                (format!("keys.{}", clusters[0]), vec![of])
            }
            _ => {
                let parts = route.key.iter().map(part_of);
                let all = parts.map(|of| of.map(|of| EnvoyHash { of, terminal: true })).collect();
                (format!("routes.{}.key", route.name), all)
            }
        };
        let mut policies = Vec::new();
        for policy in wanted {
            match policy.as_ref().and_then(hash_policy) {
                Some(value) => {
                    if matches!(policy.map(|policy| policy.of), Some(KeyPart::Path | KeyPart::Host)) {
                        self.differs(subject.clone(), "Envoy hashes the path with its query, and the host as the client wrote it");
                    }
                    policies.push(value);
                }
                None => self.none(
                    subject.clone(),
                    "Envoy hashes single headers, cookies, parameters and addresses: without this, requests go anywhere",
                ),
            }
        }
        policies
    }

    fn redirect(
        &mut self,
        route: &RouteConfig,
        redirect: &evenkeel::router::Redirect,
    ) -> (&'static str, Value) {
        let code = match redirect.status {
            301 => "MOVED_PERMANENTLY",
            302 => "FOUND",
            303 => "SEE_OTHER",
            307 => "TEMPORARY_REDIRECT",
            _ => "PERMANENT_REDIRECT",
        };
        let mut value = json!({ "response_code": code });
        let subject = format!("routes.{}.action.redirect", route.name);
        let location = redirect.location.as_str();
        let rest = match (location.split_once("://"), location.strip_prefix("//")) {
            (_, Some(rest)) => Some(rest),
            // Host and scheme stay.
            _ if location.starts_with(['/', '{']) => None,
            (Some((scheme, rest)), _) => {
                value["scheme_redirect"] = json!(scheme);
                Some(rest)
            }
            (None, None) => {
                self.none(subject, "Envoy needs a scheme, a host or a path");
                return ("direct_response", json!({ "status": 404 }));
            }
        };
        let path = match rest {
            None => location,
            Some(rest) => match rest.strip_prefix("{host}") {
                Some(path) => path,
                None => {
                    let (host, path) = rest.split_at(rest.find(['/', '{']).unwrap_or(rest.len()));
                    value["host_redirect"] = json!(host);
                    path
                }
            },
        };
        // Unless it is told otherwise, Envoy keeps the query; a path with one of its own takes its place.
        let (path, keeps_query) = path.strip_suffix("{query}").map_or((path, false), |path| (path, true));
        if path != "{path}" {
            if path.contains('{') || keeps_query && path.contains('?') {
                self.none(subject, "the path is kept, or another one for all");
                return ("direct_response", json!({ "status": 404 }));
            }
            value["path_redirect"] = json!(if path.is_empty() { "/" } else { path });
        }
        if !keeps_query {
            value["strip_query"] = json!(true);
        }
        ("redirect", value)
    }

    fn headers(&mut self, side: &str, changes: &[HeaderChange], value: &mut Map<String, Value>) {
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        for change in changes {
            let (name, text, action) = match change {
                HeaderChange::Add { name, value } => (name, value, "APPEND_IF_EXISTS_OR_ADD"),
                HeaderChange::Set { name, value } => (name, value, "OVERWRITE_IF_EXISTS_OR_ADD"),
                HeaderChange::SetIfAbsent { name, value } => (name, value, "ADD_IF_ABSENT"),
                HeaderChange::Remove { name } => {
                    remove.push(json!(name));
                    continue;
                }
            };
            add.push(json!({ "header": { "key": name, "value": text.replace('%', "%%") }, "append_action": action }));
        }
        if !add.is_empty() {
            value.insert(format!("{side}_headers_to_add"), json!(add));
        }
        if !remove.is_empty() {
            value.insert(format!("{side}_headers_to_remove"), json!(remove));
        }
    }
}

fn matching(path: &PathMatch, method: Option<&str>, rule: &HttpRule) -> Option<Value> {
    let mut value = match path {
        PathMatch::Any => json!({ "prefix": "/" }),
        PathMatch::Exact(path) => json!({ "path": path }),
        PathMatch::RawPrefix(path) => json!({ "prefix": path }),
        PathMatch::Prefix(path) => json!({ "path_separated_prefix": path }),
        PathMatch::Regex(pattern) => json!({ "safe_regex": { "regex": pattern } }),
        _ => return None,
    };
    let mut headers = Vec::new();
    if let Some(method) = method {
        headers.push(json!({ "name": ":method", "string_match": { "exact": method } }));
    }
    for header in &rule.headers {
        let mut test = value_match(&header.test)?;
        test["name"] = json!(header.name);
        if header.invert {
            test["invert_match"] = json!(true);
        }
        headers.push(test);
    }
    if !headers.is_empty() {
        value["headers"] = json!(headers);
    }
    let mut query = Vec::new();
    for parameter in &rule.query {
        let mut test = value_match(&parameter.test)?;
        if parameter.invert || test.get("range_match").is_some() || parameter.test == ValueMatch::Absent {
            return None;
        }
        test["name"] = json!(parameter.name);
        query.push(test);
    }
    if !query.is_empty() {
        value["query_parameters"] = json!(query);
    }
    if let Some(fraction) = rule.fraction {
        let share = json!({ "numerator": fraction.share.parts_per_million(), "denominator": "MILLION" });
        value["runtime_fraction"] = json!({ "default_value": share });
    }
    Some(value)
}

fn value_match(test: &ValueMatch) -> Option<Value> {
    Some(match test {
        ValueMatch::Present => json!({ "present_match": true }),
        ValueMatch::Absent => json!({ "present_match": false }),
        ValueMatch::Exact(text) => json!({ "string_match": { "exact": text } }),
        ValueMatch::Prefix(text) => json!({ "string_match": { "prefix": text } }),
        ValueMatch::Suffix(text) => json!({ "string_match": { "suffix": text } }),
        ValueMatch::Contains(text) => json!({ "string_match": { "contains": text } }),
        ValueMatch::Regex(text) => json!({ "string_match": { "safe_regex": { "regex": text } } }),
        ValueMatch::Range { from, to } => json!({ "range_match": { "start": from, "end": to } }),
        _ => return None,
    })
}

fn retry_policy(retry: &RetryConfig) -> Value {
    let mut words = Vec::new();
    for (is_on, word) in [
        (retry.on.connect_failed, "connect-failure"),
        (retry.on.refused, "refused-stream"),
        (retry.on.reset, "reset"),
    ] {
        if is_on {
            words.push(word);
        }
    }
    for (code, word) in [
        (1, "cancelled"),
        (4, "deadline-exceeded"),
        (8, "resource-exhausted"),
        (13, "internal"),
        (14, "unavailable"),
    ] {
        if retry.on.grpc_codes.contains(&code) {
            words.push(word);
        }
    }
    let mut value = json!({ "num_retries": retry.attempts.saturating_sub(1) });
    let is_all = retry.on.connect_failed && retry.on.refused && retry.on.reset;
    let whole =
        |first, last| retry.on.statuses.iter().any(|range| (range.first, range.last) == (first, last));
    let mut codes: Vec<u16> = Vec::new();
    if is_all && whole(500, 599) {
        words.push("5xx");
    } else if is_all && whole(502, 504) {
        words.push("gateway-error");
    }
    for range in &retry.on.statuses {
        let is_said = is_all && [(500, 599), (502, 504)].contains(&(range.first, range.last));
        if !is_said {
            codes.extend(range.first..=range.last);
        }
    }
    if !codes.is_empty() {
        words.push("retriable-status-codes");
        value["retriable_status_codes"] = json!(codes);
    }
    value["retry_on"] = json!(words.join(","));
    if let Some(time) = retry.per_try_timeout {
        value["per_try_timeout"] = json!(time_text(time));
    }
    value["retry_back_off"] = json!({ "base_interval": time_text(retry.backoff.base), "max_interval": time_text(retry.backoff.max) });
    value
}

fn part_of(source: &KeySource) -> Option<KeyPart> {
    Some(match source {
        KeySource::Header(name) => KeyPart::Header(name.clone()),
        KeySource::Cookie(name) => KeyPart::Cookie(name.clone()),
        KeySource::Query(name) => KeyPart::Query(name.clone()),
        KeySource::Source => KeyPart::Source,
        KeySource::Path => KeyPart::Path,
        KeySource::Host => KeyPart::Host,
        _ => return None,
    })
}

/// The one part of a request that a key is made of.
fn part_of_rule(rule: &KeyRule) -> Option<KeyPart> {
    Some(match rule {
        KeyRule::Source => KeyPart::Source,
        KeyRule::Text(parts) => match parts.as_slice() {
            [part] => part.clone(),
            _ => return None,
        },
        KeyRule::Uri(_) => KeyPart::Path,
        KeyRule::UrlParam(name) => KeyPart::Query(name.clone()),
        KeyRule::Header { name, domain_only: false } => KeyPart::Header(name.clone()),
        KeyRule::Sample(part) => part.clone(),
        KeyRule::Header { .. } | KeyRule::Converted { .. } | KeyRule::Envoy(_) => return None,
    })
}

fn hash_policy(policy: &EnvoyHash) -> Option<Value> {
    let header = |name: &str| json!({ "header": { "header_name": name } });
    let mut value = match &policy.of {
        // What these are called in HTTP/2, and in Envoy.
        KeyPart::Header(name) if name.eq_ignore_ascii_case("host") => header(":authority"),
        KeyPart::Host => header(":authority"),
        KeyPart::Target | KeyPart::Path => header(":path"),
        KeyPart::Method => header(":method"),
        KeyPart::Header(name) => json!({ "header": { "header_name": name } }),
        KeyPart::Cookie(name) => json!({ "cookie": { "name": name } }),
        KeyPart::Query(name) => json!({ "query_parameter": { "name": name } }),
        KeyPart::Source => json!({ "connection_properties": { "source_ip": true } }),
        _ => return None,
    };
    if policy.terminal {
        value["terminal"] = json!(true);
    }
    Some(value)
}

const SAID: [&str; 6] =
    ["match.headers", "match.query", "match.methods", "match.fraction", "mirror", "timeout"];
