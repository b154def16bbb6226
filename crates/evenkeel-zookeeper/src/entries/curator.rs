use evenkeel_types::{Announced, Endpoint, EndpointId, Labels, Locality};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    CuratorPort, EntryError, Format, Reading, Unwritable, Writing, address, bad, host_and_port, id_of,
    malformed, missing, pairs, scalars, weight,
};

/// `org.apache.curator.x.discovery.ServiceInstance`, as far as it is used; further fields are none of our business.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Deserialize)]
struct Instance {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    address: Option<String>,
    #[serde(default)]
    port: Option<i64>,
    #[serde(default, rename = "sslPort")]
    tls_port: Option<i64>,
    #[serde(default)]
    payload: Value,
    #[serde(default, rename = "uriSpec")]
    uri: Option<UriSpec>,
    // Entries of Curator before 2.8 do not have it.
    #[serde(default)]
    enabled: Option<bool>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Deserialize)]
struct UriSpec {
    #[serde(default)]
    parts: Vec<Part>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Deserialize)]
struct Part {
    value: String,
    #[serde(default)]
    variable: bool,
}

pub(super) fn read(port: CuratorPort, name: &str, data: &[u8]) -> Result<Reading, EntryError> {
    let instance: Instance =
        serde_json::from_slice(data).map_err(|error| malformed(Format::Curator, &error))?;
    let id = EndpointId::new(id_of(name))?;
    let host = instance.address.as_deref().ok_or_else(|| missing("address"))?;
    let number = match port {
        CuratorPort::Plain => instance.port.ok_or_else(|| missing("port")),
        CuratorPort::Tls => instance.tls_port.ok_or_else(|| missing("sslPort")),
    }?;
    let address = address("address", host, number)?;
    let payload = instance.payload.as_object();
    let metadata = payload.and_then(|payload| payload.get("metadata")).and_then(Value::as_object);
    let mut endpoint = Endpoint::new(id, address).with_announced(announced(&instance, payload, metadata)?);
    let weights = [(payload, "payload.weight"), (metadata, "payload.metadata.weight")];
    let given = weights.iter().find_map(|(map, field)| Some((map.as_ref()?.get("weight")?, *field)));
    if let Some((value, field)) = given {
        endpoint = endpoint.with_weight(weight(field, value)?);
    }
    let place = |key| metadata.or(payload).and_then(|map| map.get(key)).and_then(Value::as_str).unwrap_or("");
    endpoint = endpoint.with_locality(Locality::new(place("region"), place("zone"), place("sub_zone")));
    let (labels, left_out) = match labels(&instance, name, payload, metadata) {
        Ok(labels) => (labels, None),
        Err(error) => (Labels::default(), Some(error)),
    };
    Ok(Reading::Endpoint { endpoint: Box::new(endpoint.with_labels(labels)), left_out })
}

fn announced(
    instance: &Instance,
    payload: Option<&Map<String, Value>>,
    metadata: Option<&Map<String, Value>>,
) -> Result<Announced, EntryError> {
    if instance.enabled == Some(false) {
        return Ok(Announced::Draining);
    }
    let Some(status) = metadata.or(payload).and_then(|map| map.get(STATUS)) else {
        return Ok(Announced::Unknown);
    };
    const WANTED: &str = "UP, STARTING, OUT_OF_SERVICE, DOWN, DEGRADED or UNKNOWN";
    let named = STATES.iter().find(|(_, name)| Some(*name) == status.as_str());
    named.map(|(state, _)| *state).ok_or_else(|| bad(STATUS, status, WANTED))
}

fn labels(
    instance: &Instance,
    name: &str,
    payload: Option<&Map<String, Value>>,
    metadata: Option<&Map<String, Value>>,
) -> Result<Labels, EntryError> {
    // Of a payload without metadata, what has a meaning of its own is no label.
    let own = |key: &str| metadata.is_none() && matches!(key, "weight" | "@class");
    let of_payload = metadata.or(payload).into_iter().flat_map(scalars);
    let uri = instance.uri.as_ref().map(|uri| ("uri", fill(uri, instance, name)));
    let text = instance.payload.as_str().map(|text| ("payload", text.to_owned()));
    let kept = of_payload.filter(|(key, _)| !own(key) && *key != STATUS);
    Ok(Labels::from_outside(kept.chain(uri).chain(text))?)
}

/// Curator's `UriSpec.build`; a variable that is not known is left as it stands, in braces.
fn fill(uri: &UriSpec, instance: &Instance, name: &str) -> String {
    let number = |port: Option<i64>| port.map(|port| port.to_string()).unwrap_or_default();
    let part = |part: &Part| match part.value.as_str() {
        text if !part.variable => text.to_owned(),
        "scheme" => if instance.tls_port.is_some() { "https" } else { "http" }.to_owned(),
        "name" => instance.name.clone().unwrap_or_default(),
        "id" => id_of(name),
        "address" => instance.address.clone().unwrap_or_default(),
        "port" => number(instance.port),
        "ssl-port" => number(instance.tls_port),
        unknown => format!("{{{unknown}}}"),
    };
    uri.parts.iter().map(part).collect()
}

pub(super) fn write(
    port: CuratorPort,
    endpoint: &Endpoint,
    writing: &Writing<'_>,
) -> Result<Vec<u8>, Unwritable> {
    let (host, number) = host_and_port(endpoint)?;
    let (plain, tls) = match port {
        CuratorPort::Plain => (Some(number), None),
        CuratorPort::Tls => (None, Some(number)),
    };
    let draining = endpoint.announced() == Announced::Draining || endpoint.weight().is_drain();
    let instance = json!({
        "name": writing.service,
        "id": endpoint.id().as_str(),
        "address": host,
        "port": plain,
        "sslPort": tls,
        "payload": payload(endpoint),
        "registrationTimeUTC": writing.registered_ms,
        "serviceType": "DYNAMIC",
        "uriSpec": null,
        "enabled": !draining,
    });
    Ok(instance.to_string().into_bytes())
}

/// None if there is nothing to say, since readers in Java may not expect one.
fn payload(endpoint: &Endpoint) -> Option<Value> {
    let mut metadata = pairs(endpoint);
    let named = STATES.iter().find(|(state, _)| *state == endpoint.announced());
    if let Some((_, name)) = named.filter(|_| endpoint.announced() != Announced::Unknown) {
        metadata.insert(STATUS.to_owned(), (*name).into());
    }
    if let Some(place) = endpoint.locality() {
        let parts = [("region", place.region()), ("zone", place.zone()), ("sub_zone", place.sub_zone())];
        metadata
            .extend(parts.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.to_owned(), v.into())));
    }
    let weight = endpoint.weight().get();
    (weight != 1 || !metadata.is_empty()).then(|| json!({ "weight": weight, "metadata": metadata }))
}

/// The names are those of Spring Cloud ZooKeeper, which knows the second to the fourth.
const STATES: [(Announced, &str); 6] = [
    (Announced::Unknown, "UNKNOWN"),
    (Announced::Up, "UP"),
    (Announced::Draining, "OUT_OF_SERVICE"),
    (Announced::Down, "DOWN"),
    (Announced::Starting, "STARTING"),
    (Announced::Degraded, "DEGRADED"),
];

const STATUS: &str = "instance_status";
