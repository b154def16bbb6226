use super::headers::Headers;
use super::host::HostMatch;
use super::http_rules::{HttpRules, Scratch, bounded_host};
use super::normal::normalise;
use super::predicate::Place;
use super::request::{Request, RequestError};

/// Why a request went where it went: every rule in the order of asking, up to the one that took it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct HttpTrail {
    /// The host as it was compared.
    pub host: String,
    /// The path as it was compared.
    pub path: String,
    /// The rule that took it.
    pub rule: Option<usize>,
    /// The rules before it, and why they did not.
    pub passed: Vec<Considered>,
}

/// A rule that did not take a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Considered {
    /// The number of the rule.
    pub rule: usize,
    /// Its name.
    pub name: String,
    /// The first thing that did not fit.
    pub because: Because,
}

/// What did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Because {
    /// None of its listeners.
    Listener,
    /// None of its hosts.
    Host,
    /// None of its paths.
    Path,
    /// None of its methods.
    Method,
    /// The header test of this number.
    Header(usize),
    /// The query test of this number.
    Query(usize),
    /// The cookie test of this number.
    Cookie(usize),
    /// The request is outside the fraction.
    Fraction,
    /// None of its ranges of clients.
    Source,
    /// None of its ranges of destinations.
    Destination,
    /// None of its ports of clients.
    SourcePort,
    /// None of its ports of destinations.
    DestinationPort,
    /// None of its server names.
    Sni,
    /// None of its protocols.
    Alpn,
}

impl HttpRules {
    /// Why the request goes where [`find`](Self::find) sends it.
    ///
    /// Asks every rule, one after the other and without the index, so that the answer also checks it. For people, not for
    /// every request.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn explain<H: Headers + ?Sized>(
        &self,
        request: &Request<'_, H>,
        scratch: &mut Scratch,
    ) -> Result<HttpTrail, RequestError> {
        let Scratch { host, path, decoded, .. } = scratch;
        let path = normalise(request.path, &self.options, path)?;
        let host = bounded_host(request.host, false, host)?;
        let mut passed = Vec::new();
        let mut from = 0;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut trail = HttpTrail { host: text(host), path: text(path), rule: None, passed: Vec::new() };
        while let Some(entry) = self.entries.get(from) {
            let rule = &self.rules[entry.rule as usize];
            let end = from + rule.paths.len().max(1);
            let mut paths = self.entries[from..end].iter().map(|entry| &self.paths[entry.path as usize]);
            let no = if !rule.hosts.is_empty()
                && !rule.hosts.iter().any(|pattern: &HostMatch| pattern.matches(host))
            {
                Some(Because::Host)
            } else if !paths.any(|pattern| pattern.matches(path)) {
                Some(Because::Path)
            } else if !rule.methods.is_empty() && !rule.methods.iter().any(|method| *method == request.method)
            {
                Some(Because::Method)
            } else {
                let failing =
                    self.predicates_of(entry).iter().find(|(_, test)| !test.holds(request, decoded));
                failing.map(|(place, _)| because(*place))
            };
            let Some(because) = no else {
                trail.rule = Some(entry.rule as usize);
                break;
            };
            passed.push(Considered { rule: entry.rule as usize, name: rule.name.clone(), because });
            from = end;
        }
        trail.passed = passed;
        Ok(trail)
    }
}

const fn because(place: Place) -> Because {
    match place {
        Place::Listener => Because::Listener,
        Place::Header(i) => Because::Header(i),
        Place::Query(i) => Because::Query(i),
        Place::Cookie(i) => Because::Cookie(i),
        Place::Fraction => Because::Fraction,
    }
}
