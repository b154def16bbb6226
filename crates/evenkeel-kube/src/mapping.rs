use std::net::SocketAddr;

use evenkeel_types::{Address, Announced, Endpoint, EndpointId, Labels, Locality};
use serde::{Deserialize, Serialize};

use crate::slice::{BadEntry, Content, Entry, Port};

/// How the entries of slices become endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "KubeMapping"))]
#[serde(default, deny_unknown_fields)]
pub struct Mapping {
    /// Which port of the pods to use. The default is the only one there is.
    pub port: PortChoice,
    /// Ports of which protocol count. The default is TCP.
    pub protocol: Protocol,
    /// What makes an endpoint usable. The default is its published readiness.
    pub readiness: Readiness,
    /// Which address comes first of a pod that has one of each family. The default is IPv4: a slice does not tell which
    /// family its Service prefers.
    pub first_family: Family,
}

/// Which port of a service with several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PortChoice {
    /// The only one of the protocol. A slice with several is rejected: which was meant is not to be guessed.
    #[default]
    Only,
    /// The one of this name, as in the Service (`ports[].name`). Its number may differ from slice to slice.
    Named(String),
    /// This number, whatever the slice says; for slices without ports, or with "all ports".
    Number(u16),
}

/// A protocol of ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "KubeProtocol"))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// What makes an endpoint usable.
///
/// | conditions | `Published` | `Actual` | `Ignored` |
/// |---|---|---|---|
/// | terminating, serving | Draining | Draining | Draining |
/// | terminating, not serving | Down | Down | Down |
/// | ready, serving | Up | Up | Up |
/// | ready, not serving (only with `publishNotReadyAddresses`) | Up | Starting | Up |
/// | not ready | Starting | by serving: Up or Starting | Up |
///
/// Conditions that are not said are: ready, serving, not terminating.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Readiness {
    /// The condition `ready`. A Service with `publishNotReadyAddresses` has it true for all its pods: its owner wants them
    /// found, so they count as up.
    #[default]
    Published,
    /// The condition `serving`, which says what the pod's readiness probe says also if the Service publishes pods that
    /// are not ready.
    Actual,
    /// Nothing: all pods that do not terminate are up, as if the Service had `publishNotReadyAddresses`. For peers that
    /// must find each other before they are ready.
    Ignored,
}

/// An address family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "AddressFamily"))]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl Mapping {
    /// The endpoints of a slice, with what is bad about others. `known` gives the port at which an endpoint was in this slice
    /// before: if it does not tell the port any more, those go on with that one, and nobody joins them.
    ///
    /// # Errors
    ///
    /// What is wrong with the slice as a whole.
    pub(crate) fn endpoints(
        &self,
        service: &str,
        content: Content,
        known: impl Fn(&EndpointId) -> Option<u16>,
    ) -> Result<(Vec<Endpoint>, Vec<BadEntry>), String> {
        if content.service.as_deref() != Some(service) {
            let other = content.service.unwrap_or_default();
            return Err(format!("belongs to the service `{other}`, and `{service}` was asked for"));
        }
        let (mut good, mut bad) = (Vec::with_capacity(content.entries.len()), Vec::new());
        let port = match self.number(&content.ports) {
            Ok(port) => Some(port),
            // A service without pods has one slice, without ports and entries.
            Err(_) if content.entries.is_empty() => return Ok((good, bad)),
            Err(why) => {
                bad.push(BadEntry { which: String::new(), why });
                None
            }
        };
        for (at, entry) in content.entries.into_iter().enumerate() {
            let read = entry.and_then(|entry| {
                let id = id_of(&entry).map_err(|why| entry.bad(at, why))?;
                let Some(port) = port.or_else(|| known(&id)) else { return Ok(None) };
                self.endpoint(at, id, &entry, port).map(Some)
            });
            match read {
                Ok(endpoint) => good.extend(endpoint),
                Err(entry) => bad.push(entry),
            }
        }
        Ok((good, bad))
    }

    /// The word for an entry's conditions.
    fn announced(&self, entry: &Entry) -> Announced {
        let usable = match self.readiness {
            Readiness::Published => entry.ready,
            Readiness::Actual => entry.serving,
            Readiness::Ignored => true,
        };
        match (entry.terminating, entry.serving) {
            (true, true) => Announced::Draining,
            (true, false) => Announced::Down,
            (false, _) if usable => Announced::Up,
            (false, _) => Announced::Starting,
        }
    }

    fn number(&self, ports: &[Port]) -> Result<u16, String> {
        let of_protocol = || ports.iter().filter(|port| port.protocol == self.protocol.name());
        let port = match &self.port {
            PortChoice::Number(number) => return Ok(*number),
            PortChoice::Named(name) => of_protocol().find(|port| port.name == *name).ok_or_else(|| {
                format!("has no {} port `{name}` but {}", self.protocol.name(), listed(ports))
            })?,
            PortChoice::Only => {
                let mut of_protocol = of_protocol();
                match (of_protocol.next(), of_protocol.next()) {
                    (Some(only), None) => only,
                    (None, _) => {
                        let wanted = self.protocol.name();
                        return Err(format!(
                            "has no {wanted} port but {}: give endpoints.port a number",
                            listed(ports)
                        ));
                    }
                    (Some(_), Some(_)) => {
                        return Err(format!(
                            "has several ports, {}: name one by endpoints.port",
                            listed(ports)
                        ));
                    }
                }
            }
        };
        port.number.ok_or_else(|| format!("leaves port `{}` open: give endpoints.port a number", port.name))
    }

    fn endpoint(&self, at: usize, id: EndpointId, entry: &Entry, port: u16) -> Result<Endpoint, BadEntry> {
        let announced = self.announced(entry);
        let mut labels: Vec<(&str, &str)> = Vec::new();
        if let Some((kind, name)) = &entry.target {
            labels.push((if kind == "Pod" { "pod" } else { "target" }, name));
        }
        labels.extend(entry.node.as_deref().map(|node| ("node", node)));
        labels.extend(entry.hostname.as_deref().map(|hostname| ("hostname", hostname)));
        let for_zones = entry.for_zones.join(",");
        if !for_zones.is_empty() {
            labels.push(("for_zones", &for_zones));
        }
        let labels = Labels::new(labels).map_err(|error| entry.bad(at, error.to_string()))?;
        let zone = Locality::new("", entry.zone.as_deref().unwrap_or_default(), "");
        Ok(Endpoint::new(id, Address::Socket(SocketAddr::new(entry.ip, port)))
            .with_announced(announced)
            .with_locality(zone)
            .with_labels(labels))
    }
}

/// What an endpoint is known by: the `uid` of what it is, else its address.
fn id_of(entry: &Entry) -> Result<EndpointId, String> {
    let id = entry.uid.clone().unwrap_or_else(|| entry.ip.to_string());
    EndpointId::new(id).map_err(|error| error.to_string())
}

impl Entry {
    fn bad(&self, at: usize, why: String) -> BadEntry {
        let named = self.target.as_ref().map_or_else(|| self.ip.to_string(), |(_, name)| name.clone());
        BadEntry { which: format!("#{at} {named}"), why }
    }
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

fn listed(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "none at all".to_owned();
    }
    let port = |port: &Port| {
        let number = port.number.map_or_else(|| "all".to_owned(), |number| number.to_string());
        format!("`{}` ({} {number})", port.name, port.protocol)
    };
    ports.iter().take(MOST_LISTED).map(port).collect::<Vec<_>>().join(", ")
}

/// What is listed is read by people.
const MOST_LISTED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Slice;

    fn content(ports: &str, entry: &str) -> Content {
        let json = format!(
            r#"{{"metadata":{{"name":"s","labels":{{"kubernetes.io/service-name":"users"}}}},"addressType":"IPv4",
            "ports":{ports},"endpoints":[{entry}]}}"#
        );
        Slice::from_json(json.as_bytes()).unwrap().content.unwrap()
    }

    fn one(mapping: &Mapping, ports: &str, entry: &str) -> Result<Endpoint, String> {
        let (good, bad) = mapping.endpoints("users", content(ports, entry), |_| None)?;
        good.into_iter().next().ok_or_else(|| format!("{bad:?}"))
    }

    #[test]
    fn every_state_of_an_entry() {
        use Announced::{Down, Draining, Starting, Up};
        use Readiness::{Actual, Ignored, Published};
        // ready, serving, terminating: nil, false, true of each.
        for (ready, serving, terminating) in
            (0..27).map(|n| (n % 3, n / 3 % 3, n / 9)).map(|(a, b, c)| (word(a), word(b), word(c)))
        {
            let (is_ready, is_serving) = (ready != Some(false), serving != Some(false));
            let expected = |usable| match (terminating, is_serving) {
                (Some(true), true) => Draining,
                (Some(true), false) => Down,
                _ if usable => Up,
                _ => Starting,
            };
            for (readiness, wanted) in
                [(Published, expected(is_ready)), (Actual, expected(is_serving)), (Ignored, expected(true))]
            {
                let conditions: Vec<_> =
                    [("ready", ready), ("serving", serving), ("terminating", terminating)]
                        .into_iter()
                        .map(|(name, word)| {
                            format!(r#""{name}":{}"#, word.map_or("null".into(), |w| w.to_string()))
                        })
                        .collect();
                let entry =
                    format!(r#"{{"addresses":["10.0.0.1"],"conditions":{{{}}}}}"#, conditions.join(","));
                let mapping = Mapping { readiness, ..Mapping::default() };
                let read = one(&mapping, r#"[{"port":80}]"#, &entry).unwrap();
                assert_eq!(read.announced(), wanted, "{readiness:?} {entry}");
            }
        }
    }

    fn word(n: u32) -> Option<bool> {
        [None, Some(false), Some(true)][n as usize]
    }

    #[test]
    fn ports_are_chosen_and_never_guessed() {
        let entry = r#"{"addresses":["10.0.0.1"]}"#;
        let two = r#"[{"name":"http","port":80},{"name":"grpc","port":81},{"name":"dns","protocol":"UDP","port":53}]"#;
        let of = |port, ports| {
            let mapping = Mapping { port, ..Mapping::default() };
            one(&mapping, ports, entry).map(|endpoint| endpoint.address().to_string())
        };
        let named = |name: &str| PortChoice::Named(name.into());
        let at = |port: u16| Ok(format!("10.0.0.1:{port}"));
        assert_eq!(of(PortChoice::Only, r#"[{"port":80}]"#), at(80));
        assert_eq!(of(named("grpc"), two), at(81));
        assert_eq!(of(named(""), r#"[{"port":80}]"#), at(80));
        for ports in [two, "null", "[]", r#"[{"name":"any"}]"#] {
            assert_eq!(of(PortChoice::Number(9), ports), at(9));
        }
        for (port, ports, part) in [
            (PortChoice::Only, two, "several ports, `http` (TCP 80)"),
            (PortChoice::Only, "null", "none at all"),
            (PortChoice::Only, r#"[{"name":"any"}]"#, "leaves port `any` open"),
            (named("dns"), two, "no TCP port `dns`"),
            (named("any"), r#"[{"name":"any","port":null}]"#, "leaves port `any` open"),
        ] {
            let why = of(port, ports).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        let mapping = Mapping { protocol: Protocol::Udp, ..Mapping::default() };
        assert_eq!(one(&mapping, two, entry).unwrap().address().port(), Some(53));
    }

    #[test]
    fn who_and_where() {
        let entry = r#"{"addresses":["10.0.0.1"],"targetRef":{"kind":"Pod","name":"users-0","uid":"u-1"},"nodeName":"n1",
            "zone":"eu-1a","hostname":"users-0","hints":{"forZones":[{"name":"eu-1a"},{"name":"eu-1b"},7]}}"#;
        let read = one(&Mapping::default(), r#"[{"port":80}]"#, entry).unwrap();
        assert_eq!(
            (read.id().as_str(), read.label("pod"), read.label("node")),
            ("u-1", Some("users-0"), Some("n1"))
        );
        assert_eq!((read.label("for_zones"), read.label("hostname")), (Some("eu-1a,eu-1b"), Some("users-0")));
        assert_eq!(read.locality().unwrap().zone(), "eu-1a");
        let plain = one(&Mapping::default(), r#"[{"port":80}]"#, r#"{"addresses":["10.0.0.1"]}"#).unwrap();
        assert_eq!((plain.id().as_str(), plain.labels(), plain.locality()), ("10.0.0.1", None, None));
        let other = Mapping::default().endpoints("orders", content("[]", ""), |_| None);
        assert!(other.unwrap_err().contains("`users`"));
    }
}
