//! A cluster as a backend, with what its routes say of retries, headers and affinity.

use std::collections::BTreeMap;
use std::fmt::Write;

use evenkeel::ClusterConfig;
use evenkeel::router::{Action, KeySource, RouteConfig, StreamAction};
use evenkeel_health::Curve;
use evenkeel_route::affinity::Renewal;
use evenkeel_route::retry::RetryConfig;
use evenkeel_route::split::HeaderChange;
use evenkeel_types::{Address, Announced, Endpoint};

use super::{Writer, name_of, quoted};
use crate::haproxy::units::time_text;
use crate::report::Tells;
use crate::setup::Serves;
use crate::unsaid;

impl Writer<'_> {
    pub(super) fn backend(&mut self, cluster: &ClusterConfig, text: &mut String) {
        let (is_http, routes) = self.users(&cluster.name);
        if self.is_for_datagrams(&cluster.name) {
            let detail = "HAProxy balances no datagrams: the cluster is left out";
            self.none(format!("clusters.{}", cluster.name), detail);
            return;
        }
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
        if let Some(tls) = self.setup.upstream_tls.get(&cluster.name) {
            parameters = self.server_tls(&cluster.name, tls);
        }
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
            let tls = self.check_tls(&cluster.name, check);
            parameters.push_str(&tls);
        }
        // The order of the lines is the order of the numbers.
        for endpoint in &cluster.endpoints {
            self.server(cluster, endpoint, &parameters, has_cookie, text);
        }
        unsaid::cluster(cluster, &["slow_start", "endpoint_limit"], &mut self.report);
    }

    /// Whether nothing but datagrams goes to a cluster.
    fn is_for_datagrams(&self, name: &str) -> bool {
        let mut users =
            self.setup.listeners.iter().filter(|listener| leads_to(&listener.serves, name)).peekable();
        users.peek().is_some() && users.all(|listener| listener.udp)
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

/// Whether a route leads to a cluster.
fn leads_to(serves: &Serves, name: &str) -> bool {
    match serves {
        Serves::Http(router) => router.routes.iter().any(|route| match &route.action {
            Action::Cluster(cluster) => cluster == name,
            Action::Split(split) => split.arms.iter().any(|arm| arm.cluster == name),
            _ => false,
        }),
        Serves::Stream(router) => router.routes.iter().any(|route| match &route.action {
            StreamAction::Cluster(cluster) => cluster == name,
            StreamAction::Split(split) => split.arms.iter().any(|arm| arm.cluster == name),
        }),
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
