//! SRV records into endpoints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use evenkeel_types::{Address, Endpoint, EndpointId, Weight};
use smol_str::{SmolStr, format_smolstr};

use crate::TargetAddresses;
use crate::lookup::{Failure, Heard};
use crate::wire::{Data, Name, Record};

/// What a set of SRV records comes to.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// With the SRV priority, which is ranked later.
    pub(crate) endpoints: Vec<(u16, Endpoint)>,
    pub(crate) bad: Vec<(SmolStr, String)>,
    /// The first failure to learn a target's address.
    pub(crate) failure: Option<Failure>,
}

/// The records, lowest priority and highest weight first, so that of two for one target and port the better one stays.
pub(crate) fn endpoints(
    records: &[Record],
    hosts: &BTreeMap<Name, Heard<Vec<IpAddr>>>,
    last: impl Fn(&Name) -> Option<Vec<IpAddr>>,
    meaning: TargetAddresses,
) -> Made {
    let mut made = Made::default();
    let mut taken = BTreeMap::new();
    let mut sorted: Vec<_> = records.iter().map(|record| &record.data).collect();
    sorted.sort_by_key(|data| match data {
        Data::Srv { priority, weight, .. } => (*priority, u16::MAX - weight),
        _ => (u16::MAX, u16::MAX),
    });
    for data in sorted {
        let (priority, weight, port, target) = match data {
            Data::Srv { priority, weight, port, target: Some(target) } => (*priority, *weight, *port, target),
            Data::Srv { target: None, .. } => {
                made.bad.push((
                    ".".into(),
                    "the target \".\" beside others: it means that there are none".into(),
                ));
                continue;
            }
            Data::BadTarget(text) => {
                made.bad.push((text.clone(), "the target is no name of a host".into()));
                continue;
            }
            Data::Ip(_) | Data::Alias(_) => continue,
        };
        let name = format_smolstr!("{target}:{port}");
        if port == 0 {
            made.bad.push((name, "the port is 0".into()));
            continue;
        }
        if taken.insert(name.clone(), ()).is_some() {
            made.bad.push((name, "a second record for this target and port".into()));
            continue;
        }
        let ips = match hosts.get(target) {
            Some(Heard::These { what, .. }) => what.clone(),
            Some(Heard::Nobody { .. }) => {
                made.bad.push((name, "the target has no address".into()));
                continue;
            }
            Some(Heard::Failed(failure)) => {
                made.failure.get_or_insert_with(|| failure.clone());
                let why = format!("no answer about the target, its last address stays: {}", failure.text);
                made.bad.push((name.clone(), why));
                match last(target) {
                    Some(ips) => ips,
                    None => continue,
                }
            }
            None => {
                made.bad.push((name, "more targets than max_targets".into()));
                continue;
            }
        };
        // RFC 2782: no drain, but a very small chance; see the crate's page.
        let weight = Weight::new(u32::from(weight.max(1)));
        let mut add = |endpoint: Endpoint| {
            made.endpoints.push((priority, endpoint.with_weight(weight).with_hostname(target.as_str())));
        };
        let addresses = addresses(&ips, port);
        match meaning {
            TargetAddresses::EachAnEndpoint => {
                addresses.into_iter().filter_map(|a| Endpoint::at(a).ok()).for_each(add)
            }
            TargetAddresses::OneEndpoint => match one(&name, addresses) {
                Some(endpoint) => add(endpoint),
                None => made.bad.push((name, "the target has no usable address".into())),
            },
        }
    }
    made
}

/// In numeric order, IPv4 first, each once, so that the order of an answer, which rotates, is no change. An address that
/// means "none" or "all", as filters answer with, is left out.
pub(crate) fn addresses(ips: &[IpAddr], port: u16) -> Vec<Address> {
    let usable = |ip: &&IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    let mut usable: Vec<_> = ips.iter().filter(usable).copied().collect();
    usable.sort_unstable();
    usable.dedup();
    usable.into_iter().map(|ip| Address::Socket(SocketAddr::new(ip, port))).collect()
}

fn one(name: &str, mut addresses: Vec<Address>) -> Option<Endpoint> {
    addresses.truncate(Endpoint::MAX_ADDRESSES);
    let further = if addresses.is_empty() { Vec::new() } else { addresses.split_off(1) };
    Endpoint::new(EndpointId::new(name).ok()?, addresses.pop()?).with_further_addresses(further).ok()
}
