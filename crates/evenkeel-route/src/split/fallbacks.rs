use std::collections::BTreeMap;

use thiserror::Error;

/// A cluster, and who serves when it cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ClusterRef {
    /// Its name.
    pub name: String,
    /// The cluster that serves when this one cannot. Default: none.
    pub fallback: Option<String>,
}

/// The clusters that exist, and the chains of their fallbacks, which end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    next: BTreeMap<String, Option<String>>,
}

impl Fallbacks {
    /// Checks the fallbacks of these clusters.
    ///
    /// # Errors
    ///
    /// [`FallbackError`] if one leads nowhere or in a circle.
    pub fn new(clusters: &[ClusterRef]) -> Result<Self, FallbackError> {
        let mut next = BTreeMap::new();
        for (i, cluster) in clusters.iter().enumerate() {
            if next.insert(cluster.name.clone(), cluster.fallback.clone()).is_some() {
                return Err(FallbackError::Twice { cluster: i, name: cluster.name.clone() });
            }
        }
        let fallbacks = Self { next };
        // Each cluster is walked through once: what ends before has ended.
        let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, cluster) in clusters.iter().enumerate() {
            let mut at = cluster.name.as_str();
            while !ends.contains_key(at) {
                ends.insert(at, i);
                let Some(Some(fallback)) = fallbacks.next.get(at) else { break };
                if !fallbacks.contains(fallback) {
                    return Err(FallbackError::Unknown { of: at.to_owned(), name: fallback.clone() });
                }
                if ends.get(fallback.as_str()) == Some(&i) {
                    return Err(FallbackError::Circle { path: fallbacks.circle(fallback) });
                }
                at = fallback;
            }
        }
        Ok(fallbacks)
    }

    /// Whether there is a cluster of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.next.contains_key(name)
    }

    /// That all of these names are clusters: the arms of a split, the cluster of a mirror.
    ///
    /// # Errors
    ///
    /// [`FallbackError::Unknown`] names the first that is not. `of` says who asks.
    pub fn check<'n>(&self, of: &str, names: impl IntoIterator<Item = &'n str>) -> Result<(), FallbackError> {
        match names.into_iter().find(|name| !self.contains(name)) {
            Some(name) => Err(FallbackError::Unknown { of: of.to_owned(), name: name.to_owned() }),
            None => Ok(()),
        }
    }

    /// The cluster and its fallbacks, in order.
    pub fn chain<'s>(&'s self, cluster: &'s str) -> impl Iterator<Item = &'s str> {
        let first = self.contains(cluster).then_some(cluster);
        std::iter::successors(first, |at| self.next.get(*at).and_then(|next| next.as_deref()))
    }

    fn circle(&self, from: &str) -> String {
        let mut path = from.to_owned();
        for name in self.chain(from).skip(1) {
            path = path + " → " + name;
            if name == from {
                break;
            }
        }
        path
    }
}

/// Fallbacks that lead nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FallbackError {
    /// Two clusters of one name.
    #[error("clusters[{cluster}].name is {name:?} a second time")]
    Twice {
        /// The later one.
        cluster: usize,
        /// The name.
        name: String,
    },
    /// No such cluster.
    #[error("{of:?} names the cluster {name:?}, which does not exist")]
    Unknown {
        /// Who names it.
        of: String,
        /// The name.
        name: String,
    },
    /// A fallback of a fallback leads back.
    #[error("fallbacks go in a circle: {path}")]
    Circle {
        /// The names, with arrows in between.
        path: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(pairs: &[(&str, &str)]) -> Result<Fallbacks, FallbackError> {
        let cluster = |&(name, fallback): &(&str, &str)| ClusterRef {
            name: name.into(),
            fallback: (!fallback.is_empty()).then(|| fallback.into()),
        };
        Fallbacks::new(&pairs.iter().map(cluster).collect::<Vec<_>>())
    }

    #[test]
    fn chains_end() {
        let fallbacks = build(&[("a", "b"), ("b", "c"), ("c", ""), ("d", "b")]).unwrap();
        assert_eq!(fallbacks.chain("a").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(fallbacks.chain("d").collect::<Vec<_>>(), ["d", "b", "c"]);
        assert_eq!(fallbacks.chain("z").count(), 0);
        assert!(fallbacks.check("split", ["a", "z"]).is_err());
    }

    #[test]
    fn circles_and_strangers_are_refused() {
        let circle = |path: &str| Err(FallbackError::Circle { path: path.into() });
        assert_eq!(build(&[("a", "a")]), circle("a → a"));
        assert_eq!(build(&[("x", "a"), ("a", "b"), ("b", "a")]), circle("a → b → a"));
        assert_eq!(build(&[("a", "z")]), Err(FallbackError::Unknown { of: "a".into(), name: "z".into() }));
        assert_eq!(
            build(&[("a", ""), ("a", "")]),
            Err(FallbackError::Twice { cluster: 1, name: "a".into() })
        );
    }
}
