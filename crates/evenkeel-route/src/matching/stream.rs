use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::cidr::Cidr;
use super::coverage::Shadow;
use super::error::{RuleProblem, RulesError};
use super::explain::{Because, Considered};
use super::host::{HostMatch, LONGEST_AUTHORITY, bare_host};
use super::http_rules::Scratch;
use super::stream_coverage;
use super::stream_index::{Key, StreamIndex};

/// What a connection must be like, for a rule to take it. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct StreamRule {
    /// For people; need not be unique. Default: none.
    pub name: String,
    /// Heavier rules are asked first. Default 0.
    pub weight: u32,
    /// Any of these listeners, by name. Default: all of them.
    pub listeners: Vec<String>,
    /// Where the connection comes from: any of these ranges. Default: anywhere.
    pub sources: Vec<Cidr>,
    /// Where it was going: any of these ranges. Default: anywhere.
    pub destinations: Vec<Cidr>,
    /// Any of these ports of the source. Default: all of them.
    pub source_ports: Vec<PortRange>,
    /// Any of these ports of the destination. Default: all of them.
    pub destination_ports: Vec<PortRange>,
    /// Any of these server names of the TLS handshake. Default: any, and none.
    pub sni: Vec<HostMatch>,
    /// Any of these protocols, if the client offers one of them. Default: any, and none.
    pub alpn: Vec<String>,
}

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl PortRange {
    /// This one port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether it holds `port`.
    #[must_use]
    pub const fn contains(&self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// Which of several rules that fit takes a connection. Weight goes before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Precedence {
    /// The first.
    #[default]
    FirstMatch,
    /// That of the narrowest destination range, then of the narrowest source range, then the first.
    ///
    /// A rule without ranges is as wide as can be. Unlike Envoy's filter chains, a narrow range whose rule fails for
    /// another reason does not hide wider ones.
    LongestPrefix,
}

/// How a table of rules for connections is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct StreamRulesConfig {
    /// The rules.
    pub rules: Vec<StreamRule>,
    /// Which of several takes a connection. Default: the first.
    pub precedence: Precedence,
    /// The most rules; under [`Precedence::LongestPrefix`] counted once for each pair of ranges. Default 1,000,000.
    pub max_rules: usize,
}

impl Default for StreamRulesConfig {
    fn default() -> Self {
        Self { rules: Vec::new(), precedence: Precedence::default(), max_rules: 1_000_000 }
    }
}

/// What rules for connections are matched against.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// The name of the listener.
    pub listener: &'a str,
    /// The client.
    pub source: SocketAddr,
    /// Where it was going.
    pub destination: SocketAddr,
    /// The server name of the TLS handshake; empty if there is none.
    pub sni: &'a [u8],
    /// The protocols that the client offers.
    pub alpn: &'a [&'a [u8]],
}

/// A compiled table of rules for connections.
///
/// Each rule is found by that of its server names, destinations, sources or listeners which it shares with the fewest other
/// rules: one lookup for each, and for each length of prefix that occurs. Rules that agree in all four are asked one after
/// the other.
///
/// ```
/// use evenkeel_route::matching::{Connection, Scratch, StreamRule, StreamRules, StreamRulesConfig};
///
/// let office = StreamRule { sources: vec!["10.0.0.0/8".parse()?], ..StreamRule::default() };
/// let rules = StreamRules::new(&StreamRulesConfig { rules: vec![office], ..Default::default() })?;
/// let connection = Connection {
///     listener: "tls",
///     source: "10.1.2.3:40000".parse()?,
///     destination: "192.0.2.1:443".parse()?,
///     sni: b"example.com",
///     alpn: &[b"h2"],
/// };
/// assert_eq!(rules.find(&connection, &mut Scratch::default()), Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct StreamRules {
    rules: Box<[StreamRule]>,
    entries: Box<[Entry]>,
    index: StreamIndex,
    shadowed: Box<[Shadow]>,
}

/// A rule; under the longest prefix with one of its pairs of ranges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) rule: u32,
    pair: Option<(Option<Cidr>, Option<Cidr>)>,
}

impl Entry {
    /// The ranges of sources that it takes; none stands for all.
    pub(super) fn sources<'a>(&'a self, rule: &'a StreamRule) -> &'a [Cidr] {
        self.pair.as_ref().map_or(&rule.sources, |(source, _)| source.as_slice())
    }

    /// The ranges of destinations that it takes; none stands for all.
    pub(super) fn destinations<'a>(&'a self, rule: &'a StreamRule) -> &'a [Cidr] {
        self.pair.as_ref().map_or(&rule.destinations, |(_, destination)| destination.as_slice())
    }
}

impl StreamRules {
    /// Compiles a table.
    ///
    /// # Errors
    ///
    /// [`RulesError`] names the first field that cannot be used.
    pub fn new(config: &StreamRulesConfig) -> Result<Self, RulesError> {
        let mut entries = Vec::new();
        for (number, rule) in config.rules.iter().enumerate() {
            let field = format!("rules[{number}]");
            check(rule, &field)?;
            let count = match config.precedence {
                Precedence::FirstMatch => 1,
                Precedence::LongestPrefix => {
                    rule.sources.len().max(1).saturating_mul(rule.destinations.len().max(1))
                }
            };
            let count = count.saturating_add(entries.len());
            if count > config.max_rules.min(u32::MAX as usize - 1) {
                return Err(RulesError::new(
                    field,
                    RuleProblem::TooManyRules { count, limit: config.max_rules },
                ));
            }
            match config.precedence {
                Precedence::FirstMatch => entries.push(Entry { rule: number as u32, pair: None }),
                Precedence::LongestPrefix => {
                    entries.extend(pairs(rule).map(|pair| Entry { rule: number as u32, pair: Some(pair) }));
                }
            }
        }
        let length = |range: Option<Cidr>| range.map_or(-1, |range| i16::from(range.length()));
        entries.sort_by_key(|entry| {
            let (source, destination) = entry.pair.unwrap_or_default();
            (
                Reverse(config.rules[entry.rule as usize].weight),
                Reverse(length(destination)),
                Reverse(length(source)),
            )
        });
        let keys: Vec<Vec<Vec<Key>>> =
            entries.iter().map(|entry| keys_of(entry, &config.rules[entry.rule as usize])).collect();
        Ok(Self {
            rules: config.rules.clone().into(),
            shadowed: stream_coverage::find(&config.rules, &entries).into(),
            entries: entries.into(),
            index: StreamIndex::new(&keys),
        })
    }

    /// Rules that never take a connection, because an earlier one takes all of it; under [`Precedence::LongestPrefix`] also those
    /// of which that holds for some of their pairs of ranges.
    ///
    /// What is listed is certain. Not everything is found: two rules that cover a third only together are not seen, and after 2,000,000
    /// comparisons it ends: enough for all pairs of 2,000 rules that ask for one name each, and for fewer with long lists.
    #[must_use]
    pub fn shadowed(&self) -> &[Shadow] {
        &self.shadowed
    }

    /// The rules as they were given.
    #[must_use]
    pub fn rules(&self) -> &[StreamRule] {
        &self.rules
    }

    /// The number of the rule that takes the connection.
    #[must_use]
    pub fn find(&self, connection: &Connection<'_>, scratch: &mut Scratch) -> Option<usize> {
        let sni = server_name(connection, &mut scratch.host);
        let mut best = u32::MAX;
        let (source, destination) =
            (connection.source.ip().to_canonical(), connection.destination.ip().to_canonical());
        self.index.each(connection.listener, source, destination, sni, |list| {
            let mut worth_asking = list.iter().take_while(|&&entry| entry < best);
            if let Some(&entry) =
                worth_asking.find(|&&entry| self.fits(&self.entries[entry as usize], connection, sni))
            {
                best = entry;
            }
        });
        self.entries.get(best as usize).map(|entry| entry.rule as usize)
    }

    /// The same by asking every rule in order, without the index.
    #[must_use]
    pub fn find_slowly(&self, connection: &Connection<'_>) -> Option<usize> {
        let mut buffer = Vec::new();
        let sni = server_name(connection, &mut buffer);
        let found = self.entries.iter().find(|entry| self.fits(entry, connection, sni));
        found.map(|entry| entry.rule as usize)
    }

    /// Why the connection goes where [`find`](Self::find) sends it.
    ///
    /// Asks every rule, one after the other and without the index, so that the answer also checks it. For people, not for
    /// every connection.
    #[must_use]
    pub fn explain(&self, connection: &Connection<'_>) -> StreamTrail {
        let mut buffer = Vec::new();
        let sni = server_name(connection, &mut buffer);
        let text = String::from_utf8_lossy(sni).into_owned();
        let mut trail = StreamTrail { sni: text, rule: None, passed: Vec::new() };
        let mut named = BTreeSet::new();
        for entry in &self.entries {
            let rule = entry.rule as usize;
            match self.misfit(entry, connection, sni) {
                None => {
                    trail.rule = Some(rule);
                    // One of its pairs of ranges may have come before without taking it.
                    trail.passed.retain(|passed| passed.rule != rule);
                    break;
                }
                Some(because) => {
                    if named.insert(rule) {
                        trail.passed.push(Considered { rule, name: self.rules[rule].name.clone(), because });
                    }
                }
            }
        }
        trail
    }

    fn fits(&self, entry: &Entry, connection: &Connection<'_>, sni: &[u8]) -> bool {
        self.misfit(entry, connection, sni).is_none()
    }

    /// The first thing that does not fit.
    #[inline]
    fn misfit(&self, entry: &Entry, connection: &Connection<'_>, sni: &[u8]) -> Option<Because> {
        let rule = &self.rules[entry.rule as usize];
        let (source, destination) = (connection.source, connection.destination);
        if !any(entry.sources(rule), |range| range.contains(source.ip())) {
            return Some(Because::Source);
        }
        if !any(entry.destinations(rule), |range| range.contains(destination.ip())) {
            return Some(Because::Destination);
        }
        if !any(&rule.listeners, |listener| listener == connection.listener) {
            return Some(Because::Listener);
        }
        if !any(&rule.source_ports, |ports| ports.contains(source.port())) {
            return Some(Because::SourcePort);
        }
        if !any(&rule.destination_ports, |ports| ports.contains(destination.port())) {
            return Some(Because::DestinationPort);
        }
        if !any(&rule.sni, |name| name.matches(sni)) {
            return Some(Because::Sni);
        }
        if !any(&rule.alpn, |protocol| connection.alpn.contains(&protocol.as_bytes())) {
            return Some(Because::Alpn);
        }
        None
    }
}

/// Why a connection went where it went: every rule in the order of asking, up to the one that took it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StreamTrail {
    /// The server name as it was compared.
    pub sni: String,
    /// The rule that took it.
    pub rule: Option<usize>,
    /// The rules before it, and why they did not.
    pub passed: Vec<Considered>,
}

/// Whether one of them holds; none given means that all hold.
fn any<T>(wanted: &[T], holds: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(holds)
}

/// A name that is too long is no name: no pattern but `*` takes it.
fn server_name<'a>(connection: &Connection<'a>, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    if connection.sni.len() > LONGEST_AUTHORITY { b"" } else { bare_host(connection.sni, buffer) }
}

fn check(rule: &StreamRule, field: &str) -> Result<(), RulesError> {
    for (kind, ports) in
        [("source_ports", &rule.source_ports), ("destination_ports", &rule.destination_ports)]
    {
        if let Some((i, range)) = ports.iter().enumerate().find(|(_, range)| range.first > range.last) {
            let problem = RuleProblem::Ports { first: range.first, last: range.last };
            return Err(RulesError::new(format!("{field}.{kind}[{i}]"), problem));
        }
    }
    for (i, name) in rule.sni.iter().enumerate() {
        name.to_string()
            .parse::<HostMatch>()
            .map_err(|error| RulesError::new(format!("{field}.sni[{i}]"), RuleProblem::Host(error)))?;
    }
    type ProblemOf = fn(String) -> RuleProblem;
    let kinds: [(_, _, ProblemOf); 2] =
        [("listeners", &rule.listeners, RuleProblem::Listener), ("alpn", &rule.alpn, RuleProblem::Name)];
    for (kind, names, problem) in kinds {
        let mut names = names.iter().enumerate();
        if let Some((i, name)) = names.find(|(_, name)| name.is_empty() || name.len() > 255) {
            return Err(RulesError::new(format!("{field}.{kind}[{i}]"), problem(name.clone())));
        }
    }
    Ok(())
}

fn pairs(rule: &StreamRule) -> impl Iterator<Item = (Option<Cidr>, Option<Cidr>)> {
    let or_any = |ranges: &[Cidr]| -> Vec<Option<Cidr>> {
        if ranges.is_empty() { vec![None] } else { ranges.iter().copied().map(Some).collect() }
    };
    let destinations = or_any(&rule.destinations);
    or_any(&rule.sources).into_iter().flat_map(move |source| {
        destinations.clone().into_iter().map(move |destination| (source, destination))
    })
}

fn keys_of(entry: &Entry, rule: &StreamRule) -> Vec<Vec<Key>> {
    let sni = if rule.sni.contains(&HostMatch::Any) {
        Vec::new()
    } else {
        rule.sni.iter().map(|name| Key::Sni(name.to_string())).collect()
    };
    let (sources, destinations) = (entry.sources(rule), entry.destinations(rule));
    let all = vec![
        sni,
        destinations.iter().copied().map(Key::Destination).collect(),
        sources.iter().copied().map(Key::Source).collect(),
        rule.listeners.iter().cloned().map(Key::Listener).collect(),
    ];
    all.into_iter().filter(|keys: &Vec<Key>| !keys.is_empty()).collect()
}
