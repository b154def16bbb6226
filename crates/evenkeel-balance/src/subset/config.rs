use super::{
    ApertureConfig, DeterministicSubsetConfig, InvalidSubset, LabelSubsetConfig, RandomSubsetConfig, Subset,
};
use crate::Members;

/// Which part of the fleet this client uses, with the settings of that choice.
///
/// In a configuration file a table with the key `type`:
///
/// | `type` | also written | settings |
/// |---|---|---|
/// | `deterministic` | `deterministic_subsetting` | `client`, `clients`, `size`, `seed` |
/// | `random` | `random_subsetting` | `size`, `seed`, `by` |
/// | `aperture` | `deterministic_aperture` | `peer`, `peers`, `size`, `seed` |
/// | `label` | – | `labels`, `fallback` |
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "type", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum SubsetConfig {
    /// Slices of a shuffled list, by the index of the client.
    #[cfg_attr(feature = "serde", serde(alias = "deterministic_subsetting"))]
    Deterministic(DeterministicSubsetConfig),
    /// The lowest hashes under the seed of the process.
    #[cfg_attr(feature = "serde", serde(alias = "random_subsetting"))]
    Random(RandomSubsetConfig),
    /// An arc of a ring, by the index of the client and the number of all.
    #[cfg_attr(feature = "serde", serde(alias = "deterministic_aperture"))]
    Aperture(ApertureConfig),
    /// Those with certain labels.
    Label(LabelSubsetConfig),
}

impl SubsetConfig {
    /// The name in a configuration file.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Deterministic(_) => "deterministic",
            Self::Random(_) => "random",
            Self::Aperture(_) => "aperture",
            Self::Label(_) => "label",
        }
    }

    /// Whether these settings can be used with any members. A random subset may still lack its seed: see
    /// [`seeded`](Self::seeded).
    ///
    /// # Errors
    ///
    /// [`InvalidSubset`] names the setting and what is allowed.
    pub fn validate(&self) -> Result<(), InvalidSubset> {
        match self {
            Self::Deterministic(config) => config.validate(),
            Self::Random(config) => config.validate(),
            Self::Aperture(config) => config.validate(),
            Self::Label(config) => config.validate(),
        }
    }

    /// The same; a random subset without a seed gets this one, which must differ from process to process.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        if let Self::Random(config) = &mut self {
            config.seed.get_or_insert(seed);
        }
        self
    }

    /// The part of `members` that this client uses.
    ///
    /// The order of the members decides nothing, and no seed is hidden: the same endpoints give the same subset on every
    /// platform. A size of at least as many as there are gives all of them, since a fleet that shrinks is no mistake of
    /// the settings.
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate), and [`InvalidSubset::NoSeed`].
    pub fn select(&self, members: &dyn Members) -> Result<Subset, InvalidSubset> {
        match self {
            Self::Deterministic(config) => config.select(members),
            Self::Random(config) => config.select(members),
            Self::Aperture(config) => config.select(members),
            Self::Label(config) => config.select(members),
        }
    }
}
