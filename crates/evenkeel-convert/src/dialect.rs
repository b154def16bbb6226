use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Whose configuration a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dialect {
    /// evenkeel's own, in TOML: a [`Setup`](crate::Setup), which says everything, keys to the bit among it.
    Evenkeel,
    /// The file of `evenkeel-config`, in TOML: what programs start from.
    Config,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy: a bootstrap, a cluster or a route configuration, in YAML or JSON.
    Envoy,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Evenkeel, Self::Config, Self::Nginx, Self::Haproxy, Self::Envoy];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evenkeel => "evenkeel",
            Self::Config => "config",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// Whose configuration a text looks like, if its first words tell.
    pub(crate) fn guess(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.take(LINES_LOOKED_AT).find_map(|line| {
            let first = line.split_whitespace().next().unwrap_or("");
            let is_section = ["global", "defaults", "frontend", "backend", "listen"].contains(&first);
            if ["static_resources:", "node:", "admin:", "clusters:", "resources:"].contains(&first)
                || first.starts_with('{')
                || first == "---"
                || first == "\"static_resources\":"
            {
                Some(Self::Envoy)
            } else if is_section && !line.ends_with([';', '{']) && !line.contains(':') {
                Some(Self::Haproxy)
            } else if line.starts_with("[[")
                || ["[listeners", "[clusters", "[checks", "[keys"].iter().any(|s| line.starts_with(s))
            {
                Some(Self::Evenkeel)
            } else if (line.ends_with('{') || line.ends_with(';'))
                && first.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            {
                Some(Self::Nginx)
            } else {
                None
            }
        })
    }
}

const LINES_LOOKED_AT: usize = 20;

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.name() == name)
            .ok_or_else(|| UnknownDialect(name.to_owned()))
    }
}

/// There is no dialect of this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown dialect {0:?}: allowed are evenkeel, config, nginx, haproxy, envoy")]
pub struct UnknownDialect(pub String);
