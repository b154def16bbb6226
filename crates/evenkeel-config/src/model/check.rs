use evenkeel_health::CheckConfig;
use evenkeel_probe::ProbeConfig;
use serde::{Deserialize, Serialize};

/// How the endpoints of a cluster are checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckSettings {
    /// What is done: exactly one of `tcp`, `http`, `grpc`, `command`, `agent`.
    pub probe: ProbeConfig,
    /// How often, and how results become a verdict.
    #[serde(default)]
    pub schedule: CheckConfig,
    /// The port that is checked. Default: that of the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}
