use std::time::Duration;

use evenkeel::router::{RouterConfig, StreamRouterConfig};
use evenkeel_probe::ProberConfig;
use serde::{Deserialize, Serialize};

use super::{AdminConfig, ClusterSettings, ListenerConfig};

/// Everything about a proxy, or a program that balances load, that can be written down.
///
/// The same keys in TOML, YAML and JSON. An unknown key is an error everywhere.
///
/// ```
/// use evenkeel_config::{Loaded, Syntax};
///
/// let loaded = Loaded::parse(r#"
///     [[listeners]]
///     name = "web"
///     address = "127.0.0.1:8080"
///
///     [[http.routes]]
///     name = "everything"
///     action = { cluster = "users" }
///
///     [[clusters]]
///     name = "users"
///     policy = "least_request"
///     check = { probe = { http = { path = "/health" } } }
///     endpoints = [{ id = "users-1", address = "10.0.0.1:8080" }]
/// "#, Syntax::Toml)?;
/// assert!(loaded.check()?.is_empty());
/// # Ok::<(), evenkeel_config::ConfigErrors>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Config {
    /// Further files, by paths below the folder of this one; the name of a file may hold a `*`. Their listeners, clusters and
    /// routes come after those here; whatever else two files give is an error. Files that are included include no others.
    /// Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Where a proxy answers its operators. Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminConfig>,
    /// Where connections come in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerConfig>,
    /// Which requests go where: the routes of listeners whose protocol is `http`.
    #[serde(skip_serializing_if = "is_no_router")]
    pub http: RouterConfig,
    /// Which connections go where: the routes of the other listeners.
    #[serde(skip_serializing_if = "is_no_stream_router")]
    pub stream: StreamRouterConfig,
    /// The clusters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<ClusterSettings>,
    /// The one prober that does the checks of all clusters. It is started if a cluster has a check.
    pub prober: ProberConfig,
    /// How often clusters without traffic let their deadlines pass, 1 ms to 1 min. Default 100 ms: endpoints come back that
    /// soon, for ten wake-ups a second and cluster.
    #[serde(with = "evenkeel_types::human_duration")]
    #[cfg_attr(feature = "schema", schemars(with = "evenkeel_types::HumanDuration"))]
    pub tick: Duration,
    /// What belongs to the program that reads this file, in its own words: nothing here looks at it.
    /// [`Loaded::program`](crate::Loaded::program) reads it into a type of the program, with places. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<serde_json::Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            include: Vec::new(),
            admin: None,
            listeners: Vec::new(),
            http: RouterConfig::default(),
            stream: StreamRouterConfig::default(),
            clusters: Vec::new(),
            prober: ProberConfig::default(),
            tick: Duration::from_millis(100),
            program: None,
        }
    }
}

fn is_no_router(router: &RouterConfig) -> bool {
    *router == RouterConfig::default()
}

fn is_no_stream_router(router: &StreamRouterConfig) -> bool {
    *router == StreamRouterConfig::default()
}
