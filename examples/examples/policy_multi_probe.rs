//! What does the policy `multi_probe` do?
//!
//! It keeps one point an endpoint and asks 21 of them for each key. The busiest endpoint has little more than the mean,
//! from a hundredth of a ring's memory; more probes cost time and bring it closer.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, MultiProbeConfig, PickError, PolicyConfig, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("caches").policy(PolicyConfig::multi_probe()).seed(1).build()?;
    cluster.apply((1..=50).filter_map(|number| endpoint(number).ok()))?;
    let before = places(&cluster)?;
    println!("21 probes:       the busiest has {:.2} times the mean", busiest(&before));

    for probes in [1, 5, 100] {
        let policy = PolicyConfig::MultiProbe(MultiProbeConfig { probes, ..MultiProbeConfig::default() });
        cluster.set_policy(policy)?;
        println!("{probes:3} probes:      {:.2} times", busiest(&places(&cluster)?));
    }

    cluster.set_policy(PolicyConfig::multi_probe())?;
    cluster.remove(&"cache-7".parse()?)?;
    let after = places(&cluster)?;
    let moved: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
    let its_own = moved.iter().filter(|(old, _)| old.as_str() == "cache-7").count();
    println!("cache-7 leaves:  {its_own} of its keys move, {} of others", moved.len() - its_own);
    Ok(())
}

const KEYS: usize = 50_000;

/// Where each key goes.
fn places(cluster: &Cluster<()>) -> Result<Vec<EndpointId>, PickError> {
    let place = |key| Ok(cluster.pick(&Request::with_key(&format!("/page/{key}")))?.endpoint().id().clone());
    (0..KEYS).map(place).collect()
}

/// Its keys, divided by the mean of 50 endpoints.
fn busiest(places: &[EndpointId]) -> f64 {
    let mut counts: BTreeMap<&EndpointId, u32> = BTreeMap::new();
    for id in places {
        *counts.entry(id).or_default() += 1;
    }
    f64::from(counts.into_values().max().unwrap_or(0)) * 50.0 / KEYS as f64
}

fn endpoint(number: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(format!("cache-{number}").parse()?, format!("10.0.0.{number}:80").parse()?))
}
