//! Routes as conditions that choose a backend, or answer.

use std::fmt::Write;

use evenkeel::router::{Action, RouteConfig, RouterConfig, StreamAction, StreamRouterConfig};
use evenkeel_route::matching::{HostMatch, HttpRule, PathMatch, ValueMatch};

use super::{SAID, Writer, name_of, quoted};
use crate::host_groups::takes_all;
use crate::report::Tells;
use crate::unsaid;
use crate::whole_regex::anchored;

impl Writer<'_> {
    pub(super) fn http(&mut self, name: &str, router: &RouterConfig, text: &mut String) {
        unsaid::router(name, router, &mut self.report);
        let mut order: Vec<&RouteConfig> = router.routes.iter().collect();
        order.sort_by_key(|route| std::cmp::Reverse(route.rule.weight));
        let mut are_answers = true;
        for (number, route) in order.into_iter().enumerate() {
            unsaid::route(route, &SAID, &mut self.report);
            if !unsaid::is_sayable(route, &SAID) {
                continue;
            }
            let Some(condition) = self.condition(number, route, text) else { continue };
            let when = if condition.is_empty() { String::new() } else { format!(" if {condition}") };
            let is_last = takes_all(&route.rule) && route.rule.hosts.is_empty();
            match &route.action {
                Action::Cluster(cluster) if is_last => {
                    let _ = writeln!(text, "    default_backend {}", name_of(cluster));
                }
                Action::Cluster(cluster) => {
                    let when = if when.is_empty() { " if TRUE".to_owned() } else { when };
                    let _ = writeln!(text, "    use_backend {}{when}", name_of(cluster));
                }
                Action::Split(split) => {
                    self.differs(
                        format!("routes.{}.action.split", route.name),
                        "drawn for each request by rand()",
                    );
                    let mut left: u64 = split.arms.iter().map(|arm| u64::from(arm.weight)).sum();
                    for arm in split.arms.iter().filter(|arm| arm.weight > 0) {
                        let name = name_of(&arm.cluster);
                        if u64::from(arm.weight) == left {
                            let when =
                                if condition.is_empty() { " if TRUE".to_owned() } else { when.clone() };
                            let _ = writeln!(text, "    use_backend {name}{when}");
                            break;
                        }
                        // Each draw is about what the arms before have left.
                        let space = if condition.is_empty() { "" } else { " " };
                        let _ = writeln!(
                            text,
                            "    use_backend {name} if {condition}{space}{{ rand({left}) lt {} }}",
                            arm.weight
                        );
                        left -= u64::from(arm.weight);
                    }
                }
                Action::Redirect(_) | Action::Respond(_) => {
                    if is_last
                        && matches!(&route.action, Action::Respond(answer) if answer.status == 503 && answer.body.is_empty())
                    {
                        // Without a backend HAProxy says so by itself.
                        continue;
                    }
                    let Some(line) = answer(&route.action) else {
                        self.none(
                            format!("routes.{}.action", route.name),
                            "an address that is made of its parts: write it by hand",
                        );
                        continue;
                    };
                    if are_answers && !is_last {
                        let _ = writeln!(text, "    http-request {line}{when}");
                    } else {
                        self.count += 1;
                        let name = format!("answer_{}", self.count);
                        let _ = write!(
                            self.answers,
                            "\nbackend {name}\n    mode http\n    http-request {line}\n"
                        );
                        let use_it = if is_last {
                            format!("default_backend {name}")
                        } else {
                            format!("use_backend {name}{when}")
                        };
                        let _ = writeln!(text, "    {use_it}");
                    }
                    self.taken(format!("routes.{}", route.name), "an answer");
                    continue;
                }
                Action::Ramp(_) | Action::BlueGreen(_) => {
                    self.none(format!("routes.{}.action", route.name), "HAProxy moves nobody by itself");
                    continue;
                }
            }
            are_answers = false;
            self.taken(format!("routes.{}", route.name), "a backend is used");
        }
    }

    /// The condition of a rule: names of ACLs that are declared on the way. None, if it cannot be said.
    fn condition(&mut self, number: usize, route: &RouteConfig, text: &mut String) -> Option<String> {
        let HttpRule { hosts, paths, methods, headers, query, cookies, .. } = &route.rule;
        let mut names = Vec::new();
        let mut lines = String::new();
        for host in hosts {
            let _ = match host {
                HostMatch::Any => continue,
                HostMatch::Exact(name) => writeln!(lines, "    acl r{number}_host hdr(host) -i {name}"),
                HostMatch::Suffix(end) => writeln!(lines, "    acl r{number}_host hdr_end(host) -i {end}"),
                HostMatch::Prefix(start) => {
                    writeln!(lines, "    acl r{number}_host hdr_beg(host) -i {start}")
                }
            };
        }
        if !lines.is_empty() {
            names.push(format!("r{number}_host"));
        }
        for path in paths {
            let acl = format!("    acl r{number}_path");
            let _ = match path {
                PathMatch::Any => continue,
                PathMatch::Exact(path) => writeln!(lines, "{acl} path {}", quoted(path)),
                PathMatch::RawPrefix(path) => writeln!(lines, "{acl} path_beg {}", quoted(path)),
                PathMatch::Prefix(path) => {
                    writeln!(
                        lines,
                        "{acl} path {}\n{acl} path_beg {}",
                        quoted(path),
                        quoted(&format!("{path}/"))
                    )
                }
                PathMatch::Regex(pattern) => {
                    let (ignores_case, pattern) = anchored(pattern);
                    let flag = if ignores_case { "-i " } else { "" };
                    writeln!(lines, "{acl} path_reg {flag}{}", quoted(&pattern))
                }
                _ => {
                    self.none(
                        format!("routes.{}.match.paths", route.name),
                        "templates are left out: write a regex",
                    );
                    return None;
                }
            };
        }
        if paths.iter().any(|path| *path != PathMatch::Any) {
            names.push(format!("r{number}_path"));
        }
        if !methods.is_empty() {
            let _ = writeln!(lines, "    acl r{number}_method method {}", methods.join(" "));
            names.push(format!("r{number}_method"));
        }
        let tests = headers
            .iter()
            .map(|header| (format!("req.hdr({})", header.name), &header.test, header.invert))
            .chain(
                cookies
                    .iter()
                    .map(|cookie| (format!("req.cook({})", cookie.name), &cookie.test, cookie.invert)),
            )
            .chain(
                query.iter().map(|query| (format!("url_param({})", query.name), &query.test, query.invert)),
            );
        for (i, (sample, test, invert)) in tests.enumerate() {
            let (test, invert) = match test {
                ValueMatch::Present => ("-m found".to_owned(), invert),
                ValueMatch::Absent => ("-m found".to_owned(), !invert),
                ValueMatch::Exact(value) => (format!("-m str {}", quoted(value)), invert),
                ValueMatch::Prefix(value) => (format!("-m beg {}", quoted(value)), invert),
                ValueMatch::Suffix(value) => (format!("-m end {}", quoted(value)), invert),
                ValueMatch::Contains(value) => (format!("-m sub {}", quoted(value)), invert),
                ValueMatch::Regex(pattern) => {
                    let (ignores_case, pattern) = anchored(pattern);
                    (format!("{}-m reg {}", if ignores_case { "-i " } else { "" }, quoted(&pattern)), invert)
                }
                _ => {
                    self.none(
                        format!("routes.{}.match", route.name),
                        "ranges are left out: write the test by hand",
                    );
                    return None;
                }
            };
            let _ = writeln!(lines, "    acl r{number}_{i} {sample} {test}");
            names.push(format!("{}r{number}_{i}", if invert { "!" } else { "" }));
        }
        text.push_str(&lines);
        Some(names.join(" "))
    }

    pub(super) fn stream(&mut self, router: &StreamRouterConfig, text: &mut String) {
        for (number, route) in router.routes.iter().enumerate() {
            let rule = &route.rule;
            let StreamAction::Cluster(name) = &route.action else {
                self.none(format!("routes.{}", route.name), "connections are not split");
                continue;
            };
            let mut names = Vec::new();
            let name = name_of(name);
            for host in &rule.sni {
                let test = match host {
                    HostMatch::Exact(name) => format!("-m str -i {name}"),
                    HostMatch::Suffix(end) => format!("-m end -i {end}"),
                    HostMatch::Prefix(start) => format!("-m beg -i {start}"),
                    HostMatch::Any => continue,
                };
                let _ = writeln!(text, "    acl r{number}_sni req.ssl_sni {test}");
            }
            if !rule.sni.is_empty() {
                names.push(format!("r{number}_sni"));
            }
            if !rule.sources.is_empty() {
                let ranges: Vec<String> = rule.sources.iter().map(ToString::to_string).collect();
                let _ = writeln!(text, "    acl r{number}_src src {}", ranges.join(" "));
                names.push(format!("r{number}_src"));
            }
            if !rule.destinations.is_empty()
                || !rule.source_ports.is_empty()
                || !rule.destination_ports.is_empty()
                || !rule.alpn.is_empty()
                || !rule.listeners.is_empty()
            {
                self.none(
                    format!("routes.{}.match", route.name),
                    "only sources and server names are written",
                );
                continue;
            }
            let _ = if names.is_empty() {
                writeln!(text, "    default_backend {name}")
            } else {
                writeln!(text, "    use_backend {name} if {}", names.join(" "))
            };
            self.taken(format!("routes.{}", route.name), "a backend is used");
        }
    }
}

fn answer(action: &Action) -> Option<String> {
    match action {
        Action::Redirect(redirect) => {
            let location = redirect.location.as_str();
            let code = redirect.status;
            if let Some(scheme) = location.strip_suffix("://{host}{path}{query}") {
                return Some(format!("redirect scheme {scheme} code {code}"));
            }
            if let Some(prefix) =
                location.strip_suffix("{path}{query}").filter(|prefix| !prefix.contains('{'))
            {
                return Some(format!("redirect prefix {} code {code}", quoted(prefix)));
            }
            (!location.contains('{')).then(|| format!("redirect location {} code {code}", quoted(location)))
        }
        Action::Respond(answer)
            if answer.body.is_empty()
                && [400, 401, 403, 404, 405, 408, 410, 413, 425, 429, 500, 501, 502, 503, 504]
                    .contains(&answer.status) =>
        {
            Some(format!("deny deny_status {}", answer.status))
        }
        Action::Respond(answer) => Some(format!(
            "return status {} content-type {} string {}",
            answer.status,
            quoted(&answer.content_type),
            quoted(&answer.body)
        )),
        _ => None,
    }
}
