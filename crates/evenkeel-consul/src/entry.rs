//! How Consul describes an instance, and how we describe an endpoint to it.

use std::time::Duration;

use evenkeel_types::{Address, Announced, Endpoint, EndpointId, Labels, Locality, Priority, Weight};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::ConsulRegistrarConfig;

/// The key of the metadata that holds the failover tier.
const PRIORITY: &str = "evenkeel-priority";
/// The key of the metadata that holds the zone.
const ZONE: &str = "evenkeel-zone";

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Option<Vec<Check>>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    address: String,
    #[serde(default)]
    datacenter: String,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    port: u16,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    meta: Option<Map<String, Value>>,
    #[serde(default)]
    weights: Option<Weights>,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
    warning: u32,
}

#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID", default)]
    id: String,
    #[serde(default)]
    status: String,
}

/// What a name for the entry can be made of, even if it is bad.
pub(crate) fn name(entry: &Value) -> String {
    let text = |part: &str, field: &str| entry.get(part).and_then(|p| p.get(field)).and_then(Value::as_str);
    let (node, id) = (text("Node", "Node").unwrap_or("?"), text("Service", "ID").unwrap_or("?"));
    format!("{node}/{id}")
}

/// What an entry says.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) endpoint: Endpoint,
    /// What of it had to be left out, if anything, for people.
    pub(crate) left_out: Option<String>,
}

/// The endpoint of an entry of `/v1/health/service`.
pub(crate) fn read(entry: Value) -> Result<Reading, String> {
    let Entry { node, service, checks } = serde_json::from_value(entry).map_err(|error| error.to_string())?;
    let id = EndpointId::new(format!("{}/{}", node.node, service.id)).map_err(|error| error.to_string())?;
    if service.port == 0 {
        return Err("Port is 0: an instance without a port cannot be called".to_owned());
    }
    let host = if service.address.is_empty() { &node.address } else { &service.address };
    let announced = announced(checks.as_deref().unwrap_or_default());
    let weights = service.weights.unwrap_or(Weights { passing: 1, warning: 1 });
    let weight = if announced == Announced::Degraded { weights.warning } else { weights.passing };
    let mut endpoint = Endpoint::new(id, address(host, service.port)?)
        .with_weight(Weight::new(weight))
        .with_announced(announced);
    let mut labels = Bounded::default();
    let mut zone = String::new();
    for (key, value) in service.meta.iter().flatten() {
        let Some(value) = value.as_str() else {
            labels.leave_out(key, "it is no text");
            continue;
        };
        match key.as_str() {
            PRIORITY => {
                let tier = value.parse::<u8>().ok().and_then(|tier| Priority::new(tier).ok());
                let tier = tier.ok_or_else(|| format!("Meta.{PRIORITY} is {value}: 0 to 128 are allowed"))?;
                endpoint = endpoint.with_priority(tier);
            }
            ZONE => value.clone_into(&mut zone),
            "" => {}
            _ => labels.add(key, value),
        }
    }
    for tag in service.tags.into_iter().flatten().filter(|tag| !tag.is_empty()) {
        labels.add(&format!("tag.{tag}"), "true");
    }
    let left_out = labels.told();
    let labels = Labels::from_outside(labels.kept).map_err(|error| error.to_string())?;
    let locality = Locality::new(&node.datacenter, &zone, "");
    Ok(Reading { endpoint: endpoint.with_labels(labels).with_locality(locality), left_out })
}

/// Labels as long as there is room: metadata by key, then tags. An instance with a few too many is still an instance.
#[derive(Default)]
struct Bounded {
    kept: Vec<(String, String)>,
    bytes: usize,
    left_out: usize,
    /// The first that was left out, and why.
    first: Option<String>,
}

impl Bounded {
    fn add(&mut self, key: &str, value: &str) {
        let bytes = self.bytes.saturating_add(key.len()).saturating_add(value.len());
        if key.starts_with(Labels::RESERVED) {
            self.leave_out(key, "keys under `evenkeel.` are reserved");
        } else if self.kept.len() >= Labels::MAX_PAIRS {
            self.leave_out(key, "there are more than 64");
        } else if bytes > Labels::MAX_BYTES {
            self.leave_out(key, "they hold more than 4096 bytes");
        } else {
            self.bytes = bytes;
            self.kept.push((key.to_owned(), value.to_owned()));
        }
    }

    fn leave_out(&mut self, key: &str, why: &str) {
        self.left_out += 1;
        let key: String = key.chars().take(100).collect();
        self.first.get_or_insert_with(|| format!("{key}: {why}"));
    }

    fn told(&self) -> Option<String> {
        self.first.as_ref().map(|first| format!("labels left out: {}, the first is {first}", self.left_out))
    }
}

/// The state of the worst check; maintenance before all, since it is what somebody decided.
fn announced(checks: &[Check]) -> Announced {
    let maintenance =
        |check: &Check| check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:");
    let any = |status: &str| checks.iter().any(|check| check.status == status);
    if checks.iter().any(maintenance) {
        Announced::Draining
    } else if any("critical") {
        Announced::Down
    } else if any("warning") {
        Announced::Degraded
    } else if any("passing") {
        Announced::Up
    } else {
        Announced::Unknown
    }
}

fn address(host: &str, port: u16) -> Result<Address, String> {
    let text = match host.parse::<std::net::Ipv6Addr>() {
        Ok(host) => format!("[{host}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    };
    text.parse().map_err(|error| format!("Address {host:?}: {error}"))
}

/// An endpoint that Consul cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRegistration {
    /// Consul knows hosts and ports.
    #[error("address {0} has no port: Consul registers hosts and ports only")]
    Address(Address),
    /// Consul's weights end at 65 535.
    #[error("weight is {0}: Consul takes 65535 at most")]
    Weight(u32),
    /// A key that Consul refuses.
    #[error(
        "label {0:?}: Consul takes keys of 1 to 128 letters, digits, `-` and `_`, and values of 512 bytes"
    )]
    Label(String),
}

/// The body of a registration; `weight` is that of the time before a drain.
pub(crate) fn registration(
    config: &ConsulRegistrarConfig,
    endpoint: &Endpoint,
    weight: u32,
) -> Result<String, InvalidRegistration> {
    let (host, port) = match endpoint.address() {
        Address::Socket(address) => (address.ip().to_string(), address.port()),
        Address::Host(host, port) => (host.as_str().to_owned(), *port),
        other => return Err(InvalidRegistration::Address(other.clone())),
    };
    if weight > u32::from(u16::MAX) {
        return Err(InvalidRegistration::Weight(weight));
    }
    let mut meta = Map::new();
    for (key, value) in endpoint.labels().into_iter().flat_map(Labels::iter) {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if key.len() > 128 || value.len() > 512 || !key.bytes().all(allowed) {
            return Err(InvalidRegistration::Label(key.to_owned()));
        }
        meta.insert(key.to_owned(), value.into());
    }
    if endpoint.priority() != Priority::HIGHEST {
        meta.insert(PRIORITY.to_owned(), u8::from(endpoint.priority()).to_string().into());
    }
    if let Some(zone) = endpoint.locality().map(Locality::zone).filter(|zone| !zone.is_empty()) {
        meta.insert(ZONE.to_owned(), zone.into());
    }
    let id = endpoint.id().as_str();
    let mut check = json!({
        "CheckID": check_id(id), "Name": "evenkeel", "TTL": duration(config.registrar.ttl),
        "Status": status(endpoint.announced()),
    });
    if let Some(after) = config.deregister_critical_after {
        check["DeregisterCriticalServiceAfter"] = duration(after).into();
    }
    let weight = weight.max(1);
    let body = json!({
        "ID": id, "Name": config.service, "Address": host, "Port": port, "Tags": config.tags, "Meta": meta,
        "Weights": { "Passing": weight, "Warning": weight }, "Check": check,
    });
    Ok(body.to_string())
}

/// The TTL check of an instance.
pub(crate) fn check_id(id: &str) -> String {
    format!("service:{id}")
}

/// The status of the TTL check by which an endpoint says how it is; a drain is said by maintenance.
pub(crate) const fn status(announced: Announced) -> &'static str {
    match announced {
        Announced::Degraded => "warning",
        Announced::Starting | Announced::Down => "critical",
        _ => "passing",
    }
}

/// A duration as Go reads it.
pub(crate) fn duration(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(service: &str, checks: &str) -> Value {
        let text = format!(
            r#"{{"Node":{{"Node":"n","Address":"10.0.0.9","Datacenter":"dc1"}},"Service":{{{service}}},"Checks":[{checks}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn check(id: &str, status: &str) -> String {
        format!(r#"{{"CheckID":"{id}","Status":"{status}"}}"#)
    }

    #[test]
    fn checks_become_states() {
        let (up, warn, down) = (check("a", "passing"), check("b", "warning"), check("c", "critical"));
        let maintenance = check("_service_maintenance:x", "critical");
        let node = check("_node_maintenance", "critical");
        for (checks, state) in [
            (vec![], Announced::Unknown),
            (vec![&up], Announced::Up),
            (vec![&up, &warn], Announced::Degraded),
            (vec![&warn, &down, &up], Announced::Down),
            (vec![&down, &maintenance], Announced::Draining),
            (vec![&up, &node], Announced::Draining),
        ] {
            let checks: Vec<_> = checks.into_iter().map(String::as_str).collect();
            let endpoint = read(entry(r#""ID":"x","Port":80"#, &checks.join(","))).unwrap().endpoint;
            assert_eq!(endpoint.announced(), state, "{checks:?}");
        }
    }

    #[test]
    fn weights_follow_the_state() {
        let service = r#""ID":"x","Port":80,"Weights":{"Passing":5,"Warning":2}"#;
        let weight = |status| read(entry(service, &check("a", status))).unwrap().endpoint.weight();
        assert_eq!(weight("passing"), Weight::new(5));
        assert_eq!(weight("warning"), Weight::new(2));
        assert_eq!(weight("critical"), Weight::new(5));
    }

    #[test]
    fn all_of_an_instance_is_read() {
        let endpoint = read(entry(
            r#""ID":"x","Address":"fd00::1","Port":80,"Tags":["v1"],"Meta":{"a":"b","evenkeel-priority":"2","evenkeel-zone":"z"}"#,
            "",
        ))
        .unwrap()
        .endpoint;
        assert_eq!(
            (endpoint.id().as_str(), endpoint.address().to_string().as_str()),
            ("n/x", "[fd00::1]:80")
        );
        assert_eq!((endpoint.label("a"), endpoint.label("tag.v1")), (Some("b"), Some("true")));
        assert_eq!(
            (u8::from(endpoint.priority()), endpoint.locality()),
            (2, Some(&Locality::new("dc1", "z", "")))
        );
        let of_the_node = read(entry(r#""ID":"x","Port":80,"Tags":null,"Meta":null"#, "")).unwrap().endpoint;
        assert_eq!(of_the_node.address().to_string(), "10.0.0.9:80");
    }

    #[test]
    fn bad_entries_say_why() {
        for (service, why) in [
            (r#""ID":"x""#, "Port"),
            (r#""ID":"x","Port":0"#, "Port is 0"),
            (r#""ID":"x","Port":70000"#, "70000"),
            (r#""ID":"x","Port":80,"Address":"a b""#, "Address"),
            (r#""ID":"x","Port":80,"Weights":{"Passing":-1,"Warning":1}"#, "-1"),
            (r#""ID":"x","Port":80,"Meta":{"evenkeel-priority":"200"}"#, "evenkeel-priority"),
        ] {
            let error = read(entry(service, "")).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(name(&json!({ "Node": 7 })), "?/?");
    }

    #[test]
    fn labels_beyond_the_bounds_are_left_out() {
        let many: Vec<_> = (0..70).map(|n| format!(r#""k{n:02}":"v""#)).collect();
        let long = format!(r#""a":"{}","b":"c""#, "x".repeat(5000));
        for (meta, kept, told) in [
            (many.join(","), 64, "labels left out: 6, the first is k64: there are more than 64"),
            (long, 1, "labels left out: 1, the first is a: they hold more than 4096 bytes"),
            (
                r#""evenkeel.a":"1","b":"c""#.to_owned(),
                1,
                "labels left out: 1, the first is evenkeel.a: keys",
            ),
            (r#""a":7,"b":"c""#.to_owned(), 1, "labels left out: 1, the first is a: it is no text"),
        ] {
            let service = format!(r#""ID":"x","Port":80,"Meta":{{{meta}}}"#);
            let Reading { endpoint, left_out } = read(entry(&service, "")).unwrap();
            assert_eq!(endpoint.labels().map_or(0, Labels::len), kept);
            assert!(left_out.unwrap().starts_with(told), "{told}");
        }
    }

    #[test]
    fn endpoints_that_consul_cannot_hold_are_refused() {
        let config = ConsulRegistrarConfig { service: "s".to_owned(), ..ConsulRegistrarConfig::default() };
        let endpoint = |address: &str| Endpoint::new("x".parse().unwrap(), address.parse().unwrap());
        let good = endpoint("10.0.0.1:80");
        let body: Value = serde_json::from_str(&registration(&config, &good, 3).unwrap()).unwrap();
        assert_eq!(body["Check"]["DeregisterCriticalServiceAfter"], "60000ms");
        assert_eq!((&body["Weights"]["Passing"], &body["Port"]), (&json!(3), &json!(80)));
        assert!(matches!(
            registration(&config, &endpoint("unix:/a"), 1),
            Err(InvalidRegistration::Address(_))
        ));
        assert_eq!(registration(&config, &good, 65_536), Err(InvalidRegistration::Weight(65_536)));
        let dotted = good.with_labels(Labels::new([("a.b", "c")]).unwrap());
        assert_eq!(registration(&config, &dotted, 1), Err(InvalidRegistration::Label("a.b".to_owned())));
    }
}
