//! What does the policy `ring_hash` do?
//!
//! It sends equal keys to one endpoint, so that each cache holds its own part of the data. When a cache comes or goes,
//! only its own keys move. With `balance_factor` no cache gets far more than its share, however hot a key is.

use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, KeySettings, PolicyConfig, Request, RingHashConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("caches").policy(PolicyConfig::ring_hash()).seed(1).build()?;
    cluster.apply((1..=10).filter_map(|number| endpoint(number).ok()))?;
    let before = places(&cluster)?;

    cluster.remove(&"cache-4".parse()?)?;
    let without = places(&cluster)?;
    let (its_own, others) = moves(&before, &without);
    println!("cache-4 of 10 leaves: {its_own} of its keys move, {others} of others");

    cluster.upsert(endpoint(11)?)?;
    let with = places(&cluster)?;
    let moved: Vec<_> = without.iter().zip(&with).filter(|(old, new)| old != new).collect();
    let to_it = moved.iter().filter(|(_, new)| new.as_str() == "cache-11").count();
    println!("cache-11 comes:       {to_it} of {KEYS} keys move to it, {} elsewhere", moved.len() - to_it);

    for balance_factor in [None, Some(150)] {
        let key = KeySettings { balance_factor, ..KeySettings::default() };
        let policy = PolicyConfig::RingHash(RingHashConfig { key, ..RingHashConfig::default() });
        let cluster = Cluster::<()>::builder("caches").policy(policy).seed(1).build()?;
        cluster.apply((1..=10).filter_map(|number| endpoint(number).ok()))?;
        // A hundred requests at once, all for one page.
        let picks: Result<Vec<_>, _> = (0..100).map(|_| cluster.pick(&Request::with_key("/front"))).collect();
        let most = cluster.report().endpoints.iter().map(|endpoint| endpoint.in_flight).max();
        println!("one hot key, balance_factor {balance_factor:?}: at most {} in flight", most.unwrap_or(0));
        drop(picks?);
    }
    Ok(())
}

const KEYS: usize = 10_000;

/// Where each key goes.
fn places(cluster: &Cluster<()>) -> Result<Vec<EndpointId>, Box<dyn Error>> {
    let place = |key: usize| {
        let pick = cluster.pick(&Request::with_key(&format!("/page/{key}")))?;
        Ok(pick.endpoint().id().clone())
    };
    (0..KEYS).map(place).collect()
}

/// How many keys of cache-4 moved, and how many of others.
fn moves(before: &[EndpointId], after: &[EndpointId]) -> (usize, usize) {
    let moved: Vec<_> = before.iter().zip(after).filter(|(old, new)| old != new).collect();
    let its_own = moved.iter().filter(|(old, _)| old.as_str() == "cache-4").count();
    (its_own, moved.len() - its_own)
}

fn endpoint(number: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(format!("cache-{number}").parse()?, format!("10.0.0.{number}:80").parse()?))
}
