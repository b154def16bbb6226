use evenkeel_health::CheckConfig;
use evenkeel_types::{Address, EndpointId};

use crate::probe::ProbeConfig;

/// Something to be checked.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Target {
    /// Its name, unique in its prober. As a rule that of the endpoint; a second check of the same endpoint needs another.
    pub id: EndpointId,
    /// Where the check goes: as a rule the address of the endpoint, but a health port or an agent can be elsewhere.
    pub address: Address,
    /// What is done.
    pub probe: ProbeConfig,
    /// How often, and how results become a verdict. Intervals of at least 1 ms.
    #[cfg_attr(feature = "serde", serde(default))]
    pub check: CheckConfig,
    /// What the sink hears of.
    #[cfg_attr(feature = "serde", serde(default))]
    pub notify: Notify,
}

impl Target {
    /// A target with the default schedule, whose sink hears of changes.
    #[must_use]
    pub fn new(id: EndpointId, address: Address, probe: impl Into<ProbeConfig>) -> Self {
        Self { id, address, probe: probe.into(), check: CheckConfig::default(), notify: Notify::default() }
    }
}

/// What a sink hears of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Notify {
    /// Changes: of the verdict, and of an agent's advice.
    #[default]
    Changes,
    /// Every result as well.
    Results,
}
