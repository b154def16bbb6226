//! S11: which server has which key. There is no clock in it.

use evenkeel::balance::hash::KeySettings;
use evenkeel::{
    Cluster, ClusterBuilder, ClusterConfig, Endpoint, MaglevConfig, PolicyConfig, Request, RingHashConfig,
};
use evenkeel_types::SplitMix64;

use super::band::Bands;
use crate::error::ScenarioError;
use crate::streams::{Source, Stream};

pub(crate) const KNOWN: &[(&str, &str)] = &[(
    "maglev, 1 of 10 leaves: % of other keys moved",
    "chance, of the algorithm itself: in one ring of the hundred (seed 63) two of the ten servers have the same step through the slots, 1 in 65 536 for each pair, and then some 9 % move, whoever leaves. Over the other 99 rings, each of the ten servers leaving in turn, the mean is 0.273; a program of its own, 400 rings with drawn steps, gives 0.259 with a standard error of 0.003",
)];

/// A cluster of servers whose names a seed decides.
struct Fleet {
    cluster: Cluster<u32>,
    names: Vec<String>,
}

impl Fleet {
    fn new(policy: &PolicyConfig, count: u32, seed: u64) -> Result<Self, ScenarioError> {
        let refused = |error: String| ScenarioError::Policy { policy: policy.name().to_owned(), error };
        let mut config = ClusterConfig::new("keys");
        config.policy = policy.clone();
        config.seed = Some(seed);
        let cluster: Cluster<u32> =
            ClusterBuilder::new(config).build().map_err(|error| refused(error.to_string()))?;
        let names: Vec<String> = (0..count)
            .map(|server| format!("{:016x}", SplitMix64::mix(seed << 32 | u64::from(server))))
            .collect();
        let endpoints = names.iter().zip(0_u32..).filter_map(|(name, server)| {
            let address = format!("10.{}.{}.{}:80", server >> 16, server >> 8 & 255, server & 255);
            let endpoint = Endpoint::new(name.parse().ok()?, address.parse().ok()?);
            Some(endpoint.with_payload(server))
        });
        cluster.apply(endpoints).map_err(|error| refused(error.to_string()))?;
        Ok(Self { cluster, names })
    }

    fn remove(&self, server: u32) {
        if let Ok(id) = self.names[server as usize].parse() {
            // It is there: it was applied.
            let _ = self.cluster.remove(&id);
        }
    }

    /// The server of each key.
    fn owners(&self, keys: u64) -> Vec<u32> {
        let mut picker = self.cluster.picker_of_lane(0);
        let owner = |key: u64| {
            let hash = SplitMix64::mix(key ^ 0x6b65_7973);
            picker.choose(&Request::with_hash(hash)).map_or(u32::MAX, |live| *live.payload())
        };
        (0..keys).map(owner).collect()
    }
}

fn counts(owners: &[u32], servers: u32) -> Vec<u64> {
    let mut counts = vec![0; servers as usize];
    for &owner in owners {
        if let Some(count) = counts.get_mut(owner as usize) {
            *count += 1;
        }
    }
    counts
}

fn max_over_mean(counts: &[u64]) -> f64 {
    let most = counts.iter().copied().max().unwrap_or_default() as f64;
    most * counts.len() as f64 / counts.iter().sum::<u64>() as f64
}

/// The standard deviation of shares ÷ their mean, less what the draw of keys adds.
fn deviation(counts: &[u64]) -> f64 {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let squares: f64 = counts.iter().map(|&count| (count as f64 / mean - 1.0).powi(2)).sum();
    (squares / counts.len() as f64 - 1.0 / mean).max(0.0).sqrt()
}

/// Of the keys of servers that stay, the share that moves when some leave.
fn moved(
    policy: &PolicyConfig,
    servers: u32,
    leave: u32,
    keys: u64,
    seed: u64,
) -> Result<f64, ScenarioError> {
    let fleet = Fleet::new(policy, servers, seed)?;
    let before = fleet.owners(keys);
    let mut draws = Stream::new(seed, Source::Servers, 0);
    let mut gone = vec![false; servers as usize];
    while gone.iter().filter(|&&gone| gone).count() < leave as usize {
        let drawn = draws.below(servers);
        if !std::mem::replace(&mut gone[drawn as usize], true) {
            fleet.remove(drawn);
        }
    }
    let after = fleet.owners(keys);
    let stays = before.iter().zip(&after).filter(|(old, _)| gone.get(**old as usize) == Some(&false));
    let (all, moved) =
        stays.fold((0_u64, 0_u64), |(all, moved), (old, new)| (all + 1, moved + u64::from(old != new)));
    Ok(moved as f64 / all.max(1) as f64)
}

/// Over seeds.
fn mean_of(rounds: u64, of: impl Fn(u64) -> Result<f64, ScenarioError>) -> Result<f64, ScenarioError> {
    let mut sum = 0.0;
    for seed in 1..=rounds {
        sum += of(seed)?;
    }
    Ok(sum / rounds as f64)
}

/// The most in flight at one server ÷ the most that the bound allows, over all assignments, with keys as unequal as words.
fn bounded(percent: u32, requests: u32, servers: u32) -> Result<f64, ScenarioError> {
    let key = KeySettings { balance_factor: Some(percent), ..KeySettings::default() };
    let policy = PolicyConfig::RingHash(RingHashConfig { key, ..RingHashConfig::default() });
    let fleet = Fleet::new(&policy, servers, 1)?;
    let mut picker = fleet.cluster.picker_of_lane(0);
    let sums: Vec<f64> = (1..=10_000_u32)
        .scan(0.0, |sum, rank| {
            *sum += 1.0 / f64::from(rank);
            Some(*sum)
        })
        .collect();
    let total = sums.last().copied().unwrap_or(1.0);
    let mut draws = Stream::new(1, Source::Requests, 0);
    let mut held = Vec::new();
    let mut loads = vec![0_u32; servers as usize];
    let mut worst: f64 = 0.0;
    for count in 1..=requests {
        let drawn = draws.unit() * total;
        let key = sums.partition_point(|&sum| sum < drawn) as u64;
        let Ok(pick) = picker.pick(&Request::with_hash(SplitMix64::mix(key))) else { return Ok(f64::NAN) };
        let load = &mut loads[*pick.payload() as usize];
        *load += 1;
        let allowed = (f64::from(count) * f64::from(percent) / 100.0 / f64::from(servers)).ceil();
        worst = worst.max(f64::from(*load) / allowed);
        held.push(pick);
    }
    Ok(worst)
}

pub(crate) fn judge(is_quick: bool, bands: &mut Bands) -> Result<(), ScenarioError> {
    let keys = 1_000_000;
    let ring = PolicyConfig::ring_hash();
    let rings = if is_quick { 60 } else { 200 };
    let sd = mean_of(rings, |seed| Ok(deviation(&counts(&Fleet::new(&ring, 100, seed)?.owners(keys), 100))))?;
    bands.near("ring, 160 points, 100 servers: deviation of shares", sd, 0.0795, 0.03);
    let rounds = if is_quick { 3 } else { 10 };
    let peak = |policy: &PolicyConfig, servers: u32, rounds: u64| {
        mean_of(rounds, |seed| {
            Ok(max_over_mean(&counts(&Fleet::new(policy, servers, seed)?.owners(keys), servers)))
        })
    };
    bands.near("ring, 160 points, 100 servers: max ÷ mean", peak(&ring, 100, rings)?, 1.21, 0.03);
    bands.within(
        "multi-probe, 21 probes, 100 servers: max ÷ mean",
        peak(&PolicyConfig::multi_probe(), 100, rounds)?,
        1.0,
        1.10,
    );
    for (table, published) in [(65_537, [1.87, 2.34, 3.29]), (655_373, [0.46, 0.57, 0.91])] {
        let maglev = PolicyConfig::Maglev(MaglevConfig { table_size: table, ..MaglevConfig::default() });
        for (leave, published) in [5_u32, 10, 50].into_iter().zip(published) {
            let moved = mean_of(rounds, |seed| moved(&maglev, 1000, leave, keys, seed))?;
            let what = format!("maglev, {table} slots, {leave} of 1000 leave: % of other keys moved");
            bands.near(what, moved * 100.0, published, 0.2);
        }
    }
    let maglev = PolicyConfig::maglev();
    for (servers, published) in [(10, 0.24), (100, 0.58), (300, 0.88)] {
        let moved = mean_of(10 * rounds, |seed| moved(&maglev, servers, 1, keys / 2, seed))?;
        bands.near(
            format!("maglev, 1 of {servers} leaves: % of other keys moved"),
            moved * 100.0,
            published,
            0.2,
        );
    }
    for (name, policy) in [
        ("ring", PolicyConfig::ring_hash()),
        ("rendezvous", PolicyConfig::rendezvous()),
        ("multi-probe", PolicyConfig::multi_probe()),
        ("anchor", PolicyConfig::anchor()),
    ] {
        for leave in [1, 5] {
            let moved = moved(&policy, 100, leave, keys / 5, 1)?;
            bands.at_most(format!("{name}, {leave} of 100 leave: share of other keys moved"), moved, 0.0);
        }
    }
    for percent in [110, 125, 150, 200] {
        let worst = bounded(percent, 20_000, 100)?;
        bands.at_most(format!("bounded ring, {percent} %: most in flight ÷ the bound"), worst, 1.0);
    }
    Ok(())
}
