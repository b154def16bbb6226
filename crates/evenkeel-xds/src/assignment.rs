use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evenkeel_types::{Address, Announced, Endpoint, Labels, Locality, Priority, Weight};
use prost::Message;

use crate::invalid::cut;
use crate::proto::{
    ClusterLoadAssignment, HealthStatus, HostAddress, HostEndpoint, Kind, LbEndpoint, LocalityLbEndpoints,
    Metadata, Policy as PolicyMessage,
};
use crate::{InvalidResource, wire};

/// What a `ClusterLoadAssignment` says.
///
/// | field | here |
/// |---|---|
/// | `endpoint.address`: `socket_address` with an IP address, `pipe` | the address, and the id |
/// | `endpoint.additional_addresses` | further addresses |
/// | `endpoint.hostname` | hostname |
/// | `load_balancing_weight` of an endpoint | weight; 1 if absent, as in Envoy; 0 is invalid |
/// | `health_status` | announced: `UNKNOWN` is Unknown (usable), `HEALTHY` Up, `DEGRADED` Degraded, `DRAINING` Draining, `UNHEALTHY` and `TIMEOUT` Down; a number not known yet is Unknown, as in Envoy |
/// | `metadata.filter_metadata."envoy.lb"` | labels: texts, numbers and truth values; lists and structures are left out |
/// | `locality`, `priority` of the group | the same; gaps are allowed, as in Envoy; above 128 is invalid |
/// | `load_balancing_weight` of a group | the label [`LOCALITY_WEIGHT`](Self::LOCALITY_WEIGHT); 0 is invalid |
/// | `policy` | [`policy`](Self::policy); `endpoint_stale_after` is applied, the rest is for whoever sends requests |
/// | `endpoint_name`, `leds_cluster_locality_config` | invalid: what they point to is elsewhere |
/// | all others | not read |
///
/// What xDS does not allow makes the whole assignment invalid, but for sums of weights above 32 bits: Envoy 1.40 was seen to
/// take them. So do more than 100 000 endpoints or groups. What it does allow and
/// an [`Endpoint`] cannot hold (more than 8 addresses, 4 KiB of labels, an id above 256 bytes), or nobody can send to
/// (port 0, an address of no or of many hosts), costs that entry alone: see [`rejects`](Self::rejects).
///
/// Source: `envoy/config/endpoint/v3/endpoint.proto` and `endpoint_components.proto`,
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/endpoint/v3/endpoint.proto>.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The name of the resource: the service name of EDS.
    pub name: String,
    /// In the order of the resource.
    pub endpoints: Vec<Endpoint>,
    /// The rest of it.
    pub policy: OverloadPolicy,
    /// Entries that are left out, by address, and why; at most 1000 are kept.
    pub rejects: Vec<(String, String)>,
}

/// How a `ClusterLoadAssignment` wants load to be treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverloadPolicy {
    /// What share of the requests to drop, category by category. **Not applied here**: dropping is for whoever sends.
    pub drop_overloads: Vec<DropOverload>,
    /// In per cent: a tier counts as whole while its usable share times this is at least 100. The default is 140, as in
    /// Envoy. **Not applied here**: give it to the failover of tiers.
    pub overprovisioning_factor: u32,
    /// After how long without another assignment the endpoints are announced as Down; `None` for never. Applied here.
    pub endpoint_stale_after: Option<Duration>,
    /// Whether the health of a tier counts weights. **Not applied here.**
    pub weighted_priority_health: bool,
}

impl Default for OverloadPolicy {
    fn default() -> Self {
        Self {
            drop_overloads: Vec::new(),
            overprovisioning_factor: 140,
            endpoint_stale_after: None,
            weighted_priority_health: false,
        }
    }
}

/// One category of drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropOverload {
    /// Its name, for statistics.
    pub category: String,
    /// The share of requests, in millionths; 1 000 000 is all.
    pub millionths: u32,
}

impl Assignment {
    /// The label that carries the weight of the locality group, if it has one: a decimal number. [`Locality`] itself
    /// holds no weight, since a place has none; the same place may stand in two groups.
    pub const LOCALITY_WEIGHT: &'static str = "evenkeel.locality_weight";

    /// Reads an encoded `ClusterLoadAssignment`.
    ///
    /// # Errors
    ///
    /// [`InvalidResource`] with the place.
    pub fn read(bytes: &[u8]) -> Result<Self, InvalidResource> {
        wire::check_assignment(bytes).map_err(InvalidResource::whole)?;
        let message = ClusterLoadAssignment::decode(bytes)
            .map_err(|error| InvalidResource::whole(format!("cannot be read: {error}")))?;
        Self::of(&message)
    }

    pub(crate) fn of(message: &ClusterLoadAssignment) -> Result<Self, InvalidResource> {
        let name = &message.cluster_name;
        if name.is_empty() {
            return Err(InvalidResource::at("cluster_name", "is empty"));
        }
        let policy = message.policy.as_ref().map_or(Ok(OverloadPolicy::default()), policy);
        let policy = policy.map_err(|error| error.of(name))?;
        let count = message.endpoints.iter().map(|group| group.lb_endpoints.len()).sum();
        let mut read =
            Self { name: name.clone(), endpoints: Vec::with_capacity(count), policy, rejects: Vec::new() };
        for (number, group) in message.endpoints.iter().enumerate() {
            read.group(number, group).map_err(|error| error.of(name))?;
        }
        Ok(read)
    }

    /// The same endpoints, all of them Down: what `endpoint_stale_after` asks for.
    pub(crate) fn stale(&self) -> Self {
        let down = |endpoint: &Endpoint| endpoint.clone().with_announced(Announced::Down);
        Self { endpoints: self.endpoints.iter().map(down).collect(), ..self.clone() }
    }

    fn group(&mut self, number: usize, group: &LocalityLbEndpoints) -> Result<(), InvalidResource> {
        let place = |field: &str| format!("endpoints[{number}].{field}");
        let priority = u8::try_from(group.priority).ok().and_then(|level| Priority::new(level).ok());
        let Some(priority) = priority else {
            let why = format!("is {}: allowed are 0 to 128", group.priority);
            return Err(InvalidResource::at(place("priority"), why));
        };
        if group.load_balancing_weight == Some(0) {
            return Err(InvalidResource::at(place("load_balancing_weight"), "is 0: at least 1 is allowed"));
        }
        if group.leds_cluster_locality_config.is_some() {
            let why = "points to endpoints that are not in this resource, which is not supported";
            return Err(InvalidResource::at(place("leds_cluster_locality_config"), why));
        }
        let part = group.locality.clone().unwrap_or_default();
        let locality = Locality::new(&part.region, &part.zone, &part.sub_zone);
        for (entry, lb_endpoint) in group.lb_endpoints.iter().enumerate() {
            let read = lb_entry(lb_endpoint).map_err(|(field, why)| {
                let dot = if field.is_empty() { "" } else { "." };
                InvalidResource::at(place(&format!("lb_endpoints[{entry}]{dot}{field}")), why)
            })?;
            let labels = labels(lb_endpoint.metadata.as_ref(), group.load_balancing_weight);
            match read.build(lb_endpoint, labels) {
                Ok(endpoint) => {
                    self.endpoints.push(endpoint.with_priority(priority).with_locality(locality.clone()));
                }
                Err(why) if self.rejects.len() < MAX_REJECTS => {
                    self.rejects.push((cut(&read.addresses[0].to_string(), 256).to_owned(), why));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// What was found to be allowed of an entry.
struct Entry<'a> {
    /// At least one.
    addresses: Vec<Address>,
    described: &'a HostEndpoint,
    weight: Weight,
}

/// The field, and what is wrong with it.
type Fault = (&'static str, String);

fn lb_entry(entry: &LbEndpoint) -> Result<Entry<'_>, Fault> {
    if !entry.endpoint_name.is_empty() {
        return Err(("endpoint_name", "points to what is not in this resource: not supported".to_owned()));
    }
    let described = entry.endpoint.as_ref().ok_or(("endpoint", "is missing".to_owned()))?;
    let first = described.address.as_ref().ok_or(("endpoint.address", "is missing".to_owned()))?;
    let mut addresses = Vec::with_capacity(1);
    addresses.push(address(first).map_err(|why| ("endpoint.address", why))?);
    for further in &described.additional_addresses {
        let field = "endpoint.additional_addresses";
        let further = further.address.as_ref().ok_or((field, "one has no address".to_owned()))?;
        addresses.push(address(further).map_err(|why| (field, why))?);
    }
    let weight = entry.load_balancing_weight.unwrap_or(1);
    if weight == 0 {
        return Err((
            "load_balancing_weight",
            "is 0: at least 1 is allowed; to drain say DRAINING".to_owned(),
        ));
    }
    Ok(Entry { addresses, described, weight: Weight::new(weight) })
}

impl Entry<'_> {
    fn build(&self, entry: &LbEndpoint, labels: Result<Labels, String>) -> Result<Endpoint, String> {
        let (first, further) = self.addresses.split_first().ok_or("no address")?;
        self.addresses.iter().try_for_each(reachable)?;
        let mut endpoint = Endpoint::at(first.clone()).map_err(|error| error.to_string())?;
        if !further.is_empty() {
            endpoint =
                endpoint.with_further_addresses(further.to_vec()).map_err(|error| error.to_string())?;
        }
        let labels = labels?;
        if !labels.is_empty() {
            endpoint = endpoint.with_labels(labels);
        }
        if !self.described.hostname.is_empty() {
            endpoint = endpoint.with_hostname(&self.described.hostname);
        }
        Ok(endpoint.with_weight(self.weight).with_announced(announced(entry.health_status)))
    }
}

fn address(message: &HostAddress) -> Result<Address, String> {
    if let Some(pipe) = &message.pipe {
        let text = format!("unix:{}", pipe.path);
        return text.parse().map_err(|error| format!("pipe {:?}: {error}", cut(&pipe.path, 64)));
    }
    let socket = message.socket_address.as_ref();
    let socket = socket.ok_or("is neither a socket_address nor a pipe, and others are not supported")?;
    if !socket.named_port.is_empty() {
        return Err("has a named_port: EDS wants a port_value".to_owned());
    }
    let ip: IpAddr = socket.address.parse().map_err(|_| {
        format!("{:?} is not an IP address, as EDS wants it: nothing is resolved", cut(&socket.address, 64))
    })?;
    let port = u16::try_from(socket.port_value)
        .map_err(|_| format!("port_value is {}: at most 65535 is allowed", socket.port_value))?;
    Ok(Address::Socket(SocketAddr::new(ip, port)))
}

/// Whether anybody can send there.
fn reachable(address: &Address) -> Result<(), String> {
    let Some(socket) = address.socket_addr() else { return Ok(()) };
    let ip = socket.ip();
    if socket.port() == 0 {
        return Err(format!("{socket}: nobody listens at port 0"));
    }
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("{ip} is no address of one host"));
    }
    Ok(())
}

fn announced(status: i32) -> Announced {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Healthy) => Announced::Up,
        Ok(HealthStatus::Degraded) => Announced::Degraded,
        Ok(HealthStatus::Draining) => Announced::Draining,
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => Announced::Down,
        Ok(HealthStatus::Unknown) | Err(_) => Announced::Unknown,
    }
}

fn labels(metadata: Option<&Metadata>, locality_weight: Option<u32>) -> Result<Labels, String> {
    let lb = metadata.and_then(|metadata| metadata.filter_metadata.get("envoy.lb"));
    let scalar = |kind: &Kind| match kind {
        Kind::Text(text) => text.clone(),
        Kind::Number(number) => number.to_string(),
        Kind::Truth(truth) => truth.to_string(),
    };
    let pairs = lb.into_iter().flat_map(|lb| &lb.fields);
    let pairs = pairs.filter_map(|(key, value)| Some((key.clone(), scalar(value.kind.as_ref()?))));
    let weight = locality_weight.map(|weight| (Assignment::LOCALITY_WEIGHT.to_owned(), weight.to_string()));
    let outside = |error| format!("metadata envoy.lb: {error}");
    // Checked alone: what is reserved is ours to add.
    let labels = Labels::from_outside(pairs.clone()).map_err(outside)?;
    if weight.is_none() { Ok(labels) } else { Labels::new(pairs.chain(weight)).map_err(outside) }
}

fn policy(message: &PolicyMessage) -> Result<OverloadPolicy, InvalidResource> {
    let bad = |field: &str, why: &str| Err(InvalidResource::at(format!("policy.{field}"), why));
    let mut policy = OverloadPolicy {
        weighted_priority_health: message.weighted_priority_health,
        ..OverloadPolicy::default()
    };
    match message.overprovisioning_factor {
        Some(0) => return bad("overprovisioning_factor", "is 0: more is needed"),
        Some(factor) => policy.overprovisioning_factor = factor,
        None => {}
    }
    if let Some(span) = &message.endpoint_stale_after {
        let time = u64::try_from(span.seconds).ok().zip(u32::try_from(span.nanos).ok());
        policy.endpoint_stale_after = match time {
            Some((seconds, nanos)) if nanos < 1_000_000_000 && (seconds, nanos) != (0, 0) => {
                Some(Duration::new(seconds, nanos))
            }
            _ => return bad("endpoint_stale_after", "is not a time above zero"),
        };
    }
    for drop in &message.drop_overloads {
        if drop.category.is_empty() {
            return bad("drop_overloads", "has a category without a name");
        }
        let share = drop.drop_percentage.clone().unwrap_or_default();
        let unit = match share.denominator {
            0 => 10_000,
            1 => 100,
            2 => 1,
            _ => return bad("drop_overloads", "has a denominator that is not known"),
        };
        let millionths = share.numerator.saturating_mul(unit).min(1_000_000);
        policy.drop_overloads.push(DropOverload { category: drop.category.clone(), millionths });
    }
    Ok(policy)
}

const MAX_REJECTS: usize = 1000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::proto::{Struct, Value};

    #[test]
    fn reserved_labels_are_ours() {
        let metadata = |key: &str| {
            let fields = BTreeMap::from([(key.to_owned(), Value { kind: Some(Kind::Text("9".to_owned())) })]);
            Metadata { filter_metadata: BTreeMap::from([("envoy.lb".to_owned(), Struct { fields })]) }
        };
        let theirs = labels(Some(&metadata("version")), Some(3)).expect("valid");
        assert_eq!((theirs.get("version"), theirs.get(Assignment::LOCALITY_WEIGHT)), (Some("9"), Some("3")));
        for weight in [None, Some(3)] {
            let refused = labels(Some(&metadata(Assignment::LOCALITY_WEIGHT)), weight);
            assert!(refused.as_ref().is_err_and(|why| why.starts_with("metadata envoy.lb: ")), "{refused:?}");
        }
    }
}
