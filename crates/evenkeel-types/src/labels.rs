use std::collections::BTreeMap;

use smol_str::SmolStr;
use thiserror::Error;

/// Free key–value pairs on an endpoint, sorted by key: what subsets and rules match on.
///
/// At most 64 pairs and 4 KiB of text, since they come from outside.
///
/// Keys under `evenkeel.` are reserved: only a discovery adapter of evenkeel sets them, for what it knows itself of an entry.
/// Whoever reads labels from outside uses [`from_outside`](Self::from_outside) or asks [`reserved`](Self::reserved), so that
/// nobody who may write into a store can speak for the adapter.
///
/// ```
/// use evenkeel_types::Labels;
/// let labels = Labels::new([("version", "7"), ("stage", "canary")])?;
/// assert_eq!(labels.get("stage"), Some("canary"));
/// # Ok::<(), evenkeel_types::InvalidLabels>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "BTreeMap<SmolStr, SmolStr>", into = "BTreeMap<SmolStr, SmolStr>")
)]
pub struct Labels(BTreeMap<SmolStr, SmolStr>);

impl Labels {
    /// The most pairs.
    pub const MAX_PAIRS: usize = 64;
    /// The most text, keys and values together, in bytes.
    pub const MAX_BYTES: usize = 4096;
    /// What the keys begin with that only adapters set.
    pub const RESERVED: &str = "evenkeel.";

    /// The pairs given; of two with the same key the later wins.
    ///
    /// # Errors
    ///
    /// [`InvalidLabels`] above 64 pairs or 4 KiB, or for an empty key.
    pub fn new<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, InvalidLabels> {
        let mut map = BTreeMap::new();
        for (key, value) in pairs {
            map.insert(SmolStr::new(key), SmolStr::new(value));
            if map.len() > Self::MAX_PAIRS {
                return Err(InvalidLabels::TooMany);
            }
        }
        Self::try_from(map)
    }

    /// The same of pairs that a store, a file or a server gave.
    ///
    /// ```
    /// use evenkeel_types::{InvalidLabels, Labels};
    /// assert_eq!(Labels::from_outside([("evenkeel.zone", "a")]), Err(InvalidLabels::Reserved));
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`InvalidLabels::Reserved`].
    pub fn from_outside<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, InvalidLabels> {
        let labels = Self::new(pairs)?;
        if labels.reserved().is_some() { Err(InvalidLabels::Reserved) } else { Ok(labels) }
    }

    /// The first key that is reserved, if any is.
    #[must_use]
    pub fn reserved(&self) -> Option<&str> {
        self.0.keys().map(SmolStr::as_str).find(|key| key.starts_with(Self::RESERVED))
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(SmolStr::as_str)
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<BTreeMap<SmolStr, SmolStr>> for Labels {
    type Error = InvalidLabels;

    fn try_from(map: BTreeMap<SmolStr, SmolStr>) -> Result<Self, InvalidLabels> {
        if map.len() > Self::MAX_PAIRS {
            return Err(InvalidLabels::TooMany);
        }
        if map.keys().any(SmolStr::is_empty) {
            return Err(InvalidLabels::EmptyKey);
        }
        if map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > Self::MAX_BYTES {
            return Err(InvalidLabels::TooLong);
        }
        Ok(Self(map))
    }
}

impl From<Labels> for BTreeMap<SmolStr, SmolStr> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

/// The labels are out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidLabels {
    /// More than 64 pairs: keep what routing needs.
    #[error("more than 64 labels: keep those that routing needs")]
    TooMany,
    /// More than 4 KiB of text: keep what routing needs.
    #[error("labels hold more than 4096 bytes: keep those that routing needs")]
    TooLong,
    /// A key is empty.
    #[error("a label has an empty key")]
    EmptyKey,
    /// A key from outside begins with `evenkeel.`: choose another.
    #[error("a label's key begins with `evenkeel.`, which is reserved: choose another")]
    Reserved,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked() {
        let many = (0..65).map(|i| (i.to_string(), "x"));
        assert_eq!(Labels::new(many), Err(InvalidLabels::TooMany));
        assert_eq!(Labels::new([("", "x")]), Err(InvalidLabels::EmptyKey));
        assert_eq!(Labels::new([("k", "x".repeat(4096))]), Err(InvalidLabels::TooLong));
        assert!(Labels::new([("k", "x".repeat(4095))]).is_ok());
    }

    #[test]
    fn reserved_keys_come_from_inside_only() {
        for (key, reserved) in [
            ("evenkeel.a", true),
            ("evenkeel.", true),
            ("evenkeel", false),
            ("evenkeel-zone", false),
            ("a.evenkeel.", false),
        ] {
            assert_eq!(Labels::from_outside([("z", "1"), (key, "1")]).is_err(), reserved, "{key}");
            assert_eq!(Labels::new([(key, "1")]).unwrap().reserved(), reserved.then_some(key));
        }
    }
}
