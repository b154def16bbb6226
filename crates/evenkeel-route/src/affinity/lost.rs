/// How an endpoint that a request asks for is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum EndpointState {
    /// Plainly usable.
    Usable,
    /// Degraded.
    Degraded,
    /// Draining: it takes no new users.
    Draining,
    /// Not usable: ejected, failing its checks, its breaker open.
    Unhealthy,
    /// At its limit for the moment.
    Saturated,
    /// Not in the cluster any more.
    Gone,
}

/// Which endpoints keep their users, and what happens to the users of the others.
///
/// | state | by default |
/// |---|---|
/// | usable, degraded | stay |
/// | draining | stay: a drain waits for sessions to end. nginx does so, Envoy only if it is listed |
/// | saturated | served elsewhere, and not moved: the next request tries again |
/// | unhealthy, gone | move |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct AffinityRules {
    /// Whether degraded endpoints keep their users. Default yes.
    pub keep_degraded: bool,
    /// Whether draining endpoints keep their users. Default yes.
    pub keep_draining: bool,
    /// What happens to a user whose endpoint is unhealthy. Default [`OnLost::Move`].
    pub on_unhealthy: OnLost,
    /// What happens to a user whose endpoint is saturated. Default [`OnLost::Lend`].
    pub on_saturated: OnLost,
    /// What happens to a user whose endpoint is gone. Default [`OnLost::Move`].
    pub on_gone: OnLost,
}

impl Default for AffinityRules {
    fn default() -> Self {
        Self {
            keep_degraded: true,
            keep_draining: true,
            on_unhealthy: OnLost::Move,
            on_saturated: OnLost::Lend,
            on_gone: OnLost::Move,
        }
    }
}

/// What happens to a user who cannot stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum OnLost {
    /// Another endpoint is picked and becomes the user's. YARP: `Redistribute`.
    Move,
    /// Another endpoint serves this request, and the user keeps the old one for later.
    Lend,
    /// The request is refused: the state that it needs is nowhere else. YARP: `Return503Error`.
    Refuse,
}

/// What to do with a request that asks for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Stay {
    /// Send it there.
    There,
    /// Pick another one, as told.
    Lost(OnLost),
}

impl AffinityRules {
    /// What to do with a request whose endpoint is like this.
    #[must_use]
    pub const fn stay(&self, state: EndpointState) -> Stay {
        match state {
            EndpointState::Usable => Stay::There,
            EndpointState::Degraded if self.keep_degraded => Stay::There,
            EndpointState::Draining if self.keep_draining => Stay::There,
            EndpointState::Degraded | EndpointState::Draining => Stay::Lost(OnLost::Move),
            EndpointState::Unhealthy => Stay::Lost(self.on_unhealthy),
            EndpointState::Saturated => Stay::Lost(self.on_saturated),
            EndpointState::Gone => Stay::Lost(self.on_gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EndpointState::{Degraded, Draining, Gone, Saturated, Unhealthy, Usable};
    use OnLost::{Lend, Move, Refuse};
    use Stay::{Lost, There};

    #[test]
    fn every_state_and_rule() {
        let states = [Usable, Degraded, Draining, Unhealthy, Saturated, Gone];
        let default = AffinityRules::default();
        assert_eq!(
            states.map(|s| default.stay(s)),
            [There, There, There, Lost(Move), Lost(Lend), Lost(Move)]
        );
        let strict = AffinityRules {
            keep_degraded: false,
            keep_draining: false,
            on_unhealthy: Refuse,
            on_saturated: Refuse,
            on_gone: Refuse,
        };
        let refuse = Lost(Refuse);
        assert_eq!(states.map(|s| strict.stay(s)), [There, Lost(Move), Lost(Move), refuse, refuse, refuse]);
    }
}
