//! Envoy's EDS files: a `DiscoveryResponse` with `resources`, or a single `ClusterLoadAssignment`, in JSON or YAML with
//! the field names of either protobuf spelling (`lb_endpoints`, `lbEndpoints`).
//!
//! The service is the `cluster_name`. Source of the fields:
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/endpoint/v3/endpoint.proto>.
//!
//! | field | here |
//! |---|---|
//! | `endpoint.address.socket_address`, `pipe` | the address, and the id. An IP address: Envoy resolves no names in EDS either |
//! | `endpoint.additional_addresses` | further addresses |
//! | `endpoint.hostname` | hostname |
//! | `load_balancing_weight` of an endpoint | weight; 0 is bad, as in Envoy |
//! | `health_status` | announced; `UNHEALTHY` and `TIMEOUT` are down |
//! | `metadata.filter_metadata."envoy.lb"` | labels |
//! | `locality`, `priority` | the same; a priority above 128 is bad |
//! | `load_balancing_weight` of a locality, `policy`, `proximity` | not read: they are not about who exists |
//! | `endpoint_name`, `leds_cluster_locality_config` | bad: what they point to is not in the file |
//!
//! Envoy refuses the whole assignment for one bad endpoint; here the rest is used. Unknown fields are left alone, as
//! Envoy does with what it subscribes to.

use std::net::{IpAddr, SocketAddr};

use evenkeel_types::{Address, Announced, Endpoint, Locality, Priority, Weight};
use smol_str::SmolStr;

use crate::answer::Gathered;
use crate::fields::{self, Table, present};
use crate::format::priority;
use crate::node::Node;
use crate::{Answer, Document, Fault};

const TYPE: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";

pub(crate) fn check(root: &Node) -> Result<(), Fault> {
    assignments(root).map(|_| ())
}

pub(crate) fn services(root: &Node) -> Vec<SmolStr> {
    let names = assignments(root).unwrap_or_default();
    names.into_iter().filter_map(|node| cluster_name(node).ok()).map(SmolStr::new).collect()
}

pub(crate) fn service(root: &Node, name: &str) -> Result<Answer, Fault> {
    let all = assignments(root)?;
    let mut named = all.into_iter().filter(|node| cluster_name(node).is_ok_and(|found| found == name));
    let node = named.next().ok_or_else(|| Document::missing(root, name, &services(root)))?;
    if let Some(twin) = named.next() {
        return Err(twin.fault(format!("a second assignment for cluster {name:?}")));
    }
    let mut gathered = Gathered::default();
    if let Some(groups) = present(node.map("the assignment")?, "endpoints") {
        for (number, group) in groups.list("endpoints")?.iter().enumerate() {
            let place = format!("endpoints[{number}]");
            if let Err(fault) = locality_group(group, &place, &mut gathered) {
                gathered.bad(place, fault);
            }
        }
    }
    Ok(gathered.done(false))
}

fn assignments(root: &Node) -> Result<Vec<&Node>, Fault> {
    let table = root.map("the file")?;
    let Some(resources) = present(table, "resources") else {
        cluster_name(root)?;
        return Ok(vec![root]);
    };
    let mut found = Vec::new();
    for resource in resources.list("resources")? {
        let table = resource.map("a resource")?;
        // A resource may come in the envelope that carries its name and version.
        let inner = present(table, "resource").unwrap_or(resource);
        if let Some(kind) = present(inner.map("a resource")?, "@type") {
            let text = kind.text("@type")?;
            if text.rsplit('/').next() != Some(TYPE) {
                return Err(kind.fault(format!("a resource of type {text:?}: only {TYPE} is known")));
            }
        }
        cluster_name(inner)?;
        found.push(inner);
    }
    Ok(found)
}

fn cluster_name(node: &Node) -> Result<&str, Fault> {
    let found = get(node.map("the assignment")?, "cluster_name");
    found.ok_or_else(|| node.fault("the assignment has no cluster_name"))?.text("cluster_name")
}

fn locality_group(group: &Node, place: &str, gathered: &mut Gathered) -> Result<(), Fault> {
    let table = group.map(place)?;
    let priority = get(table, "priority").map_or(Ok(Priority::HIGHEST), |node| priority(node, "priority"))?;
    let locality = get(table, "locality").map_or(Ok(Locality::default()), locality)?;
    if let Some(node) = get(table, "leds_cluster_locality_config") {
        return Err(node.fault("endpoints of a leds_cluster_locality_config are not in the file"));
    }
    let Some(list) = get(table, "lb_endpoints") else { return Ok(()) };
    for (number, node) in list.list("lb_endpoints")?.iter().enumerate() {
        let read = lb_endpoint(node)
            .map(|endpoint| endpoint.with_priority(priority).with_locality(locality.clone()))
            .map_err(|fault| (name_of(node), fault));
        gathered.take(format!("{place}.lb_endpoints[{number}]"), node.line, read);
    }
    Ok(())
}

fn lb_endpoint(node: &Node) -> Result<Endpoint, Fault> {
    let table = node.map("the entry")?;
    if let Some(name) = get(table, "endpoint_name") {
        return Err(name.fault("endpoint_name: what it points to is not in the file"));
    }
    let inner = get(table, "endpoint").ok_or_else(|| node.fault("there is no endpoint"))?;
    let described = inner.map("endpoint")?;
    let mut addresses = vec![address(inner, described)?];
    if let Some(more) = get(described, "additional_addresses") {
        for node in more.list("additional_addresses")? {
            addresses.push(address(node, node.map("additional_addresses")?)?);
        }
    }
    let mut endpoint = fields::endpoint(inner, None, addresses)?;
    if let Some(node) = get(described, "hostname") {
        endpoint = endpoint.with_hostname(node.text("hostname")?);
    }
    if let Some(node) = get(table, "load_balancing_weight") {
        endpoint = endpoint.with_weight(weight(node)?);
    }
    if let Some(node) = get(table, "health_status") {
        endpoint = endpoint.with_announced(health(node)?);
    }
    match lb_metadata(table)? {
        Some(node) => Ok(endpoint.with_labels(fields::labels(node, "envoy.lb")?)),
        None => Ok(endpoint),
    }
}

fn name_of(node: &Node) -> Option<String> {
    let inner = get(node.map("").ok()?, "endpoint")?.map("").ok()?;
    let socket = get(get(inner, "address")?.map("").ok()?, "socket_address")?.map("").ok()?;
    let host = get(socket, "address")?.any_text("").ok()?;
    let port = get(socket, "port_value").and_then(|port| port.any_text("").ok()).unwrap_or("?");
    Some(format!("{}:{port}", host.chars().take(128).collect::<String>()))
}

fn address(node: &Node, table: &Table) -> Result<Address, Fault> {
    let outer = get(table, "address").ok_or_else(|| node.fault("there is no address"))?;
    let table = outer.map("address")?;
    if let Some(pipe) = get(table, "pipe") {
        let path = get(pipe.map("pipe")?, "path").ok_or_else(|| pipe.fault("the pipe has no path"))?;
        let text = format!("unix:{}", path.text("path")?);
        return text.parse().map_err(|error| path.fault(format!("pipe: {error}")));
    }
    let socket = get(table, "socket_address")
        .ok_or_else(|| outer.fault("there is neither socket_address nor pipe"))?;
    let table = socket.map("socket_address")?;
    if let Some(protocol) = get(table, "protocol").filter(|node| !is_tcp(node)) {
        return Err(protocol.fault("the protocol is not TCP"));
    }
    let host = get(table, "address").ok_or_else(|| socket.fault("the socket_address has no address"))?;
    let text = host.text("address")?;
    let ip: IpAddr = text
        .parse()
        .map_err(|_| host.fault(format!("address {text:?} is not an IP address, as EDS wants it")))?;
    let port =
        get(table, "port_value").ok_or_else(|| socket.fault("the socket_address has no port_value"))?;
    let number = number(port, "port_value", u16::MAX.into())?;
    Ok(Address::Socket(SocketAddr::new(ip, u16::try_from(number).unwrap_or(u16::MAX))))
}

fn is_tcp(node: &Node) -> bool {
    node.any_text("protocol").is_ok_and(|text| matches!(text, "TCP" | "0"))
}

fn weight(node: &Node) -> Result<Weight, Fault> {
    let weight = number(node, "load_balancing_weight", u32::MAX.into())?;
    if weight == 0 {
        return Err(node.fault("load_balancing_weight is 0: Envoy wants at least 1; to drain say DRAINING"));
    }
    Ok(Weight::new(u32::try_from(weight).unwrap_or(u32::MAX)))
}

/// A number as the JSON form of protobuf allows it: also as a text.
fn number(node: &Node, what: &str, max: u64) -> Result<u64, Fault> {
    match node.text(what).ok().and_then(|text| text.parse().ok()) {
        Some(number) if number <= max => Ok(number),
        _ => node.whole(what, max),
    }
}

fn health(node: &Node) -> Result<Announced, Fault> {
    Ok(match node.any_text("health_status")? {
        "UNKNOWN" | "0" => Announced::Unknown,
        "HEALTHY" | "1" => Announced::Up,
        "UNHEALTHY" | "2" | "TIMEOUT" | "4" => Announced::Down,
        "DRAINING" | "3" => Announced::Draining,
        "DEGRADED" | "5" => Announced::Degraded,
        other => {
            let allowed = "UNKNOWN, HEALTHY, UNHEALTHY, DRAINING, TIMEOUT, DEGRADED";
            return Err(node.fault(format!("health_status is {other:?}: allowed are {allowed}")));
        }
    })
}

fn lb_metadata(table: &Table) -> Result<Option<&Node>, Fault> {
    let Some(metadata) = get(table, "metadata") else { return Ok(None) };
    let Some(filters) = get(metadata.map("metadata")?, "filter_metadata") else { return Ok(None) };
    Ok(present(filters.map("filter_metadata")?, "envoy.lb"))
}

fn locality(node: &Node) -> Result<Locality, Fault> {
    let table = node.map("locality")?;
    let part = |key| get(table, key).map_or(Ok(""), |node| node.text(key));
    Ok(Locality::new(part("region")?, part("zone")?, part("sub_zone")?))
}

/// A field under the name of the schema or its JSON spelling.
fn get<'a>(table: &'a Table, snake: &str) -> Option<&'a Node> {
    present(table, snake).or_else(|| {
        let mut camel = String::with_capacity(snake.len());
        for part in snake.split('_') {
            let mut chars = part.chars();
            match chars.next() {
                Some(first) if !camel.is_empty() => camel.push(first.to_ascii_uppercase()),
                Some(first) => camel.push(first),
                None => {}
            }
            camel.push_str(chars.as_str());
        }
        present(table, &camel)
    })
}
