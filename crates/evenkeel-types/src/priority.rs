use thiserror::Error;

/// The failover tier of an endpoint: 0 is used first. At most 128, as in Envoy.
///
/// Gaps are allowed: only the order counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "u8", into = "u8")
)]
pub struct Priority(u8);

impl Priority {
    /// The tier that is used first.
    pub const HIGHEST: Self = Self(0);
    /// The last possible tier.
    pub const LOWEST: Self = Self(128);

    /// The tier `level`.
    ///
    /// # Errors
    ///
    /// [`InvalidPriority`] above 128: renumber the tiers, only their order counts.
    pub const fn new(level: u8) -> Result<Self, InvalidPriority> {
        if level <= Self::LOWEST.0 { Ok(Self(level)) } else { Err(InvalidPriority(level)) }
    }

    /// The number of the tier.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Priority {
    type Error = InvalidPriority;

    fn try_from(level: u8) -> Result<Self, InvalidPriority> {
        Self::new(level)
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// The priority is above 128: renumber the tiers, only their order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("priority {0} is out of range: allowed are 0 (used first) to 128")]
pub struct InvalidPriority(pub u8);
