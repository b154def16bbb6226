/// How an `upstream` block spreads requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Method {
    /// Smooth weighted round robin: nginx's own default.
    #[default]
    RoundRobin,
    /// `ip_hash`: by the client's address, of IPv4 the first three bytes.
    IpHash,
    /// `hash KEY`: by the key, in the manner of the Perl module `Cache::Memcached`.
    Hash,
    /// `hash KEY consistent`: by the key on a ring, in the manner of `Cache::Memcached::Fast`.
    HashConsistent,
    /// `least_conn`: the fewest connections for the weight; equals by smooth weighted round robin.
    LeastConn,
}

impl Method {
    /// The directive.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round robin",
            Self::IpHash => "ip_hash",
            Self::Hash => "hash",
            Self::HashConsistent => "hash consistent",
            Self::LeastConn => "least_conn",
        }
    }

    /// Whether servers may be marked `backup`: the hashing methods refuse it.
    #[must_use]
    pub const fn allows_backup(self) -> bool {
        matches!(self, Self::RoundRobin | Self::LeastConn)
    }
}
