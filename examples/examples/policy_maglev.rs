//! What does the policy `maglev` do?
//!
//! It sends equal keys to one endpoint by a table of slots, which the endpoints share out evenly. The price is that a few
//! more keys move than must when an endpoint leaves for good; one that is only drained for a while costs nothing.

use std::collections::BTreeMap;
use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, PolicyConfig, Request, Weight};

fn main() -> Result<(), Box<dyn Error>> {
    for policy in [PolicyConfig::maglev(), PolicyConfig::ring_hash()] {
        let name = policy.name();
        let cluster = Cluster::<()>::builder("shards").policy(policy).seed(1).build()?;
        cluster.apply((1..=100).filter_map(|number| endpoint(number).ok()))?;
        let before = places(&cluster)?;
        println!("{name}: the busiest of 100 has {:.2} times its share", busiest(&before));

        cluster.drain(&"shard-7".parse()?)?;
        println!("  shard-7 drained: {} of others' keys move", others(&before, &places(&cluster)?));
        cluster.remove(&"shard-7".parse()?)?;
        println!("  shard-7 removed: {} of others' keys move", others(&before, &places(&cluster)?));
        cluster.upsert(endpoint(7)?)?;
        println!("  and is back:     {} of all keys move", moved(&before, &places(&cluster)?).count());
    }

    let cluster = Cluster::<()>::builder("shards").policy(PolicyConfig::maglev()).seed(1).build()?;
    cluster.apply([endpoint(1)?.with_weight(Weight::new(3)), endpoint(2)?])?;
    let heavy = places(&cluster)?.iter().filter(|id| id.as_str() == "shard-1").count();
    println!("weights 3 and 1: {:.1} % of the keys go to the first", 100.0 * heavy as f64 / KEYS as f64);
    Ok(())
}

const KEYS: usize = 100_000;

/// Where each key goes.
fn places(cluster: &Cluster<()>) -> Result<Vec<EndpointId>, Box<dyn Error>> {
    let place = |key: usize| {
        let pick = cluster.pick(&Request::with_key(&format!("user-{key}")))?;
        Ok(pick.endpoint().id().clone())
    };
    (0..KEYS).map(place).collect()
}

fn busiest(places: &[EndpointId]) -> f64 {
    let mut counts: BTreeMap<&EndpointId, usize> = BTreeMap::new();
    places.iter().for_each(|id| *counts.entry(id).or_default() += 1);
    let most = counts.values().max().copied().unwrap_or(0);
    most as f64 * counts.len() as f64 / places.len() as f64
}

fn moved<'a>(before: &'a [EndpointId], after: &'a [EndpointId]) -> impl Iterator<Item = &'a EndpointId> {
    before.iter().zip(after).filter(|(old, new)| old != new).map(|(old, _)| old)
}

fn others(before: &[EndpointId], after: &[EndpointId]) -> usize {
    moved(before, after).filter(|id| id.as_str() != "shard-7").count()
}

fn endpoint(number: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(format!("shard-{number}").parse()?, format!("10.0.0.{number}:80").parse()?))
}
