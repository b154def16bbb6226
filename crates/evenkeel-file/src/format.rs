//! evenkeel's own format, version 1.
//!
//! ```toml
//! version = 1
//!
//! [services.users]
//! empty = false                      # true: an empty list is meant, and is taken at its word
//!
//! [[services.users.endpoints]]
//! id = "users-1"                     # the name, which outlives changes; without one, the first address
//! address = "10.0.0.1:8080"          # or addresses = […]: up to eight of the same process
//! weight = 3                         # 1; 0 drains
//! priority = 0                       # 0, used first, to 128
//! announced = "up"                   # unknown, up, degraded, starting, draining, down
//! hostname = "users.example"         # for SNI and Host
//! incarnation = 7                    # 0; raise it when a new process takes over the id
//! locality = { region = "eu", zone = "eu-1", sub_zone = "r7" }
//! labels = { version = "7" }
//! ```
//!
//! YAML and JSON have the same keys. `version` must be there: a later one is refused, not guessed at. An unknown key
//! outside entries refuses the file, since a misspelt `endpoints` must not look like nobody; one inside an entry rejects
//! the entry.

use evenkeel_types::{Address, Announced, Endpoint, EndpointId, Locality, Priority, Weight};
use smol_str::SmolStr;

use crate::answer::Gathered;
use crate::fields::{self, Table, present};
use crate::node::Node;
use crate::{Answer, Document, Fault};

/// The version of the format that is read.
pub const VERSION: u64 = 1;

const ENTRY: [&str; 10] = [
    "id",
    "address",
    "addresses",
    "weight",
    "priority",
    "announced",
    "hostname",
    "incarnation",
    "locality",
    "labels",
];

pub(crate) fn check(root: &Node) -> Result<(), Fault> {
    let table = root.map("the file")?;
    let version = present(table, "version")
        .ok_or_else(|| root.fault(format!("there is no version: write version = {VERSION}")))?;
    let number = version.whole("version", u64::MAX)?;
    if number != VERSION {
        return Err(version.fault(format!("version {number} is not known: {VERSION} is")));
    }
    only(table, &["version", "services"], "the file")?;
    for (name, service) in services_of(root)? {
        let what = format!("services.{name}");
        let table = service.map(&what)?;
        only(table, &["endpoints", "empty"], &what)?;
    }
    Ok(())
}

pub(crate) fn services(root: &Node) -> Vec<SmolStr> {
    services_of(root).map(|services| services.keys().cloned().collect()).unwrap_or_default()
}

pub(crate) fn service(root: &Node, name: &str) -> Result<Answer, Fault> {
    let found = services_of(root)?.get(name);
    let node = found.ok_or_else(|| Document::missing(root, name, &services(root)))?;
    let what = format!("services.{name}");
    let table = node.map(&what)?;
    let list = present(table, "endpoints").ok_or_else(|| node.fault(format!("{what} has no endpoints")))?;
    let empty = present(table, "empty").map_or(Ok(false), |node| node.boolean("empty"))?;
    let mut gathered = Gathered::default();
    for (number, node) in list.list(&format!("{what}.endpoints"))?.iter().enumerate() {
        let read = entry(node).map_err(|fault| (name_of(node), fault));
        gathered.take(format!("{what}.endpoints[{number}]"), node.line, read);
    }
    Ok(gathered.done(empty))
}

fn services_of(root: &Node) -> Result<&Table, Fault> {
    let table = root.map("the file")?;
    table.get("services").ok_or_else(|| root.fault("there are no services"))?.map("services")
}

fn entry(node: &Node) -> Result<Endpoint, Fault> {
    let table = node.map("the entry")?;
    only(table, &ENTRY, "the entry")?;
    let id = present(table, "id").map(id_of).transpose()?;
    let endpoint = fields::endpoint(node, id, addresses(node, table)?)?;
    described(endpoint, table)
}

fn described(mut endpoint: Endpoint, table: &Table) -> Result<Endpoint, Fault> {
    if let Some(node) = present(table, "weight") {
        let weight = node.whole("weight", u32::MAX.into())?;
        endpoint = endpoint.with_weight(Weight::new(u32::try_from(weight).unwrap_or(u32::MAX)));
    }
    if let Some(node) = present(table, "priority") {
        endpoint = endpoint.with_priority(priority(node, "priority")?);
    }
    if let Some(node) = present(table, "announced") {
        endpoint = endpoint.with_announced(announced(node)?);
    }
    if let Some(node) = present(table, "hostname") {
        endpoint = endpoint.with_hostname(node.text("hostname")?);
    }
    if let Some(node) = present(table, "incarnation") {
        endpoint = endpoint.with_incarnation(node.whole("incarnation", u64::MAX)?);
    }
    if let Some(node) = present(table, "locality") {
        endpoint = endpoint.with_locality(locality(node)?);
    }
    if let Some(node) = present(table, "labels") {
        endpoint = endpoint.with_labels(fields::labels(node, "labels")?);
    }
    Ok(endpoint)
}

pub(crate) fn priority(node: &Node, what: &str) -> Result<Priority, Fault> {
    let level = node.whole(what, Priority::LOWEST.get().into())?;
    Priority::new(u8::try_from(level).unwrap_or(u8::MAX)).map_err(|error| node.fault(error.to_string()))
}

fn name_of(node: &Node) -> Option<String> {
    let table = node.map("the entry").ok()?;
    let text = |key| present(table, key).and_then(|node| node.any_text(key).ok());
    text("id").or_else(|| text("address")).map(|text| text.chars().take(128).collect())
}

fn id_of(node: &Node) -> Result<EndpointId, Fault> {
    EndpointId::new(node.text("id")?).map_err(|error| node.fault(error.to_string()))
}

fn addresses(entry: &Node, table: &Table) -> Result<Vec<Address>, Fault> {
    match (present(table, "address"), present(table, "addresses")) {
        (Some(one), None) => Ok(vec![address(one)?]),
        (None, Some(many)) => many.list("addresses")?.iter().map(address).collect(),
        (None, None) => Err(entry.fault("there is neither address nor addresses")),
        (Some(_), Some(both)) => Err(both.fault("address and addresses: write one of them")),
    }
}

fn address(node: &Node) -> Result<Address, Fault> {
    let text = node.text("address")?;
    text.parse().map_err(|error| node.fault(format!("address {text:?}: {error}")))
}

fn announced(node: &Node) -> Result<Announced, Fault> {
    Ok(match node.text("announced")? {
        "unknown" => Announced::Unknown,
        "up" => Announced::Up,
        "degraded" => Announced::Degraded,
        "starting" => Announced::Starting,
        "draining" => Announced::Draining,
        "down" => Announced::Down,
        other => {
            let allowed = "unknown, up, degraded, starting, draining, down";
            return Err(node.fault(format!("announced is {other:?}: allowed are {allowed}")));
        }
    })
}

fn locality(node: &Node) -> Result<Locality, Fault> {
    let table = node.map("locality")?;
    only(table, &["region", "zone", "sub_zone"], "locality")?;
    let part = |key| present(table, key).map_or(Ok(""), |node| node.text(key));
    Ok(Locality::new(part("region")?, part("zone")?, part("sub_zone")?))
}

fn only(table: &Table, allowed: &[&str], what: &str) -> Result<(), Fault> {
    match table.iter().find(|(key, _)| !allowed.contains(&key.as_str())) {
        Some((key, node)) => {
            Err(node.fault(format!("{what} has the unknown key {key:?}: allowed are {}", allowed.join(", "))))
        }
        None => Ok(()),
    }
}
