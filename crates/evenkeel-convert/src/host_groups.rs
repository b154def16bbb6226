//! Programs that choose by the host first, and among its routes then: what our routes are for each host.

use evenkeel::router::RouteConfig;
use evenkeel_route::matching::{HostMatch, HttpRule};

/// Hosts, and the numbers of the routes that take their requests, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostGroup {
    /// Empty: all hosts that are in no other group.
    pub(crate) hosts: Vec<HostMatch>,
    pub(crate) routes: Vec<usize>,
}

/// The groups, those of particular hosts first.
pub(crate) fn host_groups(routes: &[RouteConfig]) -> Vec<HostGroup> {
    host_groups_of(routes, &[], |_| 0)
}

/// The same, with more hosts than those that routes name; hosts of different sorts do not share a group.
pub(crate) fn host_groups_of(
    routes: &[RouteConfig],
    more: &[HostMatch],
    sort: impl Fn(&HostMatch) -> usize,
) -> Vec<HostGroup> {
    let mut order: Vec<usize> = (0..routes.len()).collect();
    order.sort_by_key(|&route| std::cmp::Reverse(routes[route].rule.weight));
    let mut hosts: Vec<&HostMatch> = Vec::new();
    let named = routes.iter().flat_map(|route| &route.rule.hosts).chain(more);
    for host in named.filter(|&host| *host != HostMatch::Any) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    let mut groups: Vec<HostGroup> = Vec::new();
    for host in hosts {
        let routes = until_all(routes, order.iter().copied().filter(|&r| covers(&routes[r].rule, host)));
        let is_like = |group: &&mut HostGroup| {
            group.routes == routes && group.hosts.first().map(&sort) == Some(sort(host))
        };
        match groups.iter_mut().find(is_like) {
            Some(group) => group.hosts.push(host.clone()),
            None => groups.push(HostGroup { hosts: vec![host.clone()], routes }),
        }
    }
    let is_any = |rule: &HttpRule| rule.hosts.is_empty() || rule.hosts.contains(&HostMatch::Any);
    let rest = until_all(routes, order.iter().copied().filter(|&r| is_any(&routes[r].rule)));
    if !rest.is_empty() {
        groups.push(HostGroup { hosts: Vec::new(), routes: rest });
    }
    groups
}

/// Hosts with the number of who takes them, in the order in which nginx and Envoy ask: names, then ends of names and beginnings, the
/// longest first. Hosts of one that stand side by side are put together.
pub(crate) fn runs(mut hosts: Vec<(HostMatch, usize)>) -> Vec<(Vec<HostMatch>, usize)> {
    hosts.sort_by_key(|(host, _)| rank(host));
    let mut runs: Vec<(Vec<HostMatch>, usize)> = Vec::new();
    for (host, number) in hosts {
        match runs.last_mut() {
            Some((hosts, last)) if *last == number && host != HostMatch::Any => hosts.push(host),
            _ => runs.push((vec![host], number)),
        }
    }
    runs
}

fn rank(host: &HostMatch) -> (u8, usize) {
    match host {
        HostMatch::Exact(_) => (0, 0),
        HostMatch::Suffix(text) => (1, usize::MAX - text.len()),
        HostMatch::Prefix(text) => (2, usize::MAX - text.len()),
        HostMatch::Any => (3, 0),
    }
}

/// Whether all requests of a host pattern may be taken by a rule, as far as hosts go.
fn covers(rule: &HttpRule, host: &HostMatch) -> bool {
    rule.hosts.is_empty()
        || rule.hosts.iter().any(|other| match (other, host) {
            (HostMatch::Any, _) => true,
            (other, host) if other == host => true,
            (other, HostMatch::Exact(name)) => other.matches(name.as_bytes()),
            (HostMatch::Suffix(short), HostMatch::Suffix(long)) => long.ends_with(short.as_str()),
            (HostMatch::Prefix(short), HostMatch::Prefix(long)) => long.starts_with(short.as_str()),
            _ => false,
        })
}

/// Whether a rule takes all requests of its hosts.
pub(crate) fn takes_all(rule: &HttpRule) -> bool {
    let plain = HttpRule { name: String::new(), weight: 0, hosts: Vec::new(), ..rule.clone() };
    plain == HttpRule::default()
}

fn until_all(routes: &[RouteConfig], numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut found = Vec::new();
    for number in numbers {
        found.push(number);
        if takes_all(&routes[number].rule) {
            break;
        }
    }
    found
}
