use evenkeel_health::CheckConfig;
use evenkeel_probe::ProbeConfig;
use serde::{Deserialize, Serialize};

/// How the endpoints of a cluster are checked.
///
/// What an agent says besides up and down is done: its weight is a factor of the endpoint's (more than 100 % counts as 100 %), and
/// `drain`, `maint` and `ready` count as the operator's word whenever it changes, as in HAProxy. `maxconn` has no effect. When the check
/// is taken out, all of it is taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckSettings {
    /// What is done: exactly one of `tcp`, `http`, `grpc`, `command`, `agent`.
    pub probe: ProbeConfig,
    /// How often, and how results become a verdict.
    #[serde(default)]
    pub schedule: CheckConfig,
    /// The port that is checked. Default: that of the endpoint. Endpoints of discovery that are unix sockets are checked at these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}
