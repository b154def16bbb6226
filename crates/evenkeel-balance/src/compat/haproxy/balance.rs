use super::hash_type::HashType;

/// `balance`: which algorithm. The names are HAProxy's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Balance {
    /// In turn, by weights that can change while it runs. At most 4095 servers.
    #[default]
    #[cfg_attr(feature = "serde", serde(rename = "roundrobin"))]
    RoundRobin,
    /// In turn, by a map that is dealt when servers come and go.
    #[cfg_attr(feature = "serde", serde(rename = "static-rr", alias = "static_rr"))]
    StaticRr,
    /// The server with the fewest connections for its weight.
    #[cfg_attr(feature = "serde", serde(rename = "leastconn"))]
    LeastConn,
    /// The server of the lowest number that has room.
    First,
    /// By the hash of the client's address.
    Source,
    /// By the hash of the target: see [`UriKey`](super::UriKey).
    Uri,
    /// By the hash of a parameter of the query: see [`url_param`](super::url_param).
    UrlParam,
    /// By the hash of a header: see [`header_key`](super::header_key).
    Hdr,
    /// By the hash of whatever an expression gives.
    Hash,
}

/// What a backend section says besides its servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendConfig {
    /// `balance`.
    pub balance: Balance,
    /// `hash-type`, for the algorithms that hash.
    pub hash_type: HashType,
    /// `hash-balance-factor`, for consistent hashing: no server gets more than so many percent of the average load. Above
    /// 100; off unless set.
    pub hash_balance_factor: Option<u32>,
    /// `option allbackups`: all usable backups share the load, and not the first one alone.
    pub uses_all_backups: bool,
}
