use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_route::matching::{HttpRule, Limits, PathOptions};
use evenkeel_route::retry::RetryConfig;
use evenkeel_route::split::{HeaderRules, MirrorConfig, SplitConfig};

use super::action::{BlueGreenAction, RampAction, Redirect, StaticResponse};
use super::affinity::AffinityConfig;
use super::hedge::RouteHedgeConfig;
use super::key::KeySource;
use super::rate_limit::RateLimitConfig;

/// Everything about a router that can be written down: which requests go to which cluster, and how.
///
/// ```
/// # #[cfg(feature = "config")] {
/// use evenkeel::router::RouterConfig;
///
/// let config = RouterConfig::from_toml(r#"
///     [[routes]]
///     name = "users"
///     match = { hosts = ["*.example.com"], paths = [{ prefix = "/users" }] }
///     timeout = "2s"
///     retry = { attempts = 2 }
///
///     [routes.action.split]
///     stickiness = "keyed"
///     arms = [{ cluster = "users-v1", weight = 95 }, { cluster = "users-v2", weight = 5 }]
///
///     [[routes]]
///     name = "everything-else"
///     action = { respond = { status = 404, body = "nothing here" } }
///
///     [fallbacks]
///     users-v2 = "users-v1"
/// "#)?;
/// assert_eq!(config.routes.len(), 2);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RouterConfig {
    /// The routes. The first whose rule fits takes a request: heavier `match.weight` first, then as they stand.
    pub routes: Vec<RouteConfig>,
    /// Which cluster serves when another one cannot, by name: `users-v2 = "users-v1"`. It is asked when the first one has
    /// nothing usable, is at its limit, or is not known yet. Chains are followed; circles are refused. Default: none.
    pub fallbacks: BTreeMap<String, String>,
    /// What the fractions of rules are decided by: the first of these that a request has. Default: none, so each request
    /// brings a hash of its own or is drawn.
    pub key: Vec<KeySource>,
    /// The seed of the hash of keys, for fractions, splits and ramps: equal in a fleet, or a user is in another arm at each
    /// proxy. Default 0.
    pub hash_seed: u64,
    /// How paths are normalised before they are looked at.
    pub path: PathOptions,
    /// What the table of rules may cost.
    pub limits: Limits,
}

impl AsRef<Self> for RouterConfig {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl RouterConfig {
    /// Reads TOML.
    ///
    /// # Errors
    ///
    /// [`ConfigError`](crate::ConfigError) with the line, the key, and what is allowed there. Unknown and misspelt keys are
    /// errors.
    #[cfg(feature = "config")]
    pub fn from_toml(text: &str) -> Result<Self, crate::ConfigError> {
        toml::from_str(text).map_err(|error| crate::ConfigError::new(&error))
    }
}

/// One route: which requests it takes, where they go, and what happens on the way.
///
/// The order is always the same, however it is written: rate limits, split, affinity, the pick; retries, hedges and copies
/// are around it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct RouteConfig {
    /// Its name, each once: what is learnt is kept under it when the configuration is reloaded.
    pub name: String,
    /// Which requests it takes; in a file `match`. Default: all of them. The name in it is left empty.
    #[cfg_attr(feature = "serde", serde(default, rename = "match"))]
    pub rule: HttpRule,
    /// Where they go.
    pub action: Action,
    /// How many requests it lets in. They are asked in this order and all must agree; one that agreed has counted a request
    /// that a later one refuses, so those by key come first. Default: any number.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub rate_limits: Vec<RateLimitConfig>,
    /// What ties a request to an arm of a sticky split, and to an endpoint under a policy that goes by keys: the first of
    /// these that the request has. One that has none is drawn. Default: none.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub key: Vec<KeySource>,
    /// How a user stays at one endpoint. Default: not.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub affinity: Option<AffinityConfig>,
    /// When a request is sent again. Default: never.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub retry: Option<RetryConfig>,
    /// Whether a retry or a hedge may go where the request went before, if nothing else is usable. Default no: a cluster of one
    /// endpoint then has no retries. With yes, one broken connection is not the end of the request.
    #[cfg_attr(feature = "serde", serde(default))]
    pub retry_same_endpoint: bool,
    /// When a request is sent a second time before the first has been answered. Not together with `retry`: a hedge sends
    /// again by itself. Default: never.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub hedge: Option<RouteHedgeConfig>,
    /// Which requests are copied to another cluster. Default: none.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub mirror: Option<MirrorConfig>,
    /// What is changed in the header of the request and of the answer. Default: nothing.
    #[cfg_attr(feature = "serde", serde(default))]
    pub headers: HeaderRules,
    /// How long a request may take, all attempts and waits included. Default: as long as it likes.
    #[cfg_attr(feature = "schema", schemars(with = "Option<evenkeel_types::HumanDuration>"))]
    #[cfg_attr(
        feature = "serde",
        serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "evenkeel_types::human_duration::optional"
        )
    )]
    pub timeout: Option<Duration>,
}

impl RouteConfig {
    /// A route of this name for all requests, with the defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, action: Action) -> Self {
        Self {
            name: name.into(),
            rule: HttpRule::default(),
            action,
            rate_limits: Vec::new(),
            key: Vec::new(),
            affinity: None,
            retry: None,
            retry_same_endpoint: false,
            hedge: None,
            mirror: None,
            headers: HeaderRules::default(),
            timeout: None,
        }
    }
}

/// Where the requests of a route go: exactly one of these.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Action {
    /// To the cluster of this name.
    Cluster(String),
    /// To several clusters, by weights.
    Split(SplitConfig),
    /// To an old version and, step by step, to a new one.
    Ramp(RampAction),
    /// To one of two complete environments.
    BlueGreen(BlueGreenAction),
    /// Nowhere: the client is told another address.
    Redirect(Redirect),
    /// Nowhere: every request gets this answer.
    Respond(StaticResponse),
}
