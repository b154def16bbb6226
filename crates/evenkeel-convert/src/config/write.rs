use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use evenkeel::route::matching::HostMatch;
use evenkeel::router::{Action, RouteConfig, RouterConfig, StreamRouterConfig};
use evenkeel_config::{
    CheckSettings, ClusterSettings, Config, ListenerConfig, ListenerLimits, ListenerTimeouts,
    NamedCertificate, Protocol,
};
use evenkeel_types::Address;

use super::{keys, upstream};
use crate::conversion::Written;
use crate::report::{Report, Verdict};
use crate::setup::{Listener, Serves, Setup};
use crate::tls::ListenerTls;

/// Writes the file that `evenkeel-config` reads, and programs start from.
pub(crate) fn write(setup: &Setup) -> Written {
    let mut report = Report::default();
    let config = config_of(setup, &mut report);
    let text = crate::own::config_toml(&config).unwrap_or_else(|error| {
        report.add(None, "the configuration", Verdict::NoEquivalent, error.to_string());
        String::new()
    });
    Written { text, report }
}

fn config_of(setup: &Setup, report: &mut Report) -> Config {
    let mut writer = Writer { report, listeners: Vec::new(), by_address: BTreeMap::new() };
    let mut served = Vec::new();
    for listener in &setup.listeners {
        let names = writer.listeners_of(listener);
        if names.is_empty() && !writer.is_the_only(setup, listener) {
            writer.left_out(listener);
            continue;
        }
        served.push((names, &listener.serves));
    }
    let listeners = writer.listeners;
    let mut config = Config { listeners, ..Config::default() };
    config.http = http(setup, &served, report);
    config.stream = stream(&served, report);
    config.program = upstream::program(setup, report);
    config.clusters = setup.clusters.iter().cloned().map(ClusterSettings::new).collect();
    for settings in &mut config.clusters {
        let check = setup.checks.get(&settings.cluster.name);
        if check.is_some() {
            // The schedule of the check says it, and `evenkeel-config` refuses to be told twice.
            settings.cluster.health = Default::default();
        }
        settings.check = check.map(|check| CheckSettings {
            probe: check.probe.clone(),
            schedule: check.schedule.clone(),
            port: check.port,
        });
    }
    config
}

struct Writer<'r> {
    report: &'r mut Report,
    listeners: Vec<ListenerConfig>,
    /// By whether it is for datagrams too.
    by_address: BTreeMap<(String, bool), Bound>,
}

/// Who has an address already.
struct Bound {
    name: String,
    protocol: Protocol,
    tls: Option<ListenerTls>,
}

impl Writer<'_> {
    /// A listener for each address, by name.
    fn listeners_of(&mut self, listener: &Listener) -> Vec<String> {
        let mut names = Vec::new();
        for text in &listener.addresses {
            let subject = format!("listeners.{}: {text}", listener.name);
            let Some(address) = bind(text) else {
                let detail = "an IP address and a port are needed, or the path of a socket: write them and convert again";
                self.report.add(None, subject, Verdict::NoEquivalent, detail);
                continue;
            };
            let protocol = protocol(listener);
            let socket = (address.to_string(), listener.udp);
            if let Some(known) = self.by_address.get(&socket) {
                if (known.protocol, &known.tls) == (protocol, &listener.tls) {
                    let detail =
                        format!("it is the listener {:?} too: the routes of both are asked", known.name);
                    self.report.add(None, subject, Verdict::Differs, detail);
                    names.push(known.name.clone());
                } else {
                    let detail = format!(
                        "the listener {:?} has this address, and speaks another protocol: give it one of its own",
                        known.name
                    );
                    self.report.add(None, subject, Verdict::NoEquivalent, detail);
                }
                continue;
            }
            let name = self.free_name(&listener.name);
            let bound = Bound { name: name.clone(), protocol, tls: listener.tls.clone() };
            self.by_address.insert(socket, bound);
            let tls = listener.tls.as_ref().map(|tls| self.certificate(&name, tls));
            self.listeners.push(ListenerConfig {
                name: name.clone(),
                address,
                protocol,
                tls,
                limits: ListenerLimits::default(),
                timeouts: ListenerTimeouts::default(),
            });
            names.push(name);
        }
        names
    }

    /// Routes that came without any address stand for all listeners, if nothing else of their kind is served.
    fn is_the_only(&self, setup: &Setup, listener: &Listener) -> bool {
        let is_http = |listener: &&Listener| matches!(listener.serves, Serves::Http(_));
        let kind = is_http(&listener);
        listener.addresses.is_empty()
            && setup.listeners.iter().filter(|other| is_http(other) == kind).count() == 1
    }

    /// A route that names no listener is asked at all of them, so those of a listener that is not there cannot stay.
    fn left_out(&mut self, listener: &Listener) {
        let routes: Vec<&str> = match &listener.serves {
            Serves::Http(router) => router.routes.iter().map(|route| route.name.as_str()).collect(),
            Serves::Stream(router) => router.routes.iter().map(|route| route.name.as_str()).collect(),
        };
        let detail = format!(
            "without a listener they would be asked at all of them: left out are {}",
            if routes.is_empty() { "none".to_owned() } else { routes.join(", ") }
        );
        self.report.add(None, format!("listeners.{}.routes", listener.name), Verdict::NoEquivalent, detail);
    }

    fn free_name(&self, wanted: &str) -> String {
        let is_free = |name: &String| self.listeners.iter().all(|listener| listener.name != *name);
        let numbered = (2..).map(|number| format!("{wanted}-{number}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        // There are more numbers than listeners.
        names.find(is_free).unwrap_or_default()
    }

    /// Its certificates, the first for all other names. Where none is known, the program does not start before it is there, so nothing goes out in the open.
    fn certificate(&mut self, name: &str, tls: &ListenerTls) -> evenkeel_config::ListenerTls {
        let subject = format!("listeners.{name}.tls");
        let (cert_file, key_file) = match tls.certificates.first() {
            Some(first) => {
                self.report.add(None, subject.clone(), Verdict::Taken, "");
                (first.cert_file.clone().into(), first.key_file.clone().into())
            }
            None => {
                let detail = "put right where its certificate lies: cert_file and key_file are made up";
                self.report.add(None, subject.clone(), Verdict::Differs, detail);
                let sign = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
                let file: String = name.chars().map(sign).collect();
                (format!("{file}.pem").into(), format!("{file}.key").into())
            }
        };
        let mut by_name: Vec<NamedCertificate> = Vec::new();
        for other in tls.certificates.iter().skip(1) {
            let subject = format!("{subject}: {}", other.cert_file);
            let is_known = |host: &HostMatch| by_name.iter().any(|known| known.names.contains(host));
            let (names, lost): (Vec<_>, Vec<_>) =
                other.hosts.iter().cloned().partition(|host| *host != HostMatch::Any && !is_known(host));
            if names.is_empty() && !lost.is_empty() {
                let detail = "never shown: its names have another certificate";
                self.report.add(None, subject, Verdict::NoEquivalent, detail);
                continue;
            }
            self.report.add(None, subject, Verdict::Taken, "");
            let (cert_file, key_file) = (other.cert_file.clone().into(), other.key_file.clone().into());
            by_name.push(NamedCertificate { names, cert_file, key_file });
        }
        let client_ca_file = tls.client_ca_file.clone().map(Into::into);
        evenkeel_config::ListenerTls { cert_file, key_file, client_ca_file, by_name }
    }
}

fn protocol(listener: &Listener) -> Protocol {
    match &listener.serves {
        _ if listener.udp => Protocol::Udp,
        Serves::Http(_) => Protocol::Http,
        Serves::Stream(router) => {
            let looks =
                router.routes.iter().any(|route| !route.rule.sni.is_empty() || !route.rule.alpn.is_empty());
            if looks && listener.tls.is_none() { Protocol::TlsPassthrough } else { Protocol::Tcp }
        }
    }
}

/// `*` and a missing host are all addresses of IPv4, as with nginx and HAProxy. What stands before the last colon may be an
/// IPv6 address without brackets, and a path alone is a socket, as with HAProxy. Names of no file have no equivalent.
fn bind(text: &str) -> Option<Address> {
    let family = ["ipv4@", "ipv6@", "unix@"].into_iter().find(|family| text.starts_with(family));
    let rest = family.and_then(|family| text.strip_prefix(family)).unwrap_or(text);
    let whole = match rest.rsplit_once(':') {
        _ if family == Some("unix@") || rest.starts_with('/') => format!("unix:{rest}"),
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
        Some(("" | "*", port)) if family == Some("ipv6@") => format!("[::]:{port}"),
        Some(("" | "*", port)) => format!("0.0.0.0:{port}"),
        None if rest.bytes().all(|byte| byte.is_ascii_digit()) => format!("0.0.0.0:{rest}"),
        _ => rest.to_owned(),
    };
    let address = whole.parse().ok()?;
    match &address {
        Address::Socket(_) => Some(address),
        Address::Unix(path) if path.is_absolute() => Some(address),
        _ => None,
    }
}

type Served<'s> = (Vec<String>, &'s Serves);

fn http(setup: &Setup, served: &[Served<'_>], report: &mut Report) -> RouterConfig {
    let routers: Vec<(&Vec<String>, &RouterConfig)> = served
        .iter()
        .filter_map(|(names, serves)| match serves {
            Serves::Http(router) => Some((names, router)),
            Serves::Stream(_) => None,
        })
        .collect();
    let Some((_, first)) = routers.first() else { return RouterConfig::default() };
    let mut all = RouterConfig { routes: Vec::new(), ..(*first).clone() };
    let mut names = Names::default();
    for (listeners, router) in &routers {
        let same = |router: &RouterConfig| {
            (router.path.clone(), router.limits, router.key.clone(), router.hash_seed)
        };
        if same(router) != same(first) {
            let detail =
                "one router serves all listeners: its path, limits, key and hash_seed are those of the first";
            report.add(None, format!("listeners.{}", listeners.join(", ")), Verdict::Differs, detail);
        }
        merge_fallbacks(&mut all.fallbacks, &router.fallbacks, report);
        for route in &router.routes {
            let mut route = route.clone();
            names.claim(&mut route.name, &mut route.rule.listeners, listeners, routers.len() > 1);
            if matches!(route.action, Action::Redirect(_) | Action::Respond(_)) {
                sent_nowhere(&mut route);
            } else if route.key.is_empty() {
                route.key = key(setup, &route, report);
            }
            all.routes.push(route);
        }
    }
    all
}

/// What is said of requests that are not sent on is without effect, and refused.
fn sent_nowhere(route: &mut RouteConfig) {
    route.key.clear();
    (route.affinity, route.retry, route.hedge, route.mirror, route.timeout) = (None, None, None, None, None);
    route.retry_same_endpoint = false;
    route.headers.request = Default::default();
}

/// The key of a route is that of the first cluster it leads to that has a rule.
fn key(setup: &Setup, route: &RouteConfig, report: &mut Report) -> Vec<evenkeel::router::KeySource> {
    let clusters: Vec<&String> = match &route.action {
        Action::Cluster(name) => vec![name],
        Action::Split(split) => split.arms.iter().map(|arm| &arm.cluster).collect(),
        Action::Ramp(ramp) => vec![&ramp.old, &ramp.new],
        Action::BlueGreen(pair) => vec![&pair.blue, &pair.green],
        _ => Vec::new(),
    };
    let Some((name, rule)) = clusters.into_iter().find_map(|name| Some((name, setup.keys.get(name)?))) else {
        return Vec::new();
    };
    let (key, verdict, detail) = keys::of_routes(rule);
    if verdict != Verdict::Taken {
        report.add(None, format!("keys.{name} (route {})", route.name), verdict, detail);
    }
    key
}

fn stream(served: &[Served<'_>], report: &mut Report) -> StreamRouterConfig {
    let routers: Vec<(&Vec<String>, &StreamRouterConfig)> = served
        .iter()
        .filter_map(|(names, serves)| match serves {
            Serves::Stream(router) => Some((names, router)),
            Serves::Http(_) => None,
        })
        .collect();
    let Some((_, first)) = routers.first() else { return StreamRouterConfig::default() };
    let mut all = StreamRouterConfig { routes: Vec::new(), ..(*first).clone() };
    let mut names = Names::default();
    for (listeners, router) in &routers {
        if (router.precedence, router.hash_seed) != (first.precedence, first.hash_seed) {
            let detail =
                "one router serves all listeners: its precedence and hash_seed are those of the first";
            report.add(None, format!("listeners.{}", listeners.join(", ")), Verdict::Differs, detail);
        }
        merge_fallbacks(&mut all.fallbacks, &router.fallbacks, report);
        for route in &router.routes {
            let mut route = route.clone();
            names.claim(&mut route.name, &mut route.rule.listeners, listeners, routers.len() > 1);
            all.routes.push(route);
        }
    }
    all
}

fn merge_fallbacks(all: &mut BTreeMap<String, String>, more: &BTreeMap<String, String>, report: &mut Report) {
    for (of, to) in more {
        match all.get(of) {
            Some(known) if known != to => {
                let detail = format!("{known:?} is its fallback at all listeners");
                report.add(None, format!("fallbacks.{of} = {to:?}"), Verdict::Differs, detail);
            }
            _ => drop(all.insert(of.clone(), to.clone())),
        }
    }
}

/// Names of routes, each once.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    /// Gives a route a name that no other has, and the listeners that it is asked at, where there are several routers.
    fn claim(&mut self, name: &mut String, asked: &mut Vec<String>, listeners: &[String], are_several: bool) {
        *name = self.unique(name, listeners);
        if are_several {
            *asked = listeners.to_vec();
        }
    }

    fn unique(&mut self, name: &str, listeners: &[String]) -> String {
        let at = listeners.first().map_or("", String::as_str);
        let first = [name.to_owned(), format!("{at}/{name}")];
        let numbered = (2..).map(|number| format!("{at}/{name}-{number}"));
        // There are more numbers than routes.
        let free = first.into_iter().chain(numbered).find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(free.clone());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::bind;

    #[test]
    fn addresses_of_all_programs_are_bound_or_refused() {
        let cases = [
            ("80", Some("0.0.0.0:80")),
            ("*:80", Some("0.0.0.0:80")),
            (":80", Some("0.0.0.0:80")),
            ("ipv4@:80", Some("0.0.0.0:80")),
            ("ipv6@:80", Some("[::]:80")),
            ("ipv6@fd00::1:80", Some("[fd00::1]:80")),
            (":::8443", Some("[::]:8443")),
            ("fd00::1:8443", Some("[fd00::1]:8443")),
            ("[::]:8443", Some("[::]:8443")),
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("unix:/run/x.sock", Some("unix:/run/x.sock")),
            ("unix@/run/x.sock", Some("unix:/run/x.sock")),
            ("/run/x.sock", Some("unix:/run/x.sock")),
            ("unix:@abstract", None),
            ("unix:x.sock", None),
            ("abns@x", None),
            ("fd@3", None),
            ("quic4@:443", None),
            ("udp@:53", None),
            ("localhost:8080", None),
            ("*:8000-8010", None),
            ("8000-8010", None),
            (":", None),
            ("", None),
            ("*", None),
        ];
        for (text, expected) in cases {
            let found = bind(text).map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
