/// Something happened to a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TierEvent {
    /// The tier.
    pub tier: usize,
    /// What happened.
    pub happened: TierHappened,
}

/// What happened to a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum TierHappened {
    /// Too few of its endpoints are usable: it gets nothing while others can take all.
    Left,
    /// Enough of them have been usable for long enough: its share begins to grow.
    Returned,
    /// Its health is ignored from now on, or its requests are refused, as configured.
    PanicBegan,
    /// Its health counts again.
    PanicEnded,
    /// All requests go there from now on, in a mode that uses one tier at a time.
    Selected,
}
