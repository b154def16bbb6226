use crate::InvalidPolicy;
use crate::compat::envoy::RingSizes;

/// Settings of [`Grpc`](super::Grpc): which of gRPC's policies, under its own names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct GrpcConfig {
    /// Which policy: `round_robin` unless set. Written `{ ring_hash = { min_ring_size = 100 } }`.
    pub policy: GrpcPolicy,
}

/// One of gRPC's policies, with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum GrpcPolicy {
    /// Consistent hashing on a ring (`ring_hash_experimental`, gRFC A42 and A76).
    RingHash(RingHashSettings),
    /// Each in turn; weights are ignored.
    RoundRobin(RoundRobinSettings),
    /// By weight at a static stride (gRFC A58). The weights are those of the endpoints: reports are another matter.
    WeightedRoundRobin(RoundRobinSettings),
}

impl Default for GrpcPolicy {
    fn default() -> Self {
        Self::RoundRobin(RoundRobinSettings::default())
    }
}

/// Settings of `ring_hash_experimental`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RingHashSettings {
    /// The fewest points: 1024, as in gRPC.
    pub min_ring_size: u64,
    /// The most points: 4096, as in gRPC. Up to 8 388 608 is taken, but no ring is larger than 4096 points.
    pub max_ring_size: u64,
}

impl Default for RingHashSettings {
    fn default() -> Self {
        Self { min_ring_size: 1024, max_ring_size: 4096 }
    }
}

impl RingHashSettings {
    pub(super) fn sizes(self) -> Result<RingSizes, InvalidPolicy> {
        RingSizes::new(self.min_ring_size, self.max_ring_size)
            .map_err(|error| InvalidPolicy::setting("grpc", "policy.ring_hash", error.to_string()))
    }
}

/// Settings of the policies that take turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RoundRobinSettings {
    /// Where the turns begin whenever the usable endpoints change; drawn then unless set, as in gRPC.
    pub start: Option<u32>,
}
