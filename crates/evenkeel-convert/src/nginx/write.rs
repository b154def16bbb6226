use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use evenkeel::router::{Action, KeySource, RouteConfig, RouterConfig, StreamAction};
use evenkeel::{ClusterConfig, PolicyConfig};
use evenkeel_balance::compat::nginx::{Method, NginxConfig};
use evenkeel_limit::LimitConfig;
use evenkeel_route::matching::PathMatch;
use evenkeel_route::retry::RetryConfig;
use evenkeel_route::split::{HeaderChange, SplitConfig, Stickiness};
use evenkeel_types::{Announced, Endpoint};

use super::key;
use super::units::time_text;
use crate::conversion::Written;
use crate::host_groups::{HostGroup, host_groups, takes_all};
use crate::key_rule::{KeyPart, KeyRule};
use crate::report::{Report, Verdict};
use crate::setup::{Serves, Setup};
use crate::unsaid;
use crate::whole_regex::anchored;

/// Writes a configuration of nginx.
pub(crate) fn write(setup: &Setup) -> Written {
    let mut writer = Writer {
        setup,
        names: BTreeMap::new(),
        direct: Vec::new(),
        report: Report::default(),
        splits: String::new(),
    };
    let mut http = String::new();
    let mut stream = String::new();
    let mut of_streams: Vec<&str> = Vec::new();
    for listener in &setup.listeners {
        if let Serves::Stream(router) = &listener.serves {
            for route in &router.routes {
                match &route.action {
                    StreamAction::Cluster(name) => of_streams.push(name),
                    StreamAction::Split(split) => {
                        of_streams.extend(split.arms.iter().map(|arm| arm.cluster.as_str()));
                    }
                }
            }
        }
    }
    for cluster in &setup.clusters {
        let text = writer.upstream(cluster);
        if of_streams.contains(&cluster.name.as_str()) {
            stream.push_str(&text);
        } else {
            http.push_str(&text);
        }
    }
    for listener in &setup.listeners {
        match &listener.serves {
            Serves::Http(router) => {
                unsaid::router(&listener.name, router, &mut writer.report);
                let servers = writer.servers(router, &listener.addresses, listener.tls);
                http.push_str(&servers);
            }
            Serves::Stream(router) => {
                let [route] = router.routes.as_slice() else {
                    writer.none(
                        format!("listeners.{}", listener.name),
                        "a server of nginx's stream has one place to go, unless a map is written by hand",
                    );
                    continue;
                };
                let StreamAction::Cluster(name) = &route.action else {
                    writer.none(format!("listeners.{}", listener.name), "connections are not split");
                    continue;
                };
                stream.push_str("\n    server {\n");
                // Without its certificate nginx does not start, so nothing goes out in the open.
                let ssl = if listener.tls { " ssl" } else { "" };
                if listener.tls {
                    writer.none(
                        format!("listeners.{}.tls", listener.name),
                        "add ssl_certificate and ssl_certificate_key to the server",
                    );
                }
                for address in &listener.addresses {
                    let _ = writeln!(stream, "        listen {}{ssl};", bind(address));
                }
                let _ = writeln!(stream, "        proxy_pass {};\n    }}", writer.target(name));
            }
        }
    }
    for name in setup.checks.keys() {
        writer.none(
            format!("checks.{name}"),
            "nginx checks servers by requests alone: max_fails and fail_timeout",
        );
    }
    let mut text = String::from("events {}\n");
    if !http.is_empty() {
        let _ = write!(text, "\nhttp {{\n{}{}}}\n", writer.splits, http.trim_start_matches('\n'));
    }
    if !stream.is_empty() {
        let _ = write!(text, "\nstream {{\n{}}}\n", stream.trim_start_matches('\n'));
    }
    Written { text, report: writer.report }
}

struct Writer<'a> {
    setup: &'a Setup,
    /// What upstreams are called, where that differs.
    names: BTreeMap<String, String>,
    /// Clusters that are named by their address alone.
    direct: Vec<String>,
    report: Report,
    splits: String,
}

impl Writer<'_> {
    fn none(&mut self, subject: impl Into<String>, detail: &str) {
        self.report.add(None, subject, Verdict::NoEquivalent, detail);
    }

    fn differs(&mut self, subject: impl Into<String>, detail: &str) {
        self.report.add(None, subject, Verdict::Differs, detail);
    }

    fn upstream(&mut self, cluster: &ClusterConfig) -> String {
        if let [only] = cluster.endpoints.as_slice()
            && only.address().to_string() == cluster.name
            && matches!(&cluster.policy, PolicyConfig::Nginx(config) if *config == NginxConfig::default())
        {
            self.direct.push(cluster.name.clone());
            self.report.add(
                None,
                format!("clusters.{}", cluster.name),
                Verdict::Taken,
                "proxy_pass names its address",
            );
            return String::new();
        }
        let name = safe_name(&cluster.name);
        if name != cluster.name {
            self.differs(
                format!("clusters.{}", cluster.name),
                &format!("upstream {name}: nginx takes no such name"),
            );
            self.names.insert(cluster.name.clone(), name.clone());
        }
        let mut text = format!("\n    upstream {name} {{\n");
        if let Some(method) = self.method(cluster) {
            let _ = writeln!(text, "        {method};");
        }
        let (max_fails, fail_timeout) = match &cluster.policy {
            PolicyConfig::Nginx(config) => (config.max_fails, config.fail_timeout),
            _ => (1, Duration::from_secs(10)),
        };
        let max_conns = match &cluster.endpoint_limit {
            Some(LimitConfig::Fixed(fixed)) if fixed.limit > 0 => Some(fixed.limit),
            Some(_) => {
                self.none(
                    format!("clusters.{}.endpoint_limit", cluster.name),
                    "max_conns is a fixed number above 0",
                );
                None
            }
            None => None,
        };
        let allows_backup = match &cluster.policy {
            PolicyConfig::Nginx(config) => config.method.allows_backup(),
            _ => !text.contains("hash"),
        };
        for endpoint in &cluster.endpoints {
            let Some(mut line) = self.server(cluster, endpoint, allows_backup) else { continue };
            if max_fails != 1 {
                let _ = write!(line, " max_fails={max_fails}");
            }
            if fail_timeout != Duration::from_secs(10) {
                let _ = write!(line, " fail_timeout={}", time_text(fail_timeout));
            }
            if let Some(conns) = max_conns {
                let _ = write!(line, " max_conns={conns}");
            }
            let _ = writeln!(text, "        {line};");
        }
        if cluster.endpoints.is_empty() {
            self.none(format!("clusters.{}", cluster.name), "an upstream needs servers: add them");
            text.push_str("        server 127.0.0.1:1 down;\n");
        }
        unsaid::cluster(cluster, &["endpoint_limit"], &mut self.report);
        text.push_str("    }\n");
        text
    }

    fn method(&mut self, cluster: &ClusterConfig) -> Option<String> {
        let subject = format!("clusters.{}.policy", cluster.name);
        let near = "another program's policy: the same shares, other picks";
        match &cluster.policy {
            PolicyConfig::Nginx(config) => {
                self.report.add(None, subject.clone(), Verdict::Taken, "");
                match config.method {
                    Method::RoundRobin => None,
                    Method::IpHash => Some("ip_hash".to_owned()),
                    Method::LeastConn => Some("least_conn".to_owned()),
                    Method::Hash => self.key(cluster).map(|key| format!("hash {key}")),
                    Method::HashConsistent => self.key(cluster).map(|key| format!("hash {key} consistent")),
                    _ => {
                        self.none(subject, "a method that nginx's writer does not know");
                        None
                    }
                }
            }
            PolicyConfig::RoundRobin(_) | PolicyConfig::SmoothWeightedRoundRobin(_) => {
                self.differs(
                    subject,
                    "nginx's round robin: the same shares, and a server that fails gets less for a while",
                );
                None
            }
            PolicyConfig::LeastConnections(_) | PolicyConfig::ShortestExpectedDelay(_) => {
                self.differs(subject, "least_conn: equals take turns");
                Some("least_conn".to_owned())
            }
            PolicyConfig::LeastRequest(_) => {
                self.differs(subject, "random two least_conn: nginx draws by weight");
                Some("random two least_conn".to_owned())
            }
            PolicyConfig::Random(_) | PolicyConfig::WeightedRandom(_) => {
                self.differs(subject, "random: the same shares");
                Some("random".to_owned())
            }
            PolicyConfig::IpHash(_) => {
                self.differs(subject, "ip_hash: other places for the same addresses");
                Some("ip_hash".to_owned())
            }
            PolicyConfig::RingHash(_)
            | PolicyConfig::Ketama(_)
            | PolicyConfig::Maglev(_)
            | PolicyConfig::Rendezvous(_)
            | PolicyConfig::Jump(_)
            | PolicyConfig::Anchor(_)
            | PolicyConfig::MultiProbe(_) => {
                self.differs(subject, "hash consistent: other places for the same keys");
                self.key(cluster).map(|key| format!("hash {key} consistent"))
            }
            PolicyConfig::Haproxy(_) | PolicyConfig::Envoy(_) => {
                self.differs(subject, near);
                if self.setup.keys.contains_key(&cluster.name) {
                    return self.key(cluster).map(|key| format!("hash {key} consistent"));
                }
                let is_least = match &cluster.policy {
                    PolicyConfig::Haproxy(config) => {
                        config.balance == evenkeel_balance::compat::haproxy::Balance::LeastConn
                    }
                    PolicyConfig::Envoy(config) => {
                        matches!(config.policy, evenkeel_balance::compat::envoy::EnvoyPolicy::LeastRequest(_))
                    }
                    _ => false,
                };
                is_least.then(|| "least_conn".to_owned())
            }
            other => {
                self.none(subject, &format!("nginx has nothing like {}: round robin", other.name()));
                None
            }
        }
    }

    fn key(&mut self, cluster: &ClusterConfig) -> Option<String> {
        let found = match self.setup.keys.get(&cluster.name) {
            Some(KeyRule::Text(parts)) => {
                parts.iter().map(key::written).collect::<Option<Vec<_>>>().map(|all| all.concat())
            }
            Some(KeyRule::Source) => Some("${remote_addr}".to_owned()),
            Some(KeyRule::UrlParam(name)) => key::written(&KeyPart::Query(name.clone())),
            Some(KeyRule::Header { name, domain_only: false }) => {
                key::written(&KeyPart::Header(name.clone()))
            }
            Some(KeyRule::Sample(part)) => key::written(part),
            Some(KeyRule::Uri(_)) => Some("${request_uri}".to_owned()),
            Some(KeyRule::Envoy(policies)) => policies.first().and_then(|policy| key::written(&policy.of)),
            _ => None,
        };
        if found.is_none() {
            self.none(
                format!("keys.{}", cluster.name),
                "nginx hashes a text of variables: round robin is written instead",
            );
        }
        found.map(|text| quoted(&text))
    }

    fn server(
        &mut self,
        cluster: &ClusterConfig,
        endpoint: &Endpoint,
        allows_backup: bool,
    ) -> Option<String> {
        let subject = format!("clusters.{}.endpoints.{}", cluster.name, endpoint.id());
        let mut line = format!("server {}", quoted(&endpoint.address().to_string()));
        let weight = endpoint.weight().get();
        if weight > 1 {
            let _ = write!(line, " weight={weight}");
        }
        let is_down = !endpoint.announced().is_usable() || weight == 0;
        if is_down {
            line.push_str(" down");
        }
        if weight == 0 || is_down && endpoint.announced() != Announced::Down {
            self.differs(subject.clone(), "down: nginx knows no drain");
        }
        if endpoint.announced() == Announced::Degraded {
            self.differs(subject.clone(), "nginx knows no degraded servers");
        }
        match endpoint.priority().get() {
            0 => {}
            _ if !allows_backup => {
                self.none(subject, "it is left out: nginx takes no backup with this method");
                return None;
            }
            1 => line.push_str(" backup"),
            _ => {
                line.push_str(" backup");
                self.differs(subject.clone(), "nginx has one tier of backups");
            }
        }
        if endpoint.labels().is_some() || endpoint.locality().is_some() || endpoint.addresses().count() > 1 {
            self.none(subject, "labels, localities and further addresses are left out");
        }
        Some(line)
    }

    fn target(&self, name: &str) -> String {
        self.names.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    fn servers(&mut self, router: &RouterConfig, addresses: &[String], tls: bool) -> String {
        let mut text = String::new();
        for group in host_groups(&router.routes) {
            text.push_str("\n    server {\n");
            for address in addresses {
                let default = if group.hosts.is_empty() { " default_server" } else { "" };
                let _ = writeln!(text, "        listen {}{default};", bind(address));
            }
            if tls {
                self.none("listeners: tls", "add ssl and certificates to the listen directives");
            }
            if !group.hosts.is_empty() {
                let hosts: Vec<String> = group.hosts.iter().map(ToString::to_string).collect();
                let _ = writeln!(text, "        server_name {};", hosts.join(" "));
            }
            let locations = self.locations(&router.routes, &group);
            text.push_str(&locations);
            text.push_str("    }\n");
        }
        text
    }

    fn locations(&mut self, routes: &[RouteConfig], group: &HostGroup) -> String {
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
                let _ = writeln!(text, "            proxy_pass http://{};", self.target(name));
            }
            Action::Split(split) => {
                self.retry(route, route.retry.as_ref(), &mut text);
                let variable = self.split(route, split);
                let _ = writeln!(text, "            proxy_pass http://${variable};");
            }
            Action::Redirect(redirect) => {
                let location = redirect
                    .location
                    .replace("{path}{query}", "$request_uri")
                    .replace("{path}", "$uri")
                    .replace("{query}", "$is_args$args")
                    .replace("{host}", "$host");
                let _ = writeln!(text, "            return {} {};", redirect.status, quoted(&location));
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
        if retry.backoff.max > super::proxy::SHORTEST {
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

/// Letters, digits and a few signs.
fn safe_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).collect()
}

fn bind(address: &str) -> String {
    // HAProxy writes all addresses as nothing.
    if address.starts_with(':') { format!("*{address}") } else { quoted(address) }
}

/// A word, in quotes if it needs them.
fn quoted(text: &str) -> String {
    let is_plain =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"';{}#\\".contains(&byte));
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
