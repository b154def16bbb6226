use std::collections::BTreeMap;

use evenkeel_types::{Announced, Endpoint, EndpointId, Labels};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    EntryError, Format, Reading, Unwritable, address, bad, host_and_port, id_of, malformed, missing, pairs,
    scalars,
};

/// What the names of members start with.
pub(super) const PREFIX: &str = "member_";

/// `ServiceInstance` of Twitter commons, as Finagle reads it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    #[serde(default)]
    service_endpoint: Option<HostPort>,
    #[serde(default)]
    additional_endpoints: BTreeMap<String, HostPort>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    shard: Option<i64>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Deserialize)]
struct HostPort {
    host: String,
    port: i64,
}

pub(super) fn read(additional: Option<&str>, name: &str, data: &[u8]) -> Result<Reading, EntryError> {
    let member: Member =
        serde_json::from_slice(data).map_err(|error| malformed(Format::ServerSets, &error))?;
    let id = EndpointId::new(id_of(name.strip_prefix(PREFIX).unwrap_or(name)))?;
    let field = additional.map_or("serviceEndpoint".into(), |name| format!("additionalEndpoints.{name}"));
    let place = match additional {
        None => member.service_endpoint.as_ref(),
        Some(name) => member.additional_endpoints.get(name),
    };
    let HostPort { host, port } = place.ok_or_else(|| missing(&field))?;
    let endpoint = Endpoint::new(id, address(&field, host, *port)?).with_announced(announced(&member)?);
    let shard = member.shard.map(|shard| ("shard", shard.to_string()));
    let labels = Labels::from_outside(member.metadata.iter().flat_map(scalars).chain(shard));
    let (labels, left_out) = match labels {
        Ok(labels) => (labels, None),
        Err(error) => (Labels::default(), Some(error.into())),
    };
    Ok(Reading::Endpoint { endpoint: Box::new(endpoint.with_labels(labels)), left_out })
}

fn announced(member: &Member) -> Result<Announced, EntryError> {
    Ok(match member.status.as_deref() {
        None => Announced::Unknown,
        Some("ALIVE") => Announced::Up,
        Some("WARNING") => Announced::Degraded,
        Some("STARTING") => Announced::Starting,
        Some("STOPPING") => Announced::Draining,
        Some("DEAD" | "STOPPED") => Announced::Down,
        Some(other) => {
            return Err(bad("status", other, "ALIVE, WARNING, STARTING, STOPPING, DEAD or STOPPED"));
        }
    })
}

pub(super) fn write(additional: Option<&str>, endpoint: &Endpoint) -> Result<Vec<u8>, Unwritable> {
    let (host, port) = host_and_port(endpoint)?;
    if !matches!(endpoint.weight().get(), 0 | 1) {
        return Err(Unwritable::What { what: "a weight" });
    }
    let status = match endpoint.announced() {
        _ if endpoint.weight().is_drain() => "STOPPING",
        Announced::Degraded => "WARNING",
        Announced::Starting => "STARTING",
        Announced::Draining => "STOPPING",
        Announced::Down => "DEAD",
        _ => "ALIVE",
    };
    let place = json!({ "host": host, "port": port });
    let others = additional.map(|name| (name.to_owned(), place.clone()));
    let mut metadata = pairs(endpoint);
    let shard = endpoint.label("shard").and_then(|shard| shard.parse::<i64>().ok());
    if shard.is_some() {
        metadata.remove("shard");
    }
    let mut member = json!({
        "serviceEndpoint": place,
        "additionalEndpoints": others.into_iter().collect::<Map<_, _>>(),
        "status": status,
    });
    if let Some(shard) = shard {
        member["shard"] = shard.into();
    }
    if !metadata.is_empty() {
        member["metadata"] = metadata.into();
    }
    Ok(member.to_string().into_bytes())
}
