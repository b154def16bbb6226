use std::sync::atomic::{AtomicU64, Ordering};

use evenkeel_types::Ratio;

/// How many requests are sent a second time, to a cluster whose answers nobody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct MirrorConfig {
    /// The cluster that gets the copies.
    pub cluster: String,
    /// The share of requests. Default all.
    pub share: Ratio,
    /// How the share is kept. Default [`MirrorCounting::Exact`].
    pub counting: MirrorCounting,
    /// What is appended to the host of a copy. Default `-shadow`, as in Envoy, so that logs tell them apart.
    pub host_suffix: String,
}

impl Default for MirrorConfig {
    fn default() -> Self {
        Self {
            cluster: String::new(),
            share: Ratio::ONE,
            counting: MirrorCounting::default(),
            host_suffix: "-shadow".into(),
        }
    }
}

/// How the share of copies is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum MirrorCounting {
    /// By counting, as Traefik: after n requests exactly ⌈n × share⌉ were copied. Costs a counter that all threads share.
    #[default]
    Exact,
    /// By the draw or hash of each request, as Envoy. Hashes copy all requests of some users.
    Drawn,
}

/// Decides which requests are copied.
///
/// ```
/// use evenkeel_route::split::{Mirror, MirrorConfig};
/// use evenkeel_types::Ratio;
///
/// let mirror = Mirror::new(&MirrorConfig { share: Ratio::percent(25)?, ..MirrorConfig::default() });
/// let copied: Vec<bool> = (0..8).map(|_| mirror.copies(0)).collect();
/// assert_eq!(copied, [true, false, false, false, true, false, false, false]);
/// # Ok::<(), evenkeel_types::InvalidRatio>(())
/// ```
#[derive(Debug)]
pub struct Mirror {
    share: Ratio,
    counting: MirrorCounting,
    requests: AtomicU64,
}

impl Mirror {
    /// A mirror that has copied nothing yet.
    #[must_use]
    pub const fn new(config: &MirrorConfig) -> Self {
        Self { share: config.share, counting: config.counting, requests: AtomicU64::new(0) }
    }

    /// Whether this request is copied.
    ///
    /// Traefik keeps two numbers and copies while `copied × 100 < requests × percent`. That holds for the n-th request
    /// exactly when ⌈n × share⌉ has grown, so one counter will do, and no two threads can disagree about it.
    #[must_use]
    pub fn copies(&self, draw: u64) -> bool {
        let share = u128::from(self.share.parts_per_million());
        match self.counting {
            MirrorCounting::Exact => {
                let before = u128::from(self.requests.fetch_add(1, Ordering::Relaxed));
                ((before + 1) * share).div_ceil(PARTS) > (before * share).div_ceil(PARTS)
            }
            MirrorCounting::Drawn => u128::from(draw) * PARTS < share << 64,
        }
    }
}

const PARTS: u128 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_traefik() {
        for percent in 0..=100 {
            let config = MirrorConfig { share: Ratio::percent(percent).unwrap(), ..MirrorConfig::default() };
            let mirror = Mirror::new(&config);
            let (mut total, mut copied) = (0_u32, 0_u32);
            for _ in 0..1000 {
                total += 1;
                let expected = copied * 100 < total * percent;
                copied += u32::from(expected);
                assert_eq!(mirror.copies(0), expected, "{percent} % of {total}");
            }
        }
    }

    #[test]
    fn draws_keep_their_share() {
        let share = Ratio::percent(30).unwrap();
        let mirror =
            Mirror::new(&MirrorConfig { share, counting: MirrorCounting::Drawn, ..MirrorConfig::default() });
        let copied = (0..1000_u64).filter(|i| mirror.copies(i * (u64::MAX / 1000 + 1))).count();
        assert_eq!(copied, 300);
        let all = Mirror::new(&MirrorConfig { counting: MirrorCounting::Drawn, ..MirrorConfig::default() });
        assert!(all.copies(u64::MAX));
    }
}
