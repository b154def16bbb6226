use std::fmt;
use std::sync::OnceLock;

use evenkeel::ClusterConfig;
use evenkeel_registry::Merge;
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{CheckSettings, DiscoveryConfig};

/// A cluster with its checks and sources: the keys of [`ClusterConfig`] and these, in one table.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", serde(deny_unknown_fields))]
pub struct ClusterSettings {
    /// The cluster itself.
    #[serde(flatten)]
    pub cluster: ClusterConfig,
    /// How its endpoints are checked. Default: not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckSettings>,
    /// Where its endpoints come from, besides those that stand here. Default: nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discovery: Vec<DiscoveryConfig>,
    /// How several sources become one set; only with several. Default: all of them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
}

impl ClusterSettings {
    /// A cluster of these settings, with neither checks nor sources.
    #[must_use]
    pub const fn new(cluster: ClusterConfig) -> Self {
        Self { cluster, check: None, discovery: Vec::new(), merge: None }
    }

    /// How many sources it has, the list in the cluster included.
    pub(crate) fn sources(&self) -> usize {
        self.discovery.len() + usize::from(!self.cluster.endpoints.is_empty())
    }
}

impl<'de> Deserialize<'de> for ClusterSettings {
    /// Not by `flatten` of serde, which forgets where values stood, and cannot refuse unknown keys: the keys of this type are
    /// taken out of the stream, and [`ClusterConfig`] reads the others.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = ClusterSettings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with the settings of a cluster")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ClusterSettings, A::Error> {
        let mut own = Own::default();
        let cluster = ClusterConfig::deserialize(MapAccessDeserializer::new(Rest { map, own: &mut own }))?;
        Ok(ClusterSettings {
            cluster,
            check: own.check.unwrap_or_default(),
            discovery: own.discovery.unwrap_or_default(),
            merge: own.merge.unwrap_or_default(),
        })
    }
}

#[derive(Default)]
struct Own {
    check: Option<Option<CheckSettings>>,
    discovery: Option<Vec<DiscoveryConfig>>,
    merge: Option<Option<Merge>>,
}

struct Rest<'o, A> {
    map: A,
    own: &'o mut Own,
}

fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    place: &mut Option<T>,
    key: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    if place.is_some() {
        return Err(A::Error::duplicate_field(key));
    }
    *place = Some(map.next_value()?);
    Ok(())
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        loop {
            let Some(key) = self.map.next_key::<String>()? else { return Ok(None) };
            match key.as_str() {
                "check" => once(&mut self.own.check, "check", &mut self.map)?,
                "discovery" => once(&mut self.own.discovery, "discovery", &mut self.map)?,
                "merge" => once(&mut self.own.merge, "merge", &mut self.map)?,
                _ => {
                    let read = seed.deserialize(StringDeserializer::<KeyError>::new(key.clone()));
                    return read.map(Some).map_err(|error| match error {
                        KeyError::Unknown(allowed) => A::Error::unknown_field(&key, all_keys(allowed)),
                        KeyError::Other(text) => A::Error::custom(text),
                    });
                }
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint()
    }
}

/// The keys of the cluster and those here. They never change, so they are made once.
fn all_keys(of_cluster: &'static [&'static str]) -> &'static [&'static str] {
    static KEYS: OnceLock<Vec<&'static str>> = OnceLock::new();
    KEYS.get_or_init(|| of_cluster.iter().copied().chain(["check", "discovery", "merge"]).collect())
}

#[derive(Debug)]
enum KeyError {
    Unknown(&'static [&'static str]),
    Other(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(_) => f.write_str("unknown key"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for KeyError {}

impl Error for KeyError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Other(text.to_string())
    }

    fn unknown_field(_: &str, allowed: &'static [&'static str]) -> Self {
        Self::Unknown(allowed)
    }
}
