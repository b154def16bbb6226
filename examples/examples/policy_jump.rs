//! What does the policy `jump` do?
//!
//! It needs 8 bytes an endpoint and is as even as chance allows. The paper's function cannot take a bucket out of the
//! middle; here the bucket stays, empty, and the next endpoint that comes gets it.

use std::error::Error;

use evenkeel::{Cluster, Endpoint, EndpointId, PickError, PolicyConfig, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::<()>::builder("shards").policy(PolicyConfig::jump()).seed(1).build()?;
    cluster.apply((1..=10).filter_map(|number| endpoint(number).ok()))?;
    let before = places(&cluster)?;
    println!("10 shards:               {} keys on the fullest of them", fullest(&before));

    cluster.remove(&"shard-4".parse()?)?;
    let without = places(&cluster)?;
    println!("shard-4 leaves:          {} keys move", moved(&before, &without));
    println!("  of other shards:       {}", moved_but(&before, &without, "shard-4"));

    cluster.upsert(endpoint(11)?)?;
    let with = places(&cluster)?;
    println!("shard-11 takes its place: {} keys move", moved(&without, &with));
    println!("  to other shards:       {}", moved_but(&with, &without, "shard-11"));
    Ok(())
}

const KEYS: usize = 10_000;

/// Where each key goes.
fn places(cluster: &Cluster<()>) -> Result<Vec<EndpointId>, PickError> {
    let place = |key| Ok(cluster.pick(&Request::with_key(&format!("/page/{key}")))?.endpoint().id().clone());
    (0..KEYS).map(place).collect()
}

fn fullest(places: &[EndpointId]) -> usize {
    let keys_of = |id: &EndpointId| places.iter().filter(|&other| other == id).count();
    places.iter().take(100).map(keys_of).max().unwrap_or(0)
}

fn moved(before: &[EndpointId], after: &[EndpointId]) -> usize {
    before.iter().zip(after).filter(|(old, new)| old != new).count()
}

/// How many moved that are not of `name` in `these`.
fn moved_but(these: &[EndpointId], those: &[EndpointId], name: &str) -> usize {
    these.iter().zip(those).filter(|(this, that)| this != that && this.as_str() != name).count()
}

fn endpoint(number: u32) -> Result<Endpoint, Box<dyn Error>> {
    Ok(Endpoint::new(format!("shard-{number}").parse()?, format!("10.0.0.{number}:80").parse()?))
}
