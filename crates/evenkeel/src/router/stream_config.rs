use std::collections::BTreeMap;

use evenkeel_route::matching::{Precedence, StreamRule};
use evenkeel_route::split::SplitConfig;

/// Everything about a router of connections that can be written down.
///
/// ```
/// # #[cfg(feature = "config")] {
/// use evenkeel::router::StreamRouterConfig;
///
/// let config = StreamRouterConfig::from_toml(r#"
///     [[routes]]
///     name = "office"
///     match = { listeners = ["tls"], sources = ["10.0.0.0/8"], sni = ["*.example.com"] }
///     action = { cluster = "internal" }
/// "#)?;
/// assert_eq!(config.routes[0].name, "office");
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct StreamRouterConfig {
    /// The routes.
    pub routes: Vec<StreamRouteConfig>,
    /// Which of several routes that fit takes a connection. Default: the first.
    pub precedence: Precedence,
    /// Which cluster serves when another one cannot, by name. Default: none.
    pub fallbacks: BTreeMap<String, String>,
    /// The seed of the hash of source addresses, for sticky splits: equal in a fleet. Default 0.
    pub hash_seed: u64,
    /// The most rules; under [`Precedence::LongestPrefix`] counted once for each pair of ranges. Default 1,000,000.
    pub max_rules: usize,
}

impl Default for StreamRouterConfig {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            precedence: Precedence::default(),
            fallbacks: BTreeMap::new(),
            hash_seed: 0,
            max_rules: 1_000_000,
        }
    }
}

impl StreamRouterConfig {
    /// Reads TOML.
    ///
    /// # Errors
    ///
    /// [`ConfigError`](crate::ConfigError) with the line, the key, and what is allowed there.
    #[cfg(feature = "config")]
    pub fn from_toml(text: &str) -> Result<Self, crate::ConfigError> {
        toml::from_str(text).map_err(|error| crate::ConfigError::new(&error))
    }
}

/// One route for connections.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct StreamRouteConfig {
    /// Its name, each once.
    pub name: String,
    /// Which connections it takes; in a file `match`. Default: all of them. The name in it is left empty.
    #[cfg_attr(feature = "serde", serde(default, rename = "match"))]
    pub rule: StreamRule,
    /// Where they go.
    pub action: StreamAction,
}

/// Where connections go: exactly one of these.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum StreamAction {
    /// To the cluster of this name.
    Cluster(String),
    /// To several clusters, by weights. A keyed split goes by the client's address. Canaries are refused: a connection has no
    /// header.
    Split(SplitConfig),
}
