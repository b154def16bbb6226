use std::fmt;
use std::time::Duration;

use evenkeel_route::affinity::{CookieError, EndpointState, LearnedError};
use evenkeel_route::matching::{RequestError, RuleProblem};
use evenkeel_route::retry::{HedgeError, RetryError};
use evenkeel_route::split::{HeaderChangeError, RampError, SplitError};
use thiserror::Error;

use crate::error::PickError;

/// A router cannot be built from these settings, or not reloaded: then it keeps what it had.
#[derive(Clone, Debug, PartialEq, Error)]
pub struct RouterError {
    /// The setting, such as `routes[3].action.split.arms[1].cluster`.
    pub field: String,
    /// What is wrong with it.
    pub problem: RouterProblem,
}

impl RouterError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<RouterProblem>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    /// Of a rule: `rules[3].hosts[0]` is `routes[3].match.hosts[0]` here.
    pub(crate) fn of_rules(field: &str, problem: RuleProblem) -> Self {
        let field = match field.strip_prefix("rules[").and_then(|rest| rest.split_once(']')) {
            Some((number, rest)) => format!("routes[{number}].match{rest}"),
            None => "routes".into(),
        };
        Self { field, problem: RouterProblem::Rule(problem) }
    }
}

impl fmt::Display for RouterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.field, self.problem)
    }
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum RouterProblem {
    /// A name that nothing has: add the cluster, or correct the name.
    #[error(" = {name:?}: no such cluster{}", suggestion(.similar))]
    NoSuchCluster {
        /// The name.
        name: String,
        /// The name of a cluster that looks like it.
        similar: Option<String>,
    },
    /// Two clusters of one name were given.
    #[error(": two clusters are called {0:?}; names must be unique")]
    ClusterTwice(String),
    /// A fallback of a fallback leads back.
    #[error(": they go in a circle: {path}")]
    Circle {
        /// The names, with arrows in between.
        path: String,
    },
    /// A route without a name.
    #[error(" is empty: what is learnt is kept under it, so each route needs one")]
    NoName,
    /// Two routes of one name.
    #[error(" is {name:?}, as that of routes[{first}]; names must be unique")]
    NameTwice {
        /// The name.
        name: String,
        /// The route that has it too.
        first: usize,
    },
    /// A rule within a route has a name of its own, which would be ignored.
    #[error(" is {0:?}: the name of the route counts, leave this one out")]
    InnerName(String),
    /// Not a name of a header field, cookie or parameter.
    #[error(" is {0:?}: not a name; letters, digits and !#$%&'*+-.^_`|~ are allowed")]
    Name(String),
    /// A rule cannot be compiled.
    #[error(": {0}")]
    Rule(RuleProblem),
    /// A split.
    #[error(".{0}")]
    Split(#[from] SplitError),
    /// Both sides of an action are one cluster.
    #[error(" is {0:?}, as the other one: two clusters are needed")]
    SameCluster(String),
    /// The plan of a ramp.
    #[error(".{0}")]
    Ramp(#[from] RampError),
    /// A cookie.
    #[error(".{0}")]
    Cookie(#[from] CookieError),
    /// A learned table.
    #[error(".{0}")]
    Learned(#[from] LearnedError),
    /// Retries.
    #[error(".{0}")]
    Retry(#[from] RetryError),
    /// Hedges.
    #[error(".{0}")]
    Hedge(#[from] HedgeError),
    /// Changes of headers.
    #[error(".{0}")]
    Headers(#[from] HeaderChangeError),
    /// A number or a time out of range, or a combination that makes no sense.
    #[error("{0}")]
    Setting(&'static str),
    /// A placeholder that stands for nothing.
    #[error(
        ": {{{0}}} stands for nothing; allowed are host, path, query and the names of the route's path template"
    )]
    Placeholder(String),
    /// Settings that would be ignored.
    #[error(": {0}")]
    Ignored(&'static str),
}

fn suggestion(similar: &Option<String>) -> String {
    similar.as_ref().map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// A request that no route takes, or that is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RouteError {
    /// It cannot be matched: answer with status 400.
    #[error(transparent)]
    BadRequest(#[from] RequestError),
    /// No route takes it: answer with status 404, or end the list with a route that takes everything.
    #[error("no route takes this request")]
    NoRoute,
    /// A rate limit of the route is reached: answer with status 429.
    #[error("rate limit {limit} of route {route} is reached: again in {retry_after:?}")]
    Limited {
        /// The number of the route.
        route: usize,
        /// The number of the limit in it.
        limit: usize,
        /// After how long a request of this key is let in again.
        retry_after: Duration,
    },
    /// A rate limit needs a key that the request has not: answer with status 400 or 401.
    #[error("rate limit {limit} of route {route} needs a key that the request has not")]
    NoKey {
        /// The number of the route.
        route: usize,
        /// The number of the limit in it.
        limit: usize,
    },
}

/// A request that a route takes cannot be sent anywhere: answer with status 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// Neither the cluster nor its fallbacks has an endpoint for it. The error is that of the cluster, not of a fallback.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// The user's endpoint cannot take it, and no other one may.
    #[error("the endpoint of this user is {0:?}, and no other one may serve the request")]
    Refused(EndpointState),
}
