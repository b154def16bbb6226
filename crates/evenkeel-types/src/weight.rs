/// The share of traffic that an endpoint should get, relative to its peers.
///
/// Any `u32`. The default is 1. **Zero means drain**, everywhere in evenkeel: no new picks, calls in flight go on. Sums
/// of weights are computed in `u64`, products in `u128`, so `u32::MAX` on ten thousand endpoints overflows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Weight(u32);

impl Weight {
    /// No new traffic.
    pub const DRAIN: Self = Self(0);
    /// The default: one unit.
    pub const ONE: Self = Self(1);

    /// A weight of `units`; zero drains.
    #[must_use]
    pub const fn new(units: u32) -> Self {
        Self(units)
    }

    /// The number of units.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether this weight asks for no new traffic.
    #[must_use]
    pub const fn is_drain(self) -> bool {
        self.0 == 0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl From<u32> for Weight {
    fn from(units: u32) -> Self {
        Self(units)
    }
}
