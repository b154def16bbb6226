use smol_str::SmolStr;

/// Where an endpoint stands: region, zone and sub-zone, each of which may be empty.
///
/// Two empty parts are *not* the same place: nothing is known about either.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Locality {
    region: SmolStr,
    zone: SmolStr,
    sub_zone: SmolStr,
}

impl Locality {
    /// A place; give `""` for what is not known.
    #[must_use]
    pub fn new(region: &str, zone: &str, sub_zone: &str) -> Self {
        Self { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() }
    }

    /// The region, or `""`.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The zone, or `""`.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The sub-zone, or `""`.
    #[must_use]
    pub fn sub_zone(&self) -> &str {
        &self.sub_zone
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.sub_zone.is_empty()
    }
}
