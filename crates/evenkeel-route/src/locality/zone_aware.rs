use thiserror::Error;

use super::shares::ZoneShares;

/// How the callers of one zone divide their requests, so that every endpoint of every zone gets the same, and as few
/// requests as can be leave their zone.
///
/// `callers` counts the callers of each zone, `endpoints` the usable endpoints (or their weights), `own` is the zone of this
/// caller. It is assumed that callers send alike. A zone with more callers than endpoints, in proportion, sends the excess to the
/// zones that have it the other way round.
///
/// Unlike Envoy there is no least number of hosts and no threshold: with one endpoint in each of three zones everything stays at
/// home, and an endpoint that goes moves its own part. A caller that counts nobody, itself included, sends by endpoints.
/// For hash policies, choose the zone by [`ZoneShares::keyed`].
///
/// ```
/// use evenkeel_route::locality::{ZoneShares, zone_aware};
///
/// let shares = zone_aware(&[40, 40, 20], &[25, 50, 25], 0)?;
/// let percent: Vec<f64> = shares.as_slice().iter().map(|&s| s as f64 * 100.0 / ZoneShares::ONE as f64).collect();
/// assert!((percent[0] - 62.5).abs() < 1e-6 && (percent[1] - 25.0).abs() < 1e-6 && (percent[2] - 12.5).abs() < 1e-6);
/// # Ok::<(), evenkeel_route::locality::ZoneAwareError>(())
/// ```
///
/// # Errors
///
/// [`ZoneAwareError`] if the slices differ in length, or `own` is none of them.
pub fn zone_aware(callers: &[u32], endpoints: &[u32], own: usize) -> Result<ZoneShares, ZoneAwareError> {
    check(callers, endpoints, own)?;
    let sum = |counts: &[u32]| counts.iter().map(|&count| u128::from(count)).sum::<u128>();
    let (all_callers, all_endpoints) = (sum(callers), sum(endpoints));
    let by_endpoints =
        || ZoneShares::from_weights(&endpoints.iter().map(|&count| u64::from(count)).collect::<Vec<_>>());
    if all_endpoints == 0 || callers[own] == 0 {
        return Ok(by_endpoints());
    }
    // Both as fractions of the same whole, callers × endpoints: nothing is rounded before the end.
    let demand = |zone: usize| u128::from(callers[zone]) * all_endpoints;
    let supply = |zone: usize| u128::from(endpoints[zone]) * all_callers;
    if supply(own) >= demand(own) {
        return Ok(only(own, endpoints.len()));
    }
    let excess = demand(own) - supply(own);
    let spare: Vec<u128> =
        (0..endpoints.len()).map(|zone| supply(zone).saturating_sub(demand(zone))).collect();
    let all_spare: u128 = spare.iter().sum();
    if all_spare == 0 {
        return Ok(by_endpoints());
    }
    // own : supply / demand; zone : excess / demand × spare / all spare. Scaled to 2^40 parts.
    let weights: Vec<u64> = (0..endpoints.len())
        .map(|zone| {
            let (of, whole) = if zone == own {
                (supply(own) as f64, demand(own) as f64)
            } else {
                (excess as f64 * (spare[zone] as f64 / all_spare as f64), demand(own) as f64)
            };
            (of / whole * (1_u64 << 40) as f64) as u64
        })
        .collect();
    Ok(ZoneShares::from_weights(&weights))
}

fn only(zone: usize, zones: usize) -> ZoneShares {
    let mut weights = vec![0; zones];
    weights[zone] = 1;
    ZoneShares::from_weights(&weights)
}

fn check(callers: &[u32], endpoints: &[u32], own: usize) -> Result<(), ZoneAwareError> {
    if callers.len() != endpoints.len() {
        return Err(ZoneAwareError::Lengths { callers: callers.len(), endpoints: endpoints.len() });
    }
    if own >= callers.len() {
        return Err(ZoneAwareError::Own { own, zones: callers.len() });
    }
    Ok(())
}

/// Envoy's zone aware routing, as `ZoneAwareLoadBalancerBase::regenerateLocalityRoutingStructures` computes it: whole
/// ten-thousandths, and only if there are enough hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct EnvoyZoneAware {
    /// Fewer healthy hosts than this turn it off. Default 6.
    pub min_cluster_size: u32,
}

impl Default for EnvoyZoneAware {
    fn default() -> Self {
        Self { min_cluster_size: 6 }
    }
}

impl EnvoyZoneAware {
    /// The shares of a caller in the zone `own`; none where Envoy does not route by zones.
    ///
    /// Neither cluster may be in panic, which the caller checks.
    ///
    /// # Errors
    ///
    /// As [`zone_aware`].
    pub fn shares(
        &self,
        callers: &[u32],
        endpoints: &[u32],
        own: usize,
    ) -> Result<Option<ZoneShares>, ZoneAwareError> {
        check(callers, endpoints, own)?;
        let inhabited = |counts: &[u32]| counts.iter().filter(|&&count| count > 0).count();
        let sum = |counts: &[u32]| counts.iter().map(|&count| u64::from(count)).sum::<u64>();
        let is_enough = inhabited(endpoints) >= 2
            && callers.len() >= 2
            && callers[own] > 0
            && sum(endpoints) >= u64::from(self.min_cluster_size);
        if !is_enough {
            return Ok(None);
        }
        let parts = |count: u32, sum: u64| u64::from(count) * 10_000 / sum;
        let up: Vec<u64> = endpoints.iter().map(|&count| parts(count, sum(endpoints))).collect();
        let local: Vec<u64> = callers.iter().map(|&count| parts(count, sum(callers))).collect();
        if up[own] > 0 && up[own] >= local[own] {
            return Ok(Some(only(own, endpoints.len())));
        }
        let at_home = (up[own] * 10_000).checked_div(local[own]).unwrap_or(0);
        let residual: Vec<u64> = (0..up.len())
            .map(|zone| if zone == own { 0 } else { up[zone].saturating_sub(local[zone]) })
            .collect();
        let all: u64 = residual.iter().sum();
        // No residual at all: any zone is as good as another.
        let away = |zone: usize| if all == 0 { 1 } else { residual[zone] };
        let all = if all == 0 { up.len() as u64 } else { all };
        let weights: Vec<u64> = (0..up.len())
            .map(|zone| u64::from(zone == own) * at_home * all + (10_000 - at_home) * away(zone))
            .collect();
        Ok(Some(ZoneShares::from_weights(&weights)))
    }
}

/// Shares by the configured weight of each locality and by how much of it is usable, without steps.
///
/// A locality counts with its weight, times what its usable endpoints can bear: `min(1, overprovisioning × usable / total)`.
/// The same shares hold for hash policies (choose by [`ZoneShares::keyed`]), which Envoy's do not (envoyproxy/envoy#38525).
/// Each locality is its weight, its usable endpoints and all its endpoints.
#[must_use]
pub fn locality_weights(localities: &[(u32, u32, u32)], overprovisioning_percent: u32) -> ZoneShares {
    let percent = u128::from(overprovisioning_percent);
    let weight = |&(weight, usable, total): &(u32, u32, u32)| {
        let can = u128::from(usable.min(total)) * percent * u128::from(u32::MAX);
        let can = can.checked_div(u128::from(total) * 100).unwrap_or(0).min(u128::from(u32::MAX));
        (u128::from(weight) * can) as u64
    };
    ZoneShares::from_weights(&localities.iter().map(weight).collect::<Vec<_>>())
}

/// Envoy's weights of localities: `weight × min(1, 1.4 × healthy / hosts)`, as it gives them to its scheduler.
#[must_use]
pub fn envoy_locality_weights(localities: &[(u32, u32, u32)]) -> Vec<f64> {
    localities
        .iter()
        .map(|&(weight, healthy, hosts)| {
            if hosts == 0 {
                return 0.0;
            }
            f64::from(weight) * (1.4 * f64::from(healthy) / f64::from(hosts)).min(1.0)
        })
        .collect()
}

/// Counts that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ZoneAwareError {
    /// The slices differ in length.
    #[error("{callers} zones of callers and {endpoints} zones of endpoints: give both for the same zones")]
    Lengths {
        /// Zones of callers.
        callers: usize,
        /// Zones of endpoints.
        endpoints: usize,
    },
    /// The own zone is none of them.
    #[error("the own zone is number {own} of {zones}: numbers begin at 0")]
    Own {
        /// Its number.
        own: usize,
        /// How many zones there are.
        zones: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(shares: &ZoneShares) -> Vec<f64> {
        shares.as_slice().iter().map(|&share| share as f64 * 100.0 / ZoneShares::ONE as f64).collect()
    }

    fn near(found: &[f64], expected: &[f64]) -> bool {
        found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4)
    }

    #[test]
    fn envoys_worked_example() {
        let envoy = EnvoyZoneAware::default();
        let shares = |own| envoy.shares(&[40, 40, 20], &[25, 50, 25], own).unwrap().unwrap();
        assert!(near(&percent(&shares(0)), &[62.5, 25.0, 12.5]));
        assert!(near(&percent(&shares(1)), &[0.0, 100.0, 0.0]));
        assert!(near(&percent(&shares(2)), &[0.0, 0.0, 100.0]));
        assert_eq!(envoy.shares(&[1, 1, 1], &[2, 2, 1], 0), Ok(None), "five hosts are too few");
        assert_eq!(envoy.shares(&[1, 1], &[6, 0], 0), Ok(None), "one zone with hosts");
    }

    /// The law behind it: over all callers, every endpoint gets the same.
    #[test]
    fn every_endpoint_gets_the_same() {
        for (callers, endpoints) in [
            ([40, 40, 20], [25, 50, 25]),
            ([1, 1, 1], [1, 1, 1]),
            ([3, 1, 1], [1, 1, 1]),
            ([1, 2, 3], [3, 2, 1]),
            ([1, 0, 0], [0, 1, 2]),
            ([5, 7, 11], [2, 2, 0]),
        ] {
            let mut got = [0.0; 3];
            for own in 0..3 {
                let shares = zone_aware(&callers, &endpoints, own).unwrap();
                let part = f64::from(callers[own]) / f64::from(callers.iter().sum::<u32>());
                got.iter_mut().zip(percent(&shares)).for_each(|(got, share)| *got += part * share);
            }
            let sum = f64::from(endpoints.iter().sum::<u32>());
            let fair = endpoints.map(|count| f64::from(count) * 100.0 / sum);
            assert!(near(&got, &fair), "{callers:?} {endpoints:?}: {got:?}");
        }
    }

    #[test]
    fn one_endpoint_each_stays_at_home() {
        assert!(near(&percent(&zone_aware(&[1, 1, 1], &[1, 1, 1], 2).unwrap()), &[0.0, 0.0, 100.0]));
        assert!(near(&percent(&zone_aware(&[1, 1], &[1, 0], 1).unwrap()), &[100.0, 0.0]));
        assert!(near(&percent(&zone_aware(&[0, 1], &[1, 3], 0).unwrap()), &[25.0, 75.0]));
        assert_eq!(zone_aware(&[1], &[0], 0).unwrap().drawn(3), None);
        assert_eq!(zone_aware(&[1], &[1, 2], 0), Err(ZoneAwareError::Lengths { callers: 1, endpoints: 2 }));
        assert_eq!(zone_aware(&[1], &[1], 1), Err(ZoneAwareError::Own { own: 1, zones: 1 }));
        let most = [u32::MAX; 4];
        assert!(near(&percent(&zone_aware(&most, &most, 1).unwrap()), &[0.0, 100.0, 0.0, 0.0]));
    }

    #[test]
    fn keys_move_no_more_than_they_must() {
        let names = [11, 22, 33];
        let (before, after) = (ZoneShares::from_weights(&[2, 1, 1]), ZoneShares::from_weights(&[2, 2, 1]));
        let mut counts = [0_u32; 3];
        for key in 0..40_000 {
            let (old, new) = (before.keyed(key, &names).unwrap(), after.keyed(key, &names).unwrap());
            counts[old] += 1;
            assert!(old == new || new == 1);
        }
        assert!(counts.iter().zip([20_000, 10_000, 10_000]).all(|(a, b)| a.abs_diff(b) < 400), "{counts:?}");
    }

    #[test]
    fn weights_count_with_what_is_usable() {
        let shares = locality_weights(&[(1, 10, 10), (1, 5, 10), (0, 10, 10)], 140);
        assert!(near(&percent(&shares), &[100.0 / 1.7, 70.0 / 1.7, 0.0]));
        let envoy = envoy_locality_weights(&[(1, 10, 10), (1, 5, 10), (2, 0, 0)]);
        assert!(near(&envoy, &[1.0, 0.7, 0.0]));
        assert_eq!(locality_weights(&[(1, 0, 3)], 140).drawn(0), None);
    }
}
