//! Writing nginx's configuration: the blocks around upstreams and locations.

mod locations;
mod tls;
mod upstream;

use std::collections::BTreeMap;
use std::fmt::Write;

use evenkeel::router::{RouterConfig, StreamAction, StreamRouterConfig};
use evenkeel_route::matching::{HostMatch, StreamRule};

use crate::conversion::Written;
use crate::host_groups::host_groups_of;
use crate::report::{Report, Tells};
use crate::setup::{Listener, Serves, Setup};
use crate::tls::ListenerTls;
use crate::unsaid;

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
                let servers = writer.servers(router, listener);
                http.push_str(&servers);
            }
            Serves::Stream(router) => stream.push_str(&writer.stream(listener, router)),
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

impl Tells for Writer<'_> {
    fn report(&mut self) -> &mut Report {
        &mut self.report
    }
}

impl Writer<'_> {
    fn target(&self, name: &str) -> String {
        self.names.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    fn servers(&mut self, router: &RouterConfig, listener: &Listener) -> String {
        let mut text = String::new();
        let tls = listener.tls.as_ref();
        if let Some(tls) = tls {
            self.listener_tls(&listener.name, tls);
        }
        let named = tls.map(ListenerTls::hosts).unwrap_or_default();
        let shown = |host: &HostMatch| tls.map_or(0, |tls| tls.shown_to(host));
        for group in host_groups_of(&router.routes, &named, shown) {
            text.push_str("\n    server {\n");
            for address in &listener.addresses {
                let default = if group.hosts.is_empty() { " default_server" } else { "" };
                let _ = writeln!(text, "        listen {}{}{default};", bind(address), tls::flags(tls));
            }
            if !group.hosts.is_empty() {
                let hosts: Vec<String> = group.hosts.iter().map(ToString::to_string).collect();
                let _ = writeln!(text, "        server_name {};", hosts.join(" "));
            }
            if let Some(tls) = tls {
                tls::certificates(tls, group.hosts.first().map_or(0, shown), &mut text);
            }
            let locations = self.locations(&router.routes, &group);
            text.push_str(&locations);
            text.push_str("    }\n");
        }
        text
    }

    fn stream(&mut self, listener: &Listener, router: &StreamRouterConfig) -> String {
        let subject = format!("listeners.{}", listener.name);
        let [route] = router.routes.as_slice() else {
            self.none(
                subject,
                "a server of nginx's stream has one place to go, unless a map is written by hand",
            );
            return String::new();
        };
        let StreamAction::Cluster(name) = &route.action else {
            self.none(subject, "connections are not split");
            return String::new();
        };
        if route.rule != StreamRule::default() {
            let detail = "it is left out: a server of nginx's stream takes all connections, unless a map is written by hand";
            self.none(format!("{subject}.routes.{}", route.name), detail);
            return String::new();
        }
        let mut text = String::from("\n    server {\n");
        let flags = if listener.udp { " udp" } else { tls::flags(listener.tls.as_ref()) };
        for address in &listener.addresses {
            let _ = writeln!(text, "        listen {}{};", bind(address), flags.trim_end_matches(" http2"));
        }
        if let Some(tls) = &listener.tls {
            self.listener_tls(&listener.name, tls);
            if tls.certificates.iter().any(|other| other.hosts != tls.certificates[0].hosts) {
                self.none(
                    format!("{subject}.tls"),
                    "a server of nginx's stream shows its first certificate to all",
                );
            }
            tls::certificates(tls, 0, &mut text);
        }
        if self.servers_tls(std::slice::from_ref(name), "        ", &mut text) == "https" {
            text.push_str("        proxy_ssl on;\n");
        }
        let _ = writeln!(text, "        proxy_pass {};\n    }}", self.target(name));
        text
    }
}

fn bind(address: &str) -> String {
    // HAProxy writes all addresses as nothing.
    if address.starts_with(':') { format!("*{address}") } else { quoted(address) }
}

/// A word, in quotes if it needs them.
fn quoted(text: &str) -> String {
    crate::quoted::quoted(text, b"\"';{}#\\", &['"', '\\'])
}
