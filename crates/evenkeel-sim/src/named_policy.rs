//! A policy in a file: its name alone, or a table with its settings.

use std::fmt;

use evenkeel::PolicyConfig;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Reads `"round_robin"` as `{ type = "round_robin" }`.
pub(crate) fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PolicyConfig>, D::Error> {
    from.deserialize_any(NameOrTable).map(Some)
}

struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = PolicyConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a policy, or a table with its type and settings")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<PolicyConfig, E> {
        name.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<PolicyConfig, A::Error> {
        PolicyConfig::deserialize(MapAccessDeserializer::new(table))
    }
}
