/// What a discovery source says about an endpoint, kept apart from what our own checks find.
///
/// | source says | here |
/// |---|---|
/// | Eureka `UP`, Consul passing, EndpointSlice ready, xDS `HEALTHY` | [`Up`](Self::Up) |
/// | Consul warning, xDS `DEGRADED` | [`Degraded`](Self::Degraded) |
/// | Eureka `STARTING`, EndpointSlice not ready | [`Starting`](Self::Starting) |
/// | Eureka `OUT_OF_SERVICE`, Consul maintenance, EndpointSlice serving and terminating, xDS `DRAINING` | [`Draining`](Self::Draining) |
/// | Eureka `DOWN`, Consul critical, xDS `UNHEALTHY` and `TIMEOUT` | [`Down`](Self::Down) |
/// | nothing (DNS, etcd, ZooKeeper), xDS `UNKNOWN` | [`Unknown`](Self::Unknown) |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Announced {
    /// The source says nothing about health: usable.
    #[default]
    Unknown,
    /// The source vouches for it: usable.
    Up,
    /// It works, but worse than its peers: used after them.
    Degraded,
    /// Not ready yet: not usable.
    Starting,
    /// About to leave: no new picks, calls in flight go on.
    Draining,
    /// The source says that it is broken: not usable.
    Down,
}

impl Announced {
    /// Whether new requests may go there as far as the source is concerned.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Unknown | Self::Up | Self::Degraded)
    }
}
