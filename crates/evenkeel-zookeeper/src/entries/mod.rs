mod curator;
mod native;
mod server_set;

use std::fmt;
use std::net::IpAddr;

use evenkeel_types::{
    Address, Endpoint, EndpointId, HostName, InvalidEndpointId, InvalidLabels, Labels, Weight,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::InvalidZooKeeperConfig;

/// Reads and writes the data of nodes: no IO, no state.
///
/// ```
/// use evenkeel_zookeeper::{Entries, Reading};
///
/// let entries = Entries::default(); // Curator's
/// let data = br#"{"name":"users","id":"a","address":"10.0.0.1","port":8080,"enabled":true}"#;
/// let Reading::Endpoint { endpoint, .. } = entries.read("a", data)? else { panic!() };
/// assert_eq!(endpoint.address().to_string(), "10.0.0.1:8080");
/// assert!(entries.read("b", b"{").is_err());
/// # Ok::<(), evenkeel_zookeeper::EntryError>(())
/// ```
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Entries {
    /// In which form.
    pub format: Format,
    /// Of Curator's two ports, which one. No meaning in the other formats.
    pub port: CuratorPort,
    /// Of a member of a ServerSet, which of its additional endpoints; `None`, the default, for the service endpoint. No
    /// meaning in the other formats.
    pub additional_endpoint: Option<String>,
    /// The longest data of one entry, in bytes. The default is 65 536: an entry has less than a hundredth of that. It
    /// bounds what is parsed; what the server sends for a node is bounded by its own `jute.maxbuffer`, 1 MB by default.
    pub max_bytes: usize,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            format: Format::default(),
            port: CuratorPort::default(),
            additional_endpoint: None,
            max_bytes: 65_536,
        }
    }
}

/// In which form entries are written.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// The default: JSON of Curator's service discovery (`ServiceInstance`), as Spring Cloud ZooKeeper, Dubbo's service
    /// discovery and Apache Camel write it.
    ///
    /// | of the entry | of the endpoint |
    /// |---|---|
    /// | name of the node | id |
    /// | `address` and `port` (or `sslPort`) | address |
    /// | `enabled: false` | announced `Draining` |
    /// | `payload.weight`, else `payload.metadata.weight` | weight; else 1 |
    /// | `instance_status` of `metadata`: `UP`, `STARTING`, `OUT_OF_SERVICE`, `DOWN` | announced `Up`, `Starting`, `Draining`, `Down` |
    /// | texts, numbers and truth values of `payload.metadata`, or of `payload` if it has none | labels |
    /// | `region`, `zone`, `sub_zone` among them | locality |
    /// | `uriSpec` | label `uri`, with the parts filled in |
    #[default]
    Curator,
    /// JSON of ServerSets (Twitter commons, Finagle, Aurora): children `member_…`; others, such as `vector_…`, are left
    /// alone, so all have weight 1.
    ///
    /// | of the entry | of the endpoint |
    /// |---|---|
    /// | name of the node without `member_` | id |
    /// | `serviceEndpoint`, or one of `additionalEndpoints` | address |
    /// | `status` `ALIVE`, `WARNING`, `STARTING`, `STOPPING`, `DEAD` or `STOPPED` | announced `Up`, `Degraded`, `Starting`, `Draining`, `Down` |
    /// | `shard` | label `shard` |
    /// | `metadata` | labels |
    ServerSets,
    /// JSON of [`Endpoint`], everything included: `{"id":"a","address":"10.0.0.1:80","weight":3}`. The name of the node
    /// is [`node_name`] of the id.
    Native,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Curator => "an instance of Curator",
            Self::ServerSets => "a member of a ServerSet",
            Self::Native => "an endpoint in JSON",
        }
    }
}

/// Which of Curator's two ports.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CuratorPort {
    /// `port`. The default.
    #[default]
    Plain,
    /// `sslPort`.
    Tls,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reading {
    /// An endpoint.
    Endpoint {
        /// Which.
        endpoint: Box<Endpoint>,
        /// What of it had to be left out, if anything.
        left_out: Option<EntryError>,
    },
    /// Something else that belongs there.
    NotAnEndpoint,
}

/// What is written besides the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writing<'a> {
    /// The name of the service.
    pub service: &'a str,
    /// When the process registered first, in milliseconds since 1970.
    pub registered_ms: u64,
}

/// An entry that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntryError {
    /// More bytes than [`Entries::max_bytes`].
    #[error("{len} bytes are more than the {max} that are read")]
    TooLarge {
        /// How many there are.
        len: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Not of this form.
    #[error("not {format}: {reason}")]
    Malformed {
        /// Which form.
        format: &'static str,
        /// Where and what.
        reason: String,
    },
    /// A field that must be there.
    #[error("{field} is missing")]
    Missing {
        /// Which.
        field: String,
    },
    /// A field with a value that is not allowed.
    #[error("{field} is {given}: {wanted}")]
    Bad {
        /// Which.
        field: String,
        /// What it says.
        given: String,
        /// What it may say.
        wanted: &'static str,
    },
    /// The name cannot be an id.
    #[error(transparent)]
    Id(#[from] InvalidEndpointId),
    /// The labels are out of bounds.
    #[error("metadata left out: {0}")]
    Labels(#[from] InvalidLabels),
    /// The id within and the name of the node differ.
    #[error("id is {id:?}, which belongs under the name {belongs:?}")]
    OtherName {
        /// The id.
        id: String,
        /// The name of its node.
        belongs: String,
    },
    /// The server does not let us read it.
    #[error("the server does not let this user read it")]
    Denied,
}

/// An endpoint that has no form here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unwritable {
    /// A Unix socket.
    #[error("address {address} has no host and port: only format = `native` can say it")]
    Address {
        /// The address.
        address: Address,
    },
    /// What several addresses, priorities, hostnames need.
    #[error("{what} cannot be said in this format: use format = `native`")]
    What {
        /// Which.
        what: &'static str,
    },
}

impl Entries {
    /// What the node of this name and these data says.
    ///
    /// # Errors
    ///
    /// [`EntryError`].
    pub fn read(&self, name: &str, data: &[u8]) -> Result<Reading, EntryError> {
        if self.format == Format::ServerSets && !name.starts_with(server_set::PREFIX) {
            return Ok(Reading::NotAnEndpoint);
        }
        if data.len() > self.max_bytes {
            return Err(EntryError::TooLarge { len: data.len(), max: self.max_bytes });
        }
        // A list of the fields would pass as well.
        if data.trim_ascii_start().first() != Some(&b'{') {
            return Err(EntryError::Malformed {
                format: self.format.name(),
                reason: "no JSON object".into(),
            });
        }
        match self.format {
            Format::Curator => curator::read(self.port, name, data),
            Format::ServerSets => server_set::read(self.additional_endpoint.as_deref(), name, data),
            Format::Native => native::read(name, data),
        }
    }

    /// The name of the node of an endpoint.
    #[must_use]
    pub fn name(&self, id: &EndpointId) -> String {
        let name = node_name(id.as_str());
        if self.format == Format::ServerSets { format!("{}{name}", server_set::PREFIX) } else { name }
    }

    /// The data of the node of an endpoint.
    ///
    /// # Errors
    ///
    /// [`Unwritable`] if the format has no room for something that matters.
    pub fn write(&self, endpoint: &Endpoint, writing: &Writing<'_>) -> Result<Vec<u8>, Unwritable> {
        match self.format {
            Format::Curator => curator::write(self.port, endpoint, writing),
            Format::ServerSets => server_set::write(self.additional_endpoint.as_deref(), endpoint),
            Format::Native => Ok(native::write(endpoint)),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidZooKeeperConfig> {
        if self.max_bytes == 0 {
            return Err(InvalidZooKeeperConfig::Zero { field: "entries.max_bytes" });
        }
        Ok(())
    }
}

/// The name of the node of an id: the id, but a slash and what else a name cannot hold is written as `%2F`.
#[must_use]
pub fn node_name(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    let dots = matches!(id, "." | "..");
    for c in id.chars() {
        if c == '/' || c == '%' || dots || !is_allowed(c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                name.push_str(&format!("%{byte:02X}"));
            }
        } else {
            name.push(c);
        }
    }
    name
}

/// The id of which [`node_name`] makes this name; the name itself if there is none.
fn id_of(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match code.filter(|_| first == b'%').and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|id| node_name(id) == name).unwrap_or_else(|| name.to_owned())
}

/// Whether ZooKeeper takes the character in a path (`PathUtils.validatePath`).
pub(crate) fn is_allowed(c: char) -> bool {
    !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
}

fn malformed(format: Format, error: &serde_json::Error) -> EntryError {
    EntryError::Malformed { format: format.name(), reason: cut(&error.to_string()) }
}

fn missing(field: impl Into<String>) -> EntryError {
    EntryError::Missing { field: field.into() }
}

fn bad(field: impl Into<String>, given: impl fmt::Display, wanted: &'static str) -> EntryError {
    EntryError::Bad { field: field.into(), given: cut(&given.to_string()), wanted }
}

/// What is repeated of a bad entry.
fn cut(text: &str) -> String {
    text.chars().take(120).collect()
}

fn address(field: &str, host: &str, port: i64) -> Result<Address, EntryError> {
    let number = u16::try_from(port).ok().filter(|port| *port != 0);
    let port = number.ok_or_else(|| bad(format!("port of {field}"), port, "1 to 65535 are allowed"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(Address::Socket((ip, port).into()));
    }
    let name = HostName::new(host).map_err(|_| bad(field, host, "an IP address or a host name is needed"))?;
    Ok(Address::Host(name, port))
}

/// A weight as people write it: a number, or a text with one. Fractions are rounded up, so that none becomes zero.
fn weight(field: &str, value: &Value) -> Result<Weight, EntryError> {
    const WANTED: &str = "0 to 4294967295 are allowed";
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    let rounded = number.map(f64::ceil).filter(|n| (0.0..=f64::from(u32::MAX)).contains(n));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and in range")]
    rounded.map(|n| Weight::new(n as u32)).ok_or_else(|| bad(field, value, WANTED))
}

/// The pairs whose value is a text, a number or a truth value.
fn scalars(map: &serde_json::Map<String, Value>) -> impl Iterator<Item = (&str, String)> {
    map.iter().filter_map(|(key, value)| match value {
        Value::String(text) => Some((key.as_str(), text.clone())),
        Value::Number(_) | Value::Bool(_) => Some((key.as_str(), value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    })
}

fn pairs(endpoint: &Endpoint) -> serde_json::Map<String, Value> {
    let labels = endpoint.labels().into_iter().flat_map(Labels::iter);
    labels.map(|(key, value)| (key.to_owned(), Value::from(value))).collect()
}

/// Host and port, if nothing else of the endpoint gets lost.
fn host_and_port(endpoint: &Endpoint) -> Result<(String, u16), Unwritable> {
    let what = |what| Err(Unwritable::What { what });
    if endpoint.addresses().count() > 1 {
        return what("a second address");
    }
    if endpoint.priority().get() != 0 {
        return what("a priority");
    }
    match endpoint.address() {
        Address::Socket(address) => Ok((address.ip().to_string(), address.port())),
        Address::Host(name, port) => Ok((name.as_str().to_owned(), *port)),
        other => Err(Unwritable::Address { address: other.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_lead_back_to_ids() {
        for (id, name) in [
            ("users-1", "users-1"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("a/b", "a%2Fb"),
            ("100%", "100%25"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("ü", "ü"),
        ] {
            assert_eq!((node_name(id).as_str(), id_of(name).as_str()), (name, id));
        }
        // Names that we would not have written stay what they are.
        for name in ["a%2fb", "%zz", "%", "%2", "%FF"] {
            assert_eq!(id_of(name), name);
        }
    }

    #[test]
    fn weights_as_people_write_them() {
        let read = |text: &str| weight("w", &serde_json::from_str(text).unwrap());
        for (text, expected) in [("3", 3), ("\"5\"", 5), ("0.2", 1), ("0", 0), ("4294967295", u32::MAX)] {
            assert_eq!(read(text), Ok(Weight::new(expected)), "{text}");
        }
        for text in ["-1", "4294967296", "\"x\"", "null", "[]", "\"nan\"", "\"inf\"", "1e300"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
