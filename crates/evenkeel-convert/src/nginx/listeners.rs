//! Who listens where: `listen` and `server_name` of all servers, put together by address.

use evenkeel::router::RouterConfig;
use evenkeel_route::matching::HostMatch;

use super::http::{Server, path_options, unique};
use super::tree::Directive;
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::host_groups::runs;
use crate::setup::{Listener, Serves};
use crate::tls::{Certificate, ListenerTls};

/// `listen`.
pub(crate) struct Listen {
    pub(crate) address: String,
    tls: bool,
    h2: bool,
    is_default: bool,
}

impl Default for Listen {
    /// Where servers listen that do not say it.
    fn default() -> Self {
        Self { address: "*:80".into(), tls: false, h2: false, is_default: false }
    }
}

/// Reads `listen`.
pub(crate) fn listen(directive: &Directive, conversion: &mut Conversion) -> Result<Listen, ConvertError> {
    let Some((address, flags)) = directive.args.split_first() else {
        return Err(ConvertError::unexpected(
            directive.place(),
            "listen",
            "an address or a port comes after it",
        ));
    };
    let text = address.text.as_str();
    let text = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("*:{text}")
    } else if text.starts_with("unix:")
        || text.rsplit_once(':').is_some_and(|(before, port)| {
            (!before.contains(':') || before.ends_with(']')) && port.bytes().all(|byte| byte.is_ascii_digit())
        })
    {
        text.to_owned()
    } else {
        format!("{text}:80")
    };
    let has = |name: &str| flags.iter().any(|flag| flag.is(name));
    for flag in flags {
        if !["ssl", "default_server", "default", "http2", "reuseport"].contains(&flag.text.as_str()) {
            conversion.report.none(
                &flag.place,
                format!("listen {text} {}", flag.text),
                if flag.is("quic") {
                    "HTTP/3 is your server's: what is taken is TLS over TCP at this address"
                } else {
                    "sockets are your server's"
                },
            );
        }
    }
    conversion.report.taken(directive.place(), directive.text(), "an address of a listener");
    Ok(Listen {
        address: text,
        tls: has("ssl") || has("quic"),
        h2: has("http2"),
        is_default: has("default_server") || has("default"),
    })
}

/// `server_name`: the hosts of a server, and what it is called.
pub(crate) fn names(directive: &Directive, server: &mut Server<'_>, conversion: &mut Conversion) {
    for word in &directive.args {
        let subject = format!("server_name {}", word.text);
        let texts = match word.text.strip_prefix('.') {
            Some(rest) => vec![rest.to_owned(), format!("*.{rest}")],
            None => vec![word.text.clone()],
        };
        if server.name.is_empty() {
            server.name.clone_from(&word.text);
        }
        for text in texts {
            if text.is_empty() || text == "_" {
                conversion.report.taken(
                    &word.place,
                    subject.clone(),
                    "no host: what other servers do not take",
                );
                continue;
            }
            match text.parse::<HostMatch>() {
                Ok(host) if !text.starts_with('~') => {
                    server.hosts.push(host);
                    conversion.report.taken(&word.place, subject.clone(), "match.hosts");
                }
                _ => conversion.report.none(
                    &word.place,
                    subject.clone(),
                    "hosts are names, *.name or name.*: list them",
                ),
            }
        }
    }
}

/// Addresses, and the servers that are asked there.
struct Bound {
    addresses: Vec<String>,
    tls: bool,
    h2: bool,
    members: Vec<usize>,
    /// Who takes what none of them takes by name.
    default: usize,
}

impl Bound {
    fn serves_as(&self, other: &Self) -> bool {
        (self.tls, self.h2, &self.members, self.default)
            == (other.tls, other.h2, &other.members, other.default)
    }

    /// The certificates of the members, that of the default first.
    fn certificates(&self, servers: &[Server<'_>], conversion: &mut Conversion) -> ListenerTls {
        let default = &servers[self.default];
        let mut tls = ListenerTls { client_ca_file: default.ssl.client_ca_file(), ..ListenerTls::default() };
        if self.h2 {
            tls.alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
        }
        let others = self.members.iter().filter(|&&member| member != self.default);
        for &member in std::iter::once(&self.default).chain(others) {
            let server = &servers[member];
            for certificate in server.ssl.certificates() {
                tls.add(Certificate { hosts: server.hosts.clone(), ..certificate });
            }
            if server.ssl.client_ca_file() != tls.client_ca_file {
                let detail =
                    "a listener asks all clients for certificates or none: as its default server says";
                conversion.report.none(server.block.place(), "ssl_verify_client", detail);
            }
        }
        tls.settle();
        tls
    }
}

/// One listener for all addresses that serve the same.
pub(crate) fn listeners(servers: &[Server<'_>], conversion: &mut Conversion) {
    let mut by_address: Vec<Bound> = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        for listen in &server.listens {
            match by_address.iter_mut().find(|bound| bound.addresses == [listen.address.clone()]) {
                Some(bound) => {
                    bound.tls |= listen.tls;
                    bound.h2 |= listen.h2;
                    if !bound.members.contains(&number) {
                        bound.members.push(number);
                    }
                    if listen.is_default {
                        bound.default = number;
                    }
                }
                None => by_address.push(Bound {
                    addresses: vec![listen.address.clone()],
                    tls: listen.tls,
                    h2: listen.h2,
                    members: vec![number],
                    default: number,
                }),
            }
        }
    }
    let mut groups: Vec<Bound> = Vec::new();
    for bound in by_address {
        match groups.iter_mut().find(|known| known.serves_as(&bound)) {
            Some(known) => known.addresses.extend(bound.addresses),
            None => groups.push(bound),
        }
    }
    for bound in groups {
        let tls = bound.tls.then(|| bound.certificates(servers, conversion));
        let Bound { addresses, members, default, .. } = bound;
        let hosts = members
            .iter()
            .flat_map(|&number| servers[number].hosts.iter().map(move |host| (host.clone(), number)));
        let mut runs = runs(hosts.chain([(HostMatch::Any, default)]).collect());
        // What the last one takes by name the default takes anyway.
        if let [.., (_, last), (_, default)] = runs.as_slice()
            && last == default
        {
            runs.remove(runs.len() - 2);
        }
        let mut router = RouterConfig { path: path_options(), ..RouterConfig::default() };
        for (hosts, number) in runs {
            for route in &servers[number].routes {
                let mut route = route.clone();
                if hosts != [HostMatch::Any] && route.rule.hosts.is_empty() {
                    route.rule.hosts.clone_from(&hosts);
                }
                if route.name == "rest" {
                    route.name = format!("{}:rest", servers[number].name);
                }
                unique(&mut route.name, &router.routes);
                router.routes.push(route);
            }
        }
        let name = addresses[0].clone();
        let serves = Serves::Http(router);
        conversion.setup.listeners.push(Listener { name, addresses, tls, udp: false, serves });
    }
}
