//! Finds the groups of rules that take a host: exact names, suffixes and prefixes by one hash lookup each.

use super::byte_map::ByteMap;
use super::host::HostMatch;

#[derive(Clone, Debug, Default)]
pub(crate) struct HostIndex {
    any: Option<u32>,
    ignores_host: bool,
    exact: ByteMap,
    suffixes: Parts,
    prefixes: Parts,
}

#[derive(Clone, Debug, Default)]
struct Parts {
    map: ByteMap,
    shortest: usize,
    longest: usize,
}

impl HostIndex {
    /// An index of these patterns, which all differ.
    pub(crate) fn new<'a>(groups: impl Iterator<Item = (&'a HostMatch, u32)>) -> Self {
        let (mut any, mut exact, mut suffixes, mut prefixes) = (None, Vec::new(), Vec::new(), Vec::new());
        for (host, group) in groups {
            match host {
                HostMatch::Any => any = Some(group),
                HostMatch::Exact(name) => exact.push((name.as_bytes(), group)),
                HostMatch::Suffix(suffix) => suffixes.push((suffix.as_bytes(), group)),
                HostMatch::Prefix(prefix) => prefixes.push((prefix.as_bytes(), group)),
            }
        }
        let exact = if exact.is_empty() { ByteMap::default() } else { ByteMap::new(exact.into_iter()) };
        let (suffixes, prefixes) = (Parts::new(&suffixes), Parts::new(&prefixes));
        let ignores_host = exact.is_empty() && suffixes.map.is_empty() && prefixes.map.is_empty();
        Self { any, ignores_host, exact, suffixes, prefixes }
    }

    /// Whether any host is as good as another.
    pub(crate) const fn ignores_host(&self) -> bool {
        self.ignores_host
    }

    /// The group of rules that take every host.
    pub(crate) const fn any(&self) -> Option<u32> {
        self.any
    }

    /// The groups that take `host`.
    #[inline]
    pub(crate) fn each(&self, host: &[u8], mut visit: impl FnMut(u32)) {
        if let Some(group) = self.exact.get(host) {
            visit(group);
        }
        if !self.suffixes.map.is_empty() {
            let dots = dots(host).filter(|&at| at > 0 && self.suffixes.can_hold(host.len() - at));
            dots.filter_map(|at| self.suffixes.map.get(&host[at..])).for_each(&mut visit);
        }
        if !self.prefixes.map.is_empty() {
            let dots = dots(host).filter(|&at| at + 1 < host.len() && self.prefixes.can_hold(at + 1));
            dots.filter_map(|at| self.prefixes.map.get(&host[..=at])).for_each(&mut visit);
        }
        if let Some(group) = self.any {
            visit(group);
        }
    }
}

impl Parts {
    fn new(pairs: &[(&[u8], u32)]) -> Self {
        let lengths = || pairs.iter().map(|(text, _)| text.len());
        let (Some(shortest), Some(longest)) = (lengths().min(), lengths().max()) else {
            return Self::default();
        };
        Self { map: ByteMap::new(pairs.iter().copied()), shortest, longest }
    }

    fn can_hold(&self, len: usize) -> bool {
        (self.shortest..=self.longest).contains(&len)
    }
}

fn dots(host: &[u8]) -> impl Iterator<Item = usize> {
    host.iter().enumerate().filter(|&(_, &byte)| byte == b'.').map(|(at, _)| at)
}
