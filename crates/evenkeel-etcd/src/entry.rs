//! How an endpoint is written under its key.

use evenkeel_types::{Address, Announced, Endpoint, EndpointId, Labels, Weight};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The forms of values. All of them are read; this says which is written.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// `{"address":"10.0.0.1:80","weight":3,"labels":{…}}`: an endpoint without its id, which the key says.
    #[default]
    Own,
    /// `{"Op":0,"Addr":"10.0.0.1:80","Metadata":{…}}`: what gRPC's resolver for Go reads and writes
    /// (`client/v3/naming/endpoints` of etcd). In the metadata are `weight`, `announced` if it is known, and the labels.
    Grpc,
}

/// What a value says.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What of the value had to be left out, if anything, for people.
    pub left_out: Option<String>,
}

/// Reads the value under the key of `id`: a JSON object in one of the two forms, or a bare address as text.
///
/// Of our own form, up to 16 fields that are not known are left out: a newer registrar may write more than this reader
/// knows, and its endpoints must not vanish for that.
///
/// Of gRPC's metadata, `weight` and `announced` are understood, other texts, numbers and booleans become labels, and
/// deeper values are left out.
///
/// # Errors
///
/// What is wrong, for people.
pub fn read(id: &EndpointId, value: &[u8]) -> Result<Reading, String> {
    let whole = |endpoint| Reading { endpoint, left_out: None };
    let text = std::str::from_utf8(value).map_err(|_| "value is no UTF-8".to_owned())?.trim();
    if !text.starts_with('{') {
        let address: Address =
            text.parse().map_err(|error| format!("neither JSON nor an address: {error}"))?;
        return Ok(whole(Endpoint::new(id.clone(), address)));
    }
    let mut fields: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    if fields.contains_key("Addr") {
        return read_grpc(id, &fields).map(whole);
    }
    let own = Value::from(id.as_str());
    if let Some(other) = fields.insert("id".to_owned(), own.clone())
        && other != own
    {
        return Err(format!("id in the value is {other}, and the key says {own}"));
    }
    let (endpoint, unknown) = read_own(fields)?;
    let left_out = (!unknown.is_empty()).then(|| format!("unknown fields left out: {}", unknown.join(", ")));
    match endpoint.labels().and_then(Labels::reserved) {
        Some(key) => Err(format!("labels.{key}: keys under `{}` are reserved", Labels::RESERVED)),
        None => Ok(Reading { endpoint, left_out }),
    }
}

/// The endpoint, and the fields that it does not know.
fn read_own(mut fields: Map<String, Value>) -> Result<(Endpoint, Vec<String>), String> {
    let mut unknown = Vec::new();
    loop {
        let error = match serde_json::from_value(Value::Object(fields.clone())) {
            Ok(endpoint) => return Ok((endpoint, unknown)),
            Err(error) => error.to_string(),
        };
        let rest = error.strip_prefix("unknown field `").filter(|_| unknown.len() < MAX_UNKNOWN);
        let name = rest.and_then(|rest| Some(rest.split_once('`')?.0.to_owned()));
        match name.filter(|name| fields.remove(name).is_some()) {
            Some(name) => unknown.push(name),
            None => return Err(error),
        }
    }
}

/// A newer form has a few fields more; what has many is something else.
const MAX_UNKNOWN: usize = 16;

/// Writes the value of an endpoint.
#[must_use]
pub fn write(format: Format, endpoint: &Endpoint) -> String {
    let value = match format {
        Format::Own => write_own(endpoint),
        Format::Grpc => write_grpc(endpoint),
    };
    value.to_string()
}

fn write_own(endpoint: &Endpoint) -> Value {
    // Serialising an endpoint into memory cannot fail; without its fields it would be refused by every reader.
    let mut value = serde_json::to_value(endpoint).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.remove("id");
        fields.remove("expires");
    }
    value
}

fn write_grpc(endpoint: &Endpoint) -> Value {
    let mut metadata = Map::new();
    for (key, value) in endpoint.labels().into_iter().flat_map(Labels::iter) {
        metadata.insert(key.to_owned(), value.into());
    }
    metadata.insert("weight".to_owned(), endpoint.weight().get().into());
    if endpoint.announced() != Announced::Unknown {
        metadata
            .insert("announced".to_owned(), serde_json::to_value(endpoint.announced()).unwrap_or_default());
    }
    serde_json::json!({ "Op": 0, "Addr": endpoint.address().to_string(), "Metadata": metadata })
}

fn read_grpc(id: &EndpointId, fields: &Map<String, Value>) -> Result<Endpoint, String> {
    if fields.get("Op").is_some_and(|op| op.as_u64() != Some(0)) {
        return Err("Op is not 0 (add)".to_owned());
    }
    let address = fields.get("Addr").and_then(Value::as_str).ok_or("Addr is no text")?;
    let address: Address = address.parse().map_err(|error| format!("Addr: {error}"))?;
    let mut endpoint = Endpoint::new(id.clone(), address);
    let mut labels = Vec::new();
    for (key, value) in fields.get("Metadata").and_then(Value::as_object).into_iter().flatten() {
        match (key.as_str(), value) {
            ("weight", value) => {
                let weight = value.as_u64().or_else(|| value.as_str()?.parse().ok());
                let weight = weight.and_then(|weight| u32::try_from(weight).ok());
                let weight = weight.ok_or_else(|| format!("Metadata.weight is {value}, no u32"))?;
                endpoint = endpoint.with_weight(Weight::new(weight));
            }
            ("announced", value) => {
                let announced = Announced::deserialize(value)
                    .map_err(|_| format!("Metadata.announced is {value}, no known state"))?;
                endpoint = endpoint.with_announced(announced);
            }
            ("", _) => {}
            (key, Value::String(text)) => labels.push((key, text.clone())),
            (key, value @ (Value::Number(_) | Value::Bool(_))) => labels.push((key, value.to_string())),
            _ => {}
        }
    }
    let labels = Labels::from_outside(labels).map_err(|error| format!("Metadata: {error}"))?;
    Ok(endpoint.with_labels(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> EndpointId {
        "a".parse().unwrap()
    }

    #[test]
    fn values_are_read_in_all_forms() {
        let check = |value: &str, address: &str, weight: u32| {
            let endpoint = read(&id(), value.as_bytes()).unwrap().endpoint;
            assert_eq!((endpoint.address().to_string().as_str(), endpoint.weight().get()), (address, weight));
        };
        check("10.0.0.1:80", "10.0.0.1:80", 1);
        check(" db.example:5432\n", "db.example:5432", 1);
        check(r#"{"address":"10.0.0.1:80","weight":3}"#, "10.0.0.1:80", 3);
        check(r#"{"id":"a","address":"10.0.0.1:80"}"#, "10.0.0.1:80", 1);
        check(r#"{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}"#, "10.0.0.1:80", 1);
        check(r#"{"Addr":"10.0.0.1:80","Metadata":{"weight":"7"}}"#, "10.0.0.1:80", 7);
        check(r#"{"Addr":"10.0.0.1:80","Metadata":{"weight":0}}"#, "10.0.0.1:80", 0);
        let endpoint = read(
            &id(),
            br#"{"Addr":"a:1","Metadata":{"zone":"x","n":2,"deep":{"y":1},"announced":"draining"}}"#,
        )
        .unwrap()
        .endpoint;
        assert_eq!(
            (endpoint.label("zone"), endpoint.label("n"), endpoint.label("deep")),
            (Some("x"), Some("2"), None)
        );
        assert_eq!(endpoint.announced(), Announced::Draining);
    }

    #[test]
    fn unknown_fields_are_left_out_and_named() {
        let value = br#"{"address":"10.0.0.1:80","wieght":3,"weight":2,"colour":{"of":"newer"}}"#;
        let Reading { endpoint, left_out } = read(&id(), value).unwrap();
        assert_eq!(endpoint.weight(), Weight::new(2));
        let left_out = left_out.unwrap();
        assert!(left_out.contains("wieght") && left_out.contains("colour"), "{left_out}");
        let many: String = (0..17).map(|n| format!(r#","x{n}":1"#)).collect();
        let error = read(&id(), format!(r#"{{"address":"10.0.0.1:80"{many}}}"#).as_bytes()).unwrap_err();
        assert!(error.contains("unknown field"), "{error}");
    }

    #[test]
    fn bad_values_say_why() {
        for (value, why) in [
            (&b""[..], "neither"),
            (b"\xff\xfe", "UTF-8"),
            (b"{", "JSON"),
            (b"[]", "neither"),
            (b"{}", "address"),
            (br#"{"address":"10.0.0.1"}"#, "port"),
            (br#"{"address":"10.0.0.1:80","weight":-3}"#, "-3"),
            (br#"{"id":"b","address":"10.0.0.1:80"}"#, "key says"),
            (br#"{"Op":1,"Addr":"10.0.0.1:80"}"#, "Op"),
            (br#"{"Addr":7}"#, "Addr"),
            (br#"{"address":"10.0.0.1:80","labels":{"evenkeel.a":"1"}}"#, "labels.evenkeel.a"),
            (br#"{"Addr":"10.0.0.1:80","Metadata":{"evenkeel.a":"1"}}"#, "reserved"),
            (br#"{"Addr":"10.0.0.1:80","Metadata":{"weight":4294967296}}"#, "weight"),
        ] {
            let error = read(&id(), value).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let endpoint = Endpoint::new(id(), "10.0.0.1:80".parse().unwrap())
            .with_weight(Weight::new(5))
            .with_announced(Announced::Draining)
            .with_labels(Labels::new([("stage", "canary")]).unwrap());
        for format in [Format::Own, Format::Grpc] {
            let read = read(&id(), write(format, &endpoint).as_bytes()).unwrap();
            assert_eq!(read, Reading { endpoint: endpoint.clone(), left_out: None }, "{format:?}");
        }
        assert!(!write(Format::Own, &endpoint).contains("\"id\""));
    }
}
