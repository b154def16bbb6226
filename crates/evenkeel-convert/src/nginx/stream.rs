use std::collections::{BTreeMap, BTreeSet};

use evenkeel::router::{StreamAction, StreamRouteConfig, StreamRouterConfig};
use evenkeel_route::matching::{HostMatch, StreamRule, ValueMatch};

use super::http::proxys_own;
use super::key;
use super::proxy_ssl::{Passed, ProxySsl};
use super::ssl::Ssl;
use super::tree::Directive;
use super::upstream::{Upstream, add, direct, read_upstream};
use super::variables::{self, Variable, Variables};
use crate::conversion::Conversion;
use crate::error::{ConvertError, Problem};
use crate::report::Report;
use crate::setup::{Listener, Serves};
use crate::tls::{ListenerTls, UpstreamTls};

/// Reads what is in `stream`.
pub(crate) fn read(block: &[Directive], conversion: &mut Conversion) -> Result<(), ConvertError> {
    let mut upstreams: BTreeMap<String, Upstream> = BTreeMap::new();
    let mut variables = Variables::new();
    for directive in block {
        match directive.name.text.as_str() {
            "upstream" => {
                let upstream = read_upstream(directive, &mut conversion.report)?;
                let name = upstream.cluster.name.clone();
                let place = upstream.place.clone();
                if let Some(first) = upstreams.insert(name.clone(), upstream) {
                    let problem = Problem::Twice { what: format!("upstream {name}"), first: first.place };
                    return Err(ConvertError::new(&place, problem));
                }
            }
            "map" => {
                let (name, variable) = variables::map(directive, &mut conversion.report)?;
                variables.insert(name, variable);
            }
            "server" => {}
            name if Ssl::knows(name) || ToServers::knows(name) => {}
            _ => proxys_own(directive, conversion),
        }
    }
    let ssl = Ssl::default().within(block, &mut conversion.report)?;
    let mut to_servers = ToServers::default();
    let mut passed = Passed::default();
    let mut followed = BTreeSet::new();
    to_servers.within(block, &mut conversion.report)?;
    for directive in block.iter().filter(|directive| directive.name.is("server")) {
        let inherited = (&ssl, &to_servers, &mut passed, &mut followed);
        server(directive, &mut upstreams, &variables, inherited, conversion)?;
    }
    for directive in block.iter().filter(|directive| directive.name.is("map")) {
        variables::tell_map(directive, &followed, &mut conversion.report);
    }
    for upstream in upstreams.into_values() {
        add(upstream, conversion)?;
    }
    Ok(())
}

fn server(
    block: &Directive,
    upstreams: &mut BTreeMap<String, Upstream>,
    variables: &Variables,
    (ssl, to_servers, passed, followed): (&Ssl, &ToServers, &mut Passed, &mut BTreeSet<String>),
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    block.bare()?;
    let ssl = ssl.within(block.inside(), &mut conversion.report)?;
    let mut to_servers = to_servers.clone();
    to_servers.within(block.inside(), &mut conversion.report)?;
    let mut addresses = Vec::new();
    let mut router = StreamRouterConfig::default();
    for directive in block.inside() {
        let (place, subject) = (directive.place(), directive.text());
        match directive.name.text.as_str() {
            "listen" => {
                addresses.push(listen(directive, conversion)?);
            }
            "ssl_preread" => {
                directive.only()?;
                conversion.report.taken(place, subject, "routes look at the server name where they have one");
            }
            "proxy_pass" if router.routes.is_empty() => {
                let target = &directive.only()?.text;
                let routes = routes(target, variables);
                let Some(routes) = routes else {
                    let detail =
                        "where this leads is only known when connections come: write a route for each";
                    conversion.report.none(place, subject, detail);
                    continue;
                };
                followed.extend(key::variable(target).map(str::to_owned));
                for (sni, cluster) in routes {
                    ensure(&cluster, upstreams, directive)?;
                    let subject = (place, subject.clone());
                    passed.note(
                        &cluster,
                        to_servers.tls(&cluster),
                        to_servers.ssl.detail(),
                        subject,
                        conversion,
                    );
                    let name = format!("{cluster}:{}", router.routes.len());
                    let rule = StreamRule { sni, ..StreamRule::default() };
                    router.routes.push(StreamRouteConfig {
                        name,
                        rule,
                        action: StreamAction::Cluster(cluster),
                    });
                }
                conversion.report.taken(place, subject, "routes of connections");
            }
            name if Ssl::knows(name) || ToServers::knows(name) => {}
            _ => proxys_own(directive, conversion),
        }
    }
    // What clients speak is said of each address.
    let mut tls = ListenerTls { client_ca_file: ssl.client_ca_file(), ..ListenerTls::default() };
    ssl.certificates().for_each(|certificate| tls.add(certificate));
    for kind in [Kind::Tcp, Kind::Tls, Kind::Udp] {
        let same = addresses.iter().filter(|listen| listen.kind == kind);
        let addresses: Vec<String> = same.map(|listen| listen.address.clone()).collect();
        let Some(first) = addresses.first() else { continue };
        conversion.setup.listeners.push(Listener {
            name: format!("stream {first}{}", if kind == Kind::Udp { " udp" } else { "" }),
            addresses,
            tls: (kind == Kind::Tls).then(|| tls.clone()),
            udp: kind == Kind::Udp,
            serves: Serves::Stream(router.clone()),
        });
    }
    Ok(())
}

struct Listen {
    address: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Tls,
    Udp,
}

fn listen(directive: &Directive, conversion: &mut Conversion) -> Result<Listen, ConvertError> {
    let Some((address, flags)) = directive.args.split_first() else {
        let expected = "an address or a port comes after it";
        return Err(ConvertError::unexpected(directive.place(), "listen", expected));
    };
    let text = address.text.as_str();
    let has = |name: &str| flags.iter().any(|flag| flag.is(name));
    let kind = match (has("udp"), has("ssl")) {
        (true, true) => {
            let expected = "nginx has no TLS over UDP in a stream";
            return Err(ConvertError::unexpected(directive.place(), directive.text(), expected));
        }
        (true, false) => Kind::Udp,
        (false, true) => Kind::Tls,
        (false, false) => Kind::Tcp,
    };
    for flag in flags.iter().filter(|flag| !["ssl", "udp", "reuseport"].contains(&flag.text.as_str())) {
        let detail = if flag.is("proxy_protocol") {
            "whether connections begin with a PROXY header is your server's: tell it to take one"
        } else {
            "sockets are your server's"
        };
        conversion.report.none(&flag.place, format!("listen {text} {}", flag.text), detail);
    }
    let detail =
        if kind == Kind::Udp { "an address of a listener of datagrams" } else { "an address of a listener" };
    conversion.report.taken(directive.place(), directive.text(), detail);
    let is_port = text.bytes().all(|byte| byte.is_ascii_digit());
    let address = if is_port { format!("*:{text}") } else { text.to_owned() };
    Ok(Listen { address, kind })
}

/// How servers are spoken to.
#[derive(Clone, Default)]
struct ToServers {
    is_tls: bool,
    ssl: ProxySsl,
}

impl ToServers {
    fn knows(name: &str) -> bool {
        name == "proxy_ssl" || name.strip_prefix("proxy_").is_some_and(ProxySsl::knows)
    }

    fn within(&mut self, block: &[Directive], report: &mut Report) -> Result<(), ConvertError> {
        for directive in block.iter().filter(|directive| Self::knows(&directive.name.text)) {
            if !directive.name.is("proxy_ssl") {
                self.ssl.take(directive, report)?;
                continue;
            }
            let word = directive.only()?;
            self.is_tls = match word.text.as_str() {
                "on" => true,
                "off" => false,
                _ => {
                    return Err(ConvertError::value(
                        &word.place,
                        "proxy_ssl",
                        word.text.clone(),
                        "on or off",
                    ));
                }
            };
            report.taken(directive.place(), directive.text(), "upstream_tls of the cluster");
        }
        Ok(())
    }

    fn tls(&self, cluster: &str) -> Option<UpstreamTls> {
        self.is_tls.then(|| self.ssl.of(cluster, &[]))
    }
}

/// Server names and clusters, in the order in which they are asked.
fn routes(target: &str, variables: &Variables) -> Option<Vec<(Vec<HostMatch>, String)>> {
    let Some(name) = key::variable(target) else {
        return (!key::has_variables(target)).then(|| vec![(Vec::new(), target.to_owned())]);
    };
    let Some(Variable::Map { source, cases, default }) = variables.get(name) else { return None };
    if key::variable(source) != Some("ssl_preread_server_name") {
        return None;
    }
    let mut routes = Vec::new();
    for (test, cluster) in cases {
        let ValueMatch::Exact(host) = test else { return None };
        routes.push((vec![host.parse().ok()?], cluster.clone()));
    }
    if !default.is_empty() {
        routes.push((Vec::new(), default.clone()));
    }
    Some(routes)
}

fn ensure(
    name: &str,
    upstreams: &mut BTreeMap<String, Upstream>,
    directive: &Directive,
) -> Result<(), ConvertError> {
    if !upstreams.contains_key(name) {
        upstreams.insert(name.to_owned(), direct(name, 0, directive)?);
    }
    Ok(())
}
