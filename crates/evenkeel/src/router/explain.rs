use std::fmt;
use std::time::Duration;

use evenkeel_route::affinity::{EndpointState, NoCookie, OnLost, Stay};
use evenkeel_route::matching::{Because, Considered, Headers, HttpTrail, Scratch};
use evenkeel_types::EndpointId;

use super::clusters::Clusters;
use super::error::RouteError;
use super::incoming::Incoming;
use super::key::{Asked, KeyBytes, key_hash};
use super::rate_limit::Word;
use super::router::fraction_hash;
use super::sticky::{Affinity, Sought};
use super::table::{Route, Table};
use super::target::{ArmReason, Target};
use crate::cluster::Cluster;
use crate::explain::Explanation;
use crate::request::Request;

/// Why a request would go where it would go: the whole trail, from the rules to the endpoint.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RouteExplanation {
    /// How often the configuration was replaced.
    pub generation: u64,
    /// Which rules were asked, and why those before the one that took it did not.
    pub rules: HttpTrail,
    /// The route.
    pub route: Option<String>,
    /// What its rate limits say, in their order up to the first that refuses.
    pub limits: Vec<LimitWord>,
    /// What the route answers itself, if it does.
    pub answer: Option<String>,
    /// The arm.
    pub arm: Option<ExplainedArm>,
    /// What affinity says, if the route has any.
    pub affinity: Option<ExplainedAffinity>,
    /// The cluster, and the fallbacks that would be asked after it, as they are now.
    pub clusters: Vec<ExplainedCluster>,
}

/// What a rate limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum LimitWord {
    /// The request may go.
    Go,
    /// The request has no key, and is not limited.
    Unlimited,
    /// Not before this time has passed.
    Wait(Duration),
    /// The request has no key, and needs one.
    NoKey,
}

/// The arm of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ExplainedArm {
    /// Its number.
    pub arm: usize,
    /// Its cluster.
    pub cluster: String,
    /// Why.
    pub why: ArmReason,
}

/// What affinity says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ExplainedAffinity {
    /// The endpoint that the user has, or that a list names.
    pub endpoint: Option<EndpointId>,
    /// How it is.
    pub state: Option<EndpointState>,
    /// Why the cookie names nobody, if so.
    pub no_cookie: Option<NoCookie>,
    /// What becomes of that.
    pub verdict: Affinity,
}

/// A cluster that would be asked.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ExplainedCluster {
    /// Its name.
    pub name: String,
    /// What it would say.
    pub explanation: Explanation,
}

impl RouteExplanation {
    pub(crate) fn of<T, H: Headers + ?Sized>(
        table: &Table<T>,
        incoming: &Incoming<'_, H>,
    ) -> Result<Self, RouteError> {
        let core = &*table.core;
        // The same draws as the next request of this thread, which is not touched.
        let lane = core.lanes.mine().fork();
        let request = incoming.hashed(fraction_hash(table, incoming, lane.draw()));
        let mut scratch = Scratch::default();
        let rules = table.rules.explain(&request, &mut scratch)?;
        let mut explanation = Self {
            generation: table.generation,
            rules,
            route: None,
            limits: Vec::new(),
            answer: None,
            arm: None,
            affinity: None,
            clusters: Vec::new(),
        };
        let Some(found) = table.rules.find(&request, &mut scratch)? else { return Ok(explanation) };
        let route = table.route(found.rule() as u32);
        explanation.route = Some(route.name.to_string());
        let asked = Asked { request: &request, source: incoming.source, path: found.path() };
        for limit in &route.limits {
            explanation.limits.push(match limit.ask(&asked, true) {
                Word::Go => LimitWord::Go,
                Word::Unlimited => LimitWord::Unlimited,
                Word::Wait(wait) => LimitWord::Wait(wait),
                Word::NoKey => LimitWord::NoKey,
            });
            if matches!(explanation.limits.last(), Some(LimitWord::Wait(_) | LimitWord::NoKey)) {
                return Ok(explanation);
            }
        }
        let key = asked.key(&route.key);
        let hash = key.as_ref().map(|key| key_hash(table.hash_seed, key));
        let Some(arm) = route.target.choose(&request, hash, lane.draw(), || core.now()) else {
            explanation.answer = Some(match &route.target {
                Target::Redirect(location) => {
                    let to = location.of(request.host, &found, request.query);
                    format!("{} to {to}", location.status)
                }
                Target::Respond(response) => response.status.to_string(),
                _ => String::new(),
            });
            return Ok(explanation);
        };
        let cluster = table.clusters.get(arm.cluster);
        let name = cluster.name().to_owned();
        explanation.arm = Some(ExplainedArm { arm: arm.arm as usize, cluster: name, why: arm.why });
        let policy_request = of_policy(key.as_ref(), incoming);
        if let Some(sticky) = &route.sticky {
            let sought = sticky.seek(&asked, || core.now(), || core.unix.unix());
            explanation.affinity = Some(ExplainedAffinity::of(route, cluster, &sought, &policy_request));
        }
        explanation.clusters = chain(&table.clusters, arm.cluster, &policy_request);
        Ok(explanation)
    }
}

fn of_policy<'k, H: ?Sized>(key: Option<&'k KeyBytes>, incoming: &Incoming<'_, H>) -> Request<'k> {
    let request = key.map_or_else(Request::new, Request::with_key);
    request.of_client(incoming.source, incoming.place)
}

/// The cluster and its fallbacks, up to the first that would serve.
pub(crate) fn chain<T>(clusters: &Clusters<T>, first: u32, request: &Request<'_>) -> Vec<ExplainedCluster> {
    let mut asked = Vec::new();
    let mut next = Some(first);
    while let Some(at) = next {
        let cluster = clusters.get(at);
        let explanation = cluster.explain(request);
        let is_last = explanation.failure.is_none();
        asked.push(ExplainedCluster { name: cluster.name().to_owned(), explanation });
        next = if is_last { None } else { clusters.fallback(at) };
    }
    asked
}

impl ExplainedAffinity {
    fn of<T>(route: &Route, cluster: &Cluster<T>, sought: &Sought, request: &Request<'_>) -> Self {
        let no_cookie = sought.no_cookie;
        let rules = route.sticky.as_ref().map(|sticky| sticky.config.rules).unwrap_or_default();
        for (endpoint, stays) in
            [(sought.listed(0), Affinity::Listed), (sought.home.as_ref(), Affinity::Stayed)]
        {
            let Some(endpoint) = endpoint else { continue };
            let state = cluster.state_at(endpoint, request);
            let verdict = match (rules.stay(state), stays) {
                (Stay::There, stays) => stays,
                (Stay::Lost(OnLost::Refuse), _) => Affinity::Refused(state),
                // Who is not there is passed over in a list.
                (Stay::Lost(_), Affinity::Listed) => continue,
                (Stay::Lost(OnLost::Move), _) => Affinity::Moved(state),
                (Stay::Lost(OnLost::Lend), _) => Affinity::Lent(state),
            };
            return Self { endpoint: Some(endpoint.clone()), state: Some(state), no_cookie, verdict };
        }
        Self { endpoint: None, state: None, no_cookie, verdict: sought.verdict }
    }
}

impl fmt::Display for RouteExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request for {} {}", self.rules.host, self.rules.path)?;
        write_passed(f, &self.rules.passed)?;
        let Some(route) = &self.route else { return write!(f, "no route takes it") };
        writeln!(f, "route {route}")?;
        for (i, word) in self.limits.iter().enumerate() {
            match word {
                LimitWord::Go => writeln!(f, "rate limit {i}: go")?,
                LimitWord::Unlimited => writeln!(f, "rate limit {i}: no key, so not limited")?,
                LimitWord::Wait(wait) => return write!(f, "rate limit {i}: refused, again in {wait:?}"),
                LimitWord::NoKey => return write!(f, "rate limit {i}: refused, the request has no key"),
            }
        }
        if let Some(answer) = &self.answer {
            return write!(f, "answered here: {answer}");
        }
        if let Some(arm) = &self.arm {
            writeln!(f, "cluster {}: {}", arm.cluster, arm.why)?;
        }
        if let Some(affinity) = &self.affinity {
            writeln!(f, "affinity: {affinity}")?;
        }
        write_clusters(f, &self.clusters)
    }
}

/// The last rules that did not take it.
pub(crate) fn write_passed(f: &mut fmt::Formatter<'_>, passed: &[Considered]) -> fmt::Result {
    let skipped = passed.len().saturating_sub(MOST_SHOWN);
    if skipped > 0 {
        writeln!(f, "  {skipped} routes before these did not take it")?;
    }
    passed.iter().skip(skipped).try_for_each(|passed| writeln!(f, "  not {}: {}", passed.name, Why(passed)))
}

pub(crate) fn write_clusters(f: &mut fmt::Formatter<'_>, clusters: &[ExplainedCluster]) -> fmt::Result {
    for (i, cluster) in clusters.iter().enumerate() {
        let separator = if i == 0 { "" } else { "\n" };
        write!(f, "{separator}{}: {}", cluster.name, cluster.explanation)?;
    }
    Ok(())
}

impl fmt::Display for ArmReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => f.write_str("the only one"),
            Self::Canary(canary) => write!(f, "canary {canary}"),
            Self::Keyed => f.write_str("by its key"),
            Self::NoKey => f.write_str("drawn, since it has no key"),
            Self::Drawn => f.write_str("drawn"),
            Self::Live(colour) => write!(f, "{colour:?} is live"),
            Self::Kept(colour) => write!(f, "its user is kept on {colour:?}"),
        }
    }
}

impl fmt::Display for ExplainedAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.no_cookie {
            write!(f, "{why}, ")?;
        }
        if let Some(endpoint) = &self.endpoint {
            write!(f, "{endpoint}, ")?;
        }
        match self.verdict {
            Affinity::None => f.write_str("none"),
            Affinity::New => f.write_str("a new user"),
            Affinity::Stayed => f.write_str("stays"),
            Affinity::Listed => f.write_str("named by the list"),
            Affinity::Moved(state) => write!(f, "which is {state:?}: moves"),
            Affinity::Lent(state) => write!(f, "which is {state:?}: elsewhere for this request"),
            Affinity::Refused(state) => write!(f, "which is {state:?}: refused"),
        }
    }
}

/// The first thing that did not fit, in words.
struct Why<'a>(&'a Considered);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.because {
            Because::Listener => f.write_str("another listener"),
            Because::Source => f.write_str("another client's address"),
            Because::Destination => f.write_str("another destination"),
            Because::SourcePort => f.write_str("another port of the client"),
            Because::DestinationPort => f.write_str("another port"),
            Because::Sni => f.write_str("another server name"),
            Because::Alpn => f.write_str("other protocols"),
            Because::Host => f.write_str("another host"),
            Because::Path => f.write_str("another path"),
            Because::Method => f.write_str("another method"),
            Because::Header(i) => write!(f, "headers[{i}]"),
            Because::Query(i) => write!(f, "query[{i}]"),
            Because::Cookie(i) => write!(f, "cookies[{i}]"),
            Because::Fraction => f.write_str("outside the fraction"),
            _ => f.write_str("something else"),
        }
    }
}

/// Of thousands of routes that did not take a request, a reader wants the last.
const MOST_SHOWN: usize = 20;
