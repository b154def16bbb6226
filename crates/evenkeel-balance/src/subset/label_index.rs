use std::hash::Hasher;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::label_subset::{KIND, LabelFallback};
use super::selected::count;
use super::{InvalidSubset, Subset, SubsetFallback};
use crate::Members;

/// Settings of a [`LabelIndex`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LabelIndexConfig {
    /// The keys whose values tell subsets apart, in the order in which [`LabelIndex::get`] takes the values. At least one
    /// and no key twice.
    pub keys: Vec<String>,
    /// What a request gets whose values nothing has. Default: nothing.
    #[cfg_attr(feature = "serde", serde(default))]
    pub fallback: LabelFallback,
    /// The most subsets that the endpoints may make. Default 1024: labels come from outside, and a key that is different
    /// at every endpoint is a mistake that should show at once.
    #[cfg_attr(feature = "serde", serde(default = "default_max_subsets"))]
    pub max_subsets: u32,
    /// Seeds the hash, so that clients who choose the values cannot aim at one place of the table. Default 0.
    #[cfg_attr(feature = "serde", serde(default))]
    pub seed: u64,
}

impl LabelIndexConfig {
    /// The defaults for these keys.
    #[must_use]
    pub fn new<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self {
            keys: keys.into_iter().map(Into::into).collect(),
            fallback: LabelFallback::None,
            max_subsets: default_max_subsets(),
            seed: 0,
        }
    }

    /// Whether these settings can be used.
    ///
    /// # Errors
    ///
    /// [`InvalidSubset`] without keys, for a key that is empty or there twice, or if no subset is allowed.
    pub fn validate(&self) -> Result<(), InvalidSubset> {
        let refuse = |setting, reason: String| Err(InvalidSubset::setting(KIND, setting, reason));
        let is_again = |(at, key): &(usize, &String)| key.is_empty() || self.keys[..*at].contains(key);
        if self.keys.is_empty() {
            return refuse("keys", "none are given: at least one".to_owned());
        }
        if let Some((at, key)) = self.keys.iter().enumerate().find(is_again) {
            return refuse("keys", format!("{key:?} at {at} is empty or there twice"));
        }
        if self.max_subsets == 0 {
            return refuse("max_subsets", "0 is out of range: at least 1".to_owned());
        }
        self.fallback.validate()
    }
}

/// Subsets by labels for values that come with the request: built once for each membership, asked for each request.
///
/// An endpoint that lacks one of the keys belongs to no subset. There are only subsets that some endpoint belongs to, so
/// none is left behind when the last one leaves.
///
/// **Cost.** Building O(n · keys) in one pass; a look-up O(length of the values), without allocation.
///
/// ```
/// use evenkeel_balance::subset::{LabelIndex, LabelIndexConfig};
/// use evenkeel_balance::MemberList;
/// use evenkeel_types::{Endpoint, Labels};
///
/// let members = MemberList::new([("10.0.0.1:80", "7"), ("10.0.0.2:80", "8"), ("10.0.0.3:80", "8")].map(
///     |(address, version)| {
///         let endpoint = Endpoint::at(address.parse().expect("an address")).expect("an id");
///         endpoint.with_labels(Labels::new([("version", version)]).expect("one label"))
///     },
/// ));
/// let index = LabelIndex::new(&LabelIndexConfig::new(["version"]), &members)?;
/// assert_eq!(index.get(&["8"]).positions, [1, 2]);
/// assert!(index.get(&["9"]).positions.is_empty());
/// # Ok::<(), evenkeel_balance::subset::InvalidSubset>(())
/// ```
#[derive(Clone, Debug)]
pub struct LabelIndex {
    table: HashTable<Entry>,
    seed: u64,
    keys: usize,
    fallback: Subset,
}

#[derive(Clone, Debug)]
struct Entry {
    values: Box<[Box<str>]>,
    positions: Vec<u32>,
}

/// What an index has for some values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The positions, ascending.
    pub positions: &'a [u32],
    /// Which fallback was used; `None` if something has the values.
    pub fallback: Option<SubsetFallback>,
}

impl LabelIndex {
    /// The index of these members.
    ///
    /// # Errors
    ///
    /// As [`LabelIndexConfig::validate`]; and [`InvalidSubset::TooManySubsets`] if the labels make more subsets than
    /// allowed.
    pub fn new(config: &LabelIndexConfig, members: &dyn Members) -> Result<Self, InvalidSubset> {
        config.validate()?;
        let mut table: HashTable<Entry> = HashTable::new();
        for position in 0..count(members) {
            let endpoint = members.endpoint(position);
            let values: Option<Vec<&str>> = config.keys.iter().map(|key| endpoint.label(key)).collect();
            let Some(values) = values else { continue };
            let hash = hash(config.seed, &values);
            if let Some(entry) = table.find_mut(hash, |entry| entry.is_of(&values)) {
                entry.positions.push(position as u32);
                continue;
            }
            if table.len() >= config.max_subsets as usize {
                return Err(InvalidSubset::TooManySubsets { max: config.max_subsets });
            }
            let values = values.into_iter().map(Box::from).collect();
            let entry = Entry { values, positions: vec![position as u32] };
            table.insert_unique(hash, entry, |entry| rehash(config.seed, entry));
        }
        Ok(Self {
            table,
            seed: config.seed,
            keys: config.keys.len(),
            fallback: config.fallback.select(members),
        })
    }

    /// What has these values, one for each key in order. Fewer or more values than keys are values that nothing has.
    #[must_use]
    pub fn get(&self, values: &[&str]) -> Found<'_> {
        let found = self.table.find(hash(self.seed, values), |entry| entry.is_of(values));
        match found {
            Some(entry) => Found { positions: &entry.positions, fallback: None },
            None => Found { positions: self.fallback.positions(), fallback: self.fallback.fallback() },
        }
    }

    /// How many subsets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no endpoint has all the keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// How many values a look-up takes.
    #[must_use]
    pub const fn keys(&self) -> usize {
        self.keys
    }
}

impl Entry {
    fn is_of(&self, values: &[&str]) -> bool {
        self.values.len() == values.len()
            && self.values.iter().zip(values).all(|(own, value)| **own == **value)
    }
}

fn rehash(seed: u64, entry: &Entry) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed, 0);
    entry.values.iter().for_each(|value| feed(&mut hasher, value));
    hasher.finish()
}

fn hash(seed: u64, values: &[&str]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(seed, 0);
    values.iter().for_each(|value| feed(&mut hasher, value));
    hasher.finish()
}

/// A byte that no text contains ends each value, so that `a`, `bc` and `ab`, `c` are two things.
fn feed(hasher: &mut SipHasher13, value: &str) {
    hasher.write(value.as_bytes());
    hasher.write_u8(0xff);
}

const fn default_max_subsets() -> u32 {
    1024
}
