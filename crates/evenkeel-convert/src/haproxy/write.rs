use std::collections::BTreeMap;
use std::fmt::Write;

use evenkeel::router::{Action, KeySource, RouteConfig, RouterConfig, StreamAction, StreamRouterConfig};
use evenkeel::{ClusterConfig, PolicyConfig};
use evenkeel_balance::compat::haproxy::{Balance, Function, HaproxyConfig, HashType, Method};
use evenkeel_health::Curve;
use evenkeel_limit::LimitConfig;
use evenkeel_probe::{BodyMatch, ProbeConfig};
use evenkeel_route::affinity::Renewal;
use evenkeel_route::matching::{HostMatch, HttpRule, PathMatch, ValueMatch};
use evenkeel_route::retry::RetryConfig;
use evenkeel_route::split::HeaderChange;
use evenkeel_types::{Address, Announced, Endpoint};

use super::units::time_text;
use crate::conversion::Written;
use crate::host_groups::takes_all;
use crate::key_rule::{KeyPart, KeyRule};
use crate::report::{Report, Verdict};
use crate::setup::{Serves, Setup};
use crate::unsaid;
use crate::whole_regex::anchored;

/// Writes a configuration of HAProxy.
pub(crate) fn write(setup: &Setup) -> Written {
    let mut writer = Writer { setup, report: Report::default(), answers: String::new(), count: 0 };
    let mut text = String::from("defaults\n    timeout connect 5s\n    timeout client 1m\n");
    for listener in &setup.listeners {
        let _ = write!(text, "\nfrontend {}\n", name_of(&listener.name));
        match &listener.serves {
            Serves::Http(_) => text.push_str("    mode http\n"),
            Serves::Stream(_) => text.push_str("    mode tcp\n"),
        }
        for address in &listener.addresses {
            let _ = writeln!(text, "    bind {}", bind(address));
        }
        if listener.tls {
            writer.none(
                format!("listeners.{}.tls", listener.name),
                "add ssl and a certificate to the bind lines",
            );
        }
        match &listener.serves {
            Serves::Http(router) => writer.http(&listener.name, router, &mut text),
            Serves::Stream(router) => writer.stream(router, &mut text),
        }
    }
    for cluster in &setup.clusters {
        writer.backend(cluster, &mut text);
    }
    text.push_str(&writer.answers);
    Written { text, report: writer.report }
}

struct Writer<'a> {
    setup: &'a Setup,
    report: Report,
    /// Backends that only answer.
    answers: String,
    count: u32,
}

const SAID: [&str; 5] = ["match.headers", "match.cookies", "match.query", "match.methods", "affinity"];

impl Writer<'_> {
    fn none(&mut self, subject: impl Into<String>, detail: &str) {
        self.report.add(None, subject, Verdict::NoEquivalent, detail);
    }

    fn differs(&mut self, subject: impl Into<String>, detail: &str) {
        self.report.add(None, subject, Verdict::Differs, detail);
    }

    fn taken(&mut self, subject: impl Into<String>, detail: &str) {
        self.report.add(None, subject, Verdict::Taken, detail);
    }

    fn http(&mut self, name: &str, router: &RouterConfig, text: &mut String) {
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

    fn stream(&mut self, router: &StreamRouterConfig, text: &mut String) {
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

    fn backend(&mut self, cluster: &ClusterConfig, text: &mut String) {
        let (is_http, routes) = self.users(&cluster.name);
        let _ = write!(
            text,
            "\nbackend {}\n    mode {}\n",
            name_of(&cluster.name),
            if is_http { "http" } else { "tcp" }
        );
        let maxconn = self.balance(cluster, text);
        self.check(cluster, text);
        if is_http {
            self.retry(&cluster.name, &routes, text);
            self.headers(&cluster.name, &routes, text);
        }
        let has_cookie = self.affinity(&cluster.name, &routes, text);
        let tiers: BTreeMap<u8, usize> =
            cluster.endpoints.iter().fold(BTreeMap::new(), |mut tiers, endpoint| {
                *tiers.entry(endpoint.priority().get()).or_default() += 1;
                tiers
            });
        let backups: Vec<(u8, usize)> = tiers.into_iter().filter(|&(tier, _)| tier > 0).collect();
        if backups.len() == 1 && backups[0].1 > 1 {
            text.push_str("    option allbackups\n");
        } else if backups.iter().any(|&(_, count)| count > 1) {
            self.differs(
                format!("clusters.{}.endpoints", cluster.name),
                "HAProxy uses one backup after the other, or all: one after the other",
            );
        }
        let mut parameters = String::new();
        if let Some(maxconn) = maxconn {
            let _ = write!(parameters, " maxconn {maxconn}");
        }
        if let Some(slow) = &cluster.slow_start {
            let _ = write!(parameters, " slowstart {}", time_text(slow.window));
            if slow.curve == Curve::Sixteenths {
                self.taken(format!("clusters.{}.slow_start", cluster.name), "slowstart");
            } else {
                self.differs(
                    format!("clusters.{}.slow_start", cluster.name),
                    "slowstart: by sixteenths, and of servers that return alone",
                );
            }
        }
        if let Some(check) = self.setup.checks.get(&cluster.name) {
            let schedule = &check.schedule;
            let _ = write!(parameters, " check inter {}", time_text(schedule.interval));
            for (word, time) in [("fastinter", schedule.fast_interval), ("downinter", schedule.down_interval)]
            {
                if let Some(time) = time {
                    let _ = write!(parameters, " {word} {}", time_text(time));
                }
            }
            let _ =
                write!(parameters, " rise {} fall {}", schedule.thresholds.rise, schedule.thresholds.fall);
            if let Some(port) = check.port {
                let _ = write!(parameters, " port {port}");
            }
        }
        // The order of the lines is the order of the numbers.
        for endpoint in &cluster.endpoints {
            self.server(cluster, endpoint, &parameters, has_cookie, text);
        }
        unsaid::cluster(cluster, &["slow_start", "endpoint_limit"], &mut self.report);
    }

    /// Whether a cluster is used for requests, and by which routes.
    fn users(&self, name: &str) -> (bool, Vec<RouteConfig>) {
        let mut routes = Vec::new();
        let mut is_http = true;
        for listener in &self.setup.listeners {
            match &listener.serves {
                Serves::Http(router) => routes.extend(
                    router
                        .routes
                        .iter()
                        .filter(|route| match &route.action {
                            Action::Cluster(cluster) => cluster == name,
                            Action::Split(split) => split.arms.iter().any(|arm| arm.cluster == name),
                            _ => false,
                        })
                        .cloned(),
                ),
                Serves::Stream(router) => {
                    let is_used = router.routes.iter().any(
                        |route| matches!(&route.action, StreamAction::Cluster(cluster) if cluster == name),
                    );
                    is_http &= !is_used;
                }
            }
        }
        (is_http, routes)
    }

    /// Writes the algorithm; the `maxconn` of servers.
    fn balance(&mut self, cluster: &ClusterConfig, text: &mut String) -> Option<u32> {
        let subject = format!("clusters.{}.policy", cluster.name);
        let limit = match &cluster.endpoint_limit {
            Some(LimitConfig::Fixed(fixed)) => Some(fixed.limit),
            Some(_) => {
                self.none(format!("clusters.{}.endpoint_limit", cluster.name), "maxconn is a fixed number");
                None
            }
            None => None,
        };
        if limit.is_some() {
            self.differs(
                format!("clusters.{}.endpoint_limit", cluster.name),
                "maxconn: requests wait where all are full",
            );
        }
        let line = match &cluster.policy {
            PolicyConfig::Haproxy(config) => {
                self.taken(subject, "");
                self.haproxy(cluster, config, text);
                return config.maxconn.or(limit);
            }
            PolicyConfig::RoundRobin(_) | PolicyConfig::SmoothWeightedRoundRobin(_) => {
                "roundrobin".to_owned()
            }
            PolicyConfig::StaticMap(_) => "static-rr".to_owned(),
            PolicyConfig::FirstAvailable(_) => "first".to_owned(),
            PolicyConfig::LeastConnections(_) => "leastconn".to_owned(),
            PolicyConfig::LeastRequest(config) => match config.choices {
                evenkeel::Choices::Draw(draws) => format!("random({draws})"),
                evenkeel::Choices::All => "leastconn".to_owned(),
            },
            PolicyConfig::Random(_) | PolicyConfig::WeightedRandom(_) => "random(1)".to_owned(),
            PolicyConfig::IpHash(_) => "source".to_owned(),
            PolicyConfig::Nginx(config) => match config.method {
                evenkeel_balance::compat::nginx::Method::LeastConn => "leastconn".to_owned(),
                evenkeel_balance::compat::nginx::Method::IpHash => "source".to_owned(),
                evenkeel_balance::compat::nginx::Method::Hash
                | evenkeel_balance::compat::nginx::Method::HashConsistent => self.by_key(cluster, text),
                _ => "roundrobin".to_owned(),
            },
            PolicyConfig::Envoy(config) => match &config.policy {
                evenkeel_balance::compat::envoy::EnvoyPolicy::RoundRobin(_) => "roundrobin".to_owned(),
                evenkeel_balance::compat::envoy::EnvoyPolicy::LeastRequest(_) => "random(2)".to_owned(),
                _ => self.by_key(cluster, text),
            },
            PolicyConfig::RingHash(_)
            | PolicyConfig::Ketama(_)
            | PolicyConfig::Maglev(_)
            | PolicyConfig::Rendezvous(_)
            | PolicyConfig::Jump(_)
            | PolicyConfig::Anchor(_)
            | PolicyConfig::MultiProbe(_)
            | PolicyConfig::Modulo(_) => self.by_key(cluster, text),
            other => {
                self.none(subject.clone(), &format!("HAProxy has nothing like {}: leastconn", other.name()));
                "leastconn".to_owned()
            }
        };
        self.differs(subject, &format!("balance {line}: the same idea, other picks"));
        let _ = writeln!(text, "    balance {line}");
        limit
    }

    fn by_key(&mut self, cluster: &ClusterConfig, text: &mut String) -> String {
        text.push_str("    hash-type consistent\n");
        match self.setup.keys.get(&cluster.name).and_then(algorithm) {
            Some((_, line)) => line,
            None => {
                self.none(format!("keys.{}", cluster.name), "HAProxy hashes addresses, targets, headers and parameters: the address is written instead");
                "source".to_owned()
            }
        }
    }

    fn haproxy(&mut self, cluster: &ClusterConfig, config: &HaproxyConfig, text: &mut String) {
        let line = match config.balance {
            Balance::RoundRobin => "roundrobin".to_owned(),
            Balance::StaticRr => "static-rr".to_owned(),
            Balance::LeastConn => "leastconn".to_owned(),
            Balance::First => "first".to_owned(),
            Balance::Source => "source".to_owned(),
            Balance::Uri | Balance::UrlParam | Balance::Hdr | Balance::Hash => {
                match self.setup.keys.get(&cluster.name).and_then(algorithm) {
                    Some((_, line)) => line,
                    None => {
                        self.none(
                            format!("keys.{}", cluster.name),
                            "the key is not known: balance uri is written",
                        );
                        "uri".to_owned()
                    }
                }
            }
        };
        let _ = writeln!(text, "    balance {line}");
        if config.hash_type != HashType::default() {
            let _ = writeln!(text, "    {}", hash_type(config.hash_type));
        }
        if let Some(factor) = config.hash_balance_factor {
            let _ = writeln!(text, "    hash-balance-factor {factor}");
        }
    }

    fn check(&mut self, cluster: &ClusterConfig, text: &mut String) {
        let Some(check) = self.setup.checks.get(&cluster.name) else { return };
        let subject = format!("checks.{}", cluster.name);
        match &check.probe {
            ProbeConfig::Tcp(tcp) => {
                let send = tcp.send.as_ref().and_then(|payload| std::str::from_utf8(payload.as_bytes()).ok());
                let expect =
                    tcp.expect.as_ref().and_then(|payload| std::str::from_utf8(payload.as_bytes()).ok());
                if send.is_some() || expect.is_some() {
                    text.push_str("    option tcp-check\n");
                }
                if let Some(send) = send {
                    let _ = writeln!(text, "    tcp-check send {}", quoted(send));
                }
                if let Some(expect) = expect {
                    let _ = writeln!(text, "    tcp-check expect string {}", quoted(expect));
                }
                let _ = writeln!(text, "    timeout check {}", time_text(tcp.timeout));
            }
            ProbeConfig::Http(http) => {
                let _ = writeln!(text, "    option httpchk {} {}", http.method, quoted(&http.path));
                if let Some(host) = &http.host {
                    let _ = writeln!(text, "    http-check send hdr host {}", quoted(host));
                }
                for (name, value) in &http.headers {
                    let _ = writeln!(text, "    http-check send hdr {name} {}", quoted(value));
                }
                let _ = writeln!(
                    text,
                    "    http-check expect status {}",
                    http.expected.to_string().replace(", ", ",")
                );
                if let Some(body) = &http.body {
                    // One expectation for each check.
                    let (way, value) = match body {
                        BodyMatch::Contains(value) => ("string", value),
                        BodyMatch::Regex(value) => ("rstring", value),
                    };
                    self.none(
                        format!("{subject}.probe.body"),
                        &format!("HAProxy expects one thing: write http-check expect {way} {value}"),
                    );
                }
                if http.tls.is_some() {
                    self.none(format!("{subject}.probe.tls"), "add check-ssl and verify to the servers");
                }
                let _ = writeln!(text, "    timeout check {}", time_text(http.timeout));
            }
            _ => {
                self.differs(subject, "only whether a connection is made is checked");
                return;
            }
        }
        self.taken(subject, "check");
    }

    fn retry(&mut self, name: &str, routes: &[RouteConfig], text: &mut String) {
        let Some(first) = routes.first() else { return };
        if routes.iter().any(|route| route.retry != first.retry) {
            self.differs(
                format!("routes to {name}: retry"),
                "a backend has one way of trying again: that of the first route",
            );
        }
        let Some(retry) = &first.retry else {
            text.push_str("    retries 0\n");
            return;
        };
        let _ = writeln!(text, "    retries {}", retry.attempts.saturating_sub(1));
        text.push_str("    option redispatch 1\n");
        let words = retry_on(retry);
        let _ = writeln!(
            text,
            "    retry-on {}",
            if words.is_empty() { "none".to_owned() } else { words.join(" ") }
        );
        if let Some(time) = retry.per_try_timeout {
            let _ = writeln!(text, "    timeout server {}", time_text(time));
        }
    }

    fn headers(&mut self, name: &str, routes: &[RouteConfig], text: &mut String) {
        let Some(first) = routes.first() else { return };
        if routes.iter().any(|route| route.headers != first.headers) {
            self.differs(
                format!("routes to {name}: headers"),
                "a backend has one set of changes: those of the first route",
            );
        }
        for (side, changes) in
            [("http-request", &first.headers.request), ("http-response", &first.headers.response)]
        {
            for change in changes {
                let line = match change {
                    HeaderChange::Add { name, value } => {
                        format!("add-header {name} {}", quoted(&value.replace('%', "%%")))
                    }
                    HeaderChange::Set { name, value } => {
                        format!("set-header {name} {}", quoted(&value.replace('%', "%%")))
                    }
                    HeaderChange::Remove { name } => format!("del-header {name}"),
                    HeaderChange::SetIfAbsent { name, value } => {
                        let sample = if side == "http-request" { "req.hdr" } else { "res.hdr" };
                        format!(
                            "set-header {name} {} unless {{ {sample}({name}) -m found }}",
                            quoted(&value.replace('%', "%%"))
                        )
                    }
                };
                let _ = writeln!(text, "    {side} {line}");
            }
        }
    }

    /// How users stay. Whether it is by a cookie.
    fn affinity(&mut self, name: &str, routes: &[RouteConfig], text: &mut String) -> bool {
        let Some(first) = routes.first() else { return false };
        let subject = format!("routes to {name}: affinity");
        if routes.iter().any(|route| route.affinity != first.affinity) {
            self.differs(subject.clone(), "a backend has one affinity: that of the first route");
        }
        let Some(affinity) = &first.affinity else { return false };
        if affinity.list_header.is_some() {
            self.none(subject.clone(), "no header chooses a server");
        }
        if let Some(cookie) = &affinity.cookie {
            let secure = if cookie.secure { " secure" } else { "" };
            let limit = if cookie.renew == Renewal::Never { "maxlife" } else { "maxidle" };
            let _ = writeln!(
                text,
                "    cookie {} insert indirect nocache{secure} {limit} {}",
                cookie.name,
                time_text(cookie.ttl)
            );
            self.differs(subject, "cookie: not signed, and it names the server");
            return true;
        }
        if let Some(learned) = &affinity.learned {
            if learned.by == [KeySource::Source] {
                let _ = writeln!(
                    text,
                    "    stick-table type ip size {} expire {}",
                    learned.table.capacity,
                    time_text(learned.table.ttl)
                );
                text.push_str("    stick on src\n");
                self.differs(subject, "a stick-table, of IPv4 addresses");
            } else {
                self.none(subject, "write a stick-table for this key");
            }
        }
        false
    }

    fn server(
        &mut self,
        cluster: &ClusterConfig,
        endpoint: &Endpoint,
        parameters: &str,
        has_cookie: bool,
        text: &mut String,
    ) {
        let subject = format!("clusters.{}.endpoints.{}", cluster.name, endpoint.id());
        let name = name_of(endpoint.id().as_str());
        if name != endpoint.id().as_str() {
            self.differs(subject.clone(), &format!("it is called {name}"));
        }
        let address = match endpoint.address() {
            Address::Unix(path) => format!("unix@{}", path.display()),
            other => other.to_string(),
        };
        let _ = write!(text, "    server {name} {}", quoted(&address));
        let weight = endpoint.weight().get();
        if weight != 1 {
            let _ = write!(text, " weight {}", weight.min(256));
        }
        if weight > 256 {
            self.differs(subject.clone(), "HAProxy's weights end at 256");
        }
        text.push_str(parameters);
        if has_cookie {
            let _ = write!(text, " cookie {name}");
        }
        if endpoint.priority().get() > 0 {
            text.push_str(" backup");
        }
        match endpoint.announced() {
            Announced::Unknown | Announced::Up => {}
            Announced::Down => text.push_str(" disabled"),
            Announced::Degraded => self.differs(subject.clone(), "HAProxy knows no degraded servers"),
            _ => {
                text.push_str(" disabled");
                self.differs(subject.clone(), "disabled: HAProxy drains at run time alone");
            }
        }
        if endpoint.labels().is_some() || endpoint.locality().is_some() || endpoint.addresses().count() > 1 {
            self.none(subject, "labels, localities and further addresses are left out");
        }
        text.push('\n');
    }
}

fn retry_on(retry: &RetryConfig) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (is_on, word) in [
        (retry.on.connect_failed, "conn-failure"),
        (retry.on.reset, "empty-response"),
        (retry.on.timed_out, "response-timeout"),
    ] {
        if is_on {
            words.push(word.to_owned());
        }
    }
    for code in [401, 403, 404, 408, 421, 425, 429, 500, 501, 502, 503, 504] {
        if retry.on.statuses.iter().any(|range| (range.first..=range.last).contains(&code)) {
            words.push(code.to_string());
        }
    }
    words
}

/// What `balance` says for a key.
fn algorithm(rule: &KeyRule) -> Option<(Balance, String)> {
    Some(match rule {
        KeyRule::Source => (Balance::Source, "source".to_owned()),
        KeyRule::Uri(key) => {
            let mut line = String::from("uri");
            if let Some(len) = key.len {
                let _ = write!(line, " len {len}");
            }
            if let Some(depth) = key.depth {
                let _ = write!(line, " depth {depth}");
            }
            line.push_str(if key.is_whole { " whole" } else { "" });
            line.push_str(if key.is_path_only { " path-only" } else { "" });
            (Balance::Uri, line)
        }
        KeyRule::UrlParam(name) => (Balance::UrlParam, format!("url_param {name}")),
        KeyRule::Header { name, domain_only } => {
            let flag = if *domain_only { " use_domain_only" } else { "" };
            (Balance::Hdr, format!("hdr({name}){flag}"))
        }
        KeyRule::Sample(part) => (Balance::Hash, format!("hash {}", sample(part)?)),
        KeyRule::Text(parts) => match parts.as_slice() {
            [KeyPart::Source] => (Balance::Source, "source".to_owned()),
            [KeyPart::Target] => (Balance::Uri, "uri whole".to_owned()),
            [part] => (Balance::Hash, format!("hash {}", sample(part)?)),
            _ => return None,
        },
        KeyRule::Envoy(policies) => match &policies.first()?.of {
            KeyPart::Source => (Balance::Source, "source".to_owned()),
            part => (Balance::Hash, format!("hash {}", sample(part)?)),
        },
    })
}

fn sample(part: &KeyPart) -> Option<String> {
    Some(match part {
        KeyPart::Path => "path".to_owned(),
        KeyPart::Target => "pathq".to_owned(),
        KeyPart::QueryString => "query".to_owned(),
        KeyPart::Method => "method".to_owned(),
        KeyPart::Header(name) => format!("req.hdr({name})"),
        KeyPart::Cookie(name) => format!("req.cook({name})"),
        KeyPart::Query(name) => format!("url_param({name})"),
        KeyPart::Host => "req.hdr(host)".to_owned(),
        _ => return None,
    })
}

fn hash_type(hash: HashType) -> String {
    let method = match hash.method {
        Method::MapBased => "map-based",
        Method::Consistent => "consistent",
    };
    if hash == HashType::bare(hash.method) {
        return format!("hash-type {method}");
    }
    let function = match hash.function {
        Function::Sdbm => "sdbm",
        Function::Djb2 => "djb2",
        Function::Wt6 => "wt6",
        Function::Crc32 => "crc32",
        Function::None => "none",
    };
    format!("hash-type {method} {function}{}", if hash.avalanche { " avalanche" } else { "" })
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

/// What HAProxy takes for a name.
fn name_of(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '_' }).collect()
}

fn bind(address: &str) -> String {
    match address.strip_prefix("unix:") {
        Some(path) => format!("unix@{path}"),
        None => address.to_owned(),
    }
}

/// A word, in quotes if it needs them.
fn quoted(text: &str) -> String {
    let is_plain =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'#\\$".contains(&byte));
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
