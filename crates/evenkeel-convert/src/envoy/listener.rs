//! Listeners: addresses, chains of filters, datagrams.

use evenkeel::router::{StreamAction, StreamRouteConfig, StreamRouterConfig};
use evenkeel_route::matching::{HostMatch, StreamRule};
use evenkeel_route::split::{Arm, SplitConfig};

use super::node::Node;
use super::routes::read_route_configuration;
use super::table::Table;
use super::{transport, udp};
use crate::conversion::Conversion;
use crate::error::ConvertError;
use crate::setup::{Listener, Serves};
use crate::tls::ListenerTls;

/// Reads an `envoy.config.listener.v3.Listener`.
pub(crate) fn read_listener(
    node: &Node,
    path: &str,
    conversion: &mut Conversion,
) -> Result<(), ConvertError> {
    let path = if path.is_empty() { "listener" } else { path };
    let mut table = Table::new(node, path)?;
    let (addresses, is_udp) = addresses(&mut table, conversion)?;
    let name =
        table.text("name")?.map_or_else(|| addresses.first().cloned().unwrap_or_default(), str::to_owned);
    let mut reader = Reader { name, addresses, streams: Vec::new() };
    if is_udp {
        udp::read(&mut table, &reader.name, reader.addresses, conversion)?;
    } else {
        let field = table.path("listener_filters");
        for (number, node) in table.list("listener_filters")?.iter().enumerate() {
            let mut filter = Table::new(node, format!("{field}[{number}]"))?;
            if filter.text("name")? == Some(transport::INSPECTOR) {
                conversion.report.taken(
                    filter.place(),
                    filter.path(""),
                    "server names are looked at where routes ask for them",
                );
                if let Some(config) = filter.table("typed_config")? {
                    config.rest(&mut conversion.report, |_| "server names are looked at, and nothing else");
                }
                filter.rest(&mut conversion.report, |_| "what comes before a connection is your server's");
            } else {
                conversion.report.none(
                    filter.place(),
                    filter.path(""),
                    "what comes before a connection is your server's",
                );
            }
        }
        for (number, node) in table.list("filter_chains")?.iter().enumerate() {
            reader.chain(node, number, format!("{path}.filter_chains[{number}]"), conversion)?;
        }
        reader.finish(conversion);
    }
    table.rest(&mut conversion.report, |_| "it is about serving, not about balancing: set it in your server");
    Ok(())
}

/// Where it listens, and whether for datagrams.
fn addresses(
    table: &mut Table<'_>,
    conversion: &mut Conversion,
) -> Result<(Vec<String>, bool), ConvertError> {
    let (mut addresses, mut is_udp) = (Vec::new(), false);
    let Some(mut address) = table.table("address")? else { return Ok((addresses, is_udp)) };
    if let Some(mut socket) = address.table("socket_address")? {
        let host = socket.needed("address")?;
        let port = socket.number("port_value")?.unwrap_or(0);
        addresses.push(if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        });
        is_udp = match socket.text("protocol")? {
            None | Some("TCP" | "0") => false,
            Some("UDP" | "1") => true,
            Some(other) => {
                let field = socket.path("protocol");
                return Err(ConvertError::value(socket.place(), field, other, "TCP or UDP is allowed"));
            }
        };
        socket.rest(&mut conversion.report, |_| "sockets are your server's");
    } else if let Some(mut pipe) = address.table("pipe")? {
        addresses.push(format!("unix:{}", pipe.needed("path")?));
    }
    address.rest(&mut conversion.report, |_| "sockets are your server's");
    Ok((addresses, is_udp))
}

/// A listener of connections, while its chains are read.
struct Reader {
    name: String,
    addresses: Vec<String>,
    /// How clients speak TLS is said of each chain.
    streams: Vec<(Option<ListenerTls>, StreamRouterConfig)>,
}

impl Reader {
    fn chain(
        &mut self,
        node: &Node,
        number: usize,
        path: String,
        conversion: &mut Conversion,
    ) -> Result<(), ConvertError> {
        let mut chain = Table::new(node, path)?;
        let mut rule = StreamRule::default();
        if let Some(mut matches) = chain.table("filter_chain_match")? {
            let field = matches.path("server_names");
            for node in matches.list("server_names")? {
                let text = node.text(&field)?;
                let host = text.parse::<HostMatch>();
                rule.sni.push(host.map_err(|error| node.wrong(&field, error.to_string()))?);
            }
            matches.rest(&mut conversion.report, |_| "write the routes of this listener by hand");
        }
        let tls = transport::of_chain(&mut chain, &rule.sni, conversion)?;
        for (i, node) in chain.list("filters")?.iter().enumerate() {
            let mut filter = Table::new(node, chain.path(&format!("filters[{i}]")))?;
            let filter_name = filter.text("name")?.unwrap_or("").to_owned();
            let Some(mut config) = filter.table("typed_config")? else {
                filter.rest(&mut conversion.report, |_| "a filter without settings");
                continue;
            };
            let kind = config.text("@type")?.unwrap_or(&filter_name);
            if kind.ends_with("HttpConnectionManager") || kind.ends_with("http_connection_manager") {
                self.http(&chain, &mut config, &rule, tls.as_ref(), conversion)?;
                config.rest(
                    &mut conversion.report,
                    |_| "it is about serving, not about balancing: set it in your server",
                );
            } else if kind.ends_with("TcpProxy") || kind.ends_with("tcp_proxy") {
                if let Some(action) = tcp_action(&mut config, conversion)? {
                    let name = format!("{number}.{i}");
                    conversion.report.taken(config.place(), config.path(""), "a route of connections");
                    let route = StreamRouteConfig { name, rule: rule.clone(), action };
                    self.stream(tls.as_ref()).routes.push(route);
                }
                config.rest(&mut conversion.report, |_| "evenkeel has nothing that does this");
            } else {
                conversion.report.none(&node.place, filter.path(&filter_name), "filters are your server's");
            }
            filter.rest(&mut conversion.report, |_| "filters are your server's");
        }
        chain.rest(&mut conversion.report, |_| "nothing here says this of connections: your server does");
        Ok(())
    }

    fn http(
        &self,
        chain: &Table<'_>,
        config: &mut Table<'_>,
        rule: &StreamRule,
        tls: Option<&ListenerTls>,
        conversion: &mut Conversion,
    ) -> Result<(), ConvertError> {
        if !rule.sni.is_empty() {
            let names: Vec<String> = rule.sni.iter().map(ToString::to_string).collect();
            let subject = format!("{}: {}", chain.path("filter_chain_match.server_names"), names.join(", "));
            if tls.is_some() {
                let detail =
                    "the certificate is for these; routes of requests are asked whatever the server name was";
                conversion.report.differs(chain.place(), subject, detail);
            } else {
                let detail =
                    "routes of requests are asked whatever the server name was: give them these hosts";
                conversion.report.none(chain.place(), subject, detail);
            }
        }
        let path = config.path("route_config");
        let Some(node) = config.get("route_config") else {
            let detail = "routes that come over xDS are not in the file";
            conversion.report.none(config.place(), config.path(""), detail);
            return Ok(());
        };
        read_route_configuration(node, &path, &self.name, self.addresses.clone(), tls.cloned(), conversion)
    }

    /// The routes of connections that come in this way.
    fn stream(&mut self, tls: Option<&ListenerTls>) -> &mut StreamRouterConfig {
        let is_like = |known: &Option<ListenerTls>| match (known, tls) {
            (Some(known), Some(tls)) => {
                (&known.alpn, &known.client_ca_file) == (&tls.alpn, &tls.client_ca_file)
            }
            (known, tls) => known.is_none() && tls.is_none(),
        };
        let found = self.streams.iter().position(|(known, _)| is_like(known));
        let at = found.unwrap_or_else(|| {
            self.streams.push((tls.cloned(), StreamRouterConfig::default()));
            self.streams.len() - 1
        });
        let (known, router) = &mut self.streams[at];
        if let (Some(known), Some(tls), Some(_)) = (known, tls, found) {
            tls.certificates.iter().for_each(|certificate| known.add(certificate.clone()));
        }
        router
    }

    fn finish(self, conversion: &mut Conversion) {
        let mut streams = self.streams;
        streams.sort_by_key(|(tls, _)| tls.is_some());
        for (tls, stream) in streams {
            let (name, addresses) = (unused(&self.name, conversion), self.addresses.clone());
            let serves = Serves::Stream(stream);
            conversion.setup.listeners.push(Listener { name, addresses, tls, udp: false, serves });
        }
        for listener in &mut conversion.setup.listeners {
            if let Some(tls) = listener.tls.as_mut().filter(|_| listener.addresses == self.addresses) {
                tls.settle();
            }
        }
    }
}

/// A name that no listener has yet.
pub(super) fn unused(name: &str, conversion: &Conversion) -> String {
    let mut found = name.to_owned();
    let mut number = 2_u32;
    while conversion.setup.listeners.iter().any(|listener| listener.name == found) {
        found = format!("{name}#{number}");
        number += 1;
    }
    found
}

fn tcp_action(
    config: &mut Table<'_>,
    conversion: &mut Conversion,
) -> Result<Option<StreamAction>, ConvertError> {
    config.get("stat_prefix");
    if let Some(cluster) = config.text("cluster")? {
        return Ok(Some(StreamAction::Cluster(cluster.to_owned())));
    }
    let Some(mut weighted) = config.table("weighted_clusters")? else { return Ok(None) };
    let mut arms = Vec::new();
    for node in weighted.list("clusters")? {
        let mut arm = Table::new(node, weighted.path("clusters"))?;
        arms.push(Arm {
            cluster: arm.needed("name")?.to_owned(),
            weight: arm.number("weight")?.unwrap_or(0),
        });
        arm.rest(&mut conversion.report, |_| "an arm of a split has a cluster and a weight");
    }
    weighted.rest(&mut conversion.report, |_| "a split is drawn, or keyed by the source");
    Ok(Some(StreamAction::Split(SplitConfig { arms, ..SplitConfig::default() })))
}
