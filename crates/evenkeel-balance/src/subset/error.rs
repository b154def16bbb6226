use thiserror::Error;

/// A subset cannot be chosen with these settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidSubset {
    /// A setting is out of range: the message has its value and what is allowed.
    #[error("subset {kind}: {setting}: {reason}")]
    Setting {
        /// The kind of subset, as it is written in a configuration.
        kind: &'static str,
        /// The setting.
        setting: &'static str,
        /// Its value, and what is allowed.
        reason: String,
    },
    /// A random subset without a seed: all clients would use the same part of the fleet. Give each process its own.
    #[error(
        "subset random: seed: none is given; every process needs its own, or all of them use the same servers"
    )]
    NoSeed,
    /// The labels of the endpoints make more subsets than allowed. Index fewer keys, or raise the bound.
    #[error(
        "subset label: max_subsets: the endpoints make more than {max} subsets; index fewer keys or raise it"
    )]
    TooManySubsets {
        /// How many are allowed.
        max: u32,
    },
}

impl InvalidSubset {
    pub(crate) fn setting(kind: &'static str, setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { kind, setting, reason: reason.into() }
    }
}

/// Every kind that counts endpoints needs at least one.
pub(crate) fn check_size(kind: &'static str, size: u32) -> Result<(), InvalidSubset> {
    if size == 0 {
        return Err(InvalidSubset::setting(
            kind,
            "size",
            "0 is out of range: at least 1, 20 to 100 are usual",
        ));
    }
    Ok(())
}

/// An index has to be below the count that it is an index into.
pub(crate) fn check_index(
    kind: &'static str,
    setting: &'static str,
    index: u32,
    count: u32,
) -> Result<(), InvalidSubset> {
    if index >= count {
        let reason =
            format!("{index} is out of range: of {count}, the first is 0 and the last one less than {count}");
        return Err(InvalidSubset::setting(kind, setting, reason));
    }
    Ok(())
}
