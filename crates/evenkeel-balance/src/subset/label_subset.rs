use evenkeel_types::Labels;

use super::selected::count;
use super::{InvalidSubset, Subset, SubsetFallback};
use crate::Members;

/// Settings of a label subset: the servers that carry these labels.
///
/// **Idea.** A server belongs if it has every label of `labels` with that value. If none does, the fallback decides, and
/// the subset says so ([`Subset::fallback`]): it is one step and never a list of attempts.
/// **Cost.** O(n) for each membership. For values that come with the request, use a
/// [`LabelIndex`](super::LabelIndex).
/// **When.** Versions, stages, shards, tenants.
/// **When not.** To spread connections: all clients with the same labels use the same servers. Across zones, priorities
/// and localities say more.
/// **Source.** Envoy's subset load balancer, with the same three fallbacks; without its nested child balancers, since
/// there is one subset for a client and one policy for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct LabelSubsetConfig {
    /// The labels that a server must have; at least one.
    pub labels: Labels,
    /// What to do if none has them. Default: nothing, the subset is empty.
    #[cfg_attr(feature = "serde", serde(default))]
    pub fallback: LabelFallback,
}

/// What becomes of a label subset that nothing belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum LabelFallback {
    /// It stays empty: requests must not go elsewhere.
    #[default]
    None,
    /// All servers.
    Any,
    /// The servers with these labels; if there are none either, it is empty.
    DefaultSubset(Labels),
}

impl LabelSubsetConfig {
    /// These labels, without a fallback.
    #[must_use]
    pub const fn new(labels: Labels) -> Self {
        Self { labels, fallback: LabelFallback::None }
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidSubset> {
        if self.labels.is_empty() {
            let reason = "none are given: at least one, or every server would belong";
            return Err(InvalidSubset::setting(KIND, "labels", reason));
        }
        self.fallback.validate()
    }

    pub(crate) fn select(&self, members: &dyn Members) -> Result<Subset, InvalidSubset> {
        self.validate()?;
        let found = with_labels(members, &self.labels);
        Ok(if found.is_empty() { self.fallback.select(members) } else { Subset::of(members, found) })
    }
}

impl LabelFallback {
    pub(crate) fn validate(&self) -> Result<(), InvalidSubset> {
        if matches!(self, Self::DefaultSubset(labels) if labels.is_empty()) {
            let reason = "default_subset has no labels: at least one, or write any";
            return Err(InvalidSubset::setting(KIND, "fallback", reason));
        }
        Ok(())
    }

    pub(crate) fn select(&self, members: &dyn Members) -> Subset {
        match self {
            Self::None => Subset::default().falling_back(SubsetFallback::None),
            Self::Any => Subset::all(members).falling_back(SubsetFallback::Any),
            Self::DefaultSubset(labels) => {
                Subset::of(members, with_labels(members, labels)).falling_back(SubsetFallback::DefaultSubset)
            }
        }
    }
}

/// The positions of those that have every one of `labels`, ascending.
fn with_labels(members: &dyn Members, labels: &Labels) -> Vec<u32> {
    let has_all = |position: &u32| {
        let endpoint = members.endpoint(*position as usize);
        labels.iter().all(|(key, value)| endpoint.label(key) == Some(value))
    };
    (0..count(members) as u32).filter(has_all).collect()
}

pub(crate) const KIND: &str = "label";
