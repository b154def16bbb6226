use evenkeel_types::SplitMix64;
use thiserror::Error;

use crate::matching::{
    CookieMatch, HeaderMatch, Headers, HttpRule, Limits, Predicate, Request, RulesError, predicates_of,
};
use crate::text_hash::text_hash;

/// How requests are divided among clusters.
///
/// ```
/// use evenkeel_route::split::{Arm, Split, SplitConfig};
///
/// let arm = |cluster: &str, weight| Arm { cluster: cluster.into(), weight };
/// let split = Split::new(&SplitConfig { arms: vec![arm("v1", 9), arm("v2", 1)], ..SplitConfig::default() })?;
/// assert_eq!(split.cluster(split.drawn(0)), "v1");
/// assert_eq!(split.cluster(split.drawn(u64::MAX)), "v2");
/// # Ok::<(), evenkeel_route::split::SplitError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct SplitConfig {
    /// The clusters and their weights. At least one weight is above zero.
    pub arms: Vec<Arm>,
    /// Whether a user stays. Default [`Stickiness::Drawn`].
    pub stickiness: Stickiness,
    /// Sets splits apart from each other: with equal salts and names, the same users are in the small arm everywhere.
    /// Equal in a fleet, and equal on every hop where a user shall stay. Default 0.
    pub salt: u64,
    /// Requests that go to one arm whatever the weights say; the first that fits counts.
    pub canaries: Vec<Canary>,
}

/// A cluster and its weight.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Arm {
    /// The name of the cluster; each once.
    pub cluster: String,
    /// Its weight against the others; zero gets nothing but canaries.
    pub weight: u32,
}

/// Whether a user stays in an arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Stickiness {
    /// Each request is drawn anew.
    #[default]
    Drawn,
    /// By the request's hash: a key stays where it is, and a change of weights moves no more keys than it must.
    Keyed,
}

/// A kind of request that goes to one arm.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Canary {
    /// The cluster of the arm.
    pub cluster: String,
    /// All of these header fields.
    pub headers: Vec<HeaderMatch>,
    /// All of these cookies.
    pub cookies: Vec<CookieMatch>,
}

/// A compiled split. A draw costs one multiplication and a short search, a keyed choice one logarithm an arm.
#[derive(Clone, Debug)]
pub struct Split {
    arms: Box<[Built]>,
    total: u64,
    salt: u64,
    stickiness: Stickiness,
    canaries: Box<[(usize, Box<[Predicate]>)]>,
}

#[derive(Clone, Debug)]
struct Built {
    cluster: Box<str>,
    weight: u32,
    /// The weights up to and with this one.
    end: u64,
    name_hash: u64,
}

/// An arm, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The number of the arm.
    pub arm: usize,
    /// Why.
    pub why: ArmWhy,
}

/// Why a request goes to an arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum ArmWhy {
    /// The canary of this number.
    Canary(usize),
    /// The hash of its key.
    Keyed,
    /// A draw.
    Drawn,
}

impl Split {
    /// Compiles a split.
    ///
    /// # Errors
    ///
    /// [`SplitError`] if there is nothing to choose from.
    pub fn new(config: &SplitConfig) -> Result<Self, SplitError> {
        if config.arms.is_empty() {
            return Err(SplitError::NoArms);
        }
        if config.arms.len() > MOST_ARMS {
            return Err(SplitError::TooManyArms(config.arms.len()));
        }
        let mut arms: Vec<Built> = Vec::with_capacity(config.arms.len());
        let mut total = 0;
        for (i, arm) in config.arms.iter().enumerate() {
            if arm.cluster.is_empty() {
                return Err(SplitError::NoName { arm: i });
            }
            if arms.iter().any(|other| *other.cluster == *arm.cluster) {
                return Err(SplitError::Twice { arm: i, cluster: arm.cluster.clone() });
            }
            total += u64::from(arm.weight);
            let name_hash = text_hash(&arm.cluster);
            arms.push(Built {
                cluster: arm.cluster.as_str().into(),
                weight: arm.weight,
                end: total,
                name_hash,
            });
        }
        if total == 0 {
            return Err(SplitError::ZeroWeights);
        }
        let canaries = config.canaries.iter().enumerate().map(|(i, canary)| {
            let arm = arms.iter().position(|arm| *arm.cluster == *canary.cluster);
            let arm =
                arm.ok_or_else(|| SplitError::UnknownArm { canary: i, cluster: canary.cluster.clone() })?;
            if canary.headers.is_empty() && canary.cookies.is_empty() {
                return Err(SplitError::EmptyCanary { canary: i });
            }
            let rule = HttpRule {
                headers: canary.headers.clone(),
                cookies: canary.cookies.clone(),
                ..HttpRule::default()
            };
            let predicates = predicates_of(&rule, &format!("canaries[{i}]"), &Limits::default())?;
            Ok((arm, predicates.into_iter().map(|(_, predicate)| predicate).collect()))
        });
        let canaries = canaries.collect::<Result<_, SplitError>>()?;
        Ok(Self { arms: arms.into(), total, salt: config.salt, stickiness: config.stickiness, canaries })
    }

    /// The arm of a request: a canary's, else by its hash or by `draw`, as configured.
    #[must_use]
    pub fn choose<H: Headers + ?Sized>(&self, request: &Request<'_, H>, draw: u64) -> Chosen {
        let mut decoded = Vec::new();
        let mut canaries = self.canaries.iter().enumerate();
        let canary =
            canaries.find(|(_, (_, tests))| tests.iter().all(|test| test.holds(request, &mut decoded)));
        match (canary, self.stickiness) {
            (Some((i, &(arm, _))), _) => Chosen { arm, why: ArmWhy::Canary(i) },
            (None, Stickiness::Keyed) => Chosen { arm: self.keyed(request.hash), why: ArmWhy::Keyed },
            (None, Stickiness::Drawn) => Chosen { arm: self.drawn(draw), why: ArmWhy::Drawn },
        }
    }

    /// The arm for 64 uniform bits.
    #[must_use]
    pub fn drawn(&self, draw: u64) -> usize {
        let at = ((u128::from(draw) * u128::from(self.total)) >> 64) as u64;
        self.arms.partition_point(|arm| arm.end <= at)
    }

    /// The arm of a key, by weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted distributed hash tables",
    /// SPAA 2005).
    ///
    /// Each arm scores `−ln(u) / weight`, where `u` is uniform in key and name, and the least score wins. A heavier
    /// weight lowers the score of its own arm alone: keys move to it from the others and nowhere else. The order of the arms
    /// does not matter.
    #[must_use]
    pub fn keyed(&self, key: u64) -> usize {
        let key = SplitMix64::mix(key ^ self.salt.wrapping_mul(SplitMix64::STEP));
        let scores = self.arms.iter().enumerate().filter(|(_, arm)| arm.weight > 0).map(|(i, arm)| {
            let bits = SplitMix64::mix(key.wrapping_add(arm.name_hash)) >> 11;
            let u = (bits as f64 + 0.5) / (1_u64 << 53) as f64;
            (i, -libm::log(u) / f64::from(arm.weight))
        });
        scores.reduce(|best, next| if next.1 < best.1 { next } else { best }).map_or(0, |(arm, _)| arm)
    }

    /// The cluster of an arm; the last one's, if there is no such arm.
    #[must_use]
    pub fn cluster(&self, arm: usize) -> &str {
        &self.arms[arm.min(self.arms.len() - 1)].cluster
    }

    /// All clusters with their shares of one.
    pub fn shares(&self) -> impl Iterator<Item = (&str, f64)> {
        self.arms.iter().map(|arm| (&*arm.cluster, f64::from(arm.weight) / self.total as f64))
    }
}

/// A split cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SplitError {
    /// Nothing to choose from.
    #[error("arms is empty: write at least one")]
    NoArms,
    /// More than a linear search is good for.
    #[error("arms holds {0}: at most 1024 are allowed")]
    TooManyArms(usize),
    /// An arm without a cluster.
    #[error("arms[{arm}].cluster is empty")]
    NoName {
        /// The arm.
        arm: usize,
    },
    /// Two arms of one cluster: add their weights.
    #[error("arms[{arm}].cluster is {cluster:?} a second time: add the weights of both")]
    Twice {
        /// The later arm.
        arm: usize,
        /// The cluster.
        cluster: String,
    },
    /// The weights sum to zero.
    #[error("the weights of arms add up to 0: give at least one arm a weight")]
    ZeroWeights,
    /// A canary for no arm.
    #[error("canaries[{canary}].cluster is {cluster:?}, which is none of the arms: add it with weight 0")]
    UnknownArm {
        /// The canary.
        canary: usize,
        /// The cluster.
        cluster: String,
    },
    /// A canary that takes everything.
    #[error("canaries[{canary}] asks for nothing, so it takes every request: add headers or cookies")]
    EmptyCanary {
        /// The canary.
        canary: usize,
    },
    /// A header or cookie of a canary cannot be used.
    #[error(transparent)]
    Test(#[from] RulesError),
}

const MOST_ARMS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::ValueMatch;

    fn split(weights: &[u32]) -> Split {
        let arms =
            weights.iter().enumerate().map(|(i, &weight)| Arm { cluster: format!("c{i}"), weight }).collect();
        Split::new(&SplitConfig { arms, ..SplitConfig::default() }).unwrap()
    }

    #[test]
    fn draws_follow_the_weights() {
        let split = split(&[1, 0, 3]);
        let mut counts = [0; 3];
        (0..4000_u64).for_each(|i| counts[split.drawn(i * (u64::MAX / 4000 + 1))] += 1);
        assert_eq!(counts, [1000, 0, 3000]);
        assert_eq!(split.drawn(u64::MAX), 2);
    }

    #[test]
    fn keys_follow_the_weights_and_move_only_as_they_must() {
        let before = split(&[50, 30, 20, 0]);
        let after = split(&[50, 60, 20, 0]);
        let mut counts = [0_u32; 4];
        for key in 0..40_000 {
            let (old, new) = (before.keyed(key), after.keyed(key));
            counts[old] += 1;
            assert!(old == new || new == 1, "keys move to the arm that grew and nowhere else");
        }
        // Four standard deviations.
        for (count, expected) in counts.into_iter().zip([20_000, 12_000, 8000, 0]) {
            assert!(count.abs_diff(expected) < 400, "{counts:?}");
        }
    }

    #[test]
    fn salts_make_splits_independent() {
        let with_salt = |salt| {
            let arm = |cluster: &str| Arm { cluster: cluster.into(), weight: 1 };
            Split::new(&SplitConfig { arms: vec![arm("a"), arm("b")], salt, ..SplitConfig::default() })
                .unwrap()
        };
        let (one, two) = (with_salt(1), with_salt(2));
        let same = (0..10_000).filter(|&key| one.keyed(key) == two.keyed(key)).count();
        assert!(same.abs_diff(5000) < 250, "{same}");
    }

    #[test]
    fn canaries_go_first() {
        let header =
            HeaderMatch { name: "x-canary".into(), test: ValueMatch::Exact("always".into()), invert: false };
        let config = SplitConfig {
            arms: vec![Arm { cluster: "old".into(), weight: 1 }, Arm { cluster: "new".into(), weight: 0 }],
            canaries: vec![Canary { cluster: "new".into(), headers: vec![header], ..Canary::default() }],
            ..SplitConfig::default()
        };
        let split = Split::new(&config).unwrap();
        let request = Request::new("GET", "", "/");
        assert_eq!(split.choose(&request, 7), Chosen { arm: 0, why: ArmWhy::Drawn });
        let headers = [("X-Canary", "always")];
        assert_eq!(
            split.choose(&request.with_headers(&headers), 7),
            Chosen { arm: 1, why: ArmWhy::Canary(0) }
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let arm = |cluster: &str, weight| Arm { cluster: cluster.into(), weight };
        let error = |arms, canaries| {
            Split::new(&SplitConfig { arms, canaries, ..SplitConfig::default() }).unwrap_err()
        };
        assert_eq!(error(vec![], vec![]), SplitError::NoArms);
        assert_eq!(error(vec![arm("a", 0), arm("b", 0)], vec![]), SplitError::ZeroWeights);
        assert_eq!(
            error(vec![arm("a", 1), arm("a", 2)], vec![]),
            SplitError::Twice { arm: 1, cluster: "a".into() }
        );
        let canary = Canary { cluster: "z".into(), ..Canary::default() };
        assert_eq!(
            error(vec![arm("a", 1)], vec![canary]),
            SplitError::UnknownArm { canary: 0, cluster: "z".into() }
        );
        let canary = Canary { cluster: "a".into(), ..Canary::default() };
        assert_eq!(error(vec![arm("a", 1)], vec![canary]), SplitError::EmptyCanary { canary: 0 });
    }
}
