//! Routes as `location` blocks.

use std::fmt::Write;

use evenkeel::router::{Action, KeySource, RouteConfig};
use evenkeel_route::matching::PathMatch;
use evenkeel_route::retry::RetryConfig;
use evenkeel_route::split::{HeaderChange, SplitConfig, Stickiness};

use super::{Writer, quoted};
use crate::host_groups::{HostGroup, takes_all};
use crate::key_rule::KeyPart;
use crate::nginx::units::time_text;
use crate::nginx::{key, proxy};
use crate::report::{Tells, Verdict};
use crate::unsaid;
use crate::whole_regex::anchored;

impl Writer<'_> {
    pub(super) fn locations(&mut self, routes: &[RouteConfig], group: &HostGroup) -> String {
        let mut text = String::new();
        let mut ranks: Vec<(u8, usize)> = Vec::new();
        let is_regex =
            |number: &usize| matches!(routes[*number].rule.paths.first(), Some(PathMatch::Regex(_)));
        let last_regex = group.routes.iter().rposition(is_regex);
        for (place, &number) in group.routes.iter().enumerate() {
            let route = &routes[number];
            unsaid::route(route, &[], &mut self.report);
            if !unsaid::is_sayable(route, &[]) {
                continue;
            }
            let body = self.body(route);
            let paths =
                if route.rule.paths.is_empty() { vec![PathMatch::Any] } else { route.rule.paths.clone() };
            for path in &paths {
                let firm = if last_regex.is_some_and(|last| place < last) { "^~ " } else { "" };
                let longest = |text: &str| usize::MAX - text.len();
                let (heads, rank) = match path {
                    PathMatch::Any => (vec!["/".to_owned()], (3, longest("/"))),
                    PathMatch::Exact(path) => (vec![format!("= {}", quoted(path))], (0, 0)),
                    PathMatch::RawPrefix(path) => (
                        vec![format!("{firm}{}", quoted(path))],
                        (if firm.is_empty() { 3 } else { 1 }, longest(path)),
                    ),
                    PathMatch::Prefix(path) => (
                        vec![format!("= {}", quoted(path)), format!("{firm}{}", quoted(&format!("{path}/")))],
                        (if firm.is_empty() { 3 } else { 1 }, longest(path)),
                    ),
                    PathMatch::Regex(pattern) => {
                        let (ignores_case, pattern) = anchored(pattern);
                        let sign = if ignores_case { "~*" } else { "~" };
                        (vec![format!("{sign} {}", quoted(&pattern))], (2, place))
                    }
                    _ => {
                        self.none(
                            format!("routes.{}.match.paths", route.name),
                            "templates are left out: write a regex",
                        );
                        continue;
                    }
                };
                ranks.push(rank);
                for head in heads {
                    let _ = write!(text, "        location {head} {{\n{body}        }}\n");
                }
            }
            self.report.add(None, format!("routes.{}", route.name), Verdict::Taken, "a location");
        }
        if ranks.windows(2).any(|pair| pair[0] > pair[1]) {
            let first = group.routes.first().map_or("", |&number| routes[number].name.as_str());
            self.differs(
                format!("routes from {first} on"),
                "nginx asks the most exact location first, not the first one",
            );
        }
        if !group.routes.iter().any(|&number| takes_all(&routes[number].rule)) {
            text.push_str("        location / {\n            return 404;\n        }\n");
        }
        text
    }

    fn body(&mut self, route: &RouteConfig) -> String {
        let mut text = String::new();
        for change in &route.headers.request {
            match change {
                HeaderChange::Set { name, value } if !value.contains('$') => {
                    let _ = writeln!(text, "            proxy_set_header {name} {};", quoted(value));
                }
                HeaderChange::Remove { name } => {
                    let _ = writeln!(text, "            proxy_set_header {name} \"\";");
                }
                _ => self.none(
                    format!("routes.{}.headers.request", route.name),
                    "nginx sets and removes headers of requests",
                ),
            }
        }
        for change in &route.headers.response {
            match change {
                HeaderChange::Add { name, value } if !value.contains('$') => {
                    let _ = writeln!(text, "            add_header {name} {} always;", quoted(value));
                }
                HeaderChange::Remove { name } => {
                    let _ = writeln!(text, "            proxy_hide_header {name};");
                }
                _ => self.none(
                    format!("routes.{}.headers.response", route.name),
                    "nginx adds and removes headers of answers",
                ),
            }
        }
        match &route.action {
            Action::Cluster(name) => {
                self.retry(route, route.retry.as_ref(), &mut text);
                let scheme = self.servers_tls(std::slice::from_ref(name), INSIDE, &mut text);
                let _ = writeln!(text, "            proxy_pass {scheme}://{};", self.target(name));
            }
            Action::Split(split) => {
                self.retry(route, route.retry.as_ref(), &mut text);
                let variable = self.split(route, split);
                let names: Vec<String> = split.arms.iter().map(|arm| arm.cluster.clone()).collect();
                let scheme = self.servers_tls(&names, INSIDE, &mut text);
                let _ = writeln!(text, "            proxy_pass {scheme}://${variable};");
            }
            Action::Redirect(redirect) => {
                let line = match self.address(route, &redirect.location) {
                    Some(location) => format!("return {} {};", redirect.status, quoted(&location)),
                    None => "return 404;".to_owned(),
                };
                let _ = writeln!(text, "            {line}");
            }
            Action::Respond(answer) => {
                if answer.body.contains('$') {
                    self.none(
                        format!("routes.{}.action", route.name),
                        "nginx takes dollar signs for variables: the body is left out",
                    );
                    let _ = writeln!(text, "            return {};", answer.status);
                } else if answer.body.is_empty() {
                    let _ = writeln!(text, "            return {};", answer.status);
                } else {
                    if answer.content_type != "text/plain; charset=utf-8" {
                        let _ = writeln!(text, "            default_type {};", quoted(&answer.content_type));
                    }
                    let _ = writeln!(text, "            return {} {};", answer.status, quoted(&answer.body));
                }
            }
            Action::Ramp(_) | Action::BlueGreen(_) => {
                self.none(
                    format!("routes.{}.action", route.name),
                    "nginx moves nobody by itself: requests are answered 503",
                );
                text.push_str("            return 503;\n");
            }
        }
        text
    }

    /// The address of a redirect, in nginx's variables.
    fn address(&mut self, route: &RouteConfig, location: &str) -> Option<String> {
        let subject = format!("routes.{}.action.redirect", route.name);
        let (whole, query) = (location.replace("{path}{query}", ""), "{query}");
        if location.contains('$')
            || whole.replace("{path}", "").replace(query, "").replace("{host}", "").contains('{')
        {
            self.none(
                subject,
                "dollar signs and what templates capture are not written: requests are answered 404",
            );
            return None;
        }
        // `$uri` is decoded: a line break in it would begin a field of its own.
        if whole.contains("{path}") {
            let at_end = location.ends_with("{path}") && location.matches("{path}").count() == 1;
            if !at_end || whole.contains(query) {
                self.none(
                    subject,
                    "a path without its query is not known to nginx but decoded: requests are answered 404",
                );
                return None;
            }
            self.differs(subject, "the query is kept: nginx knows the path without it only decoded");
        }
        let location = location
            .replace("{path}{query}", "$request_uri")
            .replace("{path}", "$request_uri")
            .replace(query, "$is_args$args")
            .replace("{host}", "$host");
        // It puts its own host before what begins with a slash.
        Some(if location.starts_with("//") { format!("$scheme:{location}") } else { location })
    }

    fn retry(&mut self, route: &RouteConfig, retry: Option<&RetryConfig>, text: &mut String) {
        let Some(retry) = retry else {
            text.push_str("            proxy_next_upstream off;\n");
            return;
        };
        let mut words = Vec::new();
        if retry.on.connect_failed || retry.on.reset || retry.on.refused {
            words.push("error".to_owned());
        }
        if retry.on.timed_out {
            words.push("timeout".to_owned());
        }
        for code in [403, 404, 429, 500, 502, 503, 504] {
            if retry.on.statuses.iter().any(|range| (range.first..=range.last).contains(&code)) {
                words.push(format!("http_{code}"));
            }
        }
        if words.is_empty() {
            words.push("off".to_owned());
        }
        let _ = writeln!(text, "            proxy_next_upstream {};", words.join(" "));
        let _ = writeln!(text, "            proxy_next_upstream_tries {};", retry.attempts);
        if let Some(time) = retry.per_try_timeout {
            let _ = writeln!(text, "            proxy_read_timeout {};", time_text(time));
        }
        if retry.backoff.max > proxy::SHORTEST {
            self.differs(format!("routes.{}.retry.backoff", route.name), "nginx does not wait");
        }
    }

    /// A variable that names one of the clusters.
    fn split(&mut self, route: &RouteConfig, split: &SplitConfig) -> String {
        let variable = format!("split_{}", self.splits.matches("split_clients").count());
        let key = match (split.stickiness, route.key.first()) {
            (Stickiness::Keyed, Some(KeySource::Header(name))) => {
                key::written(&KeyPart::Header(name.clone()))
            }
            (Stickiness::Keyed, Some(KeySource::Cookie(name))) => {
                key::written(&KeyPart::Cookie(name.clone()))
            }
            (Stickiness::Keyed, Some(KeySource::Query(name))) => key::written(&KeyPart::Query(name.clone())),
            (Stickiness::Keyed, Some(KeySource::Source)) => Some("${remote_addr}".to_owned()),
            _ => None,
        };
        if !split.canaries.is_empty() {
            self.none(
                format!("routes.{}.action.split.canaries", route.name),
                "they are left out: write routes with a map",
            );
        }
        self.differs(
            format!("routes.{}.action.split", route.name),
            "split_clients: the same shares in hundredths of a percent, other users in each",
        );
        let total: u64 = split.arms.iter().map(|arm| u64::from(arm.weight)).sum();
        let key = key.unwrap_or_else(|| "${request_id}".to_owned());
        let _ = writeln!(self.splits, "    split_clients {} ${variable} {{", quoted(&key));
        for (number, arm) in split.arms.iter().enumerate() {
            let name = self.names.get(&arm.cluster).unwrap_or(&arm.cluster);
            if number + 1 == split.arms.len() {
                let _ = writeln!(self.splits, "        * {name};");
            } else if arm.weight > 0 {
                let part = u64::from(arm.weight) * 10_000 / total.max(1);
                let _ = writeln!(self.splits, "        {}.{:02}% {name};", part / 100, part % 100);
            }
        }
        self.splits.push_str("    }\n");
        variable
    }
}

/// How far what is in a location stands to the right.
const INSIDE: &str = "            ";
