//! `load_assignment`: endpoints, their localities and marks.

use evenkeel::{ClusterConfig, EnvoyFailoverConfig};
use evenkeel_balance::compat::envoy::LocalityWeight;
use evenkeel_types::{Address, Announced, Endpoint, EndpointId, Labels, Locality, Priority, Weight};

use super::node::{Node, Value};
use super::table::Table;
use crate::conversion::Conversion;
use crate::error::ConvertError;

/// The endpoints; what comes back are the weights of the localities.
pub(super) fn endpoints(
    table: &mut Table<'_>,
    cluster: &mut ClusterConfig,
    failover: &mut EnvoyFailoverConfig,
    conversion: &mut Conversion,
) -> Result<Vec<LocalityWeight>, ConvertError> {
    let mut zones = Vec::new();
    let Some(mut assignment) = table.table("load_assignment")? else { return Ok(zones) };
    assignment.get("cluster_name");
    for (number, group) in assignment.list("endpoints")?.iter().enumerate() {
        let mut group = Table::new(group, assignment.path(&format!("endpoints[{number}]")))?;
        let level = group.number("priority")?.unwrap_or(0);
        let priority = u8::try_from(level).ok().and_then(|level| Priority::new(level).ok());
        let priority = priority.ok_or_else(|| {
            ConvertError::value(group.place(), group.path("priority"), level.to_string(), "0 to 128")
        })?;
        let mut locality = Locality::default();
        if let Some(mut place) = group.table("locality")? {
            let mut part = |field| Ok::<_, ConvertError>(place.text(field)?.unwrap_or("").to_owned());
            let (region, zone, sub_zone) = (part("region")?, part("zone")?, part("sub_zone")?);
            locality = Locality::new(&region, &zone, &sub_zone);
            place.rest(&mut conversion.report, |_| "localities have a region, a zone and a sub-zone");
        }
        let weight = group.number("load_balancing_weight")?.unwrap_or(0);
        let (region, zone, sub_zone) =
            (locality.region().to_owned(), locality.zone().to_owned(), locality.sub_zone().to_owned());
        let known = zones
            .iter()
            .find(|z: &&LocalityWeight| (&z.region, &z.zone, &z.sub_zone) == (&region, &zone, &sub_zone));
        match known {
            None => zones.push(LocalityWeight { region, zone, sub_zone, weight }),
            Some(known) if known.weight != weight => {
                let subject = format!("{}: {weight}", group.path("load_balancing_weight"));
                let detail = format!(
                    "a locality has one weight at all priorities: {}, the first that is written",
                    known.weight
                );
                conversion.report.differs(group.place(), subject, detail);
            }
            Some(_) => {}
        }
        for (i, node) in group.list("lb_endpoints")?.iter().enumerate() {
            let path = group.path(&format!("lb_endpoints[{i}]"));
            let endpoint = endpoint(node, &path, &cluster.endpoints, conversion)?;
            if let Some(endpoint) = endpoint {
                let detail = format!("endpoint {}", endpoint.id());
                conversion.report.taken(&node.place, path, detail);
                cluster.endpoints.push(endpoint.with_priority(priority).with_locality(locality.clone()));
            }
        }
        group.rest(&mut conversion.report, |_| "what it points to is not in the file");
    }
    if let Some(mut policy) = assignment.table("policy")? {
        if let Some(factor) = policy.number("overprovisioning_factor")? {
            failover.overprovisioning_percent = factor;
            conversion.report.taken(
                policy.place(),
                policy.path("overprovisioning_factor"),
                "failover.overprovisioning_percent",
            );
        }
        policy.rest(&mut conversion.report, |_| "shed requests with limit or with evenkeel-limit");
    }
    assignment.rest(&mut conversion.report, |_| "evenkeel has nothing that does this");
    Ok(zones)
}

fn endpoint(
    node: &Node,
    path: &str,
    known: &[Endpoint],
    conversion: &mut Conversion,
) -> Result<Option<Endpoint>, ConvertError> {
    let mut table = Table::new(node, path)?;
    let Some(mut inner) = table.table("endpoint")? else {
        conversion.report.none(&node.place, path, "what it points to is not in the file");
        return Ok(None);
    };
    let Some(mut outer) = inner.table("address")? else {
        return Err(ConvertError::unexpected(inner.place(), inner.path("address"), "this field is needed"));
    };
    let address: Address = if let Some(mut pipe) = outer.table("pipe")? {
        let text = format!("unix:{}", pipe.needed("path")?);
        text.parse().map_err(|error: evenkeel_types::ParseAddressError| {
            ConvertError::value(pipe.place(), pipe.path("path"), text.clone(), error.to_string())
        })?
    } else if let Some(mut socket) = outer.table("socket_address")? {
        let host = socket.needed("address")?;
        let port =
            socket.number("port_value")?.filter(|&port| (1..=65_535).contains(&port)).ok_or_else(|| {
                ConvertError::unexpected(
                    socket.place(),
                    socket.path("port_value"),
                    "a port from 1 to 65535 is needed",
                )
            })?;
        let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let address = text.parse().map_err(|error: evenkeel_types::ParseAddressError| {
            ConvertError::value(socket.place(), socket.path("address"), text.clone(), error.to_string())
        })?;
        socket.get("protocol");
        socket.rest(&mut conversion.report, |_| "addresses are hosts and ports");
        address
    } else {
        return Err(ConvertError::unexpected(
            outer.place(),
            outer.path(""),
            "a socket_address or a pipe is needed",
        ));
    };
    let base = address.to_string();
    let twins = known.iter().filter(|other| other.address() == &address).count();
    let id = if twins == 0 { base } else { format!("{base}#{}", twins + 1) };
    let id = EndpointId::new(&id)
        .map_err(|error| ConvertError::value(&node.place, path, id.clone(), error.to_string()))?;
    let mut endpoint = Endpoint::new(id, address);
    if let Some(name) = inner.text("hostname")? {
        endpoint = endpoint.with_hostname(name);
    }
    if let Some(weight) = table.number("load_balancing_weight")? {
        if weight == 0 {
            return Err(ConvertError::value(
                &node.place,
                table.path("load_balancing_weight"),
                "0",
                "1 and more, as in Envoy",
            ));
        }
        endpoint = endpoint.with_weight(Weight::new(weight));
    }
    endpoint = endpoint.with_announced(match table.text("health_status")? {
        None | Some("UNKNOWN") => Announced::Unknown,
        Some("HEALTHY") => Announced::Up,
        Some("DEGRADED") => Announced::Degraded,
        Some("DRAINING") => Announced::Draining,
        Some("UNHEALTHY" | "TIMEOUT") => Announced::Down,
        Some(other) => {
            return Err(ConvertError::value(
                &node.place,
                table.path("health_status"),
                other,
                "a HealthStatus",
            ));
        }
    });
    if let Some(mut metadata) = table.table("metadata")? {
        if let Some(mut filters) = metadata.table("filter_metadata")? {
            if let Some(values) = filters.get("envoy.lb") {
                endpoint = endpoint.with_labels(labels(values)?);
            }
            filters.rest(&mut conversion.report, |_| "only the metadata envoy.lb become labels");
        }
        metadata.rest(&mut conversion.report, |_| "only the metadata envoy.lb become labels");
    }
    inner.rest(&mut conversion.report, |field| match field {
        "health_check_config" => "give this endpoint a target of its own in the prober",
        _ => "an endpoint has no such setting",
    });
    table.rest(&mut conversion.report, |_| "an endpoint has no such setting");
    Ok(Some(endpoint))
}

fn labels(node: &Node) -> Result<Labels, ConvertError> {
    let Value::Map(map) = &node.value else { return Err(node.wrong("envoy.lb", "a table is needed")) };
    let mut pairs = Vec::new();
    for (key, value) in map {
        pairs.push((key.as_str(), value.text(key)?));
    }
    // A hash key is a label under the name that the compatible mode looks for.
    let pairs = pairs
        .into_iter()
        .map(|(key, value)| if key == "hash_key" { ("envoy.lb.hash_key", value) } else { (key, value) });
    Labels::new(pairs).map_err(|error| node.wrong("envoy.lb", error.to_string()))
}
