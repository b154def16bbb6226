use evenkeel_health::AdminState;

/// What an agent wishes beyond up and down. A part that it never mentioned is `None`; one that it mentioned stays until
/// it says something else, as in HAProxy.
///
/// The prober passes it on and does nothing with it: whoever applies it decides whether an agent may set weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Advice {
    /// The weight, in percent of the configured one. Above 100 is more than configured.
    pub weight_percent: Option<u16>,
    /// Ready, drain or maintenance.
    pub admin: Option<AdminState>,
    /// The most connections that it wants.
    pub max_connections: Option<u32>,
}

impl Advice {
    /// This advice, with what `newer` mentions put in its place.
    #[must_use]
    pub fn overlaid_with(self, newer: Self) -> Self {
        Self {
            weight_percent: newer.weight_percent.or(self.weight_percent),
            admin: newer.admin.or(self.admin),
            max_connections: newer.max_connections.or(self.max_connections),
        }
    }
}
