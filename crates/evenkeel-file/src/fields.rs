//! What both formats read alike.

use std::collections::BTreeMap;

use evenkeel_types::{Address, Endpoint, EndpointId, Labels};
use smol_str::SmolStr;

use crate::Fault;
use crate::node::Node;

pub(crate) type Table = BTreeMap<SmolStr, Node>;

/// A field that is there and not null.
pub(crate) fn present<'a>(table: &'a Table, key: &str) -> Option<&'a Node> {
    table.get(key).filter(|node| !node.is_null())
}

/// The entry of these addresses, the preferred one first; its id is that address unless there is a name.
pub(crate) fn endpoint(
    node: &Node,
    id: Option<EndpointId>,
    mut addresses: Vec<Address>,
) -> Result<Endpoint, Fault> {
    let further = if addresses.is_empty() { Vec::new() } else { addresses.split_off(1) };
    let Some(first) = addresses.pop() else { return Err(node.fault("there is no address")) };
    let bare = match id {
        Some(id) => Ok(Endpoint::new(id, first)),
        None => Endpoint::at(first),
    };
    bare.and_then(|bare| bare.with_further_addresses(further)).map_err(|error| node.fault(error.to_string()))
}

pub(crate) fn labels(node: &Node, what: &str) -> Result<Labels, Fault> {
    let pairs = node.map(what)?.iter().filter(|(_, value)| !value.is_null());
    let pairs = pairs
        .map(|(key, value)| Ok((key.as_str(), value.any_text(&format!("{what}.{key}"))?)))
        .collect::<Result<Vec<_>, Fault>>()?;
    Labels::from_outside(pairs).map_err(|error| node.fault(format!("{what}: {error}")))
}
