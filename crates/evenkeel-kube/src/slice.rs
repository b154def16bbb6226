use std::net::IpAddr;

use serde_json::Value;
use thiserror::Error;

/// One EndpointSlice of the group `discovery.k8s.io/v1`, as far as discovery needs it.
///
/// It is read leniently where Kubernetes may add fields, and strictly where a wrong guess would send requests astray: an
/// entry with a condition that is no truth value is a bad entry, one without conditions is ready
/// (<https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/>). What cannot be read is
/// kept as such, beside the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub(crate) name: String,
    /// `resourceVersion`, if it is a number, as it is in all API servers known.
    pub(crate) version: Option<u64>,
    pub(crate) content: Result<Content, BadSlice>,
}

/// What a slice says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Content {
    /// Of the label `kubernetes.io/service-name`.
    pub(crate) service: Option<String>,
    pub(crate) ports: Vec<Port>,
    pub(crate) entries: Vec<Result<Entry, BadEntry>>,
}

/// A port of all entries of a slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Port {
    /// Empty for a port without a name.
    pub(crate) name: String,
    /// `None` for "all ports".
    pub(crate) number: Option<u16>,
    pub(crate) protocol: String,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) ip: IpAddr,
    pub(crate) uid: Option<String>,
    /// Kind and name of what it is, such as `Pod` and `users-0`.
    pub(crate) target: Option<(String, String)>,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
    pub(crate) hostname: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) zone: Option<String>,
    pub(crate) for_zones: Vec<String>,
}

/// An entry that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BadEntry {
    /// Number and, as far as there is one, name or address.
    pub(crate) which: String,
    pub(crate) why: String,
}

/// A slice that cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadSlice {
    /// Not even an object with a name.
    #[error("is no object with metadata.name")]
    NoObject,
    /// Names instead of addresses. Kubernetes calls this type deprecated and has no consumer of it.
    #[error("addressType is FQDN, which is deprecated and not followed: use evenkeel-dns for names")]
    Names,
    /// Some other type, or none.
    #[error("addressType is {0}: IPv4 and IPv6 are known")]
    AddressType(String),
    /// A field of the wrong type.
    #[error("{0} is not what the API says")]
    Field(&'static str),
}

impl Slice {
    /// Reads the JSON of one slice. `None` if it is no JSON.
    #[must_use]
    pub fn from_json(text: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Value>(text).ok().map(|value| Self::from_value(&value))
    }

    /// The name of the slice; empty if it has none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why it cannot be used, if so.
    #[must_use]
    pub fn fault(&self) -> Option<&BadSlice> {
        self.content.as_ref().err()
    }

    pub(crate) fn from_value(value: &Value) -> Self {
        let metadata = &value["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let version = metadata["resourceVersion"].as_str().and_then(|text| text.parse().ok());
        let content = if name.is_empty() { Err(BadSlice::NoObject) } else { Content::read(value) };
        Self { name: cut(name), version, content }
    }
}

impl Content {
    fn read(value: &Value) -> Result<Self, BadSlice> {
        let v4 = match value["addressType"].as_str() {
            Some("IPv4") => true,
            Some("IPv6") => false,
            Some("FQDN") => return Err(BadSlice::Names),
            _ => return Err(BadSlice::AddressType(cut(&value["addressType"].to_string()))),
        };
        let service = value["metadata"]["labels"]["kubernetes.io/service-name"].as_str().map(cut);
        let ports = list(&value["ports"]).ok_or(BadSlice::Field("ports"))?;
        let ports = ports.iter().map(Port::read).collect::<Result<_, _>>()?;
        let entries = list(&value["endpoints"]).ok_or(BadSlice::Field("endpoints"))?;
        let read =
            |(at, entry)| Entry::read(entry, v4).map_err(|why| BadEntry { which: which(at, entry), why });
        let entries = entries.iter().enumerate().map(read).collect();
        Ok(Self { service, ports, entries })
    }
}

impl Port {
    fn read(value: &Value) -> Result<Self, BadSlice> {
        let bad = || BadSlice::Field("ports");
        if !value.is_object() {
            return Err(bad());
        }
        let number = match &value["port"] {
            Value::Null => None,
            number => {
                let number = number.as_u64().and_then(|number| u16::try_from(number).ok());
                Some(number.filter(|&number| number != 0).ok_or_else(bad)?)
            }
        };
        let text = |field: &str, default: &str| match &value[field] {
            Value::Null => Ok(default.to_owned()),
            Value::String(text) => Ok(cut(text)),
            _ => Err(bad()),
        };
        Ok(Self { name: text("name", "")?, number, protocol: text("protocol", "TCP")? })
    }
}

impl Entry {
    fn read(value: &Value, v4: bool) -> Result<Self, String> {
        if !value.is_object() {
            return Err("is no object".to_owned());
        }
        // All addresses of an entry reach the same process, and consumers may take the first.
        let first = match &value["addresses"] {
            Value::Array(addresses) => addresses.first().ok_or("has no address")?,
            _ => return Err("addresses is no list".to_owned()),
        };
        let first = first.as_str().ok_or("an address is no text")?;
        let ip: IpAddr = first.parse().map_err(|_| format!("{:?} is no IP address", cut(first)))?;
        if ip.is_ipv4() != v4 {
            return Err(format!("{ip} is not of the slice's addressType"));
        }
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(format!("{ip} is no address of one host"));
        }
        let target = &value["targetRef"];
        if !(target.is_null() || target.is_object()) {
            return Err("targetRef is no object".to_owned());
        }
        let conditions = &value["conditions"];
        if !(conditions.is_null() || conditions.is_object()) {
            return Err("conditions is no object".to_owned());
        }
        let named = text(target, "name")?;
        let for_zones = value["hints"]["forZones"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Self {
            ip,
            uid: text(target, "uid")?,
            target: named.map(|name| (target["kind"].as_str().map(cut).unwrap_or_default(), name)),
            ready: truth(conditions, "ready", true)?,
            serving: truth(conditions, "serving", true)?,
            terminating: truth(conditions, "terminating", false)?,
            hostname: text(value, "hostname")?,
            node: text(value, "nodeName")?,
            zone: text(value, "zone")?,
            // Hints are advice: one that cannot be read costs nobody the endpoint.
            for_zones: for_zones
                .iter()
                .filter_map(|zone| zone["name"].as_str())
                .take(MAX_HINTS)
                .map(cut)
                .collect(),
        })
    }
}

fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Null => Some(&[]),
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// A text, or nothing. Empty texts are nothing too: the fields that are read this way mean nothing by them.
fn text(value: &Value, field: &str) -> Result<Option<String>, String> {
    match &value[field] {
        Value::Null => Ok(None),
        Value::String(text) if text.len() > MAX_TEXT => {
            Err(format!("{field} is longer than {MAX_TEXT} bytes"))
        }
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        _ => Err(format!("{field} is no text")),
    }
}

fn truth(value: &Value, field: &str, default: bool) -> Result<bool, String> {
    match &value[field] {
        Value::Null => Ok(default),
        Value::Bool(truth) => Ok(*truth),
        _ => Err(format!("conditions.{field} is neither true nor false")),
    }
}

fn which(at: usize, entry: &Value) -> String {
    let name = entry["targetRef"]["name"].as_str().or_else(|| entry["addresses"][0].as_str());
    name.map_or_else(|| format!("#{at}"), |name| format!("#{at} {}", cut(name)))
}

/// Names in Kubernetes have 253 bytes at most.
fn cut(text: &str) -> String {
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].to_owned()
}

const MAX_TEXT: usize = 253;
/// As the API allows.
const MAX_HINTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(json: &str) -> Result<Entry, String> {
        Entry::read(&serde_json::from_str(json).unwrap(), true)
    }

    #[test]
    fn what_is_not_said_means() {
        let read = entry(r#"{"addresses":["10.0.0.1","10.0.0.2"],"unknown":[1]}"#).unwrap();
        assert_eq!((read.ready, read.serving, read.terminating), (true, true, false));
        assert_eq!((read.ip, read.uid), (IpAddr::from([10, 0, 0, 1]), None));
        let read = entry(
            r#"{"addresses":["10.0.0.1"],"conditions":{"ready":null,"serving":false,"terminating":true}}"#,
        );
        let read = read.unwrap();
        assert_eq!((read.ready, read.serving, read.terminating), (true, false, true));
    }

    #[test]
    fn wrong_types_are_bad_entries() {
        for (bad, part) in [
            ("7", "no object"),
            ("{}", "addresses"),
            (r#"{"addresses":[]}"#, "no address"),
            (r#"{"addresses":[1]}"#, "no text"),
            (r#"{"addresses":["x.example"]}"#, "no IP"),
            (r#"{"addresses":["fd00::1"]}"#, "addressType"),
            (r#"{"addresses":["0.0.0.0"]}"#, "one host"),
            (r#"{"addresses":["10.0.0.1"],"conditions":[]}"#, "conditions"),
            (r#"{"addresses":["10.0.0.1"],"conditions":{"ready":"yes"}}"#, "conditions.ready"),
            (r#"{"addresses":["10.0.0.1"],"targetRef":7}"#, "targetRef"),
            (r#"{"addresses":["10.0.0.1"],"targetRef":{"uid":7}}"#, "uid"),
            (r#"{"addresses":["10.0.0.1"],"zone":7}"#, "zone"),
        ] {
            let why = entry(bad).unwrap_err();
            assert!(why.contains(part), "{bad}: {why}");
        }
    }

    #[test]
    fn slices_without_sense() {
        for (bad, part) in [
            ("null", "metadata.name"),
            ("[]", "metadata.name"),
            (r#"{"metadata":{"name":"a"}}"#, "addressType is null"),
            (r#"{"metadata":{"name":"a"},"addressType":"FQDN"}"#, "FQDN"),
            (r#"{"metadata":{"name":"a"},"addressType":"IPv4","endpoints":{}}"#, "endpoints"),
            (r#"{"metadata":{"name":"a"},"addressType":"IPv4","ports":[{"port":70000}]}"#, "ports"),
            (r#"{"metadata":{"name":"a"},"addressType":"IPv4","ports":[{"port":0}]}"#, "ports"),
            (r#"{"metadata":{"name":"a"},"addressType":"IPv4","ports":[7]}"#, "ports"),
        ] {
            let slice = Slice::from_json(bad.as_bytes()).unwrap();
            assert!(slice.fault().unwrap().to_string().contains(part), "{bad}: {slice:?}");
        }
        assert_eq!(Slice::from_json(b"{"), None);
        let empty = Slice::from_json(br#"{"metadata":{"name":"a"},"addressType":"IPv4"}"#).unwrap();
        assert_eq!((empty.name(), empty.fault()), ("a", None));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(200)).len(), 252);
    }
}
