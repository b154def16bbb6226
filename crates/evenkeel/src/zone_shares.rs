//! The shares of the zones of one rung, by the mode of the cluster.

use evenkeel_route::failover::{FailoverConfig, TierHealth, spill};
use evenkeel_route::locality::{
    EnvoyZoneAware, LoadAware, LoadAwareConfig, ZoneLoad, ZoneShares, locality_weights, zone_aware,
};
use evenkeel_types::{Locality, Ratio};

use crate::locality_config::{LocalityConfig, NearestZonesConfig, ZoneWeightsConfig};
use crate::shares::ONE;
use crate::tally::{Sum, Sums};
use crate::zones::Zone;

/// What is known of one zone of a rung.
pub(crate) struct ZoneHealth<'a> {
    pub(crate) zone: Option<&'a Zone>,
    pub(crate) sums: Sums,
    pub(crate) utilisation: Option<f64>,
}

/// Which endpoints of a zone shall serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Usable,
    Degraded,
    /// All that were not withdrawn: in panic.
    All,
}

impl ZoneHealth<'_> {
    fn serving(&self, part: Part) -> Sum {
        match part {
            Part::Usable => self.sums.preferred,
            Part::Degraded => self.sums.degraded,
            Part::All => self.sums.total(),
        }
    }

    fn at(&self) -> Locality {
        self.zone.map_or_else(Locality::default, |zone| zone.at.clone())
    }
}

/// By what shares are worked out.
#[derive(Clone, Copy)]
pub(crate) struct Rule<'a> {
    pub(crate) config: Option<&'a LocalityConfig>,
    pub(crate) callers: &'a [(Locality, u32)],
    /// The order of regions for clients of whom nothing is known.
    pub(crate) strangers: Option<&'a [u16]>,
}

/// What part of the rung's requests each zone gets; adds up to [`ONE`] if there is any zone.
pub(crate) fn shares(rule: Rule<'_>, zones: &[ZoneHealth<'_>], part: Part, rung: usize) -> Vec<u64> {
    let Rule { config, callers, strangers } = rule;
    if let [_] = zones {
        return vec![ONE];
    }
    // Panic knows no zones that are fuller than others: all that are there share alike.
    let shares = match config {
        _ if part == Part::All => None,
        Some(LocalityConfig::ZoneAware(config)) => {
            aware(&config.by.zone(&config.own), callers, zones, part, |sum| sum.weight, Mode::Ours)
        }
        Some(LocalityConfig::EnvoyZoneAware(config)) if rung == 0 && part == Part::Usable => {
            let envoy = EnvoyZoneAware { min_cluster_size: config.min_cluster_size };
            aware(
                &config.by.zone(&config.own),
                callers,
                zones,
                part,
                |sum| sum.endpoints,
                Mode::Envoys(envoy),
            )
        }
        Some(LocalityConfig::EnvoyZoneAware(_)) => by_size(zones, part, |sum| sum.endpoints),
        Some(LocalityConfig::Weights(config)) => weighted(config, zones, part),
        Some(LocalityConfig::LoadAware(config)) => {
            let rule = LoadAwareConfig { tolerance: config.tolerance, probe: config.probe };
            load_aware(&rule, zones, part)
        }
        Some(LocalityConfig::Nearest(config)) => nearest(config, zones, part),
        Some(LocalityConfig::ClientRegion(config)) => strangers.and_then(|order| {
            let place = |zone: &ZoneHealth<'_>| {
                let region = zone.zone.and_then(|zone| zone.region);
                order.iter().position(|&other| Some(other) == region).unwrap_or(order.len())
            };
            let distances: Vec<usize> = zones.iter().map(place).collect();
            by_distance(&distances, config.overprovisioning_percent, zones, part)
        }),
        // Each request chooses by itself.
        Some(LocalityConfig::Joint(_)) | None => None,
    };
    let nobody = |sum: Sum| sum.weight;
    shares
        .or_else(|| by_size(zones, part, nobody))
        .or_else(|| by_size(zones, Part::All, nobody))
        .unwrap_or_else(|| first_of(zones.len()))
}

fn first_of(zones: usize) -> Vec<u64> {
    (0..zones).map(|zone| if zone == 0 { ONE } else { 0 }).collect()
}

/// Shares that go to somebody.
fn some(shares: &ZoneShares, zones: usize) -> Option<Vec<u64>> {
    let own = shares.as_slice().get(..zones)?;
    (own.iter().sum::<u64>() == ONE).then(|| own.to_vec())
}

fn by_size(zones: &[ZoneHealth<'_>], part: Part, of: impl Fn(Sum) -> u64) -> Option<Vec<u64>> {
    let sizes: Vec<u64> = zones.iter().map(|zone| of(zone.serving(part))).collect();
    some(&ZoneShares::from_weights(&sizes), zones.len())
}

#[derive(Clone, Copy)]
enum Mode {
    Ours,
    Envoys(EnvoyZoneAware),
}

/// By callers and endpoints. Zones in which only callers stand take part with no endpoints.
fn aware(
    own: &Locality,
    callers: &[(Locality, u32)],
    zones: &[ZoneHealth<'_>],
    part: Part,
    of: impl Fn(Sum) -> u64,
    mode: Mode,
) -> Option<Vec<u64>> {
    let mut places: Vec<Locality> = zones.iter().map(ZoneHealth::at).collect();
    let mut serving: Vec<u64> = zones.iter().map(|zone| of(zone.serving(part))).collect();
    let mut asking: Vec<u64> = vec![0; zones.len()];
    for (at, count) in callers {
        match places.iter().position(|place| place == at) {
            Some(place) => asking[place] += u64::from(*count),
            None => {
                places.push(at.clone());
                serving.push(0);
                asking.push(u64::from(*count));
            }
        }
    }
    if callers.is_empty() {
        if let Mode::Envoys(_) = mode {
            return by_size(zones, part, of);
        }
        asking = zones.iter().map(|zone| of(zone.sums.total())).collect();
    }
    // Who does not know how many ask at home sends by size.
    let own = places.iter().position(|place| place == own)?;
    let (asking, serving) = (scaled(&asking), scaled(&serving));
    let shares = match mode {
        Mode::Ours => Some(zone_aware(&asking, &serving, own).ok()?),
        Mode::Envoys(envoy) => envoy.shares(&asking, &serving, own).ok()?,
    };
    match shares {
        Some(shares) => some(&shares, zones.len()),
        None => by_size(zones, part, of),
    }
}

/// Counts of 32 bits, in the same proportions.
fn scaled(counts: &[u64]) -> Vec<u32> {
    let most = counts.iter().copied().max().unwrap_or(0);
    let shift = (64 - most.leading_zeros()).saturating_sub(32);
    // Nobody who is there becomes nobody.
    counts.iter().map(|&count| if count == 0 { 0 } else { (count >> shift).max(1) as u32 }).collect()
}

fn weighted(config: &ZoneWeightsConfig, zones: &[ZoneHealth<'_>], part: Part) -> Option<Vec<u64>> {
    let weight = |at: &Locality| {
        let listed = config.weights.iter().find(|listed| config.by.zone(&listed.at) == *at);
        listed.map_or(config.others, |listed| listed.weight)
    };
    let rows: Vec<(u32, u32, u32)> = zones
        .iter()
        .map(|zone| {
            let pair = scaled(&[zone.serving(part).weight, zone.sums.total().weight]);
            (weight(&zone.at()), pair[0], pair[1])
        })
        .collect();
    some(&locality_weights(&rows, config.overprovisioning_percent), zones.len())
}

fn load_aware(config: &LoadAwareConfig, zones: &[ZoneHealth<'_>], part: Part) -> Option<Vec<u64>> {
    let sizes = scaled(&zones.iter().map(|zone| zone.serving(part).weight).collect::<Vec<_>>());
    let loads: Vec<ZoneLoad> = zones
        .iter()
        .zip(sizes)
        .map(|(zone, usable)| ZoneLoad { usable, utilisation: zone.utilisation })
        .collect();
    let own = zones.iter().position(|zone| zone.zone.is_some_and(|zone| zone.is_home));
    some(&LoadAware::new(config).shares(&loads, own.unwrap_or(usize::MAX)), zones.len())
}

/// Distances are filled in order, each as far as it can bear; within one distance by size.
fn nearest(config: &NearestZonesConfig, zones: &[ZoneHealth<'_>], part: Part) -> Option<Vec<u64>> {
    let places: Vec<Locality> = zones.iter().map(ZoneHealth::at).collect();
    let distances = config.order.tiers(&config.by.zone(&config.own), &places);
    let distances: Vec<usize> = distances.into_iter().map(|distance| distance as usize).collect();
    by_distance(&distances, config.overprovisioning_percent, zones, part)
}

/// The same by numbers, the nearest first.
fn by_distance(
    distances: &[usize],
    overprovisioning_percent: u32,
    zones: &[ZoneHealth<'_>],
    part: Part,
) -> Option<Vec<u64>> {
    let mut rings = vec![TierHealth::default(); 1 + *distances.iter().max()?];
    for (zone, &distance) in zones.iter().zip(distances) {
        let ring = &mut rings[distance];
        ring.total = ring.total.saturating_add(zone.sums.total().weight);
        ring.usable = ring.usable.saturating_add(zone.serving(part).weight);
    }
    if rings.iter().all(|ring| ring.usable == 0) {
        return None;
    }
    let rule = FailoverConfig {
        overprovisioning_percent,
        panic_threshold: Ratio::ZERO,
        ..FailoverConfig::default()
    };
    let loads = spill(&rings, &rule);
    let mut shares = vec![0; zones.len()];
    for (ring, load) in loads.tiers().iter().enumerate() {
        let members: Vec<usize> = (0..zones.len()).filter(|&zone| distances[zone] == ring).collect();
        let sizes: Vec<u64> = members.iter().map(|&zone| zones[zone].serving(part).weight).collect();
        let mut left = load.usable;
        let within = ZoneShares::from_weights(&sizes);
        for (&zone, &share) in members.iter().zip(within.as_slice()) {
            shares[zone] = (u128::from(load.usable) * u128::from(share) / u128::from(ONE)) as u64;
            left -= shares[zone];
        }
        if let Some(&largest) = members.iter().max_by_key(|&&zone| shares[zone]) {
            shares[largest] += left;
        }
    }
    (shares.iter().sum::<u64>() == ONE).then_some(shares)
}

/// What part of the requests of its tier a zone could bear if all were its own, in parts of [`ONE`].
pub(crate) fn bears(overprovisioning_percent: u32, zone: &ZoneHealth<'_>, part: Part) -> u64 {
    let (serving, total) = (zone.serving(part).weight, zone.sums.total().weight);
    let whole = u128::from(total) * 100;
    let part = u128::from(serving) * u128::from(ONE) * u128::from(overprovisioning_percent);
    part.checked_div(whole).map_or(0, |part| part.min(u128::from(ONE)) as u64)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn counts_are_scaled_alike() {
        assert_eq!(scaled(&[0, 1, 7]), [0, 1, 7]);
        assert_eq!(scaled(&[u64::from(u32::MAX), 3]), [u32::MAX, 3]);
        assert_eq!(scaled(&[u64::MAX, 1, 0]), [u32::MAX, 1, 0]);
        assert!(scaled(&[]).is_empty());
    }
}
