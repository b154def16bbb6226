use std::path::Path;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Syntax {
    /// TOML 1.1.
    Toml,
    /// YAML 1.2, one document, core schema. Aliases are allowed and count as what they stand for; tags are not.
    Yaml,
    /// JSON.
    Json,
}

impl Syntax {
    /// What the ending of a path says: `toml`, `yaml`, `yml` or `json`, in either case.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}
