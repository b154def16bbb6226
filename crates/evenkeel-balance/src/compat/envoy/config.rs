use super::{InvalidLeastRequest, LeastRequestSettings, RingFunction, RingSizes, TableSize};
use crate::InvalidPolicy;

/// Settings of [`Envoy`](super::Envoy): a cluster's `lb_policy` and what belongs to it, under Envoy's own names.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EnvoyConfig {
    /// Which of Envoy's policies: `round_robin` unless set, as in Envoy. Written `{ maglev = { table_size = 5003 } }`.
    pub policy: EnvoyPolicy,
    /// Whether hash tables know an endpoint by its host name, if it has one, and not by its address. Off, as in Envoy.
    pub use_hostname: bool,
    /// The weights of localities, for hash tables. None unless set: localities are ignored then. If there are any, an
    /// endpoint elsewhere has weight 0 and is only picked if nobody else is open.
    pub locality_weights: Vec<LocalityWeight>,
}

/// One of Envoy's policies, with its settings.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum EnvoyPolicy {
    /// Consistent hashing on a ring.
    RingHash(RingHashSettings),
    /// Consistent hashing by a table.
    Maglev(MaglevSettings),
    /// Each in turn, or by deadlines where weights differ.
    RoundRobin(RoundRobinSettings),
    /// The less loaded of a few, or by deadlines under load where weights differ.
    LeastRequest(LeastRequestSettings),
}

impl Default for EnvoyPolicy {
    fn default() -> Self {
        Self::RoundRobin(RoundRobinSettings::default())
    }
}

/// Settings of `RING_HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RingHashSettings {
    /// The fewest points: 1024, as in Envoy. Shares stray by about one over the root of an endpoint's points.
    pub minimum_ring_size: u64,
    /// The most points: 8 388 608, as in Envoy, and no more.
    pub maximum_ring_size: u64,
    /// What places endpoints on the ring: `xx_hash` unless set, as in Envoy.
    pub hash_function: RingFunction,
}

impl Default for RingHashSettings {
    fn default() -> Self {
        Self {
            minimum_ring_size: 1024,
            maximum_ring_size: RingSizes::LARGEST,
            hash_function: RingFunction::XxHash,
        }
    }
}

/// Settings of `MAGLEV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct MaglevSettings {
    /// The number of slots: 65 537, as in Envoy. A prime of at most 5 000 011.
    pub table_size: u64,
}

impl Default for MaglevSettings {
    fn default() -> Self {
        Self { table_size: TableSize::default().get().into() }
    }
}

/// Settings of `ROUND_ROBIN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RoundRobinSettings {
    /// Where the turns begin; drawn at the first pick unless set, as in Envoy. See
    /// [`RoundRobin::new`](super::RoundRobin::new).
    pub start: Option<u64>,
}

/// The weight of one locality.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LocalityWeight {
    /// The region.
    pub region: String,
    /// The zone.
    pub zone: String,
    /// The sub-zone.
    pub sub_zone: String,
    /// The weight; 0 gives nothing to the endpoints there.
    pub weight: u32,
}

/// The checked sizes of a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum TableKind {
    Ring(RingSizes, RingFunction),
    Maglev(TableSize),
}

impl EnvoyConfig {
    /// Whether each locality is listed once.
    pub(super) fn check_localities(&self) -> Result<(), InvalidPolicy> {
        let mut names: Vec<[&str; 3]> = self.locality_weights.iter().map(LocalityWeight::name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                Err(invalid("locality_weights", &format_args!("{:?} is listed twice", pair[0].join("/"))))
            }
            None => Ok(()),
        }
    }
}

impl LocalityWeight {
    /// Region, zone and sub-zone: Envoy's order of localities is the order of these.
    pub(super) fn name(&self) -> [&str; 3] {
        [&self.region, &self.zone, &self.sub_zone]
    }
}

impl EnvoyPolicy {
    /// The table of a hash policy; `None` for the others.
    pub(super) fn table(&self) -> Result<Option<TableKind>, InvalidPolicy> {
        match self {
            Self::RingHash(settings) => {
                let sizes = RingSizes::new(settings.minimum_ring_size, settings.maximum_ring_size)
                    .map_err(|error| invalid("policy.ring_hash", &error))?;
                Ok(Some(TableKind::Ring(sizes, settings.hash_function)))
            }
            Self::Maglev(settings) => {
                let size = TableSize::new(settings.table_size)
                    .map_err(|error| invalid("policy.maglev.table_size", &error))?;
                Ok(Some(TableKind::Maglev(size)))
            }
            Self::RoundRobin(_) => Ok(None),
            Self::LeastRequest(settings) => settings.check().map(|()| None).map_err(|error| {
                let setting = match error {
                    InvalidLeastRequest::Choices { .. } => "policy.least_request.choice_count",
                    InvalidLeastRequest::Bias => "policy.least_request.active_request_bias",
                };
                invalid(setting, &error)
            }),
        }
    }
}

fn invalid(setting: &'static str, error: &impl ToString) -> InvalidPolicy {
    InvalidPolicy::setting("envoy", setting, error.to_string())
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn tables_are_written_as_envoy_names_them() {
        let text = r#"
            policy = { ring_hash = { minimum_ring_size = 64, hash_function = "murmur_hash_2" } }
            use_hostname = true
            locality_weights = [{ region = "r", zone = "a", weight = 3 }]
        "#;
        let config: EnvoyConfig = toml::from_str(text).unwrap();
        let settings = RingHashSettings {
            minimum_ring_size: 64,
            hash_function: RingFunction::MurmurHash2,
            ..Default::default()
        };
        assert_eq!((config.policy, config.use_hostname), (EnvoyPolicy::RingHash(settings), true));
        assert_eq!(config.locality_weights[0].weight, 3);
        for wrong in ["policy = { ring = {} }", "policy = { maglev = { size = 3 } }", "hostname = true"] {
            assert!(toml::from_str::<EnvoyConfig>(wrong).is_err(), "{wrong}");
        }
    }
}
