//! SRV records into endpoints.

use std::collections::{BTreeMap, BTreeSet};
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

/// What is known about hosts.
pub(crate) struct Hosts<'a, F> {
    /// What this round has heard.
    pub(crate) heard: &'a BTreeMap<Name, Heard<Vec<IpAddr>>>,
    /// The last addresses of one that could not be asked for.
    pub(crate) last: F,
}

/// The endpoints of the records. Of two for one target and port the one with the lower priority, then the higher weight,
/// stays.
pub(crate) fn endpoints(
    records: &[Record],
    hosts: &Hosts<'_, impl Fn(&Name) -> Option<Vec<IpAddr>>>,
    meaning: TargetAddresses,
) -> Made {
    let mut made = Made::default();
    let mut taken = BTreeSet::new();
    let mut sorted: Vec<_> = records.iter().map(|record| &record.data).collect();
    sorted.sort_by_key(|data| match data {
        Data::Srv { priority, weight, .. } => (*priority, u16::MAX - weight),
        _ => (u16::MAX, u16::MAX),
    });
    for data in sorted {
        let (priority, weight, port, target) = match data {
            Data::Srv { priority, weight, port, target: Some(target) } => (*priority, *weight, *port, target),
            Data::Srv { target: None, .. } => {
                made.reject(".", "the target \".\" beside others: it means that there are none");
                continue;
            }
            Data::BadTarget(text) => {
                made.reject(text, "the target is no name of a host");
                continue;
            }
            Data::Ip(_) | Data::Alias(_) => continue,
        };
        let name = format_smolstr!("{target}:{port}");
        if port == 0 {
            made.reject(&name, "the port is 0");
        } else if !taken.insert(name.clone()) {
            made.reject(&name, "a second record for this target and port");
        } else {
            let addresses = addresses(&made.ips(&name, target, hosts), port);
            // RFC 2782: no drain, but a very small chance; see the crate's page.
            let weight = Weight::new(u32::from(weight.max(1)));
            let endpoints = match meaning {
                TargetAddresses::OneEndpoint => one(&name, addresses).into_iter().collect(),
                TargetAddresses::EachAnEndpoint => each(addresses),
            };
            let described = |e: Endpoint| (priority, e.with_weight(weight).with_hostname(target.as_str()));
            made.endpoints.extend(endpoints.into_iter().map(described));
        }
    }
    made
}

impl Made {
    fn reject(&mut self, name: &str, reason: impl Into<String>) {
        self.bad.push((name.into(), reason.into()));
    }

    /// The addresses of a target; none, and a reject, if there are none.
    fn ips(
        &mut self,
        name: &str,
        target: &Name,
        hosts: &Hosts<'_, impl Fn(&Name) -> Option<Vec<IpAddr>>>,
    ) -> Vec<IpAddr> {
        match hosts.heard.get(target) {
            Some(Heard::These { what, .. }) => {
                if !what.iter().any(is_usable) {
                    self.reject(name, "the target has no usable address");
                }
                return what.clone();
            }
            Some(Heard::Nobody { .. }) => self.reject(name, "the target has no address"),
            Some(Heard::Failed(failure)) => {
                self.failure.get_or_insert_with(|| failure.clone());
                let text = &failure.text;
                self.reject(name, format!("no answer about the target, its last address stays: {text}"));
                return (hosts.last)(target).unwrap_or_default();
            }
            None => self.reject(name, "more targets than max_targets"),
        }
        Vec::new()
    }
}

/// In numeric order, IPv4 first, each once, so that the order of an answer, which rotates, is no change. An address that
/// means "none" or "all", as filters answer with, is left out.
pub(crate) fn addresses(ips: &[IpAddr], port: u16) -> Vec<Address> {
    let mut usable: Vec<_> = ips.iter().filter(|ip| is_usable(ip)).copied().collect();
    usable.sort_unstable();
    usable.dedup();
    usable.into_iter().map(|ip| Address::Socket(SocketAddr::new(ip, port))).collect()
}

fn is_usable(ip: &IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast()
}

fn one(name: &str, mut addresses: Vec<Address>) -> Option<Endpoint> {
    addresses.truncate(Endpoint::MAX_ADDRESSES);
    let further = if addresses.is_empty() { Vec::new() } else { addresses.split_off(1) };
    Endpoint::new(EndpointId::new(name).ok()?, addresses.pop()?).with_further_addresses(further).ok()
}

fn each(addresses: Vec<Address>) -> Vec<Endpoint> {
    addresses.into_iter().filter_map(|address| Endpoint::at(address).ok()).collect()
}
