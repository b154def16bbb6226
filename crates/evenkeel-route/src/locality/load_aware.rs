use evenkeel_types::Ratio;

use super::shares::ZoneShares;

/// How load moves requests out of the own zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct LoadAwareConfig {
    /// How much busier than the others the own zone may be before anything leaves it. Default 10 %: reports lag, and a
    /// zone that is a little busier is still nearer.
    pub tolerance: Ratio,
    /// What goes to other zones all the same, so that they are known when they are needed. Default 1 %.
    pub probe: Ratio,
}

impl Default for LoadAwareConfig {
    fn default() -> Self {
        let percent = |percent| Ratio::percent(percent).unwrap_or(Ratio::ZERO);
        Self { tolerance: percent(10), probe: percent(1) }
    }
}

/// What is known of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ZoneLoad {
    /// Its usable endpoints.
    pub usable: u32,
    /// The mean utilisation that they report, 0 to 1 (above 1 counts as 1); none if none does.
    pub utilisation: Option<f64>,
}

/// Zones by the room that they have left.
///
/// | | shares |
/// |---|---|
/// | nobody reports | the own zone, and the probe share by number of endpoints |
/// | the own zone is at most `tolerance` busier than the mean of the others | the same |
/// | it is busier | all by `usable × (1 − utilisation)`; no other zone gets less than its part of the probe share |
/// | all are full | all by number of endpoints |
///
/// The rules are those of Envoy's load-aware locality policy. Between the second and the third row there is no jump: the
/// way from one to the other is as long as the tolerance again.
#[derive(Clone, Copy, Debug)]
pub struct LoadAware {
    config: LoadAwareConfig,
}

impl LoadAware {
    /// A policy with these settings.
    #[must_use]
    pub const fn new(config: &LoadAwareConfig) -> Self {
        Self { config: *config }
    }

    /// The shares of a caller in the zone `own`; by number of endpoints, if there is no such zone.
    #[must_use]
    pub fn shares(&self, zones: &[ZoneLoad], own: usize) -> ZoneShares {
        let counts: Vec<f64> = zones.iter().map(|zone| f64::from(zone.usable)).collect();
        let Some(home) = zones.get(own).filter(|home| home.usable > 0) else { return parts(&counts) };
        let others: f64 = counts.iter().sum::<f64>() - counts[own];
        if others == 0.0 {
            return parts(&counts);
        }
        let probe = self.config.probe.as_f64();
        let local: Vec<f64> = (0..zones.len())
            .map(|zone| if zone == own { 1.0 - probe } else { probe * counts[zone] / others })
            .collect();
        let reported = zones.iter().enumerate().filter(|(zone, _)| *zone != own);
        let (sum, count) = reported
            .filter_map(|(_, zone)| {
                Some((busy(zone.utilisation?) * f64::from(zone.usable), f64::from(zone.usable)))
            })
            .fold((0.0, 0.0), |(sum, count), (busy, usable)| (sum + busy, count + usable));
        let Some(own_busy) = home.utilisation.map(busy).filter(|_| count > 0.0) else { return parts(&local) };
        let (mean, tolerance) = (sum / count, self.config.tolerance.as_f64());
        let over = own_busy - mean - tolerance;
        if over <= 0.0 {
            return parts(&local);
        }
        let room: Vec<f64> = zones
            .iter()
            .map(|zone| f64::from(zone.usable) * (1.0 - busy(zone.utilisation.unwrap_or(mean))))
            .collect();
        let all_room: f64 = room.iter().sum();
        if all_room <= 0.0 {
            return parts(&counts);
        }
        let way = if tolerance > 0.0 { (over / tolerance).min(1.0) } else { 1.0 };
        let shares: Vec<f64> = (0..zones.len())
            .map(|zone| {
                let share = local[zone] * (1.0 - way) + room[zone] / all_room * way;
                if zone == own { share } else { share.max(local[zone]) }
            })
            .collect();
        parts(&shares)
    }
}

/// A report as a number from 0 to 1; nonsense counts as idle, so that it cannot empty a zone.
fn busy(utilisation: f64) -> f64 {
    if utilisation > 0.0 { utilisation.min(1.0) } else { 0.0 }
}

fn parts(shares: &[f64]) -> ZoneShares {
    let sum: f64 = shares.iter().sum();
    let scale = if sum > 0.0 { (1_u64 << 40) as f64 / sum } else { 0.0 };
    ZoneShares::from_weights(&shares.iter().map(|share| (share * scale) as u64).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(zones: &[(u32, Option<f64>)], expected: &[f64]) {
        let zones: Vec<ZoneLoad> =
            zones.iter().map(|&(usable, utilisation)| ZoneLoad { usable, utilisation }).collect();
        let shares = LoadAware::new(&LoadAwareConfig::default()).shares(&zones, 0);
        let found: Vec<f64> =
            shares.as_slice().iter().map(|&share| share as f64 / ZoneShares::ONE as f64).collect();
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{zones:?}: {found:?}");
    }

    #[test]
    fn every_row() {
        check(&[(5, None), (5, None), (10, None)], &[0.99, 0.01 / 3.0, 0.02 / 3.0]);
        check(&[(5, Some(0.6)), (5, Some(0.5))], &[0.99, 0.01]);
        check(&[(5, Some(0.8)), (5, Some(0.2))], &[0.2, 0.8]);
        check(&[(5, Some(1.0)), (5, Some(1.0))], &[0.99, 0.01]);
        check(&[(5, Some(0.65)), (5, Some(0.5))], &[(0.99 + 0.35 / 0.85) / 2.0, (0.01 + 0.5 / 0.85) / 2.0]);
        check(&[(5, Some(f64::NAN)), (5, Some(0.1))], &[0.99, 0.01]);
        check(&[(0, Some(0.1)), (5, Some(0.9))], &[0.0, 1.0]);
        check(&[(5, Some(9.0))], &[1.0]);
        check(&[(0, None), (0, None)], &[0.0, 0.0]);
        check(&[], &[]);
    }
}
